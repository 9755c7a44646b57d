//! Text of a configuration.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::conf(data));
