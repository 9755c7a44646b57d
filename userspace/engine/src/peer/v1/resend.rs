//! What has been sent and not been acknowledged (`ResendQueueSize`).
//!
//! ```text
//!   oldest                                                     newest
//!  +------+------+------+------+------+------+------+------+------+
//!  | 1041 | 1042 | .... | 1044 | 1045 | 1047 | .... | 1049 | 1050 |   numbers rise; ALIVEs are not kept
//!  +------+------+------+------+------+------+------+------+------+
//!      ACK 1044..1047: those are heard; the older ones were not, or their ACK was lost: they are sent again
//!     NACK 1042..1044: those are sent again
//! ```
//!
//! A message sent again gets a new number and carries the present state. A record of an entry that has been queued
//! since, or has gone, has no effect; but if it sent the entry as new, it is kept until that is acknowledged, because
//! later messages carried less.

use super::column::{Column, Marks};
use super::is_before;
use super::kept::Kept;
use super::outbox::Item;
use crate::bounded::{Bounded, QueueUsages};
use crate::config::limit;
use crate::flows::table::Slot;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::Expectation;
use wire::sync::v1::{Control, Flags};

#[derive(Debug)]
struct Record {
    seq: u32,
    /// When it was sent: milliseconds, which wrap around.
    sent_ms: u32,
    item: Item,
}

/// What an acknowledgement meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckVerdict {
    /// All is well.
    Fine,
    /// The message names numbers that were never given.
    Absurd,
    /// The message asks for numbers that are not kept any more: only a bulk transfer can make good for them.
    Beyond,
}

/// The queue.
#[derive(Debug)]
pub struct ResendQueue {
    records: VecDeque<Record>,
    /// How many records there may be before those that stand for nothing are thrown out.
    compact_at: usize,
    /// Records that stand for something, and how many of them are control messages.
    live: usize,
    controls: usize,
    max: usize,
    /// The number of the last message, kept or not.
    last: u32,
    /// The latest message that was dropped without having been acknowledged. At first the last one of an earlier life
    /// of this node: a peer that asks for it has not noticed that another life began, and lacks what ended between.
    dropped: Option<u32>,
    /// Ended flows whose end was dropped, each with its ticket: a bulk transfer sends the ends again.
    unheard: Bounded<(Slot, u32)>,
    /// Expectations whose news was dropped.
    unheard_expectations: Bounded<Box<Expectation>>,
    dropped_count: u64,
    /// When messages are sent that are pushed now.
    now_ms: u32,
    /// Something was dropped that the peer should have received.
    forgotten: bool,
    /// Requests of ours that were acknowledged, or given up, since the session last looked.
    settled: Requests,
    lost: Requests,
}

/// Counts of requests to the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many RESYNCs.
    pub resyncs: usize,
    /// How many NACKs.
    pub nacks: usize,
}

impl Requests {
    /// Counts `item`, if it is a request.
    pub const fn count(&mut self, item: &Item) {
        match item {
            Item::Control(Control::Resync) => self.resyncs += 1,
            Item::Control(Control::Nack { .. }) => self.nacks += 1,
            _ => {}
        }
    }

    /// Takes those of `other` off.
    pub const fn discount(&mut self, other: Self) {
        self.resyncs = self.resyncs.saturating_sub(other.resyncs);
        self.nacks = self.nacks.saturating_sub(other.nacks);
    }
}

impl ResendQueue {
    /// An empty queue for at most `max` messages, the first of which comes after number `last`.
    #[must_use]
    pub const fn new(max: usize, last: u32) -> Self {
        Self {
            records: VecDeque::new(),
            compact_at: COMPACT_AT,
            live: 0,
            controls: 0,
            max,
            last,
            dropped: Some(last),
            unheard: Bounded::new(limit::ENDS_UNHEARD_MAX),
            unheard_expectations: Bounded::new(limit::EXPECTATIONS_UNHEARD_MAX),
            dropped_count: 0,
            now_ms: 0,
            forgotten: false,
            settled: Requests { resyncs: 0, nacks: 0 },
            lost: Requests { resyncs: 0, nacks: 0 },
        }
    }

    /// Messages waiting for their acknowledgement.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether no message waits for an acknowledgement.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Requests that were acknowledged since this was asked the last time, and requests that were given up.
    pub const fn take_requests(&mut self) -> [Requests; 2] {
        let none = Requests { resyncs: 0, nacks: 0 };
        [core::mem::replace(&mut self.settled, none), core::mem::replace(&mut self.lost, none)]
    }

    /// Messages about flows that wait for their acknowledgement.
    #[must_use]
    pub const fn news(&self) -> usize {
        self.live.saturating_sub(self.controls)
    }

    /// Most messages about flows it keeps.
    #[must_use]
    pub const fn max(&self) -> usize {
        self.max
    }

    /// Whether something was dropped that the peer should have received.
    #[must_use]
    pub const fn has_forgotten(&self) -> bool {
        self.forgotten
    }

    /// Clears the mark that messages were forgotten: a bulk transfer will show them.
    pub const fn clear_forgotten(&mut self) {
        self.forgotten = false;
    }

    /// Messages dropped because it was full.
    #[must_use]
    pub const fn dropped_count(&self) -> u64 {
        self.dropped_count
    }

    /// The messages that wait, oldest first: the number, and the flags in the header of a control message.
    pub fn iter<'a>(&'a self, column: &'a Column) -> impl Iterator<Item = (u32, Option<u8>)> + 'a {
        let waiting = self.records.iter().filter(|record| stands(record, column));
        waiting.map(|record| match record.item {
            Item::Control(control) => (record.seq, Some(flags_of(control).bits())),
            _ => (record.seq, None),
        })
    }

    /// What is pushed from here on is sent now.
    pub const fn at(&mut self, now: Instant) {
        self.now_ms = millis(now);
    }

    /// How long ago the oldest message that waits was sent, milliseconds; `None` if none waits.
    pub fn oldest_ms(&self, column: &Column, now: Instant) -> Option<u32> {
        let oldest = self.records.iter().find(|record| stands(record, column))?;
        Some(millis(now).wrapping_sub(oldest.sent_ms))
    }

    /// A message without a record was sent.
    pub const fn note_sent(&mut self, seq: u32) {
        self.last = seq;
    }

    /// Keeps a message that was sent. The entry of an [`Item::Entry`] must carry its number as ticket.
    pub fn push(&mut self, kept: &mut Kept<'_>, seq: u32, item: Item) {
        self.last = seq;
        self.controls += usize::from(is_control(&item));
        self.records.push_back(Record { seq, sent_ms: self.now_ms, item });
        self.live += 1;
        while self.news() > self.max || self.controls > limit::RESEND_CONTROLS_MAX {
            self.drop_oldest(kept);
        }
        if self.records.len() > self.compact_at {
            self.records.retain(|record| stands(record, kept.column) || begins(record, kept));
            self.compact_at = 2 * self.records.len() + COMPACT_AT;
        }
        // A number that was dropped half a count ago would seem to lie ahead.
        self.dropped = self.dropped.filter(|dropped| seq.wrapping_sub(*dropped) < 1 << 30);
    }

    /// An entry of it has been queued again: its record stands for nothing.
    pub const fn forget_one(&mut self) {
        self.live = self.live.saturating_sub(1);
    }

    /// The ended flow of message `seq` is given up: a peer that asks for it needs a bulk transfer.
    pub fn give_up_end(&mut self, seq: u32) {
        self.forget_one();
        self.dropped_count += 1;
        let later = self.dropped.is_none_or(|dropped| is_before(dropped, seq));
        self.dropped = if later { Some(seq) } else { self.dropped };
    }

    /// Forgets all entries; the table is about to be cleared.
    pub fn forget_entries(&mut self) {
        self.records.retain(|r| !matches!(r.item, Item::Entry(_)));
        self.live = self.records.len();
        self.controls = self.records.iter().filter(|r| is_control(&r.item)).count();
        self.unheard.clear();
    }

    /// Forgets the messages that `matches`, so that they are not sent again.
    pub fn withdraw(&mut self, matches: impl Fn(&Item) -> bool) {
        let before = self.records.len();
        self.records.retain(|record| !matches(&record.item));
        self.live = self.live.saturating_sub(before - self.records.len());
    }

    /// Takes out the expectations whose news was dropped.
    pub fn take_unheard_expectations(&mut self) -> Vec<Box<Expectation>> {
        self.unheard_expectations.drain(..).collect()
    }

    /// Its queues that have a limit of their own, by name.
    pub fn queues(&self, queues: &mut QueueUsages) {
        queues.push(("unheard_ends", self.unheard.usage()));
        queues.push(("unheard_expectations", self.unheard_expectations.usage()));
    }

    fn drop_oldest(&mut self, kept: &mut Kept<'_>) {
        let Some(record) = self.records.pop_front() else {
            (self.live, self.controls) = (0, 0);
            return;
        };
        let seq = record.seq;
        let Some(item) = self.give_up(kept, record) else { return };
        self.dropped_count += 1;
        self.dropped = Some(seq);
        self.lost.count(&item);
        if let Item::Expect(expect) = item {
            self.forgotten |= self.unheard_expectations.displace(expect).is_some();
            return;
        }
        // The entry goes on; if this was its end, a bulk transfer has to show that.
        if let Item::Entry(slot) = item
            && kept.has_ended(slot)
        {
            self.keep_unheard(kept, (slot, seq));
        }
    }

    /// A record that stood for this stands for nothing any more.
    fn count_out(&mut self, item: &Item) {
        self.live = self.live.saturating_sub(1);
        self.controls = self.controls.saturating_sub(usize::from(is_control(item)));
    }

    /// The message of a record that has been taken out was lost. Returns what to send again, if anything.
    fn give_up(&mut self, kept: &mut Kept<'_>, record: Record) -> Option<Item> {
        if stands(&record, kept.column) {
            self.count_out(&record.item);
        } else if !begins(&record, kept) {
            return None;
        }
        if let Item::Entry(slot) = record.item {
            kept.column.on_lost(slot, record.seq);
        }
        Some(record.item)
    }

    /// Keeps an end that could not be sent. If that is one too many, the oldest go that were sent since; if the
    /// oldest was not, it is given up.
    fn keep_unheard(&mut self, kept: &mut Kept<'_>, end: (Slot, u32)) {
        let is_heard = |&(slot, ticket): &(Slot, u32)| !is_unheard(kept, slot, ticket);
        while self.unheard.len() >= limit::ENDS_UNHEARD_MAX
            && self.unheard.pop_if(is_heard).is_some()
        {}
        if let Some((slot, _)) = self.unheard.displace(end) {
            kept.release(slot);
            self.forgotten = true;
        }
    }

    /// Takes out the ends that could not be sent.
    pub fn take_unheard(&mut self, kept: &Kept<'_>) -> Vec<Slot> {
        let unheard = self.unheard.drain(..);
        unheard.filter(|&(slot, at)| is_unheard(kept, slot, at)).map(|(slot, _)| slot).collect()
    }

    /// The peer has restarted: all news goes to `again`. It may have received some of it in its new life already, so
    /// that even an end may be news to it. Requests to it are void.
    pub fn on_peer_restart(&mut self, kept: &mut Kept<'_>, again: &mut Vec<Item>) {
        kept.column.forget_acks();
        for record in core::mem::take(&mut self.records) {
            match self.give_up(kept, record) {
                Some(item @ Item::Control(_)) => self.settled.count(&item),
                item => again.extend(item),
            }
        }
    }

    /// The peer has `from` to `to`. What is older and was not acknowledged goes to `again`.
    pub fn on_ack(
        &mut self,
        kept: &mut Kept<'_>,
        (from, to): (u32, u32),
        again: &mut Vec<Item>,
    ) -> AckVerdict {
        if is_before(self.last, to) {
            return AckVerdict::Absurd;
        }
        while let Some(record) = self.records.front().filter(|record| !is_before(to, record.seq)) {
            let older = is_before(record.seq, from);
            let Some(record) = self.records.pop_front() else { break };
            if older {
                // An acknowledgement is repeated by the next one; and were it kept, two peers would never be done.
                let item = self.give_up(kept, record);
                again.extend(item.filter(|i| !matches!(i, Item::Control(Control::Ack { .. }))));
                continue;
            }
            if stands(&record, kept.column) {
                self.count_out(&record.item);
            }
            match record.item {
                Item::Entry(slot) => {
                    if kept.column.on_heard(slot, record.seq) && kept.has_ended(slot) {
                        kept.release(slot);
                    }
                }
                other => self.settled.count(&other),
            }
        }
        AckVerdict::Fine
    }

    /// The peer lacks `from` to `to`: what is kept of them goes to `again`.
    pub fn on_nack(
        &mut self,
        kept: &mut Kept<'_>,
        (from, to): (u32, u32),
        again: &mut Vec<Item>,
    ) -> AckVerdict {
        if is_before(self.last, to) {
            return AckVerdict::Absurd;
        }
        let first = self.records.partition_point(|record| is_before(record.seq, from));
        let end = self.records.partition_point(|record| !is_before(to, record.seq));
        let lacked: Vec<_> = self.records.drain(first..end.max(first)).collect();
        again.extend(lacked.into_iter().filter_map(|record| self.give_up(kept, record)));
        match self.dropped {
            Some(dropped) if !is_before(dropped, from) => AckVerdict::Beyond,
            _ => AckVerdict::Fine,
        }
    }
}

const fn millis(now: Instant) -> u32 {
    (now.0 / 1_000_000) as u32
}

/// Limit of records without effect that stay in the queue.
const COMPACT_AT: usize = 1024;

const fn is_control(item: &Item) -> bool {
    matches!(item, Item::Control(_))
}

/// What a control message says in its header.
const fn flags_of(control: Control) -> Flags {
    match control {
        Control::Resync => Flags::RESYNC,
        Control::Nack { .. } => Flags::NACK,
        Control::Ack { .. } => Flags::ACK,
        Control::Alive | Control::Settled(_) => Flags::ALIVE,
    }
}

/// Whether a record stands for something that waits.
fn stands(record: &Record, column: &Column) -> bool {
    match &record.item {
        Item::Entry(slot) => column.waits_under(*slot, record.seq),
        Item::Message(..) | Item::Expect(_) | Item::Control(_) => true,
    }
}

/// Whether a record carries a life that goes on and whose beginning the peer may not know.
fn begins(record: &Record, kept: &Kept<'_>) -> bool {
    let Item::Entry(slot) = record.item else { return false };
    kept.column.began_under(slot, record.seq) && !kept.has_ended(slot)
}

/// Whether a slot still holds the ended flow that was left there.
fn is_unheard(kept: &Kept<'_>, slot: Slot, ticket: u32) -> bool {
    let busy = kept.column.has(slot, Marks::QUEUED | Marks::WAITING);
    kept.has_ended(slot) && kept.column.ticket(slot) == ticket && !busy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::table::{FlowTable, Notes};
    use ctnetlink::{Change, Flow, Tuple};

    /// A queue, and flows in slots 0.., which the messages with the numbers of `sent` carried.
    struct Sent {
        queue: ResendQueue,
        table: FlowTable,
        column: Column,
        again: Vec<Item>,
    }

    impl Sent {
        fn new(max: usize, numbers: &[u32]) -> Self {
            let queue = ResendQueue::new(max, numbers[0].wrapping_sub(1));
            let (table, column) = (FlowTable::new(100, 0), Column::default());
            let mut sent = Self { queue, table, column, again: Vec::new() };
            for (n, &seq) in numbers.iter().enumerate() {
                let flow = Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(n as u16, 80));
                let slot = sent.table.insert(flow, Notes::default()).unwrap();
                sent.column.on_sent(slot, seq);
                sent.push(seq, Item::Entry(slot));
            }
            sent
        }

        fn push(&mut self, seq: u32, item: Item) {
            let Self { queue, table, column, .. } = self;
            queue.push(&mut Kept { column, table }, seq, item);
        }

        fn on_ack(&mut self, range: (u32, u32)) -> AckVerdict {
            let Self { queue, table, column, again } = self;
            queue.on_ack(&mut Kept { column, table }, range, again)
        }

        fn on_nack(&mut self, range: (u32, u32)) -> AckVerdict {
            let Self { queue, table, column, again } = self;
            queue.on_nack(&mut Kept { column, table }, range, again)
        }
    }

    fn slots(items: &[Item]) -> Vec<Slot> {
        let slot = |item: &Item| match item {
            Item::Entry(slot) => *slot,
            other => panic!("{other:?}"),
        };
        items.iter().map(slot).collect()
    }

    #[test]
    fn what_is_acknowledged_is_forgotten_and_what_was_passed_over_is_sent_again() {
        let mut sent = Sent::new(10, &[5, 6, 8, 9]);
        assert_eq!(sent.on_ack((6, 8)), AckVerdict::Fine);
        assert_eq!(slots(&sent.again), [0]);
        assert_eq!(sent.queue.iter(&sent.column).map(|(seq, _)| seq).collect::<Vec<_>>(), [9]);
        assert_eq!(sent.queue.len(), 1);
    }

    #[test]
    fn the_oldest_message_that_waits_says_how_far_the_peer_is_behind() {
        let at = |ms: u64| Instant(ms * 1_000_000);
        let mut sent = Sent::new(10, &[5]);
        sent.queue.at(at(1000));
        sent.push(6, Item::Control(Control::Resync));
        sent.queue.at(at(1700));
        sent.push(7, Item::Control(Control::Resync));
        let lag = |sent: &Sent| sent.queue.oldest_ms(&sent.column, at(2000));
        sent.on_ack((5, 5));
        assert_eq!(lag(&sent), Some(1000));
        sent.on_ack((5, 6));
        assert_eq!(lag(&sent), Some(300));
        sent.on_ack((5, 7));
        assert_eq!(lag(&sent), None);
    }

    #[test]
    fn what_is_asked_for_is_sent_again_and_the_rest_goes_on_waiting() {
        let mut sent = Sent::new(10, &[5, 6, 8, 9]);
        assert_eq!(sent.on_nack((6, 8)), AckVerdict::Fine);
        assert_eq!(slots(&sent.again), [1, 2]);
        assert_eq!(sent.on_nack((6, 8)), AckVerdict::Fine);
        assert_eq!((sent.again.len(), sent.queue.len()), (2, 2), "it is sent again once");
    }

    /// Defect 16 of the original (`docs/defects.md`).
    #[test]
    fn what_was_dropped_and_is_asked_for_needs_a_bulk_transfer() {
        let mut sent = Sent::new(2, &[5, 6, 7, 8]);
        assert_eq!((sent.queue.len(), sent.queue.dropped_count()), (2, 2));
        assert_eq!(sent.on_nack((7, 7)), AckVerdict::Fine);
        assert_eq!(sent.on_nack((6, 7)), AckVerdict::Beyond);
    }

    #[test]
    fn numbers_that_were_never_given_are_absurd_and_change_nothing() {
        let mut sent = Sent::new(9, &[5, 6]);
        assert_eq!(sent.on_ack((5, 7)), AckVerdict::Absurd);
        assert_eq!(sent.on_nack((6, 0x7fff)), AckVerdict::Absurd);
        assert_eq!((sent.queue.len(), sent.again.len()), (2, 0));
    }

    #[test]
    fn an_end_that_was_dropped_is_kept_for_the_next_bulk_transfer() {
        let mut sent = Sent::new(1, &[5]);
        sent.table.set_dead(0, true);
        let other = Flow::new(Tuple::v4([9; 4], [2; 4], 6));
        sent.push(6, Item::Message(Change::Destroy, Box::new(other)));
        assert_eq!(sent.table.len(), 1);
        let Sent { queue, table, column, .. } = &mut sent;
        assert_eq!(queue.take_unheard(&Kept { column, table }), [0]);
    }

    #[test]
    fn numbers_wrap() {
        let mut sent = Sent::new(10, &[u32::MAX - 1, u32::MAX, 0, 1]);
        assert_eq!(sent.on_nack((u32::MAX, 0)), AckVerdict::Fine);
        assert_eq!(slots(&sent.again), [1, 2]);
        assert_eq!(sent.on_ack((u32::MAX - 1, 1)), AckVerdict::Fine);
        assert!(sent.queue.is_empty());
    }

    #[test]
    fn an_expectation_that_no_bulk_transfer_can_send_is_counted_and_owed() {
        let mut sent = Sent::new(1, &[1]);
        for n in 0..limit::EXPECTATIONS_UNHEARD_MAX as u32 + 1 {
            sent.push(2 + n, Item::Expect(Box::default()));
        }
        let usage = |sent: &Sent| {
            let mut queues = QueueUsages::new();
            sent.queue.queues(&mut queues);
            queues.iter().find(|(name, _)| *name == "unheard_expectations").unwrap().1
        };
        assert_eq!((usage(&sent).len, usage(&sent).no_space), (limit::EXPECTATIONS_UNHEARD_MAX, 0));
        assert!(!sent.queue.has_forgotten());
        sent.push(u32::MAX / 2, Item::Expect(Box::default()));
        assert_eq!((usage(&sent).len, usage(&sent).no_space), (limit::EXPECTATIONS_UNHEARD_MAX, 1));
        assert!(sent.queue.has_forgotten());
    }
}
