//! What the kernel side and the user side must agree on: fixed-size records, map names, counter numbers.
//!
//! It is not a place for logic, but for the one decision both sides must make alike: the filter.
//! Floor: above `ctnetlink`, of which it takes what identifies a flow and nothing that allocates, so that the same
//! source compiles for the BPF target and for the host.
//!
//! ```
//! use common::filter::Subject;
//! assert!(!Subject::NOTHING.key.tuple.is_known());
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod time;
pub mod counter;
pub mod maps;
pub mod tap;
pub mod filter;
pub mod event;
pub mod hook;
pub mod failure;

pub use time::Instant;
