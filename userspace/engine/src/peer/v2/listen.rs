//! What changes in the local table: noted by slot, looked at when the input is handled, claimed where it is ours.

use super::association::Association;
use super::claim::{self, Content, Happened, Said, What};
use super::claims::Known;
use super::session::{JOIN_WAIT, Look, Notes, Scan, V2};
use crate::changed::{Elsewhere, Listener};
use crate::config::{Owner, limit};
use crate::counters::ReplicaCounters;
use crate::expectations::ExpectKey;
use crate::flows::table::{FlowTable, Slot};
use crate::input::CommandId;
use crate::message_id::MessageId;
use crate::node::{self, Node};
use common::Instant;
use core::time::Duration;
use ctnetlink::flow::Status;
use ctnetlink::{Change, Expectation, Flow, FlowKey};

/// How often is looked whether nothing is on the way.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// SYN_SENT: a TCP connection begins (`enum tcp_conntrack`).
const SYN_SENT: u8 = 1;

impl V2 {
    fn note(&mut self, slot: Slot, what: Notes) {
        let at = slot as usize;
        if self.notes.len() <= at {
            self.notes.resize(at + 1, Notes::empty());
        }
        let looks =
            what.intersects(Notes::CHANGED | Notes::TAKEN | Notes::IN_DUMP | Notes::WRITTEN);
        if looks && !self.notes[at].contains(Notes::QUEUED) {
            self.notes[at].insert(Notes::QUEUED);
            self.queue.push(slot);
        }
        self.notes[at].insert(what);
    }

    fn noted(&self, slot: Slot) -> Notes {
        self.notes.get(slot as usize).copied().unwrap_or_default()
    }

    /// Looks at all that was noted, and at the rest of the local table where that is due.
    pub fn on_time(&mut self, node: &mut Node, now: Instant) {
        self.report_paths(node);
        while let Some(slot) = self.queue.pop() {
            if !self.settles(node, now, slot) {
                self.look_at(node, now, slot);
            }
        }
        while let Some((_, slot)) = self.settling.pop_if(|(due, _)| *due <= now) {
            self.look_at(node, now, slot);
        }
        if !node.is_committing() {
            for slot in core::mem::take(&mut self.taken) {
                self.look_at_slot(node, now, slot, Notes::TAKEN);
            }
        }
        if self.takes_more && !node.is_committing() {
            self.takes_more = false;
            // Its number has no owner, and no command waits for it.
            let expectations = node.config.expectations.any();
            node.start_commit(now, CommandId(u64::MAX), (true, expectations));
        }
        self.scan_in_time(node, now);
        self.follow_expectations(node, now);
        self.ask_on(now);
        self.compare_on(node, now);
        self.keep_injected(node, now);
        self.skip_others();
        self.date_versions(now);
    }

    /// Whether a flow is so new that it stays unclaimed for a moment: later changes until then are sent together with
    /// its beginning, and a flow that ends before is not sent at all.
    fn settles(&mut self, node: &Node, now: Instant, slot: Slot) -> bool {
        let notes = self.noted(slot);
        let new = Notes::QUEUED | Notes::ADDED | Notes::CHANGED;
        if self.cluster.settle.is_zero() || notes != new {
            return false;
        }
        let Some(entry) = node.flows.table.at(slot).filter(|entry| !entry.has_ended()) else {
            return false;
        };
        let is_known = !matches!(self.claims.known(node, &entry.key()), Known::Nothing);
        !is_known && self.settling.push((now + self.cluster.settle, slot)).is_ok()
    }

    /// Looks at what was noted about a slot.
    fn look_at(&mut self, node: &mut Node, now: Instant, slot: Slot) {
        let Some(notes) = self.notes.get_mut(slot as usize).map(core::mem::take) else { return };
        if notes.contains(Notes::TAKEN) && node.is_committing() {
            self.taken.push(slot);
        } else {
            self.look_at_slot(node, now, slot, notes);
        }
    }

    fn look_at_slot(&mut self, node: &mut Node, now: Instant, slot: Slot, notes: Notes) {
        let Some(entry) = node.flows.table.at(slot) else { return };
        let key = entry.key();
        if entry.has_ended() {
            return self.on_ended(node, now, slot, notes);
        }
        let known = self.claims.known(node, &key);
        let held = matches!(known, Known::Held(..));
        let news = Notes::CHANGED | Notes::TAKEN | Notes::IN_DUMP;
        if !notes.intersects(news) && !matches!(known, Known::Own(..)) {
            // A peer's word was written over an entry that is not claimed here.
            return;
        }
        let flow = entry.flow();
        let unreplied = !flow.status.contains(Status::SEEN_REPLY);
        let happened = if notes.contains(Notes::TAKEN) && held {
            Happened::Committed
        } else if notes.contains(Notes::IN_DUMP) && !notes.contains(Notes::CHANGED) {
            Happened::Shown
        } else if notes.contains(Notes::ANEW) || notes.contains(Notes::ADDED) && unreplied {
            Happened::New { begins: flow.tcp().is_some_and(|tcp| tcp.state == SYN_SENT) }
        } else {
            Happened::Update
        };
        if happened == Happened::Update
            && matches!(known, Known::Own(..))
            && self.claims.is_as_claimed(node, slot)
        {
            return;
        }
        self.say(node, now, slot, happened, known);
    }

    fn node(&self, now: Instant) -> claim::Node<Owner> {
        let joined = self.is_joined(now);
        claim::Node { me: self.cluster.me, hot: self.cluster.hot, standby: self.standby, joined }
    }

    /// The kernel says something of the living flow in a slot.
    fn say(&mut self, node: &mut Node, now: Instant, slot: Slot, happened: Happened, known: Known) {
        let theirs = match known {
            Known::Held(at, _) => node.remote.table().at(at).map(|entry| entry.flow()),
            _ => None,
        };
        let state = |flow: &Flow| flow.tcp().map_or(0, |tcp| tcp.state);
        if happened == Happened::Shown && known.claim().is_some() {
            // The flow ended, and is about to go here, too.
            let entry = node.flows.table.at(slot).map(|entry| (entry.key(), state(&entry.flow())));
            if entry
                .is_none_or(|(key, state)| claim::is_closing(state) || node.kernel.is_pending(&key))
            {
                return;
            }
        }
        let closing = theirs.as_ref().is_some_and(|flow| claim::is_closing(state(flow)));
        let said = claim::said(&self.node(now), happened, known.claim(), closing);
        let Said::Claim { epoch, base, what, carries } = said else { return };
        match (carries, theirs) {
            (Content::Joined, Some(theirs)) => self.claims.join(slot, theirs),
            (Content::Kernel, _) => self.claims.unjoin(slot),
            _ => {}
        }
        self.claims.claim(node, slot, (epoch, base, what), known);
    }

    /// The claimed flow in a slot has ended: the claim is an end from here on, and the slot is free.
    fn on_ended(&mut self, node: &mut Node, now: Instant, slot: Slot, notes: Notes) {
        let Some(entry) = node.flows.table.at(slot) else { return };
        let key = entry.key();
        let known = self.claims.known(node, &key);
        if matches!(known, Known::Own(..)) {
            let closed = entry.flow().tcp().is_some_and(|tcp| claim::is_closing(tcp.state));
            let happened = if closed { Happened::Closed } else { Happened::Expired };
            match claim::said(&self.node(now), happened, known.claim(), false) {
                Said::Claim { epoch, base, what, .. } if !notes.contains(Notes::SILENT) => {
                    self.claims.end(node, &key, (epoch, base, what), known);
                }
                _ => self.claims.let_go(node, &key, known),
            }
        }
        node.flows.table.remove(slot);
    }

    /// Claims flows of this node's kernel that have no claim, once it is known what the peers do, and again after
    /// flows lost their owner without an end.
    fn scan_in_time(&mut self, node: &mut Node, now: Instant) {
        loop {
            self.begin_scan(node, now);
            let Some(scan) = self.scan.filter(|scan| scan.due <= now) else { return };
            self.scan = self.scan_on(node, now, scan);
            if self.scan.is_none() && !self.scanned {
                self.scanned = true;
                self.follow_expectations(node, now);
                self.compare_all();
            }
        }
    }

    /// A look through the local table begins, if one is due.
    fn begin_scan(&mut self, node: &Node, now: Instant) {
        if self.scan.is_some() {
            return;
        }
        if !self.scanned {
            let due = node.has_read_all() && self.is_joined(now);
            self.scan = due.then_some(Scan { from: 0, due: now });
            return;
        }
        let Some(Look { since, .. }) = self.look.filter(|look| look.next <= now) else { return };
        // Until each peer has said since then that nothing differs, or too long.
        let equal = |peer: &Association| peer.equal_at.is_some_and(|equal| equal > since);
        let calm = self.peers.iter().all(|peer| !peer.up || equal(peer));
        // Before it has joined, it would look and claim nothing.
        if self.is_joined(now) && (calm || now.since(since) >= JOIN_WAIT) {
            self.look = None;
            self.scan = Some(Scan { from: 0, due: now });
        } else {
            self.look = Some(Look { since, next: now + LOOK_EVERY });
        }
    }

    /// This node claims all that its kernel shows. A peer that holds flows of an earlier run does not receive all of
    /// them again: a comparison finds what differs (R9.2).
    fn compare_all(&mut self) {
        for peer in self.peers.iter_mut().filter(|peer| peer.compares) {
            peer.compares = false;
            peer.end_bulk(&mut self.claims.ledger);
            self.claims.ledger.to_tail(peer.position);
        }
    }

    fn scan_on(&mut self, node: &mut Node, now: Instant, scan: Scan) -> Option<Scan> {
        let end = scan.from.saturating_add(limit::WATCH_STEP_SLOTS);
        let mut from = scan.from;
        while let Some((slot, entry)) = node.flows.table.next(from) {
            if slot >= end {
                return Some(Scan { from: slot, due: now + limit::SWEEP_STEP });
            }
            from = slot + 1;
            let (key, ended) = (entry.key(), entry.has_ended());
            if ended {
                continue;
            }
            let known = self.claims.known(node, &key);
            if !matches!(known, Known::Own(..) | Known::Held(..)) {
                self.say(node, now, slot, Happened::Shown, known);
            }
        }
        None
    }

    /// When [`V2::on_time`] has something to do, if nothing happens before.
    pub(super) fn scan_due(&self, loaded: bool) -> Option<Instant> {
        let scan = self.scan.map(|scan| scan.due);
        let waits = !self.scanned && self.scan.is_none() && loaded;
        let join = waits.then(|| self.began + JOIN_WAIT);
        let look = self.look.filter(|_| self.scanned && self.scan.is_none());
        let extend = self.cluster.hot.then_some(self.extend.due);
        let settled = self.settling.iter().next().map(|(due, _)| *due);
        [scan, join, look.map(|look| look.next), extend, settled].into_iter().flatten().min()
    }

    /// The kernel is asked about the flow in a slot: if it is there and open, this node claims it with the next epoch.
    /// The local table is what the kernel holds, as far as is known; an answer that says otherwise ends the claim.
    pub(super) fn ask(&mut self, node: &mut Node, slot: Slot, known: Known) {
        let Some(entry) = node.flows.table.at(slot).filter(|entry| !entry.has_ended()) else {
            return;
        };
        let (key, flow) = (entry.key(), entry.flow());
        let Some(claim) = known.claim() else { return };
        if flow.tcp().is_some_and(|tcp| claim::is_closing(tcp.state)) {
            return;
        }
        let next = (claim.epoch.saturating_add(1), claim.version, What::State);
        self.claims.unjoin(slot);
        self.claims.claim(node, slot, next, known);
        node.ask(&key);
    }
}

impl Listener for V2 {
    fn on_added(&mut self, slot: Slot, elsewhere: Elsewhere, _: Instant) {
        let what = match elsewhere {
            Elsewhere::Unknown => Notes::ADDED,
            Elsewhere::Known => Notes::ADDED | Notes::IN_DUMP,
            Elsewhere::Other => Notes::ADDED | Notes::TAKEN,
        };
        self.note(slot, what);
    }

    fn on_changed(&mut self, slot: Slot) {
        self.note(slot, Notes::CHANGED);
    }

    fn start_over(&mut self, slot: Slot) {
        self.note(slot, Notes::ANEW);
    }

    fn on_revived(&mut self, slot: Slot, _: Instant) {
        self.note(slot, Notes::ANEW);
    }

    fn on_removed(&mut self, slot: Slot) {
        if let Some(notes) = self.notes.get_mut(slot as usize) {
            *notes &= Notes::QUEUED;
        }
    }

    fn is_unsent(&self, slot: Slot) -> bool {
        let notes = self.noted(slot);
        notes.intersects(Notes::ADDED | Notes::ANEW) && !notes.contains(Notes::QUEUED)
    }

    fn holds(&self, slot: Slot) -> bool {
        self.claims.ledger.flow(slot).is_some()
    }

    fn silence(&mut self, slot: Slot) {
        self.note(slot, Notes::SILENT);
    }

    fn owe_end(&mut self, _: Slot) {}

    fn on_overwritten(&mut self, slot: Slot) {
        self.note(slot, Notes::WRITTEN);
    }

    fn on_passed(&mut self, _: Change, _: Flow, _: &mut ReplicaCounters) {}

    fn reclaim(&mut self, _: &mut FlowTable, _: &mut ReplicaCounters) -> bool {
        // What has ended leaves the table before the next input comes.
        false
    }

    fn forget_entries(&mut self) {
        self.claims.forget_own();
        self.queue.clear();
        self.settling.clear();
        self.notes.clear();
        self.scanned = false;
        self.expects.scanned = false;
        self.scan = None;
    }

    fn on_taken_unsent(&mut self) {}

    fn on_expectation(&mut self, expect: &Expectation, _: &mut ReplicaCounters) {
        self.expects.notes.insert(ExpectKey::of(expect), true);
    }

    // What a commit made this node's is claimed; what a purge ended is over.
    fn withdraw_expectation(&mut self, gone: &ExpectKey) {
        self.expects.notes.entry(*gone).or_insert(false);
    }
}

impl node::Peers for V2 {
    fn on_refused(&mut self, _: MessageId) {}

    fn on_passed_on(&mut self, _: &mut Node, _: Instant, _: (u64, bool)) {}

    fn on_read(&mut self, _: &mut Node, _: Instant) {}

    fn send_expectations(&mut self, _: &mut Node) {}

    fn has_sent_all_since(&self, _: Option<Instant>) -> bool {
        false
    }

    fn on_end_unsent(&mut self) {}

    fn on_injected_changed(&mut self, key: &FlowKey) {
        if self.unsettled.len() < limit::EVENTS_MAX {
            self.unsettled.push(*key);
        }
    }

    fn age_s(&self, slot: Slot, updated_s: u32, now: Instant) -> Option<u32> {
        self.taken_age_s(slot, updated_s, now)
    }

    fn holds_commit(&self) -> bool {
        Self::holds_commit(self)
    }

    fn on_commit_done(&mut self) {
        Self::on_commit_done(self);
    }

    fn takes_expectation(&self, key: &ExpectKey) -> bool {
        self.may_take_expectation(key)
    }

    fn on_expectations_read(&mut self) {
        self.expects.scanned = false;
    }

    fn on_expectation_without_master(&mut self, key: &ExpectKey) {
        Self::on_expectation_without_master(self, key);
    }
}
