//! A bulk transfer: every flow of the table is sent, in slot order, while changes go on in between.

use super::column::Marks;
use super::kept::Kept;
use super::outbox::Outbox;
use super::packer::Packer;
use crate::counters::ReplicaCounters;
use crate::flows::table::{Entry, FlowTable, Slot};
use alloc::vec::Vec;

/// Where a bulk transfer goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bulk {
    from: Slot,
    /// Flows it has sent.
    sent: u64,
}

impl Outbox {
    /// Begins to send everything. `is_anothers`: whether a peer has sent the flow of an ended entry since it ended.
    pub fn start_bulk(&mut self, table: &mut FlowTable, is_anothers: impl Fn(Entry<'_>) -> bool) {
        self.queue_unheard(table);
        // Ends that wait for an acknowledgement are sent again too: messages of the transfer may push them out of the
        // queue that keeps them. An end is not sent if another node has its flow since: a third node would take that
        // node's flow for ended, and this node's earlier message goes there because the transfer did not name it.
        let ended = table.iter().filter(|(_, entry)| entry.has_ended());
        let ended: Vec<(Slot, bool)> =
            ended.map(|(slot, entry)| (slot, is_anothers(entry))).collect();
        for (slot, is_anothers) in ended {
            if is_anothers { self.withdraw_end(table, slot) } else { self.queue_entry(slot) }
        }
        self.bulk = Some(Bulk { from: 0, sent: 0 });
    }

    /// Releases an ended flow whose end needs no message any more.
    fn withdraw_end(&mut self, table: &mut FlowTable, slot: Slot) {
        self.supersede(slot);
        Kept { column: &mut self.column, table }.release(slot);
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
