//! ctnetlink: decodes and encodes the messages of Linux connection tracking on a `NETLINK_NETFILTER` socket.
//!
//! The crate covers flows, expectations, events, dumps, requests and errors. It is `no_std`, opens no socket and reads
//! no clock; `examples/list.rs` and `examples/follow.rs` add a socket and print the kernel's table and its events.
//!
//! [`Messages`] iterates over a datagram, [`decode`] decodes one message, and [`request`] encodes requests. Views
//! borrow from the datagram: decoding copies fields of fixed size only.
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
//!
//! # Any bytes
//!
//! Every decoder accepts any input. It returns a value or a [`DecodeError`] with the reason and the byte offset, never
//! panics, and allocates nothing for an error. It skips unknown attributes. Property tests and a fuzzer check this.
//!
//! # Numbers
//!
//! Fields are in host byte order unless documented otherwise. Addresses and the layer-4 bytes of a [`Tuple`] are in
//! network order, so that tuples compare and hash bytewise. Times are in seconds (`_s`) or nanoseconds (`_ns`). Arrays
//! of two hold the original direction first, then the reply direction. On the wire, `struct nlmsghdr` and `struct
//! nlattr` are in native byte order, and numbers inside attributes in network order, with the exceptions in [`uapi`].
//!
//! # Attributes
//!
//! All of `enum ctattr_type` (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`):
//!
//! | | `CTA_` | read into | written by |
//! |-:|---|---|---|
//! | 1 | `TUPLE_ORIG` | [`FlowView::orig`], [`zones`](FlowView::zones) | requests about one flow; filters of a dump |
//! | 2 | `TUPLE_REPLY` | [`FlowView::reply`], [`zones`](FlowView::zones) | create; filters of a dump |
//! | 3 | `STATUS` | [`FlowView::status`] | create, update, dump, flush |
//! | 4 | `PROTOINFO` | [`FlowView::proto`] (TCP, SCTP, DCCP) | create, update |
//! | 5 | `HELP` | [`FlowView::helper`], [`helper_info`](FlowView::helper_info) | create: the name |
//! | 6 | `NAT_SRC` | [`RequestView::nat`] | create |
//! | 7 | `TIMEOUT` | [`FlowView::timeout_s`] | create, update |
//! | 8 | `MARK` | [`FlowView::mark`] | create, update, dump, flush |
//! | 9 | `COUNTERS_ORIG` | [`FlowView::counters`] | - (the kernel takes none) |
//! | 10 | `COUNTERS_REPLY` | [`FlowView::counters`] | - (the kernel takes none) |
//! | 11 | `USE` | [`FlowView::use_count`] | - (the kernel takes none) |
//! | 12 | `ID` | [`FlowView::id`] | delete |
//! | 13 | `NAT_DST` | [`RequestView::nat`] | create |
//! | 14 | `TUPLE_MASTER` | [`FlowView::master`] | create |
//! | 15 | `SEQ_ADJ_ORIG` | [`FlowView::seq_adj`] | create, update |
//! | 16 | `SEQ_ADJ_REPLY` | [`FlowView::seq_adj`] | create, update |
//! | 17 | `SECMARK` (obsolete) | [`FlowView::secmark`] | - (the kernel takes none) |
//! | 18 | `ZONE` | [`FlowView::zone`] | requests about one flow; dump, flush |
//! | 19 | `SECCTX` | [`FlowView::secctx`] | - (the kernel takes none) |
//! | 20 | `TIMESTAMP` | [`FlowView::timestamps`] | - (the kernel takes none) |
//! | 21 | `MARK_MASK` | [`RequestView::mark_mask`] | dump, flush |
//! | 22 | `LABELS` | [`FlowView::labels`] | create, update, set_labels |
//! | 23 | `LABELS_MASK` | [`RequestView::labels_mask`] | set_labels |
//! | 24 | `SYNPROXY` | [`FlowView::synproxy`] | create, update |
//! | 25 | `FILTER` | [`RequestView::filter`] | dump |
//! | 26 | `STATUS_MASK` | [`RequestView::status_mask`] | dump, flush |
//! | 27 | `TIMESTAMP_EVENT` | [`FlowView::event_ns`] | - (only in events) |
//!
//! Nested attributes are decoded too, except `CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ`, which is only validated. All
//! attributes of an expectation (`enum ctattr_expect`) are decoded and encoded. [`request::stats`] and
//! [`request::stats_per_cpu`] request statistics; [`Attributes`] iterates over the numbers in the answers.
//!
//! # Features
//!
//! `alloc` (default): `Flow`, an owned value of at most 128 bytes that clones without allocating, conversion of a
//! [`FlowView`] to it, and the requests that take one. Without `alloc` the crate also compiles for the BPF target.
//!
//! # What may grow
//!
//! Kernels add attributes, so the types that carry them are `non_exhaustive`: [`Message`], the views, `Extra`,
//! [`Expectation`], [`flow::ProtoState`], [`request::Selection`] and others; their `with` methods set fields. `Flow`,
//! [`Tuple`] and the types of one complete nest (counters, TCP state, ...) are exhaustive, so that code which copies
//! them field by field fails to compile after a change. Such a change is a breaking release. `Flow` grows in its
//! extras.
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
pub use message::{Answer, Change, Message, decode, flow_event, read_flow};
pub use tuple::{FlowKey, Tuple};
#[cfg(feature = "alloc")]
pub use view::Detail;
pub use view::{ExpectView, FlowView, RequestView};
pub use writer::{NoRoom, Writer};

/// The example of the README runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
