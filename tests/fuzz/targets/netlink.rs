//! Bytes from the kernel.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::netlink(data));
