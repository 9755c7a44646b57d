//! What two ends of a flow say, to its helper.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::helper(data));
