//! How far the claim of a flow has come to each peer.

use super::association::Association;
use super::claims::Known;
use super::sent;
use super::session::V2;
use crate::node::Node;
use crate::peer::reach::{PeerReach, Reach};
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::FlowKey;

impl V2 {
    /// How far the last change of a flow of this node has come to each peer, in the order of the configuration.
    #[must_use]
    pub fn reach(&self, node: &Node, key: &FlowKey, now: Instant) -> Vec<PeerReach> {
        let (known, slice) = (self.claims.known(node, key), self.claims.slice(key));
        let receivers = self.peers.iter().filter(|peer| peer.slices.contains(&slice));
        let reach = |peer: &Association| {
            let (reach, waits) = match known {
                Known::Own(_, claim) => self.reach_of(peer, claim.version, now),
                Known::Held(_, claim) if claim.owner == peer.owner => (Reach::Theirs, None),
                _ => (Reach::Untold, None),
            };
            PeerReach { peer: Some(peer.peer), reach, waits }
        };
        receivers.map(reach).collect()
    }

    fn reach_of(
        &self,
        peer: &Association,
        version: u64,
        now: Instant,
    ) -> (Reach, Option<core::time::Duration>) {
        let behind = peer.sent_to(&self.claims.ledger);
        if version <= sent::stable(behind, &peer.sent, &peer.lost, peer.stable) {
            return (Reach::Acked, None);
        }
        // What was in flight when the session ended was forgotten, and is sent again.
        let reach = if version > behind || !peer.up { Reach::Queued } else { Reach::Sent };
        (reach, Some(now.since(self.clock.at(version).max(peer.news_from.1))))
    }
}
