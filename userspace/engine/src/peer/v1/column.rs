//! What the session remembers of each flow of this node, beside the flow table: which word about it the peers have, and
//! which one waits for what.
//!
//! ```text
//!   slot of the flow table       0       1       2       3
//!                             +-------+-------+-------+-------+
//!   marks                     |       |       |       |       |    1 byte, where there are peers
//!                             +-------+-------+-------+-------+
//!   ticket, began             |       |       |       |       |    8 bytes, for FTFW and ALARM
//!                             +-------+-------+-------+-------+
//! ```
//!
//! A slot beyond the end has a cell without marks. Filling a slot of the table again requires clearing its cell.

use crate::flows::table::Slot;
use alloc::vec::Vec;
use bitflags::bitflags;

bitflags! {
    /// What the session remembers of a flow.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Marks: u8 {
        /// The entry waits in the outbox.
        const QUEUED = 1 << 0;
        /// The peers may know it.
        const SENT = 1 << 1;
        /// The peers may know another flow under this identity: the next message sends it as new.
        const RESEND_AS_NEW = 1 << 2;
        /// Sent, and the peer has not acknowledged it.
        const WAITING = 1 << 3;
        /// The message that sent it as new is not acknowledged, though a later one may be: if that message is lost,
        /// the flow must be sent as new again, or the peer merges it into its state of an earlier life.
        const NEW_WAITING = 1 << 4;
        /// The peer has not acknowledged it since a bulk transfer sent all of it, a mark of 0 too.
        const FULL_STATE = 1 << 5;
        /// No message has carried the flow, or what took its place: not even one that was lost, or is not kept any
        /// more.
        const UNSENT = 1 << 6;
        /// The peer has acknowledged all that was sent of it.
        const ACKED = 1 << 7;
    }
}

impl Marks {
    /// Whether no message has carried a living flow since it began.
    #[must_use]
    pub const fn is_unsent(self) -> bool {
        !self.contains(Self::SENT) || self.contains(Self::UNSENT)
    }

    /// Whether the next message about a living flow sends it as new.
    #[must_use]
    pub const fn sends_as_new(self) -> bool {
        !self.contains(Self::SENT) || self.contains(Self::RESEND_AS_NEW)
    }
}

/// The message a flow waits for, and the message that sent it as new.
#[derive(Clone, Copy, Debug, Default)]
struct Tickets {
    /// FTFW: the number of the message to be acknowledged. ALARM: the name of the flow's timer.
    ticket: u32,
    /// Under [`Marks::NEW_WAITING`], the number of the message that sent the flow as new.
    began: u32,
}

/// The cells of all flows, by slot.
#[derive(Debug, Default)]
pub struct Column {
    marks: Vec<Marks>,
    tickets: Vec<Tickets>,
}

impl Column {
    /// The marks of a flow.
    #[must_use]
    #[inline]
    pub fn marks(&self, slot: Slot) -> Marks {
        self.marks.get(slot as usize).copied().unwrap_or_default()
    }

    /// Whether a flow has one of these marks.
    #[must_use]
    #[inline]
    pub fn has(&self, slot: Slot, marks: Marks) -> bool {
        self.marks(slot).intersects(marks)
    }

    /// The marks of a flow, to change.
    #[inline]
    pub fn marks_mut(&mut self, slot: Slot) -> &mut Marks {
        let at = slot as usize;
        if at >= self.marks.len() {
            self.marks.resize(at + 1, Marks::empty());
        }
        &mut self.marks[at]
    }

    /// Clears the cell of a slot, and sets these marks.
    pub fn reset(&mut self, slot: Slot, marks: Marks) {
        if !marks.is_empty() || (slot as usize) < self.marks.len() {
            *self.marks_mut(slot) = marks;
        }
        if let Some(tickets) = self.tickets.get_mut(slot as usize) {
            *tickets = Tickets::default();
        }
    }

    /// Slots that have a cell.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.marks.len()
    }

    /// Clears all cells.
    pub fn clear(&mut self) {
        self.marks.clear();
        self.tickets.clear();
    }

    /// The ticket a flow waits under; 0 if it has none.
    #[must_use]
    pub fn ticket(&self, slot: Slot) -> u32 {
        self.tickets.get(slot as usize).map_or(0, |tickets| tickets.ticket)
    }

    /// A flow waits under `ticket` from here on.
    pub fn set_ticket(&mut self, slot: Slot, ticket: u32) {
        self.tickets_mut(slot).ticket = ticket;
    }

    /// Message `seq` about a flow is out, and waits to be acknowledged.
    pub fn on_sent(&mut self, slot: Slot, seq: u32) {
        self.marks_mut(slot).insert(Marks::WAITING);
        self.set_ticket(slot, seq);
    }

    /// Message `seq`, which sends a flow as new, is out.
    pub fn on_begun(&mut self, slot: Slot, seq: u32) {
        self.marks_mut(slot).insert(Marks::NEW_WAITING);
        self.tickets_mut(slot).began = seq;
    }

    /// Message `seq` about a flow was lost: its content has to be sent again.
    pub fn on_lost(&mut self, slot: Slot, seq: u32) {
        if self.waits_under(slot, seq) {
            self.marks_mut(slot).remove(Marks::WAITING);
        }
        if self.began_under(slot, seq) {
            let marks = self.marks_mut(slot);
            marks.remove(Marks::NEW_WAITING);
            marks.insert(Marks::RESEND_AS_NEW);
        }
    }

    /// The peer has message `seq` about a flow. True if no later one waits.
    pub fn on_heard(&mut self, slot: Slot, seq: u32) -> bool {
        if self.began_under(slot, seq) {
            self.marks_mut(slot).remove(Marks::NEW_WAITING);
        }
        let last = self.waits_under(slot, seq);
        if last {
            let marks = self.marks_mut(slot);
            marks.remove(Marks::WAITING | Marks::FULL_STATE);
            marks.insert(Marks::ACKED);
        }
        last
    }

    /// The peer has lost all that it acknowledged.
    pub fn forget_acks(&mut self) {
        self.marks.iter_mut().for_each(|marks| marks.remove(Marks::ACKED));
    }

    /// Whether a flow waits for the acknowledgement of message `seq`.
    #[must_use]
    pub fn waits_under(&self, slot: Slot, seq: u32) -> bool {
        self.has(slot, Marks::WAITING) && self.ticket(slot) == seq
    }

    /// Whether message `seq` sent a flow as new, and the peer has not acknowledged it.
    #[must_use]
    pub fn began_under(&self, slot: Slot, seq: u32) -> bool {
        let began = || self.tickets.get(slot as usize).map(|tickets| tickets.began);
        self.has(slot, Marks::NEW_WAITING) && began() == Some(seq)
    }

    fn tickets_mut(&mut self, slot: Slot) -> &mut Tickets {
        let at = slot as usize;
        if at >= self.tickets.len() {
            self.tickets.resize(at + 1, Tickets::default());
        }
        &mut self.tickets[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_beginning_is_sent_as_new_again_and_what_was_heard_last_is_settled() {
        let mut column = Column::default();
        column.on_sent(7, 20);
        column.on_begun(7, 20);
        column.on_sent(7, 21);
        assert!(!column.on_heard(7, 19) && column.waits_under(7, 21));
        column.on_lost(7, 20);
        assert_eq!(column.marks(7), Marks::WAITING | Marks::RESEND_AS_NEW);
        assert!(column.on_heard(7, 21));
        assert_eq!(column.marks(7), Marks::RESEND_AS_NEW | Marks::ACKED);
        column.forget_acks();
        assert_eq!(column.marks(7), Marks::RESEND_AS_NEW);
        column.reset(7, Marks::SENT);
        assert_eq!((column.marks(7), column.ticket(7)), (Marks::SENT, 0));
        assert_eq!(column.marks(8), Marks::empty(), "a slot beyond the end has no marks");
    }
}
