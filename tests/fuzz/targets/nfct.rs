//! Words of a command line of nfct.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::nfct(data));
