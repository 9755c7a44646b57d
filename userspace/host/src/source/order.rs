//! Records of several rings in the order they happened.
//!
//! ```text
//!   ring 0:  3  7  9 --\            A ring that had more than its share to give is *cut*: what it has not given yet may be
//!   ring 1:  4  5 ------> 3 4 5 7   older than what the others gave. So once its last record is out, the rest waits for
//!   ring 2:  8 (cut) --/      8     the next round, and order holds from round to round.
//! ```
//!
//! The rings are not read at one moment. What happened after the first one was begun with waits for the next round, too.
//! What is left is a program that was interrupted between reading the clock and reserving its record; the engine knows
//! that there is such news (ARCHITECTURE.md, "Order").

use super::Heard;
use common::Instant;
use common::tap::{KIND_PACKET, RecordHeader};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What has been taken from the rings and waits for its turn. Its memory is used again from round to round.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    rings: Vec<Batch>,
    /// When the next record of each ring happened, for all that have one.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// What happened later may not be handed out in this round.
    limit: u64,
}

/// What was taken from one ring.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// By time.
    records: Vec<Record>,
    /// How many of them are gone.
    gone: usize,
    /// Whether the ring may have more.
    cut: bool,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    at: u64,
    kind: u16,
    start: usize,
    end: usize,
}

impl Sorter {
    /// For so many rings.
    pub(super) fn new(rings: usize) -> Self {
        let mut batches = Vec::new();
        batches.resize_with(rings, Batch::default);
        Self { rings: batches, heads: BinaryHeap::with_capacity(rings), limit: 0 }
    }

    /// Begins a round: what happens from now on is not handed out in it.
    pub(super) const fn limit(&mut self, now: Instant) {
        self.limit = now.0;
    }

    /// Takes a ring's share of records, those included that wait from an earlier round. `next` pushes one, if there is one.
    pub(super) fn fill(
        &mut self,
        ring: usize,
        share: usize,
        mut next: impl FnMut(&mut Self) -> bool,
    ) {
        let mut room = share.saturating_sub(self.waiting(ring));
        while room > 0 && next(self) {
            room -= 1;
        }
        // It may have more: nothing newer than what was taken from it may be handed out yet.
        self.rings[ring].cut = room == 0;
    }

    /// Records that wait for the next round.
    pub(super) fn len(&self) -> usize {
        (0..self.rings.len()).map(|ring| self.waiting(ring)).sum()
    }

    /// Records of a ring that wait from an earlier round.
    fn waiting(&self, ring: usize) -> usize {
        self.rings[ring].records.len() - self.rings[ring].gone
    }

    pub(super) fn push(&mut self, ring: usize, record: &[u8]) {
        let Some((header, body)) = RecordHeader::split(record) else { return };
        let batch = &mut self.rings[ring];
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(body);
        let (at, end) = (header.ktime_ns, batch.bytes.len());
        let record = Record { at, kind: header.kind, start, end };
        // A program that is interrupted by another one may have its time later and its place earlier.
        let waiting = &batch.records[batch.gone..];
        let later = waiting.iter().rev().take_while(|before| before.at > at).count();
        batch.records.insert(batch.records.len() - later, record);
    }

    /// Hands out what may be handed out; how much that was.
    pub(super) fn drain(&mut self, sink: &mut impl FnMut(Heard<'_>, Instant)) -> usize {
        self.heads.clear();
        let heads = self.rings.iter().enumerate();
        self.heads
            .extend(heads.filter_map(|(ring, batch)| Some(Reverse((batch.next_at()?, ring)))));
        let mut taken = 0;
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((at, ring)) = *head;
            if at > self.limit {
                break;
            }
            let batch = &mut self.rings[ring];
            batch.hand_out(sink);
            taken += 1;
            match batch.next_at() {
                Some(at) => *head = Reverse((at, ring)),
                None if batch.cut => break,
                None => drop(std::collections::binary_heap::PeekMut::pop(head)),
            }
        }
        self.rings.iter_mut().for_each(Batch::tidy);
        taken
    }
}

impl Batch {
    fn next_at(&self) -> Option<u64> {
        self.records.get(self.gone).map(|record| record.at)
    }

    fn hand_out(&mut self, sink: &mut impl FnMut(Heard<'_>, Instant)) {
        let Some(record) = self.records.get(self.gone) else { return };
        self.gone += 1;
        let bytes = &self.bytes[record.start..record.end];
        let heard = match record.kind {
            KIND_PACKET => Heard::Packet(bytes),
            _ => Heard::Message(bytes),
        };
        sink(heard, Instant(record.at));
    }

    /// Frees what is gone, without giving memory back.
    fn tidy(&mut self) {
        self.cut = false;
        self.records.drain(..self.gone);
        self.gone = 0;
        let Some(first) = self.records.iter().map(|record| record.start).min() else {
            self.bytes.clear();
            return;
        };
        // What waits is less than a round's share, so this moves little.
        self.bytes.drain(..first);
        for record in &mut self.records {
            record.start -= first;
            record.end -= first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// A record that happened at this time, with its number for a message.
    fn record(at: u64, number: u64) -> Vec<u8> {
        let mut bytes = at.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&8_u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&number.to_ne_bytes());
        bytes
    }

    /// Hands out what may be, by number.
    fn drain(sorter: &mut Sorter, seen: &mut Vec<u64>) -> usize {
        sorter.drain(&mut |heard, _| {
            let Heard::Message(bytes) = heard else { panic!("{heard:?}") };
            seen.push(u64::from_ne_bytes(bytes.try_into().unwrap()));
        })
    }

    /// Rings of several CPUs. A flow moves from one to another whenever it likes, so nothing but the order of everything
    /// keeps the order of each flow.
    struct Rings([VecDeque<(u64, u64)>; 4]);

    impl Rings {
        /// Of what happened, in which ring and how long after the one before; and when the last of it happened.
        fn new(events: &[(usize, u64)]) -> (Self, u64) {
            let (mut at, mut rings) = (0, <[VecDeque<_>; 4]>::default());
            for (number, &(ring, pause)) in events.iter().enumerate() {
                at += pause;
                rings[ring].push_back((at, number as u64));
            }
            (Self(rings), at)
        }

        /// One turn of the reader that begins at `now` and comes to each ring a while after the one before.
        fn turn(&mut self, sorter: &mut Sorter, share: usize, now: u64, pace: u64) {
            sorter.limit(Instant(now));
            for (index, ring) in self.0.iter_mut().enumerate() {
                let seen = now + pace * index as u64;
                sorter.fill(index, share, |sorter| {
                    let next = ring.pop_front_if(|(at, _)| *at <= seen);
                    next.map(|(at, number)| sorter.push(index, &record(at, number))).is_some()
                });
            }
        }
    }

    proptest! {
        #[test]
        fn order_is_kept_across_rings(
            events in vec((0..4_usize, 1..50_u64), 0..400),
            turns in vec((1..300_u64, 1..12_usize, 0..40_u64), 1..40),
        ) {
            let (mut rings, end) = Rings::new(&events);
            let (mut sorter, mut seen, mut now) = (Sorter::new(4), Vec::new(), 0);
            for &(pause, share, pace) in turns.iter().cycle() {
                now += pause;
                rings.turn(&mut sorter, share, now, pace);
                let taken = drain(&mut sorter, &mut seen);
                if now > end && taken == 0 {
                    break;
                }
            }
            prop_assert_eq!(sorter.len(), 0, "nothing waits for ever");
            prop_assert_eq!(seen, (0..events.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn records_with_equal_times_keep_the_order_of_their_ring() {
        let (mut sorter, mut seen) = (Sorter::new(1), Vec::new());
        let mut next = 0..100;
        while !next.is_empty() || sorter.len() > 0 {
            sorter.limit(Instant(5));
            sorter.fill(0, 7, |sorter| {
                next.next().map(|number| sorter.push(0, &record(5, number))).is_some()
            });
            drain(&mut sorter, &mut seen);
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_that_was_overtaken_in_its_ring_comes_in_its_place() {
        let (mut sorter, mut seen) = (Sorter::new(2), Vec::new());
        for (ring, times) in [(0, &[1, 4, 3, 9, 2][..]), (1, &[5, 8])] {
            let mut times = times.iter();
            sorter.fill(ring, 100, |sorter| {
                times.next().map(|&at| sorter.push(ring, &record(at, at))).is_some()
            });
        }
        sorter.limit(Instant(8));
        drain(&mut sorter, &mut seen);
        assert_eq!(seen, [1, 2, 3, 4, 5, 8], "what happened since waits");
        sorter.limit(Instant(9));
        drain(&mut sorter, &mut seen);
        assert_eq!(seen.last(), Some(&9));
    }
}
