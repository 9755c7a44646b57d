//! The session of version 1 as a listener: each call of the node notes in the outbox what to send.

use super::V1;
use crate::changed::{Elsewhere, Listener};
use crate::counters::ReplicaCounters;
use crate::expectations::ExpectKey;
use crate::flows::table::{FlowTable, Slot};
use crate::message_id::MessageId;
use crate::node::{self, Node};
use common::Instant;
use ctnetlink::{Change, Expectation, Flow};

impl node::Peers for V1 {
    fn on_refused(&mut self, message: MessageId) {
        if let Some(peer) = self.peers.get_mut(message.peer()) {
            peer.whole.on_refused(message.order());
        }
    }

    fn on_passed_on(&mut self, node: &mut Node, now: Instant, passed: (u64, bool)) {
        Self::on_passed_on(self, node, now, passed);
    }

    fn on_read(&mut self, node: &mut Node, now: Instant) {
        Self::on_read(self, node, now);
    }

    fn send_expectations(&mut self, node: &mut Node) {
        self.queue_expectations(node);
    }

    fn has_sent_all_since(&self, since: Option<Instant>) -> bool {
        Self::has_sent_all_since(self, since)
    }

    fn on_end_unsent(&mut self) {
        self.owes = true;
    }
}

impl Listener for V1 {
    fn on_added(&mut self, slot: Slot, elsewhere: Elsewhere, now: Instant) {
        self.outbox.on_added(slot, elsewhere, now);
    }

    fn on_changed(&mut self, slot: Slot) {
        self.outbox.queue_entry(slot);
    }

    fn start_over(&mut self, slot: Slot) {
        self.outbox.start_over(slot);
    }

    fn on_revived(&mut self, slot: Slot, now: Instant) {
        self.outbox.restart_timer(slot, now);
    }

    fn on_removed(&mut self, slot: Slot) {
        self.outbox.on_removed(slot);
    }

    fn is_unsent(&self, slot: Slot) -> bool {
        self.outbox.is_unsent(slot)
    }

    fn holds(&self, slot: Slot) -> bool {
        self.outbox.holds(slot)
    }

    fn silence(&mut self, slot: Slot) {
        self.outbox.silence(slot);
    }

    fn owe_end(&mut self, slot: Slot) {
        self.outbox.owe_end(slot);
    }

    fn on_overwritten(&mut self, _: Slot) {
        Self::on_overwritten(self);
    }

    fn on_passed(&mut self, change: Change, flow: Flow, counters: &mut ReplicaCounters) {
        self.outbox.queue_message(change, flow, counters);
    }

    fn reclaim(&mut self, table: &mut FlowTable, counters: &mut ReplicaCounters) -> bool {
        self.outbox.reclaim(table, counters)
    }

    fn forget_entries(&mut self) {
        self.outbox.forget_entries();
    }

    fn on_taken_unsent(&mut self) {
        Self::on_taken_unsent(self);
    }

    fn on_expectation(&mut self, expect: &Expectation, counters: &mut ReplicaCounters) {
        self.outbox.queue_expectation(expect, counters);
    }

    fn withdraw_expectation(&mut self, gone: &ExpectKey) {
        self.outbox.withdraw_expectations(|key| key == gone);
    }
}
