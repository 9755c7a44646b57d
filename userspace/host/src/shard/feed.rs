//! The shard's part of the feed: journals begin and end, and rows are told, a piece of the table at a time.

use super::Shard;
use engine::{Engine, Journal, Side, Slot};
use std::collections::VecDeque;
use wire::feed::Walked;

/// Rows told in one piece, and slots looked at for them: some twenty microseconds.
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
    /// Tell rows of the table from a slot on. What was told stands in the lane, with this number.
    Walk(u32, Slot),
}

/// Pieces of tables that are to be told, or have been and wait for room to say so.
#[derive(Debug, Default)]
pub(super) struct Walks {
    waiting: VecDeque<(Side, Piece)>,
    /// Those that were one too many.
    pub(super) refused: u64,
}

#[derive(Debug)]
enum Piece {
    Wanted(u32, Slot),
    Told(Walked),
}

impl Walks {
    /// Tells the next piece; how many pieces were told.
    pub(super) fn step(&mut self, engine: &mut Engine) -> usize {
        let Some((side, piece)) = self.waiting.pop_front() else { return 0 };
        // Nobody listens any more.
        if engine.journal(side).is_none() {
            return 0;
        }
        let walked = match piece {
            Piece::Wanted(id, from) => engine.walk(side, (id, from), PIECE),
            Piece::Told(walked) => walked,
        };
        if engine.tell_walked(side, &walked) {
            return 1;
        }
        self.waiting.push_front((side, Piece::Told(walked)));
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
            Wish::Walk(..) if self.walks.waiting.len() >= WAITING_MAX => self.walks.refused += 1,
            Wish::Walk(id, from) => self.walks.waiting.push_back((side, Piece::Wanted(id, from))),
        }
    }
}
