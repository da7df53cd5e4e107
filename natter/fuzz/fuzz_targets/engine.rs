#![no_main]
#![allow(dead_code, reason = "sources are included whole")]

#[path = "../../src/engine/errors.rs"]
mod errors;
#[path = "../../src/engine/formats.rs"]
mod formats;
#[path = "../../src/engine/lexer.rs"]
mod lexer;
#[path = "../../src/engine/multipart.rs"]
mod multipart;
#[path = "../../src/engine/request.rs"]
mod request;
#[path = "../../src/engine/statement.rs"]
mod statement;
mod engine {
    pub(crate) use super::{formats, multipart, request, statement};
}

#[path = "../bodies/engine.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
