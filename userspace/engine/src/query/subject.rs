//! What a filter is asked about: a row of a table, or a flow that was read.

use crate::flows::table::{self, Entry, Facts};
use common::Instant;
use core::net::IpAddr;
use ctnetlink::Flow;
use ctnetlink::flow::Counters;

/// How old a flow is, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// At least this.
    pub min_ms: u64,
    /// Whether it is exact: an event reported the beginning.
    pub exact: bool,
}

/// Something that filters test. `reply` chooses the direction, `dst` the end.
pub trait Subject {
    /// An address; `None` where it is unknown.
    fn address(&self, reply: bool, dst: bool) -> Option<IpAddr>;
    /// Layer-4 bytes of a direction ([`ctnetlink::Tuple::l4`]); `None` where they are unknown.
    fn l4(&self, reply: bool) -> Option<[u8; 4]>;
    /// Address family and IP protocol.
    fn family_and_proto(&self) -> (u8, u8);
    /// The fields besides the tuples.
    fn facts(&self) -> Facts<'_>;
    /// The flow's age; `None` where nothing is known of that.
    fn age(&self) -> Option<Age>;
    /// Seconds until it expires; `None` where that is not known for this moment.
    fn left_s(&self) -> Option<u32>;
    /// Traffic counters of both directions; `None` where they are not known for this moment.
    fn counters(&self) -> [Option<Counters>; 2];
}

/// A row of a table at a moment. What moves with every packet (counters, seconds left) is not known of it.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    /// The row.
    pub entry: Entry<'a>,
    /// The moment, on the engine's clock.
    pub now: Instant,
}

impl Subject for Instance<'_> {
    #[inline]
    fn address(&self, reply: bool, dst: bool) -> Option<IpAddr> {
        self.entry.address(reply, dst)
    }

    #[inline]
    fn l4(&self, reply: bool) -> Option<[u8; 4]> {
        self.entry.l4(reply)
    }

    #[inline]
    fn family_and_proto(&self) -> (u8, u8) {
        self.entry.family_and_proto()
    }

    #[inline]
    fn facts(&self) -> Facts<'_> {
        self.entry.facts()
    }

    /// The table notes since when it knows a flow, and not whether it heard the flow begin.
    fn age(&self) -> Option<Age> {
        let known_s = self.now.as_secs().saturating_sub(self.entry.since_s.into());
        Some(Age { min_ms: known_s * 1000, exact: false })
    }

    fn left_s(&self) -> Option<u32> {
        None
    }

    fn counters(&self) -> [Option<Counters>; 2] {
        [None; 2]
    }
}

/// A flow as it was just read from the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    /// The flow, with what belongs to this reading ([`ctnetlink::Detail::Full`]) if the filter asks for that.
    pub flow: &'a Flow,
    /// When it was read: wall clock, nanoseconds since 1970.
    pub now_ns: u64,
}

impl Subject for Read<'_> {
    #[inline]
    fn address(&self, reply: bool, dst: bool) -> Option<IpAddr> {
        table::address(if reply { &self.flow.reply } else { &self.flow.orig }, dst)
    }

    #[inline]
    fn l4(&self, reply: bool) -> Option<[u8; 4]> {
        let tuple = if reply { &self.flow.reply } else { &self.flow.orig };
        tuple.is_known().then_some(tuple.l4)
    }

    #[inline]
    fn family_and_proto(&self) -> (u8, u8) {
        (self.flow.orig.family, self.flow.orig.proto)
    }

    #[inline]
    fn facts(&self) -> Facts<'_> {
        let Flow { known, status, mark, id, zone, ref proto, ref extra, .. } = *self.flow;
        Facts { known, status, mark, id, zone, state: proto, extra: extra.as_deref() }
    }

    fn age(&self) -> Option<Age> {
        let began = self.flow.extra.as_deref()?.timestamps?.start_ns;
        let min_ms = self.now_ns.saturating_sub(began) / 1_000_000;
        (began != 0).then_some(Age { min_ms, exact: true })
    }

    fn left_s(&self) -> Option<u32> {
        self.flow.has(ctnetlink::flow::Known::TIMEOUT).then_some(self.flow.timeout_s)
    }

    fn counters(&self) -> [Option<Counters>; 2] {
        self.flow.extra.as_deref().map_or([None; 2], |extra| extra.counters)
    }
}
