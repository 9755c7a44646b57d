//! What a daemon says to `ctflow top`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::follow(data));
