//! Bytes from the kernel, to be printed.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::print(data));
