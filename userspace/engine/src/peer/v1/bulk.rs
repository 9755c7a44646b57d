//! A bulk transfer: every flow of the table is told, in slot order, while changes go on in between.

use super::column::Marks;
use super::outbox::Outbox;
use super::packer::Packer;
use crate::counters::ReplicaCounters;
use crate::flows::table::{FlowTable, Slot};
use alloc::vec::Vec;

/// Where a bulk transfer goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bulk {
    from: Slot,
    /// Flows it has sent.
    sent: u64,
}

impl Outbox {
    /// Begins to send everything.
    pub fn start_bulk(&mut self, table: &mut FlowTable) {
        self.queue_unheard(table);
        // Ends that wait for an acknowledgement are told again too: what the transfer sends may push them out of the
        // queue that keeps them, after it has begun.
        let ended = table.iter().filter(|(_, entry)| entry.has_ended());
        let ended: Vec<Slot> = ended.map(|(slot, _)| slot).collect();
        ended.into_iter().for_each(|slot| self.queue_entry(slot));
        self.bulk = Some(Bulk { from: 0, sent: 0 });
    }

    /// Whether a bulk transfer is under way.
    #[must_use]
    pub const fn is_in_bulk(&self) -> bool {
        self.bulk.is_some()
    }

    /// Packs more of a bulk transfer. `Some(flows)` when this was its end.
    pub fn pack_bulk(
        &mut self,
        table: &mut FlowTable,
        packer: &mut Packer<'_>,
        counters: &mut ReplicaCounters,
    ) -> Option<u64> {
        let Bulk { mut from, mut sent } = self.bulk?;
        while let Some((slot, entry)) = table.next(from) {
            if !entry.has_ended() && !self.column.has(slot, Marks::QUEUED) {
                if !self.pack_entry(table, slot, packer, counters) {
                    self.bulk = Some(Bulk { from, sent });
                    return None;
                }
                sent += 1;
            }
            from = slot + 1;
        }
        self.bulk = None;
        Some(sent)
    }
}
