//! A flow as it is shown, and the flows of a mirror.

use super::meter::Reading;
use super::mirror::Mirror;
use ctnetlink::Flow;
use ctnetlink::flow::{Counters, Status};
use engine::flows::table::Facts;
use engine::query::{Age, Read, Subject};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A flow and its rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As the walk read it, or the mirror holds it.
    pub flow: Flow,
    /// Its rates.
    pub reading: Reading,
    /// When it began, nanoseconds since 1970, if that is known.
    pub began_ns: Option<u64>,
}

impl Row {
    /// A flow as a walk read it.
    #[must_use]
    pub fn new(flow: Flow, reading: Reading) -> Self {
        let times = flow.extra.as_deref().and_then(|extra| extra.timestamps);
        let began_ns = times.map(|times| times.start_ns).filter(|began| *began != 0);
        Self { flow, reading, began_ns }
    }

    /// Bits a second towards who began the flow: of the reply direction.
    #[must_use]
    pub const fn in_bps(&self) -> Option<u64> {
        self.reading.reply_bps
    }

    /// Bits a second from who began the flow: of the original direction.
    #[must_use]
    pub const fn out_bps(&self) -> Option<u64> {
        self.reading.orig_bps
    }

    /// Whether packets of it pass by a flow table, which may not count them.
    #[must_use]
    pub const fn is_offloaded(&self) -> bool {
        self.flow.status.intersects(Status::OFFLOAD.union(Status::HW_OFFLOAD))
    }

    /// Seconds since it began, where the kernel notes that, or an event reported it. `now_ns` is the wall clock.
    #[must_use]
    pub fn age_s(&self, now_ns: u64) -> Option<u64> {
        self.began_ns.map(|began| now_ns.saturating_sub(began) / 1_000_000_000)
    }
}

/// A row that a filter is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    read: Read<'a>,
    began_ns: Option<u64>,
}

impl<'a> Asked<'a> {
    /// A row at a moment of the wall clock.
    #[must_use]
    pub const fn new(row: &'a Row, now_ns: u64) -> Self {
        Self { read: Read { flow: &row.flow, now_ns }, began_ns: row.began_ns }
    }
}

impl Subject for Asked<'_> {
    fn address(&self, reply: bool, dst: bool) -> Option<IpAddr> {
        self.read.address(reply, dst)
    }

    fn l4(&self, reply: bool) -> Option<[u8; 4]> {
        self.read.l4(reply)
    }

    fn family_and_proto(&self) -> (u8, u8) {
        self.read.family_and_proto()
    }

    fn facts(&self) -> Facts<'_> {
        self.read.facts()
    }

    fn age(&self) -> Option<Age> {
        let min_ms = self.read.now_ns.saturating_sub(self.began_ns?) / 1_000_000;
        Some(Age { min_ms, exact: true })
    }

    fn left_s(&self) -> Option<u32> {
        self.read.left_s()
    }

    fn counters(&self) -> [Option<Counters>; 2] {
        self.read.counters()
    }
}

/// The mirror at the end of a turn. It goes on to change: nothing of it is copied before it is shown.
#[derive(Clone, Debug)]
pub struct Held {
    /// The table, which the thread that follows the feed changes.
    pub mirror: Arc<Mutex<Mirror>>,
    /// The turn that has ended.
    pub turn: u32,
}

impl Held {
    /// Slots that are looked at before others get the table.
    const SLOTS: u32 = 1024;

    /// Hands out every flow that stays, once.
    pub fn each(&self, mut each: impl FnMut(&Row)) {
        let mut rows = Vec::with_capacity(Self::SLOTS as usize);
        let mut next = Some(0);
        while let Some(from) = next {
            let mirror = self.mirror.lock().unwrap_or_else(PoisonError::into_inner);
            next = mirror.walk((from, Self::SLOTS), self.turn, |flow, reading, began_ns| {
                rows.push(Row { flow, reading, began_ns });
            });
            drop(mirror);
            rows.drain(..).for_each(|row| each(&row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;
    use ctnetlink::flow::Timestamps;

    #[test]
    fn an_age_is_known_where_the_kernel_notes_times() {
        let mut flow = Flow::new(Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6));
        let age = |flow: &Flow, now_ns| Row::new(flow.clone(), Reading::default()).age_s(now_ns);
        assert_eq!(age(&flow, 90_000_000_000), None);
        for (start_ns, ages) in [(0, [None; 2]), (5_500_000_000, [Some(84), Some(0)])] {
            flow.extra_mut().timestamps = Some(Timestamps { start_ns, stop_ns: 0 });
            assert_eq!([age(&flow, 90_000_000_000), age(&flow, 1)], ages);
        }
    }
}
