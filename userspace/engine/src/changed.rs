//! The one seam through which every change of the flow table reaches whoever listens.
//!
//! ```text
//!   kernel --> flows --(slot, what happened)--> Listener --> column of the session: the slot is queued, once,
//!                                                            and told as it is when its turn comes
//! ```
//!
//! The table knows no peer. It says what happened to a slot; the session remembers in a column of its own what the
//! peers know of the flow. An entry that ended stays until the session has let go of it.

use crate::counters::ReplicaCounters;
use crate::expectations::ExpectKey;
use crate::flows::table::{FlowTable, Slot};
use common::Instant;
use ctnetlink::{Change, Expectation, Flow};

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

/// Whoever listens to changes of the flow table. These methods only note what is to be told, and never send.
pub trait Listener {
    /// A flow was added in a slot.
    fn on_added(&mut self, slot: Slot, elsewhere: Elsewhere, now: Instant);

    /// The flow in a slot is not as it was, or has ended: whoever listens hears how it is by then.
    fn on_changed(&mut self, slot: Slot);

    /// The flow in a slot is not the one that was told of under this identity, or not as one that lays what it hears
    /// over what it knows would have it. What is told next begins it anew.
    fn start_over(&mut self, slot: Slot);

    /// Another flow lives where one had ended.
    fn on_revived(&mut self, slot: Slot, now: Instant);

    /// The entry of a flow that nobody holds was removed.
    fn on_removed(&mut self, slot: Slot);

    /// Whether nobody was told of the living flow in a slot as it is identified now.
    fn is_untold(&self, slot: Slot) -> bool;

    /// Whether the entry of a flow that ended is to stay until it is let go of, because somebody was told of the flow.
    /// If not, the slot may be filled again.
    fn holds(&self, slot: Slot) -> bool;

    /// The flow in a slot is about to end, and nobody is to hear of that.
    fn silence(&mut self, slot: Slot);

    /// The same, though somebody who was told of the flow should know: it is left to the next transfer.
    fn owe_end(&mut self, slot: Slot);

    /// A peer's word changed the flow of this node's in a slot. Whoever said it knows; others may hold the flow as it
    /// was.
    fn on_overwritten(&mut self, slot: Slot);

    /// The flow of no slot changed: no table is kept, or the table did not know it.
    fn on_passed(&mut self, change: Change, flow: Flow, counters: &mut ReplicaCounters);

    /// Makes room in the table: the flow that ended first and is still held is given up. False if there is none.
    fn reclaim(&mut self, table: &mut FlowTable, counters: &mut ReplicaCounters) -> bool;

    /// All entries are about to be forgotten without a word.
    fn forget_entries(&mut self);

    /// A flow became this node's of which nobody need be told.
    fn note_untold(&mut self);

    /// Something happened to an expectation.
    fn on_expectation(&mut self, expect: &Expectation, counters: &mut ReplicaCounters);

    /// What waits to be said of an expectation is not to be said.
    fn withdraw_expectation(&mut self, gone: &ExpectKey);
}
