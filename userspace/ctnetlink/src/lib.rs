//! ctnetlink: what the Linux kernel says about tracked connections, and how it is asked.
//!
//! It does no I/O, reads no clock and takes no decision. Every decoder is total: any input gives a value or a
//! [`DecodeError`], never a panic, and reporting an error allocates nothing.
//!
//! A datagram is walked with [`Messages`]; each message is understood by [`decode`]; requests are written by
//! [`request`]. Decoding copies nothing that has no fixed size, so views borrow from the datagram.
//!
//! ```
//! use ctnetlink::{Flow, Message, Messages, Tuple, Writer};
//! use ctnetlink::request::{self, Ticket};
//!
//! let flow = Flow::new(Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(4000, 53));
//! let mut buffer = [0; 512];
//! let mut writer = Writer::new(&mut buffer);
//! request::update(&mut writer, Ticket::acked(1), &flow);
//! let len = writer.finish().unwrap();
//!
//! let message = Messages::new(&buffer[..len]).next().unwrap().unwrap();
//! let Ok(Message::Flow { flow: view, .. }) = ctnetlink::decode(&message) else { panic!() };
//! assert_eq!(view.orig, flow.orig);
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "alloc"))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod error;
mod writer;
pub mod tuple;
pub mod flow;
pub mod expectation;
pub mod uapi;
pub mod attribute;
pub mod frame;
mod direction;
pub mod view;
mod message;
pub mod request;

pub use attribute::{Attribute, Attributes};
pub use error::DecodeError;
pub use expectation::Expectation;
#[cfg(feature = "alloc")]
pub use flow::Flow;
pub use frame::{Header, Messages, RawMessage};
pub use message::{Answer, EventKind, Message, decode};
pub use tuple::{FlowKey, Tuple};
#[cfg(feature = "alloc")]
pub use view::Detail;
pub use view::{ExpectView, FlowView, RequestView};
pub use writer::{NoRoom, Writer};
