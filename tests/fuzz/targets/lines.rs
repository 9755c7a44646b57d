//! Lines of a file for `conntrack -R`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::lines(data));
