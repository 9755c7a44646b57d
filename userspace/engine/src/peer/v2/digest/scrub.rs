//! All sums computed again, in steps, while the table changes (R11.6): a difference means a change behind the
//! engine's back, or a fault of the engine's.

use super::Digest;
use crate::flows::table::Slot;
use wire::sync::v2::digest::FlowId;

/// A run through the rows of one owner, in the order of their slots.
#[derive(Debug)]
pub struct Scrub {
    anew: Digest,
    /// Rows below this slot are in the new sums.
    next: Slot,
}

/// What a run found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// How many leaves had another sum than their rows.
    pub leaves: usize,
    /// Whether anything at all differed.
    pub differed: bool,
}

impl Scrub {
    /// A run over the rows whose sums `digest` keeps.
    #[must_use]
    pub fn new(digest: &Digest) -> Self {
        Self { anew: Digest::new(digest.bits()), next: 0 }
    }

    /// The first slot that was not looked at.
    #[must_use]
    pub const fn next(&self) -> Slot {
        self.next
    }

    /// The row of a slot, with the print that its fields have now. Slots come in order; those without a row of this
    /// owner are left out.
    pub fn row(&mut self, slot: Slot, id: FlowId, print: u64) {
        debug_assert!(slot >= self.next, "slots come in order");
        self.anew.add(id, print);
        self.next = slot.saturating_add(1);
    }

    /// Everything below `slot` was looked at.
    pub fn passed(&mut self, slot: Slot) {
        self.next = self.next.max(slot);
    }

    /// The row of a slot changes: `before` and `now` are its prints, `None` where it is not a claim of this owner. To
    /// be called with each change while the run goes on.
    #[inline]
    pub fn on_change(&mut self, slot: Slot, id: FlowId, before: Option<u64>, now: Option<u64>) {
        if slot >= self.next {
            return;
        }
        if let Some(before) = before {
            self.anew.remove(id, before);
        }
        if let Some(now) = now {
            self.anew.add(id, now);
        }
    }

    /// Ends the run, when all slots were looked at: the sums of `digest` are those of the rows from here on.
    pub fn finish(self, digest: &mut Digest) -> Scrubbed {
        let pairs = self.anew.leaves.iter().zip(&digest.leaves);
        let leaves = pairs.filter(|(anew, kept)| anew != kept).count();
        let differed = self.anew != *digest;
        *digest = self.anew;
        Scrubbed { leaves, differed }
    }
}
