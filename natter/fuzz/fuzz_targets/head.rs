#![no_main]
#![allow(dead_code, reason = "sources are included whole")]

#[path = "../../../gateway/src/http/head.rs"]
mod head;
mod http {
    pub(crate) use super::head;
}

#[path = "../bodies/head.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
