//! News that packets bring, and what it leaves open.
//!
//! A flow's first packet is seen just before the kernel puts the flow into its table. Nearly always it gets there; when
//! two CPUs begin the same flow at once, or something drops the packet at the last moment, it does not. Until more news
//! of it arrives, the flow is *unconfirmed* ([`Marks::UNCONFIRMED`]), and after a while the kernel is queried.

use super::{Flows, InputContext, News, seconds};
use crate::changed::Listener;
use crate::config::limit;
use crate::flows::knowledge::By;
use crate::flows::table::{Entry, Full, Marks, Slot};
use crate::input::{Origin, Stamp};
use common::Instant;
use ctnetlink::{Change, FlowKey};
use wire::packet::Seen;

#[cfg(test)]
mod tests;

impl Flows {
    /// Takes what a packet showed of its flow.
    ///
    /// # Errors
    /// [`Full`] when the flow is new and the table is full.
    pub fn on_packet(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        seen: Seen,
        at: Instant,
    ) -> Result<(), Full> {
        cx.counters.events += 1;
        self.heard += 1;
        let Seen { flow, confirmed, whole } = seen;
        self.table.hear(&flow, Stamp::At(at), false);
        if !cx.config.filter.passes(&flow) {
            cx.counters.filtered += 1;
            return Ok(());
        }
        let event = if confirmed { Change::Update } else { Change::New };
        let stamp = Stamp::At(at);
        if !cx.config.replication.keep_local && !whole {
            // The peer needs the fields that the packet did not show, too.
            self.ask(cx, &flow.key());
            return Ok(());
        }
        if !cx.config.replication.keep_local {
            self.bypass(cx, event, flow, Origin::Foreign, stamp);
            return Ok(());
        }
        let found = self.table.find(&flow.key());
        let (origin, by) = (Origin::Foreign, By::Packet { whole });
        self.on_change(cx, found, News { event, flow, origin, stamp, by })
    }

    /// A packet's report comes in after the kernel was read, so the table has it, but the peer may not: either the
    /// flow's beginning, which a reading has shown, or a change that was read together with the peer's own message.
    pub(super) fn tell_late(
        &self,
        cx: &mut InputContext<'_, impl Listener>,
        slot: Slot,
        event: Change,
    ) {
        let Some(entry) = self.table.at(slot) else { return };
        let began = event == Change::New && entry.marks.contains(Marks::NO_EVENTS);
        if began {
            cx.listener.start_over(slot);
        }
        if began || entry.marks.contains(Marks::READ_BACK) {
            cx.listener.on_changed(slot);
        }
    }

    /// Whether what ended at `stamp` may be another flow than the one in this slot, which began just before.
    pub(super) fn may_be_about_to_begin(&self, slot: Slot, stamp: Stamp) -> bool {
        let (Stamp::At(at) | Stamp::After(at)) = stamp else { return false };
        self.table.at(slot).is_some_and(|entry| {
            let began = Instant(entry.stamp);
            entry.marks.contains(Marks::UNCONFIRMED) && at.since(began) < limit::CONFIRM_TIME
        })
    }

    /// Whether a flow may be missing in the kernel only because its first packet has not got there yet.
    pub(super) fn is_about_to_begin(&self, now: Instant, key: &FlowKey) -> bool {
        let slot = self.table.find(key).filter(|&slot| self.is_alive(slot));
        slot.is_some_and(|slot| self.may_be_about_to_begin(slot, Stamp::At(now)))
    }

    /// Queries the kernel for the unconfirmed flows in the slots from `from` on. Returns the slot to go on from, or
    /// `None` at the end.
    pub fn verify_unconfirmed(
        &mut self,
        cx: &mut InputContext<'_, impl Listener>,
        from: Slot,
    ) -> Option<Slot> {
        let end = from.saturating_add(limit::UNCONFIRMED_STEP_SLOTS);
        let (mut slot, mut asked, mut overdue) = (from, 0, 0);
        let now_s = seconds(cx.now);
        let since = |entry: Entry<'_>| now_s.saturating_sub(entry.updated_s);
        while let Some((at, entry)) = self.table.next(slot) {
            let full = asked >= limit::UNCONFIRMED_STEP_FLOWS
                || overdue >= limit::UNCONFIRMED_STEP_OVERDUE;
            if at >= end || full {
                return Some(at);
            }
            slot = at + 1;
            let open =
                entry.marks.intersection(Marks::UNCONFIRMED | Marks::DEAD) == Marks::UNCONFIRMED;
            if open && since(entry) >= limit::UNCONFIRMED_AFTER_S {
                let time = entry.timeout_s().saturating_add(limit::UNCONFIRMED_OVERDUE_S);
                *(if since(entry) > time { &mut overdue } else { &mut asked }) += 1;
                let key = entry.key();
                self.verify(cx, &key);
            }
        }
        None
    }
}
