//! Datagrams at the sealed transport.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::secure(data));
