//! Expectations between the kernel, the tables and the peer.

use super::{Node, Peers};
use crate::config::{Mode, limit};
use crate::errno::ENOENT;
use crate::expectations::{
    self, ExpectCommit, ExpectEntry, ExpectKey, News, is_expect_commit, next_after,
};
use crate::failover::Commit;
use crate::input::{CommandId, Origin};
use crate::kernel::{InFlight, Purpose};
use crate::message_id::MessageId;
use crate::output::{Event, Request, Side};
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::{Change, Expectation, Flow, FlowKey};

/// Why a command about expectations is refused.
const OFF: &str = "expectations are not replicated (ExpectationSync)";

/// The kernel's expectations are being read.
#[derive(Debug)]
pub(super) struct ExpectDump {
    began: Instant,
    /// The first reading, at start, which is not sent to peers.
    first: bool,
    /// Another dump was requested meanwhile: this one's results may be outdated.
    again: bool,
    /// Operators who wait for it.
    commands: Vec<CommandId>,
}

impl Node {
    /// Expectations of one of the two tables, from behind `last` on, in order of identity.
    pub fn expectations(
        &self,
        side: Side,
        mut last: Option<ExpectKey>,
    ) -> impl Iterator<Item = (&ExpectKey, &ExpectEntry)> {
        let table = match side {
            Side::Local => self.local_expectations.table(),
            Side::Remote => self.remote_expectations.table(),
        };
        core::iter::from_fn(move || {
            let (key, entry) = next_after(table, last)?;
            last = Some(*key);
            Some((key, entry))
        })
    }

    /// How many expectations the local and the remote table hold.
    #[must_use]
    pub fn expectation_counts(&self) -> [usize; 2] {
        [self.local_expectations.table().len(), self.remote_expectations.table().len()]
    }

    /// Whether all has been read that the kernel held at the start.
    pub(crate) fn has_read_all(&self) -> bool {
        self.is_loaded() && !self.reads_expectations()
    }

    /// Whether the kernel's expectations are being read.
    pub(crate) const fn reads_expectations(&self) -> bool {
        self.expect_dump.is_some()
    }

    /// Whether an expectation is this engine's: it belongs where its master does.
    fn has_master_of(&self, expect: &Expectation) -> bool {
        self.config.share.holds(&FlowKey::new(expect.master, expect.zone.unwrap_or(0)))
    }

    /// Whether an expectation is replicated.
    fn counts(&self, expect: &Expectation) -> bool {
        let helper = expect.helper.as_ref().map(ctnetlink::flow::Name::as_str);
        self.config.expectations.counts(helper)
            && self.config.filter.passes(&Flow::new(expect.master))
    }

    pub(crate) fn on_expect_event(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        (event, expect): (Change, Expectation),
        origin: Origin,
    ) {
        if !self.has_master_of(&expect) {
            return;
        }
        // The end of an expectation in the table is sent, whatever its helper is by then.
        if event != Change::Destroy && !self.counts(&expect) {
            self.counters.filtered += 1;
            return;
        }
        let counters = &mut self.counters.local_expectations;
        let copy = expect.clone();
        match self.local_expectations.on_event(counters, event, expect, origin, now) {
            News::Tell => session.on_expectation(&copy, &mut self.counters.replica),
            News::Withdraw => session.withdraw_expectation(&ExpectKey::of(&copy)),
            News::Keep => {}
        }
    }

    pub(crate) fn on_expect_message(
        &mut self,
        now: Instant,
        (change, expect): (Change, Expectation),
        message: MessageId,
    ) {
        let Self { config, kernel, counters, remote_expectations: remote, .. } = self;
        if config.replication.keep_remote {
            let counters = &mut counters.remote_expectations;
            remote.on_message(counters, (change, expect), message, now);
        } else {
            remote.inject(config, kernel, counters, (change, expect), message);
        }
    }

    /// Has the kernel's expectations read for an operator.
    pub(crate) fn read_expectations(&mut self, now: Instant, id: CommandId) {
        if self.config.expectations.any() {
            self.start_expect_dump(now, alloc::vec![id], false);
        } else {
            self.tell(Event::CommandRefused(id, OFF));
        }
    }

    /// Has the kernel's expectations read, if any count; once more if they are being read.
    pub(crate) fn start_expect_dump(
        &mut self,
        now: Instant,
        commands: Vec<CommandId>,
        first: bool,
    ) {
        if !self.config.expectations.any() {
            return;
        }
        if let Some(dump) = &mut self.expect_dump {
            dump.again = true;
            dump.commands.extend(commands);
        } else if self.kernel.push(Purpose::Read, Request::DumpExpectations) {
            self.local_expectations.on_dump_started();
            self.expect_dump = Some(ExpectDump { began: now, first, again: false, commands });
        } else {
            self.answer(commands, false);
        }
    }

    pub(crate) fn on_dumped_expectation(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        expect: Expectation,
    ) {
        let Some(dump) = &self.expect_dump else { return };
        if !self.has_master_of(&expect) {
            return;
        }
        let key = ExpectKey::of(&expect);
        let known = self.local_expectations.table().contains_key(&key);
        // What was written straight into the kernel is the peer's.
        let theirs = (self.remote.is_hot() || !self.config.replication.keep_remote)
            && !known
            && self.remote_expectations.has_heard_of(&key);
        let first = dump.first;
        if theirs || !self.counts(&expect) {
            return;
        }
        let counters = &mut self.counters.local_expectations;
        let copy = expect.clone();
        // Version 2 looks at all of them when they have been read.
        let known = first || self.config.cluster.is_some();
        if self.local_expectations.on_dumped(counters, expect, known, now) {
            session.on_expectation(&copy, &mut self.counters.replica);
        }
    }

    pub(crate) fn on_expect_dump_done(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        complete: bool,
    ) {
        let Some(ExpectDump { began, again, commands, .. }) = self.expect_dump.take() else {
            return;
        };
        let counters = &mut self.counters.local_expectations;
        for gone in self.local_expectations.on_dump_done(counters, began, complete) {
            session.on_expectation(&gone, &mut self.counters.replica);
        }
        session.on_expectations_read();
        if again {
            self.start_expect_dump(now, commands, false);
        } else {
            self.answer(commands, complete);
        }
    }

    /// Begins a commit of flows, of expectations or of both.
    pub(crate) fn start_commit(
        &mut self,
        now: Instant,
        id: CommandId,
        (flows, expectations): (bool, bool),
    ) {
        let replicates = self.config.expectations.any();
        if self.is_committing() {
            self.tell(Event::CommandRefused(id, "a commit is still in progress"));
            return;
        }
        if !flows && !replicates {
            self.tell(Event::CommandRefused(id, OFF));
            return;
        }
        self.tell(Event::CommitStarted { flows, expectations });
        if flows {
            self.commit = Some(Commit::new(id, now, self.config.share.count));
            // Events of the last commit may still come in, and a transfer have been sent since it began.
            let recent = |began: &Instant| now.since(*began) < limit::COMMIT_EVENTS;
            self.commit_began = self.commit_began.filter(recent).or(Some(now));
            self.expectations_follow = expectations && replicates;
        } else {
            self.expect_commit = Some(ExpectCommit::new(id, now));
        }
    }

    pub(crate) fn advance_expect_commit(&mut self, session: &mut impl Peers, now: Instant) {
        let Some(commit) = &mut self.expect_commit else { return };
        if session.holds_commit() {
            return;
        }
        let takes = |key: &ExpectKey| session.takes_expectation(key);
        let from = (&self.config, &self.remote_expectations, &takes as &dyn Fn(&ExpectKey) -> bool);
        if let Some(done) = commit.step(from, &mut self.kernel, now) {
            let id = commit.id;
            self.expect_commit = None;
            session.on_commit_done();
            self.tell(done);
            self.tell(Event::CommandDone(id));
        }
    }

    pub(crate) fn on_expect_failed(
        &mut self,
        session: &mut impl Peers,
        now: Instant,
        op: InFlight,
        errno: i32,
    ) {
        let (what, flow) = match &op.request {
            Request::CreateExpectation(e) => ("create expectation", expectations::target(e)),
            Request::DeleteExpectation(key) => ("delete expectation", *key),
            _ => return self.on_expect_dump_done(session, now, false),
        };
        let to_tell = match &mut self.expect_commit {
            Some(commit) if is_expect_commit(op.purpose) => {
                commit.on_failure(&mut self.kernel, op, errno)
            }
            _ => {
                if let (Request::CreateExpectation(expect), ENOENT) = (&op.request, errno) {
                    session.on_expectation_without_master(&ExpectKey::of(expect));
                }
                let counters = &mut self.counters.inject_expectations;
                expectations::on_inject_failed(&mut self.kernel, counters, op, errno)
            }
        };
        if to_tell {
            self.tell(Event::WriteFailed { what, flow, errno });
        }
    }

    /// ALARM: sends expectations again, and forgets those of the peer that it did not send again.
    pub(crate) fn look_at_expectations(&mut self, session: &mut impl Peers, now: Instant) {
        let Mode::Alarm { refresh_s, expire_s } = self.config.replication.mode else { return };
        if now < self.expect_look {
            return;
        }
        self.expect_look = now + limit::EXPECTATIONS_LOOK;
        let counters = &mut self.counters.remote_expectations;
        self.remote_expectations.expire(counters, expire_s, now);
        if now >= self.expect_refresh {
            self.expect_refresh = now + Duration::from_secs(refresh_s.into());
            session.tell_expectations(self);
        }
    }

    /// When to examine expectations next.
    pub(crate) fn expectations_due(&self) -> Option<Instant> {
        let any = self.expectation_counts() != [0, 0];
        (any && !self.config.replication.mode.converses()).then_some(self.expect_look)
    }
}

#[cfg(test)]
mod tests;
