//! The decisions of ctflow: the flow table, replication, and requests to the kernel.
//!
//! The crate has no sockets, clocks or threads (`no_std`). Floor: above `wire`, below `host`.
//!
//! # The contract
//!
//! - One [`Engine`] is one shard. It changes by [`Input`]s only; the caller polls it for output.
//! - Every method that can depend on time takes `now`. The same inputs always give the same outputs.
//! - [`Engine::handle`] never fails or blocks. It counts malformed bytes; a command that fails becomes an [`Event`].
//! - After each batch of inputs, [`drive::drive`] runs a turn: [`Input::Timeout`] if it is due, then
//!   [`Engine::poll_kernel`], [`Engine::poll_transmit`], [`Engine::poll_event`]. The order matters in one place: the
//!   kernel's answers are inputs that change what is sent. Then sleep, at the latest until [`Engine::poll_timeout`].
//! - Every queue is a [`Bounded`], with a limit from [`config::limit`] and a counter in [`Engine::queues`].
//! - Iteration is in slot order, never in hash order.
//!
//! ```
//! use common::Instant;
//! use ctnetlink::Tuple;
//! use engine::{Config, Engine, Input, Origin, Stamp, Side};
//! use ctnetlink::{Flow, Change};
//!
//! let mut engine = Engine::new(Config::default(), Instant(0));
//! let flow = Flow::new(Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(4000, 53));
//! let (event, origin, stamp) = (Change::New, Origin::Foreign, Stamp::InOrder);
//! engine.handle(Instant(1), Input::Kernel { event, flow, origin, stamp });
//! assert_eq!(engine.table(Side::Local).len(), 1);
//!
//! let mut datagram = [0; 1472];
//! let len = engine.poll_transmit(Instant(1), &mut datagram).unwrap();
//! assert_eq!(&datagram[..2], &[0x10, 0x00], "version 1, a new flow");
//! assert_eq!(engine.poll_transmit(Instant(1), &mut datagram), None);
//! # let _ = len;
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bounded;
mod errno;
pub mod share;
pub mod interval;
pub mod filter;
pub mod config;
pub mod counters;
pub mod message_id;
pub mod input;
pub mod journal;
pub mod turnover;
pub mod flows;
pub mod query;
pub mod census;
pub mod wheel;
pub mod output;
pub mod kernel;
pub mod lack;
pub mod expectations;
pub mod helper;
pub mod changed;
pub mod local;
pub mod remote;
pub mod failover;
pub mod node;
pub mod peer;
pub mod engine;
pub mod drive;

pub use bounded::{Bounded, QueueUsage, QueueUsages};
pub use config::Config;
pub use engine::Engine;
pub use flows::exactness::{Cause, Exactness};
pub use flows::table::Slot;
pub use input::{Command, CommandId, Input, Origin, Reconfigure, Sender, Stamp};
pub use journal::{Journal, Sink};
pub use output::{Event, KernelOp, Part, Request, Side};
pub use peer::{PeerReach, Reach, Standing};
pub use share::{Share, ShareBy};
