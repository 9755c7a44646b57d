//! Records of several rings in the order they happened.
//!
//! ```text
//!   ring 0:  3  7  9 --\            A ring that had more than its share to give is *cut*: what it has not
//!   ring 1:  4  5 ------> 3 4 5 7   given yet may be older than what the others gave. So once its last record
//!   ring 2:  8 (cut) --/      8     is out, the rest waits, and order holds from round to round.
//! ```
//!
//! So does what happened after the first ring was begun with: the rings are not read at one moment. What is left is a
//! program that was interrupted between reading the clock and reserving its record. The engine knows that such records
//! exist (ARCHITECTURE.md, "Order").

use super::Heard;
use common::Instant;
use common::tap::{KIND_PACKET, RecordHeader};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Bytes that memory is taken for, for every record of a ring's share: above what an event of an IPv6 flow has with
/// counters, timestamps and labels. Longer records make the batch grow once more.
const RECORD_ROOM: usize = 512;

/// What has been taken from the rings and waits for its turn. Its memory is used again from round to round.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    rings: Vec<Batch>,
    /// When the next record of each ring happened, for all that have one.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// When the round began.
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
    /// So many more rings.
    pub(super) fn add(&mut self, rings: usize) {
        self.rings.resize_with(self.rings.len() + rings, Batch::default);
        self.heads.reserve(self.rings.len());
    }

    /// Begins a round: what happened after this may not be handed out yet.
    pub(super) const fn limit(&mut self, at: u64) {
        self.limit = at;
    }

    /// Takes a ring's share of records, those included that wait from an earlier round. `next` pushes one, if there is
    /// one.
    pub(super) fn fill(
        &mut self,
        ring: usize,
        share: usize,
        mut next: impl FnMut(&mut Self) -> bool,
    ) {
        let batch = &mut self.rings[ring];
        batch.make_room(share);
        let mut room = share.saturating_sub(batch.records.len());
        while room > 0 && next(self) {
            room -= 1;
        }
        // The ring may have more: nothing newer than what was taken from it may be handed out yet.
        self.rings[ring].cut = room == 0;
    }

    /// Records that wait for the next round.
    pub(super) fn len(&self) -> usize {
        self.rings.iter().map(|batch| batch.records.len()).sum()
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
    /// Takes the memory of a full share at once. It is not to depend on how late the thread gets to the ring whether an
    /// event takes memory: that happens when the load is highest.
    fn make_room(&mut self, share: usize) {
        self.records.reserve(share.saturating_sub(self.records.len()));
        self.bytes.reserve((share * RECORD_ROOM).saturating_sub(self.bytes.len()));
    }

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

    /// A record that happened at this time and whose message is the time.
    fn record(at: u64) -> Vec<u8> {
        let mut bytes = at.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&8_u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&at.to_ne_bytes());
        bytes
    }

    /// Drains these rings with so large a share, and returns what came out.
    fn drained(mut rings: Vec<impl Iterator<Item = u64>>, share: usize) -> Vec<u64> {
        let (mut sorter, mut seen) = (Sorter::default(), Vec::new());
        sorter.add(rings.len());
        sorter.limit(u64::MAX);
        loop {
            for (index, ring) in rings.iter_mut().enumerate() {
                sorter.fill(index, share, |sorter| {
                    ring.next().map(|at| sorter.push(index, &record(at))).is_some()
                });
            }
            if drain(&mut sorter, &mut seen) == 0 {
                return seen;
            }
        }
    }

    fn drain(sorter: &mut Sorter, seen: &mut Vec<u64>) -> usize {
        sorter.drain(&mut |heard, at| {
            assert_eq!(heard, Heard::Message(&at.0.to_ne_bytes()));
            seen.push(at.0);
        })
    }

    proptest! {
        /// A flow moves from one CPU to another whenever it likes, so nothing but the order of everything keeps the
        /// order of each flow. The reader comes to each ring a while after the one before.
        #[test]
        fn order_is_kept_across_rings_that_fill_while_they_are_read(
            events in vec((0..4_usize, 1..50_u64), 0..400),
            turns in vec((1..300_u64, 1..12_usize, 0..40_u64), 1..40),
        ) {
            let (mut end, mut rings) = (0, <[VecDeque<u64>; 4]>::default());
            for &(ring, pause) in &events {
                end += pause;
                rings[ring].push_back(end);
            }
            let mut all: Vec<_> = rings.iter().flatten().copied().collect();
            all.sort_unstable();
            let (mut sorter, mut seen, mut now) = (Sorter::default(), Vec::new(), 0);
            sorter.add(4);
            for &(pause, share, pace) in turns.iter().cycle() {
                now += pause;
                sorter.limit(now);
                for (index, ring) in rings.iter_mut().enumerate() {
                    let until = now + pace * index as u64;
                    sorter.fill(index, share, |sorter| {
                        let next = ring.pop_front_if(|at| *at <= until);
                        next.map(|at| sorter.push(index, &record(at))).is_some()
                    });
                }
                if drain(&mut sorter, &mut seen) == 0 && now > end {
                    break;
                }
            }
            prop_assert_eq!(sorter.len(), 0, "nothing waits for ever");
            prop_assert_eq!(seen, all);
        }
    }

    #[test]
    fn order_holds_from_batch_to_batch_when_a_ring_has_more_than_its_share() {
        // The reader was away while the events moved from one CPU to the other and back.
        let rings = vec![(0..30).chain(70..90), (30..70).chain(90..91)];
        assert_eq!(drained(rings, 8), (0..91).collect::<Vec<_>>());
    }

    #[test]
    fn many_rings_are_merged_whatever_the_share() {
        for share in [1, 2, 7, 64, 1000] {
            let rings = (0..5).map(|first| (first..500).step_by(5)).collect();
            assert_eq!(drained(rings, share), (0..500).collect::<Vec<_>>(), "{share}");
        }
    }

    #[test]
    fn a_record_that_was_overtaken_in_its_ring_comes_in_its_place() {
        let rings = vec![vec![1, 4, 3, 9, 2].into_iter(), vec![5, 8].into_iter()];
        assert_eq!(drained(rings, 100), [1, 2, 3, 4, 5, 8, 9]);
    }
}
