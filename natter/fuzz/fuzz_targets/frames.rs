#![no_main]
#![allow(dead_code, reason = "sources are included whole")]

#[path = "../../../gateway/src/frames/mod.rs"]
mod frames;

#[path = "../bodies/frames.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
