//! Flows of this node together with what the session remembers of them, and what that makes of a message.

use super::column::{Column, Marks};
use crate::flows::table::{Entry, FlowTable, Slot};
use ctnetlink::Change;
use ctnetlink::Flow;
use ctnetlink::flow::Known;

/// The flow table and what is remembered of its flows.
#[derive(Debug)]
pub struct Kept<'a> {
    /// What the session remembers of the flows.
    pub column: &'a mut Column,
    /// The table of the flows.
    pub table: &'a mut FlowTable,
}

impl Kept<'_> {
    /// Whether the flow in a slot has ended, and is kept until the peers have received the end.
    #[must_use]
    pub fn has_ended(&self, slot: Slot) -> bool {
        self.table.at(slot).is_some_and(|entry| entry.has_ended())
    }

    /// Lets go of an ended flow: its slot is free.
    pub fn release(&mut self, slot: Slot) {
        self.column.reset(slot, Marks::empty());
        self.table.remove(slot);
    }
}

/// The message to the peer about an entry.
pub(super) fn telling(entry: Entry<'_>, marks: Marks) -> Flow {
    let mut flow = entry.flow();
    if marks.contains(Marks::FULL_STATE) {
        flow.known |= Known::MARK;
    }
    flow
}

/// What the message of an entry is called.
pub(super) fn change_of(entry: Entry<'_>, marks: Marks) -> Change {
    if entry.has_ended() {
        Change::Destroy
    } else if marks.tell_as_new() {
        Change::New
    } else {
        Change::Update
    }
}
