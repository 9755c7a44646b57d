//! Records of several rings in the order they happened.
//!
//! ```text
//!   ring 0:  3  7  9 --\            A ring that had more than its share to give is *cut*: what it has not given yet may be
//!   ring 1:  4  5 ------> 3 4 5 7   older than what the others gave. So once its last record is out, the rest waits for
//!   ring 2:  8 (cut) --/      8     the next round, and order holds from round to round.
//! ```

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
        Self { rings: batches, heads: BinaryHeap::with_capacity(rings) }
    }

    /// Records of a ring that wait from an earlier round.
    pub(super) fn waiting(&self, ring: usize) -> usize {
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

    /// Says that a ring may have more: nothing newer than what was taken from it may be handed out yet.
    pub(super) fn cut(&mut self, ring: usize) {
        self.rings[ring].cut = true;
    }

    /// Hands out what may be handed out; how much that was.
    pub(super) fn drain(&mut self, sink: &mut impl FnMut(Heard<'_>, Instant)) -> usize {
        self.heads.clear();
        let heads = self.rings.iter().enumerate();
        self.heads
            .extend(heads.filter_map(|(ring, batch)| Some(Reverse((batch.next_at()?, ring)))));
        let mut taken = 0;
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((_, ring)) = *head;
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
        let (mut sorter, mut seen) = (Sorter::new(rings.len()), Vec::new());
        loop {
            for (index, ring) in rings.iter_mut().enumerate() {
                let room = share - sorter.waiting(index);
                let given = ring.by_ref().take(room).map(|at| sorter.push(index, &record(at)));
                if given.count() == room {
                    sorter.cut(index);
                }
            }
            let taken = sorter.drain(&mut |heard, at| {
                assert_eq!(heard, Heard::Message(&at.0.to_ne_bytes()));
                seen.push(at.0);
            });
            if taken == 0 {
                return seen;
            }
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
