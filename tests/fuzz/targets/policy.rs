//! The kernel's answers to nfct.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::policy(data));
