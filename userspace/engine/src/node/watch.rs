//! Flows without kernel events, and audits of the local table.
//!
//! With `nf_conntrack_events=2` (the default), a flow that began before the first subscription has no event
//! extension: the kernel reports neither its changes nor its end (`nf_ct_ecache_ext_add`, Linux 5.19 and later). Such
//! flows come from dumps ([`Marks::NO_EVENTS`]). The node queries them periodically: one by one if they are few, by a
//! dump if they are many. The first event of a flow clears the mark.
//!
//! Flows known only from packets may never be confirmed ([`Marks::UNCONFIRMED`]). The node queries each of them once,
//! in small steps, unless an event arrives first.
//!
//! [`Marks::NO_EVENTS`]: crate::flows::table::Marks::NO_EVENTS
//! [`Marks::UNCONFIRMED`]: crate::flows::table::Marks::UNCONFIRMED
//!
//! An *audit* is a dump that compares the local table with the kernel's. Audits are rare where all changes cause events
//! and the kernel's flow count is compared continuously; they are more frequent where a filter or other shards make the
//! counts incomparable, or where other programs change flows without events.
//!
//! The node repeats a dump that failed or that the kernel marked as inconsistent.

use super::{Node, Peers};
use crate::config::{Config, limit};
use crate::flows::table::Slot;
use crate::share::Share;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;

/// Cursor of the scan of silent flows.
#[derive(Debug)]
pub(super) struct Watch {
    /// When to go on.
    next: Instant,
    /// Where the round goes on, and when it began; `None` between two rounds.
    round: Option<(Slot, Instant)>,
    /// How many readings were incomplete since the last one that was not.
    torn: u32,
    /// When the next audit begins.
    audit: Instant,
    /// Requests an audit, for flows that no event reported before this time.
    unreported: Option<Instant>,
    /// How long the last reading took.
    took: Duration,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        let audit = now + limit::AUDIT_PAUSE;
        Self {
            next: now + limit::WATCH_PAUSE,
            round: None,
            torn: 0,
            audit,
            unreported: None,
            took: Duration::ZERO,
        }
    }

    /// A reading that began at `began` is over. `complete`: it is missing nothing that only a reading shows.
    pub(crate) fn on_reading(&mut self, began: Instant, now: Instant, complete: bool) {
        self.rest(began, now);
        let pause = now.since(began) * limit::AUDIT_REST;
        self.audit = now + pause.max(limit::AUDIT_PAUSE);
        self.took = now.since(began);
        self.torn = if complete { 0 } else { self.torn + 1 };
        if self.torn > 0 {
            let pause = limit::WATCH_STEP * (1 << self.torn.min(3));
            self.next = now + pause.min(limit::WATCH_PAUSE);
        }
    }

    /// A reading that began at `began` showed every flow.
    pub(crate) fn on_whole_reading(&mut self, began: Instant) {
        self.unreported.take_if(|since| *since <= began);
    }

    /// A round that began at `began` is over: the next one begins so much later that all of them take a small share of
    /// the time.
    fn rest(&mut self, began: Instant, now: Instant) {
        let pause = now.since(began) * limit::WATCH_REST;
        (self.next, self.round) = (now + pause.max(limit::WATCH_PAUSE), None);
    }
}

/// Cursor of the scan of unconfirmed flows.
#[derive(Debug)]
pub(super) struct UnconfirmedScan {
    next: Instant,
    from: Slot,
}

impl UnconfirmedScan {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now + limit::UNCONFIRMED_PAUSE, from: 0 }
    }
}

impl Node {
    /// Looks after unconfirmed flows if it is time.
    pub(crate) fn watch_unconfirmed(&mut self, session: &mut impl Peers, now: Instant) {
        if self.unconfirmed_due().is_none_or(|due| now < due) {
            return;
        }
        let from = self.unconfirmed.from;
        let (flows, mut cx) = self.context(session, now);
        let to = flows.verify_unconfirmed(&mut cx, from);
        let pause = if to.is_some() { limit::UNCONFIRMED_STEP } else { limit::UNCONFIRMED_PAUSE };
        self.unconfirmed = UnconfirmedScan { next: now + pause, from: to.unwrap_or(0) };
    }

    /// When there is one to look after; `None` while there is none.
    pub(crate) fn unconfirmed_due(&self) -> Option<Instant> {
        (self.flows.table.unconfirmed() > 0).then_some(self.unconfirmed.next)
    }

    /// Looks after silent flows if it is time.
    pub(crate) fn watch_without_events(&mut self, session: &mut impl Peers, now: Instant) {
        if self.watch_due().is_none_or(|due| now < due) {
            return;
        }
        if self.watch.torn > 0 {
            return self.start_dump(now, Vec::new(), false);
        }
        let (without_events, all) = (self.flows.table.without_events(), self.flows.table.alive());
        if without_events > limit::WATCH_FEW && without_events * limit::WATCH_SHARE > all {
            self.start_watch_dump(now);
            self.watch.next = now + limit::WATCH_STEP;
            return;
        }
        let (from, began) = self.watch.round.unwrap_or((0, now));
        let (flows, mut cx) = self.context(session, now);
        if let Some(to) = flows.verify_without_events(&mut cx, from) {
            self.watch.round = Some((to, began));
            self.watch.next = now + limit::WATCH_STEP;
        } else {
            self.watch.rest(began, now);
        }
    }

    /// Whether the kernel's count of flows must equal ours.
    pub(crate) fn is_countable(&self) -> bool {
        let Config { filter, share, replication, .. } = &self.config;
        let all = filter.passes_all() && *share == Share::ALL;
        all && replication.keep_remote && !self.remote.is_hot()
    }

    /// The event source is another one. An audit finds what other programs did to flows while it did not report that.
    pub(crate) fn on_source(&mut self, now: Instant, hears_requests: bool) {
        if hears_requests && !self.config.hears_requests {
            self.watch.unreported = Some(now);
            self.watch.audit = now;
        }
        self.config.hears_requests = hears_requests;
    }

    /// Begins an audit if it is time.
    pub(crate) fn audit(&mut self, now: Instant) {
        if self.audit_due().is_some_and(|due| now >= due) {
            self.start_watch_dump(now);
            self.watch.audit = now + limit::AUDIT_PAUSE;
        }
    }

    /// When the next audit begins, where there are any.
    pub(crate) fn audit_due(&self) -> Option<Instant> {
        let wanted = self.config.replication.keep_local && self.is_loaded();
        // Where counts are compared, an audit finds what happens to balance.
        let seldom = self.watch.took * limit::AUDIT_REST_COUNTED;
        let more = seldom.max(limit::AUDIT_PAUSE_COUNTED);
        let seldom =
            self.is_countable() && self.config.hears_requests && self.watch.unreported.is_none();
        let due = if seldom { self.watch.audit + more } else { self.watch.audit };
        (wanted && self.dump.is_none()).then_some(due)
    }

    /// When there is something to do next; `None` while there is not, or the table is being read anyway.
    pub(crate) fn watch_due(&self) -> Option<Instant> {
        let without_events = self.flows.is_filled() && self.flows.table.without_events() > 0;
        let wanted = self.config.replication.keep_local && (without_events || self.watch.torn > 0);
        (wanted && self.dump.is_none()).then_some(self.watch.next)
    }

    /// Flows of which the kernel may never say anything, and that are looked after instead.
    #[must_use]
    pub fn flows_without_events(&self) -> usize {
        self.flows.table.without_events()
    }
}

#[cfg(test)]
mod tests;
