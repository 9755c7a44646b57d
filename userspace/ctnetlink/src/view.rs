//! Messages read in place: views that take numbers out and leave everything of variable length in the datagram.

mod flow;
mod expectation;
mod request;

pub use expectation::ExpectView;
#[cfg(feature = "alloc")]
pub use flow::Detail;
pub use flow::{FlowView, identity, label_words, original};
pub use request::{NatRange, RequestView};
