//! How far a flow's last change has come, for people.

use super::column::Marks;
use super::outbox::Outbox;
use crate::flows::table::Slot;
use crate::peer::reach::Reach;

impl Outbox {
    /// How far the last change of a flow has come; `None` if there are no peers.
    #[must_use]
    pub fn reach(&self, slot: Slot) -> Option<Reach> {
        let marks = self.column.marks(slot);
        let reach = match () {
            () if marks.contains(Marks::QUEUED) => Reach::Queued,
            () if marks.is_unsent() => Reach::Untold,
            () if marks.contains(Marks::ACKED) => Reach::Acked,
            () => Reach::Sent,
        };
        (!self.no_peer).then_some(reach)
    }
}
