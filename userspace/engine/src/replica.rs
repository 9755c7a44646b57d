//! What all replication modes share: the sender's numbering and queue, and the receiver's view of the peer's numbering.

use crate::config::limit;
use crate::counters::ReplicaCounters;
use crate::table::{FlowTable, Marks, Slot};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use common::Instant;
use core::hash::BuildHasher;
use foldhash::fast::FixedState;
use wire::Flow;
use wire::cursor::Writer;
use wire::flow::Known;
use wire::sync::v1::{self, Change, Control, Fault, FaultKind, Options};

/// Something to send.
#[derive(Debug)]
enum Item {
    /// Whatever the entry in this slot is when its turn comes: several changes become one message.
    Entry(Slot),
    /// A message that stands alone, because no table keeps its flow.
    Message(Change, Box<Flow>),
    /// A control message.
    Control(Control),
}

/// What is to be sent, and the numbers it gets.
#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<Item>,
    messages: usize,
    seq: u32,
    options: Options,
}

impl Outbox {
    /// An empty outbox whose first message gets number `first_seq`.
    #[must_use]
    pub const fn new(first_seq: u32, options: Options) -> Self {
        Self { queue: VecDeque::new(), messages: 0, seq: first_seq, options }
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Queues an entry, unless it waits already: then the newer state travels in the older one's place.
    pub fn queue_entry(&mut self, table: &mut FlowTable, slot: Slot) {
        let Some(entry) = table.at_mut(slot) else { return };
        if !entry.marks.contains(Marks::QUEUED) {
            entry.marks |= Marks::QUEUED;
            self.queue.push_back(Item::Entry(slot));
        }
    }

    /// Queues a message of a flow that no table keeps.
    pub fn queue_message(&mut self, change: Change, flow: Flow, counters: &mut ReplicaCounters) {
        if self.messages >= limit::OUTBOX_MESSAGES_MAX {
            counters.send_no_space += 1;
            return;
        }
        self.messages += 1;
        self.queue.push_back(Item::Message(change, Box::new(flow)));
    }

    /// Queues a control message.
    pub fn queue_control(&mut self, control: Control) {
        self.queue.push_back(Item::Control(control));
    }

    /// Forgets the entries that wait; their slots are about to be cleared.
    pub fn forget_entries(&mut self) {
        self.queue.retain(|item| !matches!(item, Item::Entry(_)));
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packs what waits into `packer` until it is full or nothing waits.
    pub fn pack(
        &mut self,
        table: &mut FlowTable,
        packer: &mut Packer<'_>,
        counters: &mut ReplicaCounters,
    ) {
        while let Some(item) = self.queue.front() {
            let stamp = v1::Stamp { seq: self.seq, ..v1::Stamp::default() };
            let options = self.options;
            let packed = match item {
                // A slot without the mark has lost the entry that was queued, or was served out of turn.
                Item::Entry(slot) => match table.at(*slot) {
                    Some(entry) if entry.marks.contains(Marks::QUEUED) => {
                        let change = change_of(entry.marks);
                        packer.put(|w| v1::encode_flow(change, stamp, &entry.flow, options, w))
                    }
                    _ => Packed::Nothing,
                },
                Item::Message(change, flow) => {
                    packer.put(|w| v1::encode_flow(*change, stamp, flow, options, w))
                }
                Item::Control(control) => packer.put(|w| v1::encode_control(*control, stamp, w)),
            };
            match packed {
                Packed::Yes => {
                    self.seq = self.seq.wrapping_add(1);
                    counters.sent += 1;
                }
                Packed::LaterOne => return,
                Packed::Never => counters.send_too_large += 1,
                Packed::Nothing => {}
            }
            self.pop(table);
        }
    }

    /// Packs one entry out of turn, for a bulk transfer; false when the datagram is full.
    ///
    /// The peer may know another mark from a flow whose end it did not hear of, so a bulk transfer tells marks of 0
    /// too.
    pub fn pack_entry(
        &mut self,
        flow: &Flow,
        change: Change,
        packer: &mut Packer<'_>,
        counters: &mut ReplicaCounters,
    ) -> bool {
        let stamp = v1::Stamp { seq: self.seq, ..v1::Stamp::default() };
        let marked;
        let flow = if flow.has(Known::MARK) {
            flow
        } else {
            marked = Flow { known: flow.known | Known::MARK, ..flow.clone() };
            &marked
        };
        match packer.put(|w| v1::encode_flow(change, stamp, flow, self.options, w)) {
            Packed::Yes => {
                self.seq = self.seq.wrapping_add(1);
                counters.sent += 1;
            }
            Packed::LaterOne => return false,
            Packed::Never => counters.send_too_large += 1,
            Packed::Nothing => {}
        }
        true
    }

    fn pop(&mut self, table: &mut FlowTable) {
        match self.queue.pop_front() {
            Some(Item::Entry(slot)) => settle(table, slot),
            Some(Item::Message(..)) => self.messages -= 1,
            Some(Item::Control(_)) | None => {}
        }
    }
}

/// What the message of an entry is called.
#[must_use]
pub const fn change_of(marks: Marks) -> Change {
    if marks.contains(Marks::DEAD) {
        Change::Destroy
    } else if marks.contains(Marks::SENT) && !marks.contains(Marks::AFRESH) {
        Change::Update
    } else {
        Change::New
    }
}

/// The entry's news is out: it is no longer queued, and if it was its death, it may go.
fn settle(table: &mut FlowTable, slot: Slot) {
    let Some(entry) = table.at_mut(slot).filter(|e| e.marks.contains(Marks::QUEUED)) else {
        return;
    };
    entry.marks.remove(Marks::QUEUED | Marks::AFRESH);
    entry.marks.insert(Marks::SENT);
    if entry.marks.contains(Marks::DEAD) {
        table.remove(slot);
    }
}

/// Whether a message went into the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// It did.
    Yes,
    /// It will fit into the next one.
    LaterOne,
    /// It fits into none.
    Never,
    /// There was nothing to pack.
    Nothing,
}

/// Fills one datagram with whole messages.
#[derive(Debug)]
pub struct Packer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Packer<'a> {
    /// An empty datagram of at most `bytes.len()` bytes.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// Appends what `encode` writes, if it fits.
    pub fn put(&mut self, encode: impl FnOnce(&mut Writer<'_>)) -> Packed {
        let mut writer = Writer::new(&mut self.bytes[self.len..]);
        encode(&mut writer);
        match writer.finish() {
            Ok(len) => {
                self.len += len;
                Packed::Yes
            }
            Err(_) if self.len > 0 => Packed::LaterOne,
            Err(_) => Packed::Never,
        }
    }

    /// Bytes packed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is packed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Where a received message stands in the peer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// A number that only grows over the peer's messages, across wrap-arounds and restarts of the peer.
    pub order: u64,
    /// The peer was seen to begin anew with this message.
    pub restarted: bool,
}

/// Follows the peer's sequence numbers.
///
/// A number a little behind is a late message, unless another message had that number before, or no later message came
/// for a while: then the peer began anew, with a number below the one it had reached. One far behind is from a peer
/// that
/// began anew, too.
#[derive(Debug)]
pub struct Tracker {
    /// Highest number seen, and its order.
    last: Option<(u32, u64)>,
    /// When that came.
    last_at: Instant,
    /// What the last messages looked like, each where its number says; 0 where none came.
    seen: Box<[u32]>,
    hasher: FixedState,
}

impl Tracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let seen = alloc::vec![0; limit::LATE_WINDOW as usize].into_boxed_slice();
        Self { last: None, last_at: Instant(0), seen, hasher: FixedState::with_seed(seed) }
    }

    /// Order of the latest message; 0 before the first.
    #[must_use]
    pub fn order(&self) -> u64 {
        self.last.map_or(0, |(_, order)| order)
    }

    /// Places the message `bytes` with number `seq`.
    pub fn place(
        &mut self,
        now: Instant,
        seq: u32,
        bytes: &[u8],
        counters: &mut ReplicaCounters,
    ) -> Place {
        let looks = self.hasher.hash_one(bytes) as u32 | 1;
        let quiet = now.since(self.last_at) > limit::LATE_TIME;
        let Some((last, order)) = self.last else {
            return self.advance(now, seq, looks, FIRST_ORDER);
        };
        let step = seq.wrapping_sub(last) as i32;
        let distance = step.unsigned_abs();
        if step > 0 {
            counters.lost += u64::from(distance) - 1;
            self.skip(last, distance - 1);
            return self.advance(now, seq, looks, order + u64::from(distance));
        }
        let seen = &mut self.seen[slot_of(seq)];
        if distance < limit::LATE_WINDOW && !quiet && (*seen == 0 || *seen == looks) {
            counters.before += 1;
            *seen = looks;
            return Place { order: order - u64::from(distance), restarted: false };
        }
        counters.peer_restarts += 1;
        self.seen.fill(0);
        let place = self.advance(now, seq, looks, order + u64::from(limit::LATE_WINDOW));
        Place { restarted: true, ..place }
    }

    /// The `count` numbers after `last` have not come yet.
    fn skip(&mut self, last: u32, count: u32) {
        for back in 1..=count.min(limit::LATE_WINDOW) {
            self.seen[slot_of(last.wrapping_add(back))] = 0;
        }
    }

    fn advance(&mut self, now: Instant, seq: u32, looks: u32, order: u64) -> Place {
        self.seen[slot_of(seq)] = looks;
        self.last = Some((seq, order));
        self.last_at = now;
        Place { order, restarted: false }
    }
}

const _: () = assert!(limit::LATE_WINDOW.is_power_of_two(), "slots must go on across the wrap");

const fn slot_of(seq: u32) -> usize {
    (seq % limit::LATE_WINDOW) as usize
}

/// Leaves room below it for late messages.
const FIRST_ORDER: u64 = 1 << 32;

/// Counts a fault where conntrackd counts it.
pub fn count_fault(fault: &Fault, counters: &mut ReplicaCounters) {
    let counter = match fault.kind {
        FaultKind::Header => &mut counters.bad_header,
        FaultKind::Version => &mut counters.bad_version,
        FaultKind::Payload => &mut counters.bad_payload,
        FaultKind::Type => &mut counters.bad_type,
        FaultKind::Truncated => &mut counters.truncated,
        FaultKind::Size => &mut counters.bad_size,
    };
    *counter += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(numbers: &[u32]) -> (alloc::vec::Vec<u64>, ReplicaCounters) {
        let (mut tracker, mut counters) = (Tracker::new(0), ReplicaCounters::default());
        let orders = numbers
            .iter()
            .map(|&n| tracker.place(Instant(0), n, &[], &mut counters).order - FIRST_ORDER);
        (orders.collect(), counters)
    }

    #[test]
    fn a_gap_of_two_is_two_lost_messages() {
        let (orders, counters) = places(&[10, 11, 14]);
        assert_eq!(orders, [0, 1, 4]);
        assert_eq!((counters.lost, counters.before), (2, 0));
    }

    #[test]
    fn a_late_message_keeps_its_place_and_the_number_wraps() {
        let (orders, counters) = places(&[u32::MAX, 1, 0, 2]);
        assert_eq!(orders, [0, 2, 1, 3]);
        assert_eq!((counters.lost, counters.before), (1, 1));
    }

    #[test]
    fn a_number_far_behind_is_a_new_life_of_the_peer_and_comes_after_everything() {
        let (orders, counters) = places(&[1_000_000, 5, 6]);
        assert!(orders[0] < orders[1] && orders[1] < orders[2]);
        assert_eq!((counters.peer_restarts, counters.lost), (1, 0));
    }

    #[test]
    fn another_message_with_a_number_that_was_seen_is_a_new_life_of_the_peer() {
        let (mut tracker, mut counters) = (Tracker::new(0), ReplicaCounters::default());
        let mut place = |seq, bytes: &[u8]| tracker.place(Instant(0), seq, bytes, &mut counters);
        let old: alloc::vec::Vec<_> = (100..110).map(|n| place(n, b"old").order).collect();
        let again = place(105, b"old");
        assert_eq!((again.order, again.restarted), (old[5], false), "a duplicate");
        let new = place(105, b"new");
        assert!(new.restarted && new.order > old[9]);
        assert!(place(106, b"new").order > new.order);
        assert_eq!((counters.before, counters.peer_restarts), (1, 1));
    }

    #[test]
    fn a_number_behind_that_comes_after_a_pause_is_a_new_life_of_the_peer() {
        let (mut tracker, mut counters) = (Tracker::new(0), ReplicaCounters::default());
        let mut place = |at, seq| tracker.place(Instant(at), seq, &[], &mut counters);
        let last = place(0, 110);
        assert!(!place(0, 105).restarted, "overtaken");
        assert!(place(2_000_000_000, 100).order > last.order);
    }

    #[test]
    fn a_message_that_fits_no_datagram_is_told_apart_from_one_that_must_wait() {
        let mut bytes = [0; 10];
        let mut packer = Packer::new(&mut bytes);
        assert_eq!(packer.put(|w| w.put(&[0; 11])), Packed::Never);
        assert_eq!(packer.put(|w| w.put(&[0; 8])), Packed::Yes);
        assert_eq!(packer.put(|w| w.put(&[0; 8])), Packed::LaterOne);
        assert_eq!(packer.len(), 8);
    }
}
