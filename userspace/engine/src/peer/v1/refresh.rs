//! ALARM: every flow is sent again, now and then.

use super::column::Marks;
use super::outbox::Outbox;
use crate::config::{Config, Mode, limit};
use crate::flows::table::{FlowTable, Slot};
use crate::wheel::Wheel;
use common::Instant;
use core::hash::BuildHasher;
use core::time::Duration;
use foldhash::fast::FixedState;

/// When flows are sent again.
#[derive(Debug)]
pub(super) struct Refresh {
    wheel: Wheel,
    /// Longest pause, seconds.
    longest_s: u32,
    hasher: FixedState,
}

/// The precision of the time at which a flow is sent again.
const REFRESH_TICK: Duration = Duration::from_millis(100);

impl Refresh {
    /// For ALARM; `None` in modes where no flow is sent again unasked.
    pub(super) fn of(config: &Config, now: Instant) -> Option<Self> {
        let Mode::Alarm { refresh_s, .. } = config.replication.mode else { return None };
        Some(Self::new(refresh_s, config.hash_seed, now))
    }

    fn new(longest_s: u32, seed: u64, now: Instant) -> Self {
        let longest_s = longest_s.clamp(1, limit::ALARM_LONGEST_S);
        let longest = Duration::from_secs(u64::from(longest_s) + 1);
        let wheel = Wheel::new(REFRESH_TICK, longest, now);
        Self { wheel, longest_s, hasher: FixedState::with_seed(seed) }
    }

    /// Plans the next time: after 1 to `longest_s` seconds and a part of one, so that flows that began together are
    /// not refreshed together.
    fn plan(&mut self, now: Instant, slot: Slot, ticket: u32) {
        let random = self.hasher.hash_one((now.0, slot, ticket));
        let whole = 1 + random % u64::from(self.longest_s);
        let part = Duration::from_millis(200 + (random >> 32) % 800);
        self.wheel.plan(now + Duration::from_secs(whole) + part, slot, ticket);
    }
}

impl Outbox {
    /// Queues the flows whose refresh is due.
    pub fn queue_refreshes(&mut self, table: &FlowTable, now: Instant) {
        while let Some(due) = self.refresh.as_mut().and_then(|r| r.wheel.due(now)) {
            for (slot, ticket) in due {
                let lives = table.at(slot).is_some_and(|entry| !entry.has_ended());
                if lives && self.column.ticket(slot) == ticket {
                    // The peer may know an earlier life whose end it missed: the flow is sent as new, which replaces
                    // all that the peer knew, and a mark of 0 is sent too.
                    self.column.marks_mut(slot).insert(Marks::FULL_STATE | Marks::RESEND_AS_NEW);
                    self.queue_entry(slot);
                    self.refresh.iter_mut().for_each(|r| r.plan(now, slot, ticket));
                }
            }
        }
    }

    /// A flow in a slot gets a timer of its own.
    pub fn restart_timer(&mut self, slot: Slot, now: Instant) {
        if let Some(refresh) = &mut self.refresh {
            let ticket = refresh.wheel.ticket();
            self.column.set_ticket(slot, ticket);
            refresh.plan(now, slot, ticket);
        }
    }

    /// When the next refresh may be due.
    #[must_use]
    pub fn refresh_next(&self) -> Option<Instant> {
        self.refresh.as_ref().and_then(|r| r.wheel.next_tick())
    }
}
