//! System calls of measurements that rustix and socket2 do not offer, one safe function each.
#![expect(unsafe_code, reason = "these are system calls that no crate offers")]

pub mod packet;
pub mod process;
pub mod xdp;
