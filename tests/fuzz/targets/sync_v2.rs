//! Bytes that a member of the cluster sealed.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::sync_v2(data));
