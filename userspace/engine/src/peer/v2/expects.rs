//! Expectations (R13.7): this node claims those of its kernel; those of peers wait for a commit, or are written.
//!
//! ```text
//!   kernel --> [node] local table --noted--> [claims::expects] --> ledger --> EXPECTS
//!   EXPECTS --> [claims::expects] --> one row for each key in the remote table --commit--> kernel
//!                                 \-- hot: into the kernel, once it has the master
//! ```

use super::association::AssociationId;
use super::claims::expects::HeldExpect;
use super::session::V2;
use crate::config::Owner;
use crate::expectations::{ExpectKey, target, writable};
use crate::kernel::Purpose;
use crate::local::seconds;
use crate::node::Node;
use crate::output::Request;
use alloc::boxed::Box;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::{Expectation, FlowKey};
use wire::sync::v2::expect::{ExpectRecord, Expectations};

/// How often is looked whether the kernel has the master of what waits for it.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often expectations are checked that are over without an event.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A claim of a silent owner goes so long after its time.
const SLACK: Duration = Duration::from_secs(10);

impl V2 {
    /// Claims what was noted and what the kernel showed, and looks at those of peers when that is due.
    pub(super) fn follow_expectations(&mut self, node: &mut Node, now: Instant) {
        for (key, anew) in core::mem::take(&mut self.expects.notes) {
            self.follow_expectation(node, now, &key, anew);
        }
        if self.scanned && !self.expects.scanned && !node.reads_expectations() {
            self.expects.scanned = true;
            self.claim_shown_expectations(node);
        }
        if self.expects.due.is_some_and(|due| due <= now) {
            self.look_at_held_expectations(node, now);
        }
    }

    /// Something happened to an expectation of this node's kernel.
    fn follow_expectation(&mut self, node: &mut Node, now: Instant, key: &ExpectKey, anew: bool) {
        match node.local_expectations.table().get(key) {
            Some(entry) if can_be_told(&entry.expect) => {
                if anew || !self.claims.is_expect_as_claimed(key, &entry.expect) {
                    self.claims.claim_expect(key, &entry.expect);
                }
            }
            _ if self.claims.expects.is_own(key) => self.claims.end_expect(key),
            _ => return,
        }
        self.drop_lapsed(node, now, key);
    }

    /// A reading of the kernel's table is over. What a hot node finds there of a peer's is not in the local table.
    fn claim_shown_expectations(&mut self, node: &Node) {
        if self.standby {
            return;
        }
        for (key, entry) in node.local_expectations.table() {
            let expect = &entry.expect;
            let claimed = self.claims.is_expect_as_claimed(key, expect);
            if !claimed && can_be_told(expect) {
                self.claims.claim_expect(key, &entry.expect);
            }
        }
    }

    /// An expectation as it is sent, with the seconds that are left of its kernel's lifetime.
    pub(super) fn expectation_record(
        node: &Node,
        now: Instant,
        key: &ExpectKey,
    ) -> Option<Expectation> {
        let entry = node.local_expectations.table().get(key)?;
        let age_s = seconds(now).saturating_sub(entry.updated_s());
        let left_s = entry.expect.timeout_s.map(|left_s| left_s.saturating_sub(age_s));
        Some(entry.expect.clone().with(|expect| expect.timeout_s = left_s))
    }

    /// A peer sends expectations.
    pub(super) fn on_expects(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: AssociationId,
        expects: &Expectations<'_>,
    ) {
        for record in expects.records() {
            match record {
                Ok(record) => self.on_expect(node, now, from, record),
                Err(_) => self.count(from, |counts| counts.malformed += 1),
            }
        }
    }

    fn on_expect(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: AssociationId,
        record: ExpectRecord,
    ) {
        let ExpectRecord { version, what, expect } = record;
        let Some(peer) = self.peers.get_mut(from.0) else { return };
        if !peer.has(|| self.claims.expect_slice(&expect)) {
            peer.counts.malformed += 1;
            return;
        }
        let (key, at_version) = (ExpectKey::of(&expect), (peer.run, version));
        let place = (key, peer.owner);
        if !self.claims.is_expect_news(&place, at_version, (!what.is_end()).then_some(&expect)) {
            peer.counts.again += 1;
            return;
        }
        peer.counts.taken += 1;
        if what.is_end() {
            self.claims.end_held_expect(place, at_version, now);
            self.drop_lapsed(node, now, &key);
        } else if node.remote_expectations.has_room_for(&key) {
            self.claims.hold_expect(place, at_version, (expect, now));
        } else {
            // The sums differ from now on, and a comparison asks for it again.
            peer.counts.no_space += 1;
            node.counters.remote_expectations.create_no_space += 1;
        }
        self.show_expectation(node, now, &key);
    }

    /// An expectation was over: peers that are silent, or released it, must not keep it for ever.
    fn drop_lapsed(&mut self, node: &mut Node, now: Instant, key: &ExpectKey) {
        let peers = &self.peers;
        let lapsed = |owner: Owner, held: &HeldExpect| {
            held.released || peers.iter().any(|peer| peer.owner == owner && !peer.up)
        };
        let held = self.claims.expects.held_of(key);
        let owners: Vec<Owner> =
            held.filter(|(owner, held)| lapsed(*owner, held)).map(|(owner, _)| owner).collect();
        if !owners.is_empty() {
            owners.iter().for_each(|owner| self.claims.take_out_expect(&(*key, *owner)));
            self.show_expectation(node, now, key);
        }
    }

    /// The remote table, and the kernel of a hot node, follow what peers say of an expectation.
    fn show_expectation(&mut self, node: &mut Node, now: Instant, key: &ExpectKey) {
        let shown = self.claims.expects.held_of(key).next();
        let shown = shown.and_then(|(_, held)| Some((held.expect.clone()?, held.at)));
        let gone = shown.is_none();
        let known =
            node.remote_expectations.show(&mut node.counters.remote_expectations, key, shown);
        if gone && known && self.cluster.hot && !self.claims.expects.is_own(key) {
            node.counters.inject_expectations.destroyed += 1;
            let request = Request::DeleteExpectation(target(&key.identity()));
            let _queued = node.kernel.push(Purpose::InjectExpectEnd, request);
        }
        if !gone {
            self.write_expectation(node, now, key);
            let due = now + if self.cluster.hot { WRITE_EVERY } else { LOOK_EVERY };
            self.expects.due = Some(self.expects.due.map_or(due, |before| before.min(due)));
        }
    }

    /// Hot: an expectation of a peer goes into the kernel, if that has the flow that it belongs to. Whether there is
    /// nothing more to do about it.
    fn write_expectation(&mut self, node: &mut Node, now: Instant, key: &ExpectKey) -> bool {
        if !self.cluster.hot || self.claims.expects.is_own(key) {
            return true;
        }
        if self.claims.expects.held_of(key).any(|(_, held)| held.written) {
            return true;
        }
        if node.local_expectations.disown(key) {
            // An earlier run of this daemon wrote it.
            self.claims.expects.note_written(key, true);
            return true;
        }
        let first = self.claims.expects.held_of(key).next();
        let owned = first.and_then(|(_, held)| Some((held.expect.clone()?, held.at)));
        let Some((expect, at)) = owned else { return true };
        let master = FlowKey::new(key.master, key.zone);
        if !node.is_own(&master) && !node.remote.made(&master) {
            return false;
        }
        let age_s = now.since(at).as_secs() as u32;
        if let Some(expect) = writable(&node.config, expect, age_s) {
            let request = Request::CreateExpectation(Box::new(expect));
            if !node.kernel.push(Purpose::InjectExpect, request) {
                return false;
            }
            node.counters.inject_expectations.created += 1;
        }
        self.claims.expects.note_written(key, true);
        true
    }

    /// Drops expectations that are over without an event; tries again those that could not be written yet.
    fn look_at_held_expectations(&mut self, node: &mut Node, now: Instant) {
        let (mut over, mut unwritten) = (Vec::new(), Vec::new());
        for ((key, owner), held) in self.claims.expects.held() {
            let speaks = self.peers.iter().any(|peer| peer.owner == *owner && peer.up);
            if (!speaks || held.released) && held.is_outlived(now, SLACK) {
                over.push((*key, *owner));
            } else if self.cluster.hot && !held.written {
                unwritten.push(*key);
            }
        }
        for place in over {
            self.claims.take_out_expect(&place);
            self.show_expectation(node, now, &place.0);
        }
        let mut waits = false;
        for key in unwritten {
            waits |= !self.write_expectation(node, now, &key);
        }
        let any = self.claims.expects.held().next().is_some();
        let every = if waits { WRITE_EVERY } else { LOOK_EVERY };
        self.expects.due = any.then(|| now + every);
    }

    /// A comparison found that an owner does not claim expectations with these ids, which are in order.
    pub(super) fn drop_unlisted_expectations(
        &mut self,
        node: &mut Node,
        now: Instant,
        (owner, ids): (Owner, &[wire::sync::v2::digest::FlowId]),
    ) -> u64 {
        let keys = self.claims.expects.with_ids(owner, |id| ids.binary_search(&id).is_ok());
        for key in &keys {
            self.claims.take_out_expect(&(*key, owner));
            self.show_expectation(node, now, key);
        }
        keys.len() as u64
    }

    /// The kernel of a hot node has not the flow that an expectation belongs to: it is written when that comes.
    pub(super) fn on_expectation_without_master(&mut self, key: &ExpectKey) {
        self.claims.expects.note_written(key, false);
        self.expects.due = Some(self.expects.due.unwrap_or_default());
    }

    /// Whether a commit takes over an expectation: that of a peer that does not carry its flows, and not this
    /// node's own.
    pub(super) fn may_take_expectation(&self, key: &ExpectKey) -> bool {
        let mut held = self.claims.expects.held_of(key);
        let meant = held.any(|(owner, held)| {
            let peer = self.peers.iter().find(|peer| peer.owner == owner);
            peer.is_some_and(|peer| self.may_take(held.released, owner, peer))
        });
        meant && !self.claims.expects.is_own(key)
    }

    /// When [`V2::follow_expectations`] has something to do, if nothing happens before.
    pub(super) const fn expectations_due(&self) -> Option<Instant> {
        self.expects.due
    }
}

fn can_be_told(expect: &Expectation) -> bool {
    expect.master.is_known() && expect.tuple.is_known()
}
