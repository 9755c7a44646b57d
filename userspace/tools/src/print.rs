//! Flows and expectations as people and scripts read them, one file per format.
//!
//! Printing goes to any [`fmt::Write`](std::fmt::Write) and never ends a line, so that callers can add to it.

pub mod tame;
pub mod address;
pub mod state;
pub mod text;
pub mod xml;
pub mod stats;
pub mod status;
pub mod conntrack;
pub mod difference;
pub mod parsed;

pub use text::{Age, Line, Origin};
pub use xml::Xml;

use ctnetlink::flow::Timestamps;

const SECOND_NS: u64 = 1_000_000_000;

/// Seconds a flow has lived, or lived until it ended, in lines of text; `None` if its start is not known. `now_ns` is
/// nanoseconds since 1970. As the original does: the second it ended in minus the second it began in.
fn age_s(times: &Timestamps, now_ns: u64) -> Option<u64> {
    let end_ns = if times.stop_ns == 0 { now_ns } else { times.stop_ns };
    let age_s = (end_ns / SECOND_NS).saturating_sub(times.start_ns / SECOND_NS);
    (times.start_ns != 0).then_some(age_s)
}

/// The lifetime in XML and in JSON, which says what XML says: whole seconds between two stamps of the kernel. The
/// original compares seconds here too, against the clock.
fn lifetime_s(times: &Timestamps, now_ns: u64) -> Option<u64> {
    if times.start_ns == 0 || times.stop_ns == 0 {
        return age_s(times, now_ns);
    }
    Some(times.stop_ns.saturating_sub(times.start_ns) / SECOND_NS)
}

/// The numbers of the labels that are set.
fn label_bits(words: &[u32]) -> impl Iterator<Item = u32> {
    (0_u32..).zip(words).flat_map(|(i, word)| {
        (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i * 32 + bit)
    })
}

#[cfg(test)]
mod tests;
