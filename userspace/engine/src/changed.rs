//! The one seam through which every change of the flow table reaches whoever listens.
//!
//! ```text
//!   kernel --> flows --(slot, what happened)--> Changed --> column of the session: the slot is queued, once,
//!                                                           and told as it is when its turn comes
//! ```
//!
//! The table knows no peer. It says what happened to a slot; the session remembers in a column of its own what the
//! peers know of the flow. An entry that ended stays until the session has let go of it.

use crate::counters::ReplicaCounters;
use crate::flows::table::{FlowTable, Slot};
use crate::peer::session::Session;
use common::Instant;
use ctnetlink::{EventKind as Change, Flow};

/// What the peers may know of a flow that is added to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nothing.
    Unknown,
    /// The flow, perhaps from an earlier life of this daemon, so that its end must be told.
    Known,
    /// Perhaps another flow under the same identity: they are to start over.
    Other,
}

/// Whoever listens to changes of the flow table, while one input is handled.
pub struct Changed<'a> {
    session: &'a mut Session,
    now: Instant,
}

impl<'a> Changed<'a> {
    /// Changes reach `session`.
    #[must_use]
    pub const fn new(session: &'a mut Session, now: Instant) -> Self {
        Self { session, now }
    }

    /// A flow was added in a slot.
    pub fn added(&mut self, slot: Slot, elsewhere: Elsewhere) {
        self.session.on_added(slot, elsewhere, self.now);
    }

    /// The flow in a slot is not as it was: whoever listens hears how it is by then.
    pub fn changed(&mut self, slot: Slot) {
        self.session.on_changed(slot);
    }

    /// The flow in a slot is not the one that was told of under this identity, or not as one that lays what it hears
    /// over what it knows would have it. What is told next begins it anew.
    pub fn starts_over(&mut self, slot: Slot) {
        self.session.start_over(slot);
    }

    /// Another flow lives where one had ended.
    pub fn revived(&mut self, slot: Slot) {
        self.session.on_revived(slot, self.now);
    }

    /// Whether nobody was told of the living flow in a slot as it is identified now.
    #[must_use]
    pub fn is_untold(&self, slot: Slot) -> bool {
        self.session.is_untold(slot)
    }

    /// Whether the entry of a flow that ended is to stay until it is let go of, because somebody was told of the flow.
    /// If not, the slot may be filled again.
    #[must_use]
    pub fn holds(&self, slot: Slot) -> bool {
        self.session.holds(slot)
    }

    /// The entry of a flow that nobody holds was removed.
    pub fn removed(&mut self, slot: Slot) {
        self.session.on_removed(slot);
    }

    /// The flow in a slot is about to end, and nobody is to hear of that.
    pub fn silence(&mut self, slot: Slot) {
        self.session.silence(slot);
    }

    /// The same, though somebody who was told of the flow should know: it is left to the next transfer.
    pub fn owe_end(&mut self, slot: Slot) {
        self.session.owe_end(slot);
    }

    /// The flow of no slot changed: no table is kept, or the table did not know it.
    pub fn passed(&mut self, change: Change, flow: Flow, counters: &mut ReplicaCounters) {
        self.session.on_passed(change, flow, counters);
    }

    /// Makes room in the table: the flow that ended first and is still held is given up. False if there is none.
    pub fn reclaim(&mut self, table: &mut FlowTable, counters: &mut ReplicaCounters) -> bool {
        self.session.reclaim(table, counters)
    }

    /// Everything is about to be forgotten without a word.
    pub fn forget_all(&mut self) {
        self.session.forget_entries();
    }
}
