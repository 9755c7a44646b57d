//! Words of a command line.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::argv(data));
