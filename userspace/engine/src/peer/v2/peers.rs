//! The associations of a shard, by peer: one for each shard of the peer that has flows in common with this one.

use super::association::{Association, AssociationId, Counts};
use super::lag::Quantiles;
use super::session::{PeerStanding, V2};
use super::streams::{associations, shared};
use crate::config::Owner;
use crate::message_id::PeerId;
use alloc::vec::Vec;
use common::Instant;

impl V2 {
    pub(super) fn association(&mut self, id: AssociationId) -> Option<&mut Association> {
        self.peers.get_mut(id.0)
    }

    /// The associations with a peer.
    pub(super) fn with_peer(&mut self, peer: PeerId) -> impl Iterator<Item = &mut Association> {
        self.peers.iter_mut().filter(move |association| association.peer == peer)
    }

    /// The association with a shard of a peer.
    pub(super) fn find(&self, peer: PeerId, shard: u8) -> Option<AssociationId> {
        let matches =
            |association: &Association| (association.peer, association.to) == (peer, shard);
        self.peers.iter().position(matches).map(AssociationId)
    }

    /// The association that carries an owner's flows of a slice.
    pub(super) fn sending(&self, owner: Owner, slice: usize) -> Option<&Association> {
        let mut all = self.peers.iter();
        all.find(|association| association.owner == owner && association.slices.contains(&slice))
    }

    /// There is a session with a peer, or another one: which run of it this is, and how many shards it has.
    pub fn on_peer_up(&mut self, now: Instant, peer: PeerId, (incarnation, shards): (u64, u8)) {
        let Some(owner) = self.cluster.peers.get(peer.index()).copied() else { return };
        let mine = self.slices.clone();
        let wanted = shared(mine, shards);
        let are =
            self.with_peer(peer).map(|association| (association.to, association.slices.clone()));
        if !wanted.eq(are) {
            self.reshape(now, (peer, owner), shards);
        }
        let rate = self.cluster.rates.get(peer.index()).copied().flatten();
        self.with_peer(peer).for_each(|association| association.on_up(now, incarnation, rate));
    }

    /// A peer came back with another number of shards. Which run of it was met last, and that flows of it are here, the
    /// new associations know from the old ones.
    fn reshape(&mut self, now: Instant, (peer, owner): (PeerId, Owner), shards: u8) {
        let Some(first) = self.peers.iter().position(|association| association.peer == peer) else {
            return;
        };
        let (old, others): (Vec<_>, Vec<_>) =
            self.peers.drain(..).partition(|association| association.peer == peer);
        self.peers = others;
        let mut counts = Counts::default();
        let (mut incarnation, mut run, mut held) = (0, 0, None);
        let mut compared = None;
        for mut association in old {
            association.end_bulk(&mut self.claims.ledger);
            self.claims.ledger.close(association.position);
            counts += association.counts;
            (incarnation, run) = (association.incarnation, association.run);
            let id = association.comparing.map(|comparing| comparing.id);
            let ended = id.map(|id| (id, Err("the session with the peer ended meanwhile")));
            compared = compared.or(ended).or(association.compared);
            // Versions of other streams say nothing in the new ones.
            held = held.or(association.hold.map(|(of, _)| (of, 0)));
        }
        let slices = self.slices.clone();
        let mut fresh = associations(&mut self.claims, now, (peer, owner), (slices, shards));
        for association in &mut fresh {
            (association.incarnation, association.run) = (incarnation, run);
            association.hold = held;
        }
        if let Some(association) = fresh.first_mut() {
            (association.counts, association.compared) = (counts, compared);
        }
        self.peers.splice(first..first, fresh);
    }

    /// Moves positions past items of slices that their associations do not carry, so that each points at an item to
    /// send.
    pub(super) fn skip_others(&mut self) {
        let Self { claims, peers, .. } = self;
        for (peer, slices) in peers.iter().filter_map(|peer| Some((peer, peer.slices_sent()?))) {
            claims.skip(peer.position, slices);
            peer.bulk.into_iter().for_each(|bulk| claims.skip(bulk.position, slices));
        }
    }
}

impl PeerStanding {
    /// How a peer stands, by how two of its streams do.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            up: self.up && other.up,
            heard: lesser(self.heard, other.heard),
            complete: self.complete && other.complete,
            equal: self.equal && other.equal,
            equal_since: self.equal_since.zip(other.equal_since).map(|(a, b)| a.max(b)),
            full: self.full || other.full,
            standby: self.standby && other.standby,
            rows: self.rows + other.rows,
            expectations: self.expectations + other.expectations,
            in_flight: self.in_flight + other.in_flight,
            behind: self.behind + other.behind,
            behind_for: self.behind_for.max(other.behind_for),
            lag: worse(self.lag, other.lag),
            heard_lag: worse(self.heard_lag, other.heard_lag),
            trip: lesser(self.trip, other.trip),
            rate: self.rate.saturating_add(other.rate),
            path_len: self.path_len.min(other.path_len),
            counts: {
                let mut counts = self.counts;
                counts += other.counts;
                counts
            },
        }
    }
}

fn lesser<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}

/// Quantiles cannot be joined: the worse stream's stand for both.
fn worse(a: Option<Quantiles>, b: Option<Quantiles>) -> Option<Quantiles> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    Some(Quantiles { p50: a.p50.max(b.p50), p99: a.p99.max(b.p99), max: a.max.max(b.max) })
}
