//! The shard's part of the feed: journals begin and end, and rows are written into them, a piece of the table at a
//! time.

use super::Shard;
use engine::{Bounded, Engine, Journal, QueueUsage, Side, Slot};
use wire::feed::Walked;

/// Rows written in one piece, and slots examined for them: some twenty microseconds.
const PIECE: (u32, Slot) = (512, 8192);
/// Most pieces that wait. The feed asks for one at a time.
const WAITING_MAX: usize = 16;

/// What the feed wants of a shard.
#[derive(Debug)]
pub enum Wish {
    /// Write down changes from here on, or not any more.
    Listen(Option<Box<Journal>>),
    /// Whether counters and times of flows are wanted.
    Counters(bool),
    /// Write rows of the table from a slot on. A record with this number follows them in the lane.
    Walk(u32, Slot),
}

/// Pieces of tables that are due, or done and waiting for room for the record that ends them.
#[derive(Debug)]
pub(super) struct Walks {
    waiting: Bounded<(Side, Piece)>,
}

impl Default for Walks {
    fn default() -> Self {
        Self { waiting: Bounded::new(WAITING_MAX) }
    }
}

#[derive(Debug)]
enum Piece {
    Wanted(u32, Slot),
    Walked(Walked),
}

impl Walks {
    /// Length and limit of the queue.
    pub(super) fn usage(&self) -> QueueUsage {
        self.waiting.usage()
    }

    /// Writes the next piece; returns how many pieces were written.
    pub(super) fn step(&mut self, engine: &mut Engine) -> usize {
        let Some((side, piece)) = self.waiting.pop() else { return 0 };
        // The consumer has gone.
        if engine.journal(side).is_none() {
            return 0;
        }
        let walked = match piece {
            Piece::Wanted(id, from) => engine.walk(side, (id, from), PIECE),
            Piece::Walked(walked) => walked,
        };
        if engine.tell_walked(side, &walked) {
            return 1;
        }
        // It has just left this place.
        let _ = self.waiting.put_back((side, Piece::Walked(walked)));
        0
    }
}

impl Shard {
    pub(super) fn feed(&mut self, side: Side, wish: Wish) {
        match wish {
            Wish::Listen(journal) => {
                self.engine.listen(side, journal.map(|journal| *journal));
            }
            Wish::Counters(wanted) => {
                let journal = self.engine.journal(side).into_iter();
                journal.for_each(|journal| journal.want_counters(wanted));
            }
            Wish::Walk(id, from) => {
                let _ = self.walks.waiting.push((side, Piece::Wanted(id, from)));
            }
        }
    }
}
