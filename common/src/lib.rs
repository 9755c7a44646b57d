//! What the kernel side and the user side must agree on: fixed-size records, map names, counter numbers.
//!
//! It is not a place for logic, but for the one decision both sides must make alike: the filter.
//! Floor: the lowest; everything may depend on it, it depends on nothing, so that
//! the same source compiles for the BPF target and for the host.
//!
//! ```
//! use common::{FlowKey, Tuple};
//! let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(40_000, 443);
//! assert_eq!(FlowKey::new(tuple, 0).tuple.ports(), (40_000, 443));
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod time;
pub mod tuple;
pub mod counter;
pub mod maps;
pub mod tap;
pub mod filter;
pub mod event;
pub mod hook;

pub use time::Instant;
pub use tuple::{FlowKey, Tuple};
