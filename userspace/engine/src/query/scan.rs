//! A filter over a piece of a table.

use super::{Instance, Program};
use crate::flows::table::{Entry, FlowTable, Slot};
use common::Instant;
use core::ops::Range;

/// Hands the flows of these slots that live and match to `each`, in order; stops behind one for which it says false.
/// Flows that lived, and the slot to go on with.
///
/// Slots that are empty take time too, though little: the range bounds it.
pub fn scan<'a>(
    table: &'a FlowTable,
    program: &Program,
    slots: Range<Slot>,
    now: Instant,
    mut each: impl FnMut(Entry<'a>) -> bool,
) -> (u64, Slot) {
    let mut alive = 0;
    for slot in slots.clone() {
        let Some(entry) = table.at(slot).filter(|entry| !entry.has_ended()) else { continue };
        alive += 1;
        if program.matches(&Instance { entry, now }) && !each(entry) {
            return (alive, slot + 1);
        }
    }
    (alive, slots.end.max(slots.start))
}
