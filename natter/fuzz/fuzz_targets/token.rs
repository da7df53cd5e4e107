#![no_main]
#![allow(dead_code, unused_imports, reason = "sources are included whole")]

#[path = "../../../gateway/src/auth/mod.rs"]
mod auth;

#[path = "../bodies/token.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
