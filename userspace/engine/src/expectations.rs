//! Expectations: flows that a helper in the kernel announces before they begin (`ExpectationSync`).
//!
//! ```text
//!  kernel events, dumps --> Local  --sent or gone?--> outbox        datagrams --> Remote --commit--> kernel
//!                                                                         (or straight into the kernel)
//! ```
//!
//! There are few of them and they live for minutes, so both tables are plain trees that are walked as a whole. Unlike
//! events of flows, those of expectations come in order: the kernel says them under one lock and to one socket.

mod remote;
mod commit;

pub use commit::{ExpectCommit, is_expect_commit};
pub use remote::{Remote, on_inject_failed, target, writable};

use crate::config::limit;
use crate::counters::TableCounters;
use crate::input::Origin;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use common::Instant;
use core::ops::Bound;
use ctnetlink::{Change, Expectation, Tuple};

/// What makes two expectations the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectKey {
    /// Original tuple of the flow whose helper made it.
    pub master: Tuple,
    /// The tuple of the expected flow.
    pub tuple: Tuple,
    /// The bits of `tuple` that count.
    pub mask: Tuple,
    /// Zone, host order; a peer does not send it.
    pub zone: u16,
}

impl ExpectKey {
    /// The key of an expectation.
    #[must_use]
    pub fn of(expect: &Expectation) -> Self {
        let Expectation { master, tuple, mask, zone, .. } = expect;
        Self { master: *master, tuple: *tuple, mask: *mask, zone: zone.unwrap_or(0) }
    }

    /// An expectation of which nothing but this is known.
    #[must_use]
    pub fn identity(&self) -> Expectation {
        let Self { master, tuple, mask, zone } = *self;
        Expectation::new(master, tuple, mask).with(|expect| expect.zone = Some(zone))
    }
}

/// An expectation in a table.
#[derive(Clone, Debug)]
pub struct ExpectEntry {
    /// The expectation.
    pub expect: Expectation,
    /// Local: time of the last news. Remote: place of the last message.
    stamp: u64,
    /// When it was added, seconds.
    pub since_s: u32,
    /// When there was news of it, seconds.
    updated_s: u32,
    /// The peer has received it.
    sent: bool,
    /// The dump under way has shown it.
    shown: bool,
}

impl ExpectEntry {
    /// When there was news of it, seconds.
    #[must_use]
    pub const fn updated_s(&self) -> u32 {
        self.updated_s
    }
}

/// Expectations by their identity.
pub type ExpectTable = BTreeMap<ExpectKey, ExpectEntry>;

/// The next entry of a table, in order of identity.
#[must_use]
pub fn next_after(
    table: &ExpectTable,
    last: Option<ExpectKey>,
) -> Option<(&ExpectKey, &ExpectEntry)> {
    let from = last.map_or(Bound::Unbounded, Bound::Excluded);
    table.range((from, Bound::Unbounded)).next()
}

/// The expectations of this node's kernel.
#[derive(Debug, Default)]
pub struct Local {
    table: ExpectTable,
    /// Expectations that ended while the kernel's table was being read; `None` while it is not.
    ended: Option<BTreeSet<ExpectKey>>,
}

/// Whether the peer receives a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The peer receives the change.
    Tell,
    /// The peer does not receive the change.
    Keep,
    /// The peer does not receive the change, and unsent messages about the expectation are dropped.
    Withdraw,
}

impl Local {
    /// The table.
    #[must_use]
    pub const fn table(&self) -> &ExpectTable {
        &self.table
    }

    /// Takes an event of the kernel. Whether it counts (`ExpectationSync`, the filter) was judged before.
    pub fn on_event(
        &mut self,
        counters: &mut TableCounters,
        event: Change,
        expect: Expectation,
        origin: Origin,
        now: Instant,
    ) -> News {
        let key = ExpectKey::of(&expect);
        if event == Change::Destroy {
            return self.on_end(counters, key, origin);
        }
        if origin == Origin::Inject {
            return News::Keep;
        }
        if event == Change::New {
            // What had its place has ended, and that went unheard.
            self.table.remove(&key);
        }
        if let Some(ended) = &mut self.ended {
            ended.remove(&key);
        }
        // The peer sent what a commit makes this node's own. The expectation may have ended just before, with the
        // master flow that a commit replaces: the peer needs no message about that either.
        let sent = origin == Origin::Commit;
        match self.put(counters, key, expect, sent, now) {
            Some(_) if sent => News::Withdraw,
            Some(_) => News::Tell,
            None => News::Keep,
        }
    }

    fn on_end(&mut self, counters: &mut TableCounters, key: ExpectKey, origin: Origin) -> News {
        if let Some(ended) = &mut self.ended {
            ended.insert(key);
        }
        if self.table.remove(&key).is_none() {
            counters.destroy_not_found += 1;
            return News::Keep;
        }
        counters.destroyed += 1;
        if origin == Origin::Foreign { News::Tell } else { News::Withdraw }
    }

    /// Puts an expectation in its place. `None` when the table is full, else whether a peer would see a change.
    fn put(
        &mut self,
        counters: &mut TableCounters,
        key: ExpectKey,
        expect: Expectation,
        sent: bool,
        now: Instant,
    ) -> Option<bool> {
        let now_s = seconds(now);
        if let Some(entry) = self.table.get_mut(&key) {
            let changed = !is_same(&entry.expect, &expect);
            (entry.expect, entry.stamp, entry.updated_s) = (expect, now.0, now_s);
            entry.sent |= sent;
            counters.updated += 1;
            return Some(changed);
        }
        if self.table.len() >= limit::EXPECTATIONS_MAX {
            counters.create_no_space += 1;
            return None;
        }
        let (since_s, updated_s, stamp) = (now_s, now_s, now.0);
        let entry = ExpectEntry { expect, stamp, since_s, updated_s, sent, shown: false };
        self.table.insert(key, entry);
        counters.created += 1;
        Some(true)
    }

    /// The kernel's table is about to be read.
    pub fn on_dump_started(&mut self) {
        self.ended = Some(BTreeSet::new());
    }

    /// Takes an expectation of a dump. With `known`, the peer is assumed to know it. Returns whether to send it.
    pub fn on_dumped(
        &mut self,
        counters: &mut TableCounters,
        expect: Expectation,
        known: bool,
        now: Instant,
    ) -> bool {
        let key = ExpectKey::of(&expect);
        if self.ended.as_ref().is_some_and(|ended| ended.contains(&key)) {
            return false;
        }
        let changed = self.put(counters, key, expect, known, now);
        if let Some(entry) = self.table.get_mut(&key) {
            entry.shown = true;
        }
        changed == Some(true) && !known
    }

    /// A dump that began at `began` is over: what it did not show and is older has ended. Returns that.
    pub fn on_dump_done(
        &mut self,
        counters: &mut TableCounters,
        began: Instant,
        complete: bool,
    ) -> Vec<Expectation> {
        self.ended = None;
        let mut gone = Vec::new();
        self.table.retain(|_, entry| {
            let stays = core::mem::take(&mut entry.shown) || !complete || entry.stamp >= began.0;
            if !stays {
                counters.destroyed += 1;
                gone.push(entry.expect.clone());
            }
            stays
        });
        gone
    }

    /// The message to the peer about an expectation now: its present state, or its end.
    #[must_use]
    pub fn telling<'a>(&'a self, given: &'a Expectation) -> (Change, &'a Expectation) {
        match self.table.get(&ExpectKey::of(given)) {
            Some(entry) if entry.sent => (Change::Update, &entry.expect),
            Some(entry) => (Change::New, &entry.expect),
            None => (Change::Destroy, given),
        }
    }

    /// An expectation is a peer's, though the kernel showed it. Whether it was here.
    pub fn disown(&mut self, key: &ExpectKey) -> bool {
        self.table.remove(key).is_some()
    }

    /// The peer has received it.
    pub fn note_sent(&mut self, key: &ExpectKey) {
        if let Some(entry) = self.table.get_mut(key) {
            entry.sent = true;
        }
    }

    /// Forgets all.
    pub fn flush(&mut self) {
        self.table.clear();
    }
}

/// Whether a peer would see no difference, lifetimes aside.
fn is_same(a: &Expectation, b: &Expectation) -> bool {
    let shared = |e: &Expectation| {
        e.clone().with(|expect| {
            expect.timeout_s = None;
            expect.id = None;
        })
    };
    shared(a) == shared(b)
}

const fn seconds(now: Instant) -> u32 {
    now.as_secs() as u32
}
