//! Bytes to values and back: ctnetlink, the conntrackd replication protocol, the control protocol.
//!
//! It does no I/O, reads no clock and takes no decision. Every decoder is total: any input gives a value or a
//! [`DecodeError`], never a panic, and reporting an error allocates nothing. Floor: above `common`.
//!
//! ```
//! use wire::Flow;
//! use common::Tuple;
//! let flow = Flow::new(Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(53, 53));
//! assert_eq!(flow.key().zone, 0);
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "arbitrary"))]
extern crate std;

pub mod error;
pub mod cursor;
pub mod flow;
pub mod transport;
pub mod expect;
pub mod netlink;
pub mod packet;
pub mod sync;
pub mod control;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;

pub use error::DecodeError;
pub use expect::Expectation;
pub use flow::Flow;
