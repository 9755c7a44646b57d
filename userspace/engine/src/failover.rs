//! The commit: the peer's flows become flows of this node's kernel.
//!
//! ```text
//!  start --> flows without master --> settled --> flows with such a master --> settled --> ... --> late ones --> done
//!              step by step, so that events and messages go on in between
//! ```
//!
//! An expected flow needs its master in the kernel, and the master may be expected too (media, control connection,
//! signalling). So there is one pass per generation. Masters may appear and disappear during the commit and change the
//! generation of a flow: each pass takes all remaining flows up to its generation.
//!
//! A local flow may occupy the reply tuple of a peer's flow until the commit replaces it. So the commit retries flows
//! whose tuple was taken by another identity once more at the end. With several shards, a master may belong to another
//! one, which commits at the same time: flows wait for theirs at the end ([`orphans`]).

mod orphans;

use crate::config::{Config, limit};
use crate::errno::{EEXIST, ENOENT};
use crate::flows::table::{Entry, FlowTable, Slot};
use crate::input::CommandId;
use crate::kernel::{InFlight, KernelQueue, Purpose};
use crate::local::seconds;
use crate::output::{Event, Request};
use crate::remote::{Remote, without_master, writable};
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::FlowKey;
use orphans::Orphans;

/// Most generations. What claims to be deeper, and what claims to be its own ancestor, comes with the last.
const GENERATIONS_MAX: usize = 4;

/// What a commit reads: the settings, the peers' flows, and a function that takes a slot and the time of its last
/// change and returns the age of the received lifetime in seconds (`None`: the commit skips the flow).
type From<'a> = (&'a Config, &'a Remote, &'a dyn Fn(Slot, u32) -> Option<u32>);

/// A commit under way.
#[derive(Debug)]
pub struct Commit {
    /// The command that asked for the commit.
    pub id: CommandId,
    began: Instant,
    /// Which generation is being written, and the latest one that was seen.
    pass: usize,
    latest: usize,
    cursor: Option<Slot>,
    /// Slots whose flows have been taken, one bit each.
    taken: Vec<u64>,
    /// Flows that found their place taken by another identity, at most [`limit::COMMIT_LATE_MAX`].
    late: Vec<FlowKey>,
    /// Flows that wait for another shard to write their master.
    orphans: Orphans,
    /// Requests not settled yet.
    open: usize,
    committed: u64,
    failed: u64,
    /// A place was cleared, and nothing was written there.
    emptied: bool,
}

impl Commit {
    /// Begins a commit, in one of so many shards.
    #[must_use]
    pub fn new(id: CommandId, now: Instant, shards: usize) -> Self {
        Self {
            id,
            began: now,
            pass: 0,
            latest: 0,
            cursor: Some(0),
            taken: Vec::new(),
            late: Vec::new(),
            orphans: Orphans::new(shards),
            open: 0,
            committed: 0,
            failed: 0,
            emptied: false,
        }
    }

    /// Whether the commit cleared a place and left it empty since this was last asked: the flow that was there ended,
    /// and its end looks like a part of the commit.
    pub const fn take_emptied(&mut self) -> bool {
        core::mem::replace(&mut self.emptied, false)
    }

    /// Requests that the kernel has answered.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.committed + self.failed
    }

    /// Queues the next requests while few are open. `Some` when everything is settled.
    pub fn step(
        &mut self,
        from: From<'_>,
        kernel: &mut KernelQueue,
        now: Instant,
    ) -> Option<Event> {
        while let Some(slot) = self.cursor.filter(|_| kernel.len() < limit::KERNEL_IN_FLIGHT_MAX) {
            self.cursor = self.walk(slot, from, kernel);
        }
        if self.cursor.is_some() || self.open > 0 {
            return None;
        }
        if self.pass < self.latest {
            (self.pass, self.cursor) = (self.pass + 1, Some(0));
            return self.step(from, kernel, now);
        }
        self.try_late(from, kernel, now);
        if !self.late.is_empty() || self.open > 0 {
            return None;
        }
        self.try_orphans(from, kernel, now);
        if !self.orphans.is_empty() || self.open > 0 {
            return None;
        }
        let (committed, failed, took) = (self.committed, self.failed, now.since(self.began));
        Some(Event::CommitDone { committed, failed, took })
    }

    /// Queues the flows of up to one step of slots; returns where to go on.
    fn walk(
        &mut self,
        mut next: Slot,
        (config, remote, age_s): From<'_>,
        kernel: &mut KernelQueue,
    ) -> Option<Slot> {
        for _ in 0..limit::COMMIT_STEP {
            let (slot, entry) = remote.table().next(next)?;
            next = slot + 1;
            let generation = generation(entry, remote.table());
            self.latest = self.latest.max(generation);
            if generation <= self.pass
                && let Some(age_s) = age_s(slot, entry.updated_s)
                && self.take(slot)
            {
                let made = remote.made(&entry.key());
                self.write((Purpose::Commit, made), entry, config, kernel, age_s);
            }
        }
        Some(next)
    }

    /// Takes the flow of a slot; false if it has been taken before.
    fn take(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if self.taken.len() <= word {
            self.taken.resize(word + 1, 0);
        }
        let before = self.taken[word];
        self.taken[word] |= bit;
        before & bit == 0
    }

    /// Queues the flows that found their place taken once more, while few requests are open.
    fn try_late(&mut self, (config, remote, _): From<'_>, kernel: &mut KernelQueue, now: Instant) {
        while kernel.len() < limit::KERNEL_IN_FLIGHT_MAX
            && let Some(key) = self.late.pop()
        {
            self.write_again((Purpose::CommitLast, key), (config, remote), kernel, now);
        }
    }

    /// Queues the flows that wait for their masters, if it is time, while few requests are open.
    fn try_orphans(
        &mut self,
        (config, remote, _): From<'_>,
        kernel: &mut KernelQueue,
        now: Instant,
    ) {
        if self.orphans.is_empty() || !self.orphans.begin(now) {
            return;
        }
        while kernel.len() < limit::KERNEL_IN_FLIGHT_MAX
            && let Some(key) = self.orphans.pop()
        {
            self.write_again((Purpose::Commit, key), (config, remote), kernel, now);
        }
    }

    /// When [`Commit::step`] has something to do though nothing is settled.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.orphans.due()
    }

    /// Queues a flow that was tried before.
    fn write_again(
        &mut self,
        (purpose, key): (Purpose, FlowKey),
        (config, remote): (&Config, &Remote),
        kernel: &mut KernelQueue,
        now: Instant,
    ) {
        match remote.table().get(&key) {
            Some(entry) => {
                let age_s = seconds(now).saturating_sub(entry.updated_s);
                self.write((purpose, false), entry, config, kernel, age_s);
            }
            // The peer has ended it since.
            None => (self.failed, self.emptied) = (self.failed + 1, true),
        }
    }

    /// `made`: the kernel has it, because an injection of this node's wrote it: it gets its full time.
    fn write(
        &mut self,
        (purpose, made): (Purpose, bool),
        entry: Entry<'_>,
        config: &Config,
        kernel: &mut KernelQueue,
        age_s: u32,
    ) {
        let flow = writable(config, entry.flow(), age_s);
        let request = if made { Request::Update(flow) } else { Request::Create(flow) };
        if kernel.push(purpose, request) {
            self.open += 1;
        } else {
            self.failed += 1;
        }
    }

    /// A request of the commit succeeded.
    pub fn on_success(&mut self, op: &InFlight) {
        if is_commit(op.purpose) {
            self.open = self.open.saturating_sub(1);
            self.committed += 1;
        }
    }

    /// A request of the commit failed. What is in the way is removed, once; an entry that exists all the same is
    /// retried at the end; a missing master is left out, if no other shard may write it. Returns whether to report the
    /// failure.
    pub fn on_failure(&mut self, kernel: &mut KernelQueue, op: InFlight, errno: i32) -> bool {
        let cleared = op.purpose != Purpose::Commit;
        let again = match (op.purpose, op.request, errno) {
            (Purpose::Commit, Request::Create(flow), EEXIST) => {
                kernel.push(Purpose::Clearing, Request::Delete(flow.key(), None));
                Some((Purpose::CommitAgain, flow))
            }
            (Purpose::Commit, Request::Update(flow), ENOENT) => Some((Purpose::CommitAgain, flow)),
            (Purpose::CommitAgain, Request::Create(flow), EEXIST)
                if self.late.len() < limit::COMMIT_LATE_MAX =>
            {
                self.late.push(flow.key());
                self.open = self.open.saturating_sub(1);
                return false;
            }
            (Purpose::Commit | Purpose::CommitAgain, Request::Create(flow), ENOENT)
                if flow.master().is_some() && self.orphans.wait(flow.key()) =>
            {
                self.open = self.open.saturating_sub(1);
                return false;
            }
            (purpose, Request::Create(flow), ENOENT) if flow.master().is_some() => {
                let last = purpose == Purpose::CommitLast;
                let purpose = if last { purpose } else { Purpose::CommitAgain };
                Some((purpose, without_master(flow)))
            }
            _ => None,
        };
        if let Some((purpose, flow)) = again
            && kernel.push(purpose, Request::Create(flow))
        {
            return false;
        }
        self.open = self.open.saturating_sub(1);
        self.failed += 1;
        self.emptied |= cleared;
        true
    }
}

/// How many of a flow's ancestors are flows of the peer, too.
fn generation<'a>(mut entry: Entry<'a>, table: &'a FlowTable) -> usize {
    let mut depth = 0;
    while let Some(master) = entry.master().filter(|_| depth < GENERATIONS_MAX) {
        depth += 1;
        // A master that is no flow of the peer's is in the kernel already, or will not be.
        let Some(known) = table.get(&FlowKey::new(*master, entry.zone())) else { break };
        entry = known;
    }
    depth
}

/// Whether a request belongs to a commit.
#[must_use]
pub const fn is_commit(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Commit | Purpose::CommitAgain | Purpose::CommitLast)
}

#[cfg(test)]
mod tests;
