//! What people touch: command lines, configuration, output.
//!
//! It takes no decision about flows and names no file descriptor. Floor: the top one; everything below may be used.
//!
//! ```
//! use tools::conntrackd::flags::{Action, parse};
//! use wire::control::Request;
//! let args = parse(["conntrackd", "-s", "net"]).unwrap();
//! assert_eq!(args.action, Action::Client(Request::StatsNetwork));
//! ```
#![forbid(unsafe_code)]

pub mod stdout;
pub mod conf;
pub mod print;
pub mod metrics;
pub mod doctor;
pub mod conntrack;
pub mod filter;
pub mod grouping;
pub mod conntrackd;
pub mod nfct;
pub mod ctflow;
