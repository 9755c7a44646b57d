//! Bytes from a peer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::sync(data));
