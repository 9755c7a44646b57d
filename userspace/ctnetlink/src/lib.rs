//! ctnetlink: what the Linux kernel says about tracked connections, and how it is asked.
//!
//! The crate turns bytes of a `NETLINK_NETFILTER` socket into values and back: flows, expectations, events, dumps,
//! requests, refusals. It opens no socket, reads no clock and is `no_std`; two programs in `examples/` show it with a
//! socket: `list` prints the kernel's table, `follow` prints events as they come.
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
//!
//! # Any bytes
//!
//! Every decoder is total: any input gives a value or a [`DecodeError`] that says what is wrong and at which byte,
//! never a panic, and reporting an error allocates nothing. Attributes that the crate does not know are skipped.
//! Property tests and a fuzzer hold that.
//!
//! # Numbers
//!
//! Fields are in host byte order unless they say otherwise; addresses and the layer-4 bytes of a [`Tuple`] stay in
//! network order, so that a tuple can be compared and hashed as it lies in memory. Times are seconds (`_s`) or
//! nanoseconds (`_ns`). Arrays of two hold the original direction first, then the reply direction. On the wire,
//! `struct nlmsghdr` and `struct nlattr` are in native byte order, and numbers inside attributes in network order, with
//! the exceptions that [`uapi`] names.
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
//! Of what lies inside them one number is checked and not kept: `CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ`. Expectations
//! (`enum ctattr_expect`) are read and written whole. Statistics are asked for by [`request::stats`] and
//! [`request::stats_per_cpu`]; their answers are lists of numbers, which [`Attributes`] walks.
//!
//! # Features
//!
//! `alloc` (on): `Flow`, an owned value of at most 128 bytes that clones without allocating, [`FlowView`] turned into
//! one, and the requests that write one. Without it the crate allocates nothing and can be compiled for the BPF target.
//!
//! # What may grow
//!
//! Kernels add attributes, so what carries them is `non_exhaustive`: [`Message`], the views, `Extra`, [`Expectation`],
//! [`flow::ProtoState`], [`request::Selection`] and others. Where such a value is to be made, `with` sets its fields.
//! `Flow`, [`Tuple`] and the values that are the whole of one nest (counters, TCP state, ...) can be taken apart
//! exhaustively: whoever copies them field by field is told by the compiler when a version of this crate changes
//! them, which is a breaking version. `Flow` grows in its extras.
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
pub use message::{Answer, Change, Message, decode};
pub use tuple::{FlowKey, Tuple};
#[cfg(feature = "alloc")]
pub use view::Detail;
pub use view::{ExpectView, FlowView, RequestView};
pub use writer::{NoRoom, Writer};

/// The example of the README runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
