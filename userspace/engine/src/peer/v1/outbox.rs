//! Messages waiting for the peer, in order, and the numbers they get.

use super::bulk::Bulk;
use super::column::{Column, Marks};
use super::kept::{Kept, change_of, to_send};
use super::packer::{Packed, Packer};
use super::refresh::Refresh;
use super::resend::{AckVerdict, Requests, ResendQueue};
use crate::bounded::{QueueUsage, QueueUsages};
use crate::changed::Elsewhere;
use crate::config::{Config, limit};
use crate::counters::ReplicaCounters;
use crate::expectations::{self, ExpectKey};
use crate::flows::table::{FlowTable, Slot};
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::{Change, Expectation, Flow};
use wire::sync::v1::{self, Control, Flags, Options, Stamp};

/// Something to send.
#[derive(Debug)]
pub enum Item {
    /// Whatever the entry in this slot is when its turn comes: several changes become one message.
    Entry(Slot),
    /// A message that stands alone, because no table keeps its flow.
    Message(Change, Box<Flow>),
    /// Whatever has become of this expectation when its turn comes.
    Expect(Box<Expectation>),
    /// A control message.
    Control(Control),
}

/// Limit of stale entries that stay in the queue.
const STALE_MAX: usize = 1024;

/// Messages waiting for the peer.
#[derive(Debug)]
pub struct Outbox {
    /// What is remembered of each flow of this node.
    pub(super) column: Column,
    /// Where a bulk transfer goes on.
    pub(super) bulk: Option<Bulk>,
    /// ALARM: when each flow is sent again.
    pub(super) refresh: Option<Refresh>,
    queue: VecDeque<Item>,
    messages: usize,
    controls: usize,
    /// Control messages that found no room.
    controls_refused: u64,
    /// There was no room for a NACK: what it was about is never asked for.
    nack_lost: bool,
    /// Expectations that wait: each of them once.
    expectations: BTreeSet<ExpectKey>,
    first_seq: u32,
    seq: u32,
    options: Options,
    /// What goes with the next message.
    greeting: Flags,
    /// Sent messages that may have to be sent again; only FTFW resends.
    resend: Option<ResendQueue>,
    /// Requests the peer has not acknowledged.
    open: Requests,
    /// There is no peer: what is queued counts as sent.
    pub(super) no_peer: bool,
    /// Something was dropped that the peer should have received: only a bulk transfer can show it.
    forgotten: bool,
}

impl Outbox {
    /// An empty outbox. With `resend_max` it keeps messages until the peer acknowledges them, and greets first.
    #[must_use]
    pub fn new(first_seq: u32, options: Options, resend_max: Option<usize>) -> Self {
        Self {
            column: Column::default(),
            bulk: None,
            refresh: None,
            queue: VecDeque::new(),
            messages: 0,
            controls: 0,
            controls_refused: 0,
            nack_lost: false,
            expectations: BTreeSet::new(),
            first_seq,
            seq: first_seq,
            options,
            greeting: if resend_max.is_some() { Flags::HELLO } else { Flags::empty() },
            resend: resend_max.map(|max| ResendQueue::new(max, first_seq.wrapping_sub(1))),
            open: Requests::default(),
            no_peer: false,
            forgotten: false,
        }
    }

    /// The same outbox; unless it `speaks`, it throws its queue away.
    #[must_use]
    pub const fn speaking(mut self, speaks: bool) -> Self {
        self.no_peer = !speaks;
        self
    }

    /// The same outbox; in ALARM mode it refreshes flows.
    #[must_use]
    pub fn refreshing(mut self, config: &Config, now: Instant) -> Self {
        self.refresh = Refresh::of(config, now);
        self
    }

    /// Whether messages carry remaining lifetimes from here on.
    pub const fn send_lifetimes(&mut self, send: bool) {
        self.options.timeout = send;
    }

    /// Queues an entry, unless it waits already: then the newer state travels in the older one's place.
    pub fn queue_entry(&mut self, slot: Slot) {
        if self.no_peer {
            return;
        }
        let marks = self.column.marks_mut(slot);
        if marks.contains(Marks::QUEUED) {
            return;
        }
        marks.insert(Marks::QUEUED);
        self.supersede(slot);
        self.queue.push_back(Item::Entry(slot));
        if self.queue.len() - self.messages - self.controls > 2 * self.column.slots() + STALE_MAX {
            self.drop_stale();
        }
    }

    /// Removes entries of slots that were emptied, and the second entry of a slot that was filled again.
    fn drop_stale(&mut self) {
        let (column, mut seen) = (&self.column, BTreeSet::new());
        self.queue.retain(|item| match item {
            Item::Entry(slot) => column.has(*slot, Marks::QUEUED) && seen.insert(*slot),
            _ => true,
        });
    }

    /// The message about a flow that is on its way is outdated and will not be sent again.
    pub(super) fn supersede(&mut self, slot: Slot) {
        if self.column.has(slot, Marks::WAITING) {
            self.column.marks_mut(slot).remove(Marks::WAITING);
            self.resend.iter_mut().for_each(ResendQueue::forget_one);
        }
    }

    /// A flow was added in a slot.
    pub fn on_added(&mut self, slot: Slot, elsewhere: Elsewhere, now: Instant) {
        if self.no_peer {
            return;
        }
        self.column.reset(
            slot,
            match elsewhere {
                Elsewhere::Unknown => Marks::empty(),
                Elsewhere::Known => Marks::SENT,
                Elsewhere::Other => Marks::SENT | Marks::RESEND_AS_NEW | Marks::UNSENT,
            },
        );
        self.restart_timer(slot, now);
    }

    /// A slot is empty.
    pub fn on_removed(&mut self, slot: Slot) {
        self.column.reset(slot, Marks::empty());
    }

    /// Makes the next message about a flow send it as new.
    pub fn start_over(&mut self, slot: Slot) {
        if !self.no_peer {
            self.column.marks_mut(slot).insert(Marks::RESEND_AS_NEW | Marks::UNSENT);
        }
    }

    /// Whether no message has carried a living flow since it began.
    #[must_use]
    pub fn is_unsent(&self, slot: Slot) -> bool {
        self.column.marks(slot).is_unsent()
    }

    /// Whether the peers may know a flow, so that its end has to be sent.
    #[must_use]
    pub fn holds(&self, slot: Slot) -> bool {
        self.column.has(slot, Marks::SENT)
    }

    /// Suppresses the message about a flow's end.
    pub fn silence(&mut self, slot: Slot) {
        if self.holds(slot) {
            self.column.marks_mut(slot).remove(Marks::SENT);
        }
    }

    /// Suppresses the message about a flow's end: a bulk transfer has to show the end, if the peers may know the flow.
    pub fn owe_end(&mut self, slot: Slot) {
        self.forgotten |= self.holds(slot);
        self.silence(slot);
    }

    /// Queues a message of a flow that no table keeps.
    pub fn queue_message(&mut self, change: Change, flow: Flow, counters: &mut ReplicaCounters) {
        if self.no_peer {
            return;
        }
        if self.messages >= limit::OUTBOX_MESSAGES_MAX {
            counters.send_no_space += 1;
            self.forgotten = true;
            return;
        }
        self.messages += 1;
        self.queue.push_back(Item::Message(change, Box::new(flow)));
    }

    /// Queues an expectation, unless it waits already.
    pub fn queue_expectation(&mut self, expect: &Expectation, counters: &mut ReplicaCounters) {
        if self.messages >= limit::OUTBOX_MESSAGES_MAX {
            counters.send_no_space += 1;
            self.forgotten = true;
            return;
        }
        self.queue_expectation_again(Box::new(expect.clone()));
    }

    fn queue_expectation_again(&mut self, expect: Box<Expectation>) {
        if !self.no_peer && self.expectations.insert(ExpectKey::of(&expect)) {
            self.messages += 1;
            self.queue.push_back(Item::Expect(expect));
        }
    }

    /// Drops the unsent messages about the expectations that `matches`.
    pub fn withdraw_expectations(&mut self, matches: impl Fn(&ExpectKey) -> bool) {
        let matches = |item: &Item| match item {
            Item::Expect(expect) => matches(&ExpectKey::of(expect)),
            _ => false,
        };
        for item in self.queue.iter().filter(|item| matches(item)) {
            if let Item::Expect(expect) = item {
                self.messages -= 1;
                self.expectations.remove(&ExpectKey::of(expect));
            }
        }
        self.queue.retain(|item| !matches(item));
        self.resend.iter_mut().for_each(|resend| resend.withdraw(matches));
    }

    /// Queues a control message. Past the limit, which a peer with jumping numbers can reach, only a RESYNC fits.
    pub fn queue_control(&mut self, control: Control) {
        if self.no_peer {
            return;
        }
        if self.controls >= limit::OUTBOX_CONTROLS_MAX && control != Control::Resync {
            self.controls_refused += 1;
            self.nack_lost |= matches!(control, Control::Nack { .. });
            return;
        }
        let item = Item::Control(control);
        self.open.count(&item);
        self.controls += 1;
        self.queue.push_back(item);
    }

    /// Requests everything from the peers, unless a request for it waits to be sent.
    pub fn queue_resync(&mut self) {
        let waits = |item: &Item| matches!(item, Item::Control(Control::Resync));
        if !self.queue.iter().any(waits) {
            self.queue_control(Control::Resync);
        }
    }

    /// Whether something was dropped that the peer should have received, since [`Outbox::take_forgotten`].
    #[must_use]
    pub fn has_forgotten(&self) -> bool {
        self.forgotten || self.resend.as_ref().is_some_and(ResendQueue::has_forgotten)
    }

    /// Whether something was dropped that the peer should have received; a second call returns false.
    pub fn take_forgotten(&mut self) -> bool {
        let forgotten = self.has_forgotten();
        self.forgotten = false;
        self.resend.iter_mut().for_each(ResendQueue::clear_forgotten);
        forgotten
    }

    /// Requests the peer has not acknowledged, where it acknowledges.
    #[must_use]
    pub const fn open_requests(&self) -> Requests {
        self.open
    }

    /// Takes note of what became of requests. Returns whether one was given up.
    pub fn review_requests(&mut self) -> bool {
        let Some([settled, lost]) = self.resend.as_mut().map(ResendQueue::take_requests) else {
            return false;
        };
        self.open.discount(settled);
        self.open.discount(lost);
        core::mem::take(&mut self.nack_lost) || lost != Requests::default()
    }

    /// Forgets the entries that wait; their slots are about to be cleared.
    pub fn forget_entries(&mut self) {
        self.column.clear();
        self.queue.retain(|item| !matches!(item, Item::Entry(_)));
        self.resend.iter_mut().for_each(ResendQueue::forget_entries);
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Its queues, by name, beside that of all messages.
    pub fn queues(&self, queues: &mut QueueUsages) {
        let (len, no_space) = (self.controls, self.controls_refused);
        let max = limit::OUTBOX_CONTROLS_MAX;
        queues.push(("controls", QueueUsage { len, max, no_space }));
        self.resend.iter().for_each(|resend| resend.queues(queues));
    }

    /// Messages queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The number the first message got.
    #[must_use]
    pub const fn first_seq(&self) -> u32 {
        self.first_seq
    }

    /// The number the next message gets.
    #[must_use]
    pub const fn next_seq(&self) -> u32 {
        self.seq
    }

    /// Whether so much waits for an acknowledgement that a bulk transfer must wait too.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        let most = |r: &ResendQueue| {
            (r.max() / 2).clamp(limit::BULK_IN_FLIGHT_MIN, limit::BULK_IN_FLIGHT_MAX)
        };
        let full = |r: &ResendQueue| r.news() >= most(r);
        self.resend.as_ref().is_some_and(full)
    }

    /// The messages that were sent and not acknowledged, oldest first: the number, and the flags in the header of a
    /// control message; `None` in modes without acknowledgements.
    #[must_use]
    pub fn waiting(&self) -> Option<impl Iterator<Item = (u32, Option<u8>)>> {
        self.resend.as_ref().map(|resend| resend.iter(&self.column))
    }

    /// The queue of messages sent and not acknowledged; `None` in modes without acknowledgements.
    #[must_use]
    pub const fn resend(&self) -> Option<&ResendQueue> {
        self.resend.as_ref()
    }

    /// What is packed from here on is sent now.
    pub fn at(&mut self, now: Instant) {
        self.resend.iter_mut().for_each(|resend| resend.at(now));
    }

    /// How long ago the oldest unacknowledged message was sent, ms, 0 if there is none; `None`: none is acknowledged.
    #[must_use]
    pub fn lag_ms(&self, now: Instant) -> Option<u32> {
        let resend = self.resend.as_ref()?;
        Some(resend.oldest_ms(&self.column, now).unwrap_or(0))
    }

    /// Says HELLO_BACK with the next message.
    pub fn greet_back(&mut self) {
        self.greeting.insert(Flags::HELLO_BACK);
    }

    /// Says HELLO with each message until the peer answers.
    pub fn greet(&mut self) {
        self.greeting.insert(Flags::HELLO);
        if self.is_empty() {
            self.queue_control(Control::Alive);
        }
    }

    /// The peer has answered our HELLO.
    pub fn stop_greeting(&mut self) {
        self.greeting.remove(Flags::HELLO);
    }

    /// Whether the peer has not answered our HELLO yet.
    #[must_use]
    pub const fn is_greeting(&self) -> bool {
        self.greeting.contains(Flags::HELLO)
    }

    /// The peer has restarted.
    pub fn on_peer_restart(&mut self, table: &mut FlowTable) {
        self.review(table, |resend, kept, again| {
            resend.on_peer_restart(kept, again);
            AckVerdict::Fine
        });
        self.review_requests();
    }

    /// The peer has messages `from` to `to`.
    pub fn on_ack(&mut self, table: &mut FlowTable, range: (u32, u32)) -> AckVerdict {
        self.review(table, |resend, kept, again| resend.on_ack(kept, range, again))
    }

    /// The peer lacks messages `from` to `to`.
    pub fn on_nack(&mut self, table: &mut FlowTable, range: (u32, u32)) -> AckVerdict {
        self.review(table, |resend, kept, again| resend.on_nack(kept, range, again))
    }

    fn review(
        &mut self,
        table: &mut FlowTable,
        judge: impl FnOnce(&mut ResendQueue, &mut Kept<'_>, &mut Vec<Item>) -> AckVerdict,
    ) -> AckVerdict {
        let Some(resend) = &mut self.resend else { return AckVerdict::Fine };
        let mut again = Vec::new();
        let verdict = judge(resend, &mut Kept { column: &mut self.column, table }, &mut again);
        for item in again {
            match item {
                Item::Entry(slot) => self.queue_entry(slot),
                // The flow began after the message was sent: its end is not this one's.
                Item::Message(_, flow) if table.find(&flow.key()).is_some() => {}
                Item::Expect(expect) => self.queue_expectation_again(expect),
                item => {
                    self.messages += usize::from(matches!(item, Item::Message(..)));
                    self.controls += usize::from(matches!(item, Item::Control(_)));
                    self.queue.push_back(item);
                }
            }
        }
        verdict
    }

    /// Queues the ends that the peer could not receive when they happened.
    pub fn queue_unheard(&mut self, table: &mut FlowTable) {
        let kept = &Kept { column: &mut self.column, table };
        let unheard = self.resend.as_mut().map(|resend| resend.take_unheard(kept));
        unheard.into_iter().flatten().for_each(|slot| self.queue_entry(slot));
        let unheard = self.resend.as_mut().map(ResendQueue::take_unheard_expectations);
        unheard.into_iter().flatten().for_each(|expect| self.queue_expectation_again(expect));
    }

    /// Makes room for a living flow: releases the oldest end that the peer has not received. False if there is none.
    pub fn reclaim(&mut self, table: &mut FlowTable, counters: &mut ReplicaCounters) -> bool {
        let Some(slot) = table.take_grave() else { return false };
        if let Some(resend) = &mut self.resend
            && self.column.has(slot, Marks::WAITING)
        {
            resend.give_up_end(self.column.ticket(slot));
        }
        Kept { column: &mut self.column, table }.release(slot);
        counters.ends_untold += 1;
        self.forgotten = true;
        true
    }

    /// Packs what waits into `packer` until it is full or nothing waits.
    pub fn pack(
        &mut self,
        table: &mut FlowTable,
        expectations: &mut expectations::Local,
        packer: &mut Packer<'_>,
        counters: &mut ReplicaCounters,
    ) {
        while let Some(item) = self.queue.front() {
            let (stamp, options) = (self.stamp(), self.options);
            let packed = match item {
                // A slot without the mark has lost the entry that was queued, or was served out of turn.
                Item::Entry(slot) => match table.at(*slot) {
                    Some(entry) if self.column.has(*slot, Marks::QUEUED) => {
                        let marks = self.column.marks(*slot);
                        let (change, flow) = (change_of(entry, marks), to_send(entry, marks));
                        packer.put(|w| v1::encode_flow(change, stamp, &flow, options, w))
                    }
                    _ => Packed::Nothing,
                },
                Item::Message(change, flow) => {
                    packer.put(|w| v1::encode_flow(*change, stamp, flow, options, w))
                }
                Item::Expect(given) => {
                    let (change, expect) = expectations.to_send(given);
                    packer.put(|w| v1::encode_expectation(change, stamp, expect, options, w))
                }
                Item::Control(control) => packer.put(|w| v1::encode_control(*control, stamp, w)),
            };
            if packed == Packed::LaterOne {
                return;
            }
            if let Some(item) = self.queue.pop_front() {
                self.controls -= usize::from(matches!(item, Item::Control(_)));
                self.messages -= usize::from(matches!(item, Item::Message(..) | Item::Expect(_)));
                if let Item::Expect(expect) = &item {
                    let key = ExpectKey::of(expect);
                    self.expectations.remove(&key);
                    expectations.note_sent(&key);
                }
                self.settle(table, item, packed, counters);
            }
        }
    }

    /// Packs one entry out of turn, for a bulk transfer; false when the datagram is full.
    ///
    /// If the peer missed the end of an earlier flow, it may hold another mark, so a bulk transfer sends marks of 0
    /// too.
    pub fn pack_entry(
        &mut self,
        table: &mut FlowTable,
        slot: Slot,
        packer: &mut Packer<'_>,
        counters: &mut ReplicaCounters,
    ) -> bool {
        let Some(entry) = table.at(slot) else { return true };
        self.supersede(slot);
        let marks = self.column.marks_mut(slot);
        marks.insert(Marks::FULL_STATE);
        let (change, flow) = (change_of(entry, *marks), to_send(entry, *marks));
        let (stamp, options) = (self.stamp(), self.options);
        let packed = packer.put(|w| v1::encode_flow(change, stamp, &flow, options, w));
        if packed == Packed::LaterOne {
            return false;
        }
        self.settle(table, Item::Entry(slot), packed, counters);
        true
    }

    const fn stamp(&self) -> Stamp {
        Stamp { seq: self.seq, flags: self.greeting.union(Flags::ACCOUNTS) }
    }

    /// An entry's news is out: it is no longer queued. If that was its end, the entry may go, unless it waits for an
    /// acknowledgement under the number `waits_as`.
    fn on_entry_sent(&mut self, table: &mut FlowTable, slot: Slot, waits_as: Option<u32>) {
        let Some(entry) = table.at(slot) else { return };
        let ended = entry.has_ended();
        let marks = self.column.marks_mut(slot);
        let change = change_of(entry, *marks);
        marks.remove(Marks::QUEUED | Marks::RESEND_AS_NEW | Marks::UNSENT | Marks::ACKED);
        marks.insert(Marks::SENT);
        if let Some(seq) = waits_as {
            self.column.on_sent(slot, seq);
            match change {
                Change::New => self.column.on_begun(slot, seq),
                // Whatever the peer knows ends with it.
                Change::Destroy => self.column.marks_mut(slot).remove(Marks::NEW_WAITING),
                Change::Update => {}
            }
            return;
        }
        marks.remove(Marks::FULL_STATE);
        if ended {
            Kept { column: &mut self.column, table }.release(slot);
        }
    }

    /// The item has had its turn.
    fn settle(
        &mut self,
        table: &mut FlowTable,
        item: Item,
        packed: Packed,
        counters: &mut ReplicaCounters,
    ) {
        let seq = self.seq;
        match packed {
            Packed::Yes => {
                self.seq = seq.wrapping_add(1);
                self.greeting.remove(Flags::HELLO_BACK);
                counters.sent += 1;
            }
            Packed::Never => counters.send_too_large += 1,
            Packed::Nothing | Packed::LaterOne => return,
        }
        let keep = packed == Packed::Yes && self.resend.is_some();
        if let Item::Entry(slot) = item {
            self.on_entry_sent(table, slot, keep.then_some(seq));
        }
        match &mut self.resend {
            // Peers neither acknowledge nor miss an ALIVE.
            Some(resend) if matches!(item, Item::Control(Control::Alive | Control::Settled(_))) => {
                resend.note_sent(seq);
            }
            Some(resend) if keep => {
                resend.push(&mut Kept { column: &mut self.column, table }, seq, item);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_emptied_and_filled_while_nothing_is_sent_takes_no_more_room() {
        let mut outbox = Outbox::new(1, Options { timeout: true, window_scale: false }, None);
        for _ in 0..10 * STALE_MAX {
            outbox.queue_entry(3);
            outbox.on_removed(3);
        }
        outbox.queue_entry(3);
        assert!(outbox.len() <= STALE_MAX + 9, "{}", outbox.len());
        outbox.drop_stale();
        assert_eq!(outbox.len(), 1, "what waits stays");
    }

    #[test]
    fn control_messages_that_nobody_sends_have_a_limit_and_a_lost_nack_is_remembered() {
        let options = Options { timeout: true, window_scale: false };
        let mut outbox = Outbox::new(1, options, Some(10));
        for n in 0..limit::OUTBOX_CONTROLS_MAX as u32 {
            outbox.queue_control(Control::Ack { from: n, to: n });
        }
        assert!(!outbox.review_requests());
        outbox.queue_control(Control::Nack { from: 1, to: 2 });
        assert_eq!((outbox.len(), outbox.open.nacks), (limit::OUTBOX_CONTROLS_MAX, 0));
        assert!(outbox.review_requests() && !outbox.review_requests());
        outbox.queue_control(Control::Resync);
        assert_eq!(outbox.len(), limit::OUTBOX_CONTROLS_MAX + 1, "it repairs everything");
        let (mut table, mut bytes) = (FlowTable::new(1, 0), [0; 1000]);
        let mut counters = ReplicaCounters::default();
        let mut expectations = expectations::Local::default();
        outbox.pack(&mut table, &mut expectations, &mut Packer::new(&mut bytes), &mut counters);
        outbox.queue_control(Control::Nack { from: 1, to: 2 });
        assert_eq!(outbox.open.nacks, 1, "there is room again");
    }
}
