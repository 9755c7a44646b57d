//! The one seam through which every change of the flow table reaches the listeners.
//!
//! ```text
//!   kernel --> flows --(slot, what happened)--> Listener --> column of the session: the slot is queued, once,
//!                                                            and sent in its state when its turn comes
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
    /// The peer knows nothing under this identity.
    Unknown,
    /// The flow, perhaps from an earlier life of this daemon, so the peer needs to receive its end.
    Known,
    /// Perhaps another flow under the same identity, which the next message has to replace.
    Other,
}

/// A listener to changes of the flow table. These methods only note what to send, and never send.
pub trait Listener {
    /// A flow was added in a slot.
    fn on_added(&mut self, slot: Slot, elsewhere: Elsewhere, now: Instant);

    /// The flow in a slot has changed or ended. The listener reads its state when it sends.
    fn on_changed(&mut self, slot: Slot);

    /// The flow in a slot is another one than the listener sent under this identity, or has lost a field that a
    /// receiver which merges updates would keep. The next message sends it as new.
    fn start_over(&mut self, slot: Slot);

    /// Another flow lives where one had ended.
    fn on_revived(&mut self, slot: Slot, now: Instant);

    /// The entry of a flow that no listener holds was removed.
    fn on_removed(&mut self, slot: Slot);

    /// Whether no peer has received the living flow in a slot under its present identity.
    fn is_untold(&self, slot: Slot) -> bool;

    /// Whether the entry of an ended flow must stay until the listener releases it, because a peer has received the
    /// flow. If not, the slot may be filled again.
    fn holds(&self, slot: Slot) -> bool;

    /// The flow in a slot is about to end, and the listener must not send that end.
    fn silence(&mut self, slot: Slot);

    /// Suppresses the end's message; but a peer that received the flow needs to know: the next bulk transfer shows it.
    fn owe_end(&mut self, slot: Slot);

    /// A peer's message changed one of this node's flows. That peer knows the new state; others may hold the old one.
    fn on_overwritten(&mut self, slot: Slot);

    /// The flow of no slot changed: no table is kept, or the table did not know it.
    fn on_passed(&mut self, change: Change, flow: Flow, counters: &mut ReplicaCounters);

    /// Makes room in the table: the flow that ended first and is still held is given up. False if there is none.
    fn reclaim(&mut self, table: &mut FlowTable, counters: &mut ReplicaCounters) -> bool;

    /// All entries are about to be forgotten without a message.
    fn forget_entries(&mut self);

    /// A flow became this node's own, and no peer needs to receive it.
    fn on_taken_unsent(&mut self);

    /// Something happened to an expectation.
    fn on_expectation(&mut self, expect: &Expectation, counters: &mut ReplicaCounters);

    /// Drops the unsent messages about an expectation.
    fn withdraw_expectation(&mut self, gone: &ExpectKey);
}
