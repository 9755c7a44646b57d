//! Bytes to values and back, beside ctnetlink: the conntrackd replication protocol, the control protocol, the hook's
//! record, packets that the kernel shows to a helper.
//!
//! It does no I/O, reads no clock and takes no decision. Every decoder is total: any input gives a value or a
//! [`ctnetlink::DecodeError`], never a panic, and reporting an error allocates nothing. Floor: above `common`.
//!
//! ```
//! use ctnetlink::Writer;
//! use wire::sync::v1::{Control, Messages, Stamp, encode_control};
//! let mut bytes = [0; 64];
//! let mut writer = Writer::new(&mut bytes);
//! encode_control(Control::Resync, Stamp::default(), &mut writer);
//! let len = writer.finish().unwrap();
//! assert_eq!(Messages::datagram(&bytes[..len]).count(), 1);
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "arbitrary"))]
extern crate std;

pub mod cursor;
pub mod transport;
pub mod queue;
pub mod packet;
pub mod sync;
pub mod control;
pub mod feed;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
