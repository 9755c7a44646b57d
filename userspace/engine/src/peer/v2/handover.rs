//! Decides whose flows a commit takes over, where there are several peers.
//!
//! ```text
//!   -c --probe--> each peer --answers, standby--> taken
//!                           --nothing for HEAR--> taken: it is dead, whatever its session says
//!                           --answers, active---> not taken, unless it steps back: waited for if no peer is free,
//!                                                 for YIELD
//! ```
//!
//! keepalived notices a death within a second or two, a session after `PEER_SILENCE`; and it notifies the node
//! that loses the addresses at the same time as the one that gets them. So a commit asks, and waits a little.

use super::association::Association;
use super::session::V2;
use common::Instant;
use core::time::Duration;

/// A peer that was probed and says nothing for so long is dead.
const HEAR: Duration = Duration::from_millis(500);
/// A peer that carries traffic may step back for so long after a commit has begun.
const YIELD: Duration = Duration::from_secs(2);
/// How often a commit that waits looks.
const LOOK: Duration = Duration::from_millis(20);

/// A commit that asks the peers how they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    since: Instant,
    /// When it looks again; `None`: it has seen enough.
    next: Option<Instant>,
}

impl Asking {
    fn has_heard(&self, peer: &Association) -> bool {
        peer.heard_at.is_some_and(|at| at > self.since)
    }

    fn is_decided(&self, now: Instant, peer: &Association) -> bool {
        let patience = if self.has_heard(peer) { YIELD } else { HEAR };
        !peer.up || peer.standby || now.since(self.since) >= patience
    }
}

impl V2 {
    /// A commit begins. With one peer, and of one peer, it takes all at once.
    pub(super) fn begin_asking(&mut self, now: Instant) {
        if self.cluster.peers.len() > 1 && self.taking.is_none() && self.asking.is_none() {
            self.peers.iter_mut().for_each(|peer| peer.owes_probe = peer.up);
            self.asking = Some(Asking { since: now, next: Some(now) });
        }
    }

    /// The commit is over.
    pub const fn on_commit_done(&mut self) {
        self.asking = None;
    }

    /// Whether a commit that has begun has to wait.
    #[must_use]
    pub fn holds_commit(&self) -> bool {
        self.asking.is_some_and(|asking| asking.next.is_some())
    }

    pub(super) fn ask_on(&mut self, now: Instant) {
        let Some(asking) = self.asking.filter(|asking| asking.next.is_some()) else { return };
        let mut with_flows = self.peers.iter().filter(|peer| self.rows_of(peer) != 0);
        let all_decided = with_flows.clone().all(|peer| asking.is_decided(now, peer));
        // What a dead one carried does not wait for one that may yet step back: who does so is taken over after it.
        let one_is_free = now.since(asking.since) >= HEAR
            && with_flows.any(|peer| !peer.up || peer.standby || !asking.has_heard(peer));
        let next = (!all_decided && !one_is_free).then(|| now + LOOK);
        self.asking = Some(Asking { next, ..asking });
    }

    pub(super) fn ask_due(&self) -> Option<Instant> {
        self.asking?.next
    }

    /// Whether a peer did not answer the commit that is under way.
    pub(super) fn is_dead(&self, peer: &Association) -> bool {
        self.asking.is_some_and(|asking| !asking.has_heard(peer))
    }
}
