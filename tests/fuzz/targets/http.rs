//! What a client says to the server of metrics.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::http(data));
