#![no_main]
#![allow(dead_code, reason = "sources are included whole")]

#[path = "../../../processors/src/filter/mod.rs"]
mod filter;

#[path = "../bodies/filter.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
