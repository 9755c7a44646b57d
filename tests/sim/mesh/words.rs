//! What the first shard of a node, which makes the handshakes of all, says to the others (`host/src/nodes/seals.rs`).

use super::traffic::after;
use super::world::{MILLISECOND, Step, World};
use crate::cluster::Outcome;
use engine::Input;
use engine::message_id::PeerId;

/// A node's engine: which node, and which shard of it.
pub(super) type At = (usize, usize);

/// What became of a session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    /// The peer is there: which run of it, and how many shards that has.
    Up(PeerId, u64, u8),
    /// The peer is gone.
    Down(PeerId),
}

impl Word {
    pub(super) const fn input(self) -> Input<'static> {
        match self {
            Self::Up(peer, incarnation, shards) => Input::PeerUp { peer, incarnation, shards },
            Self::Down(peer) => Input::PeerDown { peer },
        }
    }
}

impl World {
    /// The first shard learns what became of a session at once, and the others from it.
    pub(super) fn say(&mut self, node: usize, word: Word) -> Outcome {
        let life = self.members[node].life;
        for shard in 1..self.members[node].shards.len() {
            let delay = self.rng.below(2 * MILLISECOND);
            let due = after(self.now, delay).max(self.members[node].shards[shard].word_at);
            self.members[node].shards[shard].word_at = due;
            self.plan_at(due, Step::Word { at: (node, shard), life, word });
        }
        self.input((node, 0), word.input())
    }
}
