//! The peer's expectations: a table until the commit, or straight into the kernel.

use super::{ExpectEntry, ExpectKey, ExpectTable, seconds};
use crate::bounded::{Bounded, QueueUsage};
use crate::config::{Config, limit};
use crate::counters::{Counters, PassCounters, TableCounters};
use crate::errno::{EEXIST, ENOENT};
use crate::kernel::{InFlight, KernelQueue, Purpose};
use crate::message_id::{MessageId, OrderByPeer, PeerId};
use crate::output::Request;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use common::Instant;
use ctnetlink::Change;
use ctnetlink::expectation::flag;
use ctnetlink::{Expectation, FlowKey};

/// The peer's expectations.
#[derive(Debug, Default)]
pub struct Remote {
    table: ExpectTable,
    ends: Ends,
    /// By peer: order of its last message before the last flush.
    flushed: OrderByPeer,
    /// By peer: order of the first message of its last transfer that is here without a hole.
    transferred: OrderByPeer,
}

/// Places of the last messages about expectations that are in no table.
#[derive(Debug)]
struct Ends {
    places: BTreeMap<ExpectKey, MessageId>,
    queue: Bounded<(ExpectKey, MessageId)>,
}

impl Default for Ends {
    fn default() -> Self {
        Self { places: BTreeMap::new(), queue: Bounded::new(limit::TOMBSTONES_MAX) }
    }
}

impl Ends {
    fn note(&mut self, key: ExpectKey, place: MessageId) {
        if let Some((oldest, at)) = self.queue.displace((key, place))
            && self.places.get(&oldest) == Some(&at)
        {
            self.places.remove(&oldest);
        }
        self.places.insert(key, place);
    }
}

impl Remote {
    /// The table.
    #[must_use]
    pub const fn table(&self) -> &ExpectTable {
        &self.table
    }

    /// Ends that are remembered.
    #[must_use]
    pub fn ends(&self) -> QueueUsage {
        self.ends.queue.usage()
    }

    /// Takes a peer's word about an expectation. One that was overtaken by a later one of that peer about the same
    /// expectation changes nothing.
    pub fn on_message(
        &mut self,
        counters: &mut TableCounters,
        (change, expect): (Change, Expectation),
        message: MessageId,
        now: Instant,
    ) {
        let key = ExpectKey::of(&expect);
        if self.is_overtaken(&key, message) || self.is_outdated(change, message) {
            counters.stale += 1;
            return;
        }
        let now_s = seconds(now);
        let full = self.table.len() >= limit::EXPECTATIONS_MAX;
        match (change, self.table.get_mut(&key)) {
            (Change::Destroy, known) => {
                let count = match known {
                    Some(_) => &mut counters.destroyed,
                    None => &mut counters.destroy_not_found,
                };
                *count += 1;
                self.table.remove(&key);
                self.ends.note(key, message);
            }
            (_, Some(entry)) => {
                if change == Change::New {
                    entry.since_s = now_s;
                }
                (entry.expect, entry.stamp, entry.updated_s) = (expect, message.stamp(), now_s);
                counters.updated += 1;
            }
            (_, None) if full => counters.create_no_space += 1,
            (_, None) => {
                let stamp = message.stamp();
                let (sent, shown) = (false, false);
                let (since_s, updated_s) = (now_s, now_s);
                let entry = ExpectEntry { expect, stamp, since_s, updated_s, sent, shown };
                self.table.insert(key, entry);
                counters.created += 1;
            }
        }
    }

    /// Whether there is room for an expectation.
    #[must_use]
    pub fn has_room_for(&self, key: &ExpectKey) -> bool {
        self.table.len() < limit::EXPECTATIONS_MAX || self.table.contains_key(key)
    }

    /// Version 2: an expectation is as peers said at that time, or no peer claims it any more. Returns whether it was
    /// here.
    pub fn show(
        &mut self,
        counters: &mut TableCounters,
        key: &ExpectKey,
        shown: Option<(Expectation, Instant)>,
    ) -> bool {
        let Some((expect, at)) = shown else {
            let known = self.table.remove(key).is_some();
            counters.destroyed += u64::from(known);
            return known;
        };
        let since_s = self.table.get(key).map(|entry| entry.since_s);
        let known = since_s.is_some();
        counters.updated += u64::from(known);
        counters.created += u64::from(!known);
        let updated_s = seconds(at);
        let (stamp, sent, shown, since_s) = (0, false, false, since_s.unwrap_or(updated_s));
        let entry = ExpectEntry { expect, stamp, since_s, updated_s, sent, shown };
        self.table.insert(*key, entry);
        known
    }

    /// Writes the peer's word straight into the kernel, unless a later one about it came first.
    pub fn inject(
        &mut self,
        config: &Config,
        kernel: &mut KernelQueue,
        counters: &mut Counters,
        (change, expect): (Change, Expectation),
        message: MessageId,
    ) {
        let key = ExpectKey::of(&expect);
        if self.is_overtaken(&key, message) || self.is_outdated(change, message) {
            counters.remote_expectations.stale += 1;
            return;
        }
        self.ends.note(key, message);
        let written = &mut counters.inject_expectations;
        let count = match change {
            Change::New => &mut written.created,
            Change::Update => &mut written.updated,
            Change::Destroy => &mut written.destroyed,
        };
        *count += 1;
        if change == Change::Destroy {
            let request = Request::DeleteExpectation(target(&expect));
            kernel.push(Purpose::InjectExpectEnd, request);
        } else if let Some(expect) = writable(config, expect, 0) {
            kernel.push(Purpose::InjectExpect, Request::CreateExpectation(Box::new(expect)));
        }
    }

    fn is_overtaken(&self, key: &ExpectKey, message: MessageId) -> bool {
        let entry = self.table.get(key).and_then(|entry| MessageId::from_stamp(entry.stamp));
        let mut words = [entry, self.ends.places.get(key).copied()].into_iter().flatten();
        words.any(|last| message.is_overtaken_by(last))
            || message.order() <= self.flushed.of(message.peer())
    }

    /// As [`Remote::is_outdated`](crate::remote::Remote).
    fn is_outdated(&self, change: Change, message: MessageId) -> bool {
        change != Change::Destroy && message.order() < self.transferred.of(message.peer())
    }

    /// A peer has named all its expectations in messages from order `base` on: those it named only before that do not
    /// exist there.
    pub fn sweep(&mut self, counters: &mut TableCounters, peer: PeerId, base: u64) {
        self.transferred.set(peer, base);
        let before = self.table.len();
        self.table.retain(|_, entry| {
            let message = MessageId::from_stamp(entry.stamp);
            message.is_none_or(|message| message.peer() != peer || message.order() >= base)
        });
        counters.destroyed += (before - self.table.len()) as u64;
    }

    /// Whether an expectation is the peer's, or was a moment ago.
    #[must_use]
    pub fn has_heard_of(&self, key: &ExpectKey) -> bool {
        self.table.contains_key(key) || self.ends.places.contains_key(key)
    }

    /// Removes expectations that were not refreshed for `after_s` seconds (ALARM).
    pub fn expire(&mut self, counters: &mut TableCounters, after_s: u32, now: Instant) {
        let before = self.table.len();
        self.table.retain(|_, e| seconds(now).saturating_sub(e.updated_s) < after_s);
        counters.destroyed += (before - self.table.len()) as u64;
    }

    /// Forgets all. `orders` are those of the latest message of each peer.
    pub fn flush(&mut self, orders: impl Iterator<Item = u64>) {
        self.table.clear();
        self.ends.places.clear();
        self.ends.queue.clear();
        self.flushed = orders.collect();
    }
}

/// Handles an injection's failure: tries another way, or counts it. Returns whether to report the failure.
pub fn on_inject_failed(
    kernel: &mut KernelQueue,
    counters: &mut PassCounters,
    op: InFlight,
    errno: i32,
) -> bool {
    match (op.purpose, op.request, errno) {
        (Purpose::InjectExpectEnd, _, ENOENT) => return false,
        (Purpose::InjectExpectEnd, ..) => counters.destroy_failed += 1,
        (Purpose::InjectExpect, Request::CreateExpectation(expect), EEXIST) => {
            write_anew(kernel, expect, Purpose::InjectExpectAgain);
            return false;
        }
        _ => counters.create_failed += 1,
    }
    true
}

/// Removes what is in the way and writes the expectation. False when there is no room for that.
pub(super) fn write_anew(
    kernel: &mut KernelQueue,
    expect: Box<Expectation>,
    purpose: Purpose,
) -> bool {
    kernel.push(Purpose::Clearing, Request::DeleteExpectation(target(&expect)))
        && kernel.push(purpose, Request::CreateExpectation(expect))
}

/// What the kernel finds an expectation by.
#[must_use]
pub fn target(expect: &Expectation) -> FlowKey {
    FlowKey::new(expect.tuple, expect.zone.unwrap_or(0))
}

/// The expectation as it can be written into a kernel, `age_s` seconds after the peer spoke of it; `None` if it has
/// ended since. A permanent one may have been renewed, of which the kernel says nothing.
#[must_use]
pub fn writable(config: &Config, mut expect: Expectation, age_s: u32) -> Option<Expectation> {
    let left_s = expect.timeout_s.map(|seconds| seconds.saturating_sub(age_s));
    let permanent = expect.flags.unwrap_or(0) & flag::PERMANENT != 0;
    let left_s = match left_s {
        Some(0) if !permanent => return None,
        Some(0) | None => limit::LIFETIME_UNTOLD_S,
        Some(left_s) => left_s,
    };
    expect.timeout_s = Some(config.commit_timeout_s.unwrap_or(left_s));
    expect.id = None;
    Some(expect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;

    #[test]
    fn what_a_transfer_did_not_name_goes_and_does_not_come_back_late() {
        let (mut remote, mut counters) = (Remote::default(), TableCounters::default());
        let tuple = |port| Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(0, port);
        let expect = Expectation::new(tuple(5000), tuple(u16::MAX), tuple(21));
        let mut hear = |remote: &mut Remote, change, order| {
            let message = MessageId::new(PeerId::FIRST, order);
            remote.on_message(&mut counters, (change, expect.clone()), message, Instant(0));
            remote.table().len()
        };
        assert_eq!(hear(&mut remote, Change::New, 10), 1);
        remote.sweep(&mut TableCounters::default(), PeerId::FIRST, 20);
        assert_eq!(hear(&mut remote, Change::Update, 15), 0);
        assert_eq!(hear(&mut remote, Change::New, 21), 1);
    }
}
