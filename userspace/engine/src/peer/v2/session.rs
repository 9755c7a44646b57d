//! The session of version 2: one association with each peer, over one ledger.
//!
//! ```text
//!   changes of flows --> notes by slot --settle--> [said] --> [Claims: ledger] --> positions of a peer --> datagrams
//!   datagram of a peer --> frames --> records --> [outcome, meet] --> [Claims: held] --> Node: the remote table
//! ```
//!
//! The listener to the flow table cannot read the table, so it only notes which slots changed. Once the input is
//! handled ([`V2::on_time`]), this node examines them and claims its own.

use super::association::{Association, AssociationId};
use super::claims::{Claims, Known};
use super::lag::{Clock, Quantiles};
use super::sent;
use super::streams;
use crate::bounded::Bounded;
use crate::bounded::{QueueUsage, QueueUsages};
use crate::config::{Cluster, Config, Owner};
use crate::expectations::ExpectKey;
use crate::flows::table::Slot;
use crate::local::seconds;
use crate::message_id::PeerId;
use crate::node::Node;
use crate::output::Event;
use crate::peer::standing::Standing;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use common::Instant;
use core::ops::Range;
use core::time::Duration;
use ctnetlink::{Flow, FlowKey};

/// How long a node waits for peers that it has not met before it claims what its kernel shows.
pub const JOIN_WAIT: Duration = Duration::from_secs(10);
/// After rows went that their owner does not list, this node's kernel is looked at again so much later.
pub const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// A node that took over takes over more for so long, as other nodes step back.
const TAKE_MORE: Duration = Duration::from_secs(10);

bitflags! {
    /// What to examine about a slot of the local table.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Notes: u8 {
        /// The slot is in the queue.
        const QUEUED = 1;
        /// A flow was added.
        const ADDED = 1 << 1;
        /// The flow changed, or has ended.
        const CHANGED = 1 << 2;
        /// The slot has another flow, or another life of the flow.
        const ANEW = 1 << 3;
        /// A commit, or a reading, made it this node's.
        const TAKEN = 1 << 4;
        /// The flow ends, and its end is not sent.
        const SILENT = 1 << 5;
        /// The first reading showed it.
        const IN_DUMP = 1 << 6;
        /// A peer's word was written over it.
        const WRITTEN = 1 << 7;
    }
}

/// The position of the scan of the local table for flows without a claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    pub(super) from: Slot,
    pub(super) due: Instant,
}

/// A look through the local table that waits until nothing is on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) since: Instant,
    pub(super) next: Instant,
}

/// Pending work on expectations.
#[derive(Debug, Default)]
pub(super) struct Expecting {
    /// Expectations that changed, and whether peers receive the change even if they see no difference.
    pub(super) notes: BTreeMap<ExpectKey, bool>,
    /// This node claims those that the last reading of its kernel showed.
    pub(super) scanned: bool,
    /// When those of peers are looked at.
    pub(super) due: Option<Instant>,
}

/// The conversation with all peers.
#[derive(Debug)]
pub struct V2 {
    pub(super) cluster: Arc<Cluster>,
    pub(super) claims: Claims,
    /// What this shard has of all flows.
    pub(super) slices: Range<usize>,
    /// Whether this shard, of several, reports what all of them see.
    pub(super) is_first: bool,
    /// With each shard of each peer that has flows in common with this one, in the order of the configuration.
    pub(super) peers: Vec<Association>,
    /// By slot of the local table.
    pub(super) notes: Vec<Notes>,
    pub(super) queue: Vec<Slot>,
    /// Slots of new flows, and when each is looked at (`Settle`). Their notes stay queued until then.
    pub(super) settling: Bounded<(Instant, Slot)>,
    pub(super) began: Instant,
    /// The look through the local table that is under way.
    pub(super) scan: Option<Scan>,
    /// The first of these is over: this node claims all that its kernel shows.
    pub(super) scanned: bool,
    /// Rows went that their owner does not list: the local table is looked through again.
    pub(super) look: Option<Look>,
    /// Slots that a commit made this node's: they are claimed when it is over, so that it finds masters until then.
    pub(super) taken: Vec<Slot>,
    /// A commit takes over the flows of this node alone; `None`: of all that do not carry theirs.
    pub(super) taking: Option<Owner>,
    /// This node claims by traffic alone: another one takes over.
    pub(super) standby: bool,
    /// When the last commit was asked for, and whether there is more to take since then.
    pub(super) committed_at: Option<Instant>,
    pub(super) takes_more: bool,
    /// A commit asks the peers how they are.
    pub(super) asking: Option<super::handover::Asking>,
    /// Hot: flows that the kernel may not hold as their owners have them.
    pub(super) unsettled: Vec<FlowKey>,
    /// How far the lifetimes of these have been looked at.
    pub(super) extend: Scan,
    /// Pending work on expectations.
    pub(super) expects: Expecting,
    /// When versions arose; up to which that is noted; and when the kernel's event happened that is being handled.
    pub(super) clock: Clock,
    pub(super) dated: u64,
    pub(super) event_at: Option<Instant>,
    /// The peer that is served next.
    pub(super) turn: usize,
}

/// How a peer stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStanding {
    /// Whether there is a session, and both said how they begin.
    pub up: bool,
    /// How long ago it was heard.
    pub heard: Option<Duration>,
    /// Everything it claims was here once, in this run of it.
    pub complete: bool,
    /// The last comparison found both equal.
    pub equal: bool,
    /// How long ago that was.
    pub equal_since: Option<Duration>,
    /// There is no room for all of its flows.
    pub full: bool,
    /// The peer claims by traffic only.
    pub standby: bool,
    /// How many of its flows are here.
    pub rows: u32,
    /// How many of its expectations are here.
    pub expectations: u32,
    /// Bytes in flight to it.
    pub in_flight: u64,
    /// Versions that it has not acknowledged: changes that wait or are in flight.
    pub behind: u64,
    /// How long the oldest change waits that the peer has not acknowledged; 0: none waits.
    pub behind_for: Duration,
    /// How long news took to it: from the kernel's event to the acknowledgement, less the time that this waited.
    pub lag: Option<Quantiles>,
    /// How long news took from it: from its kernel's event, by half of the least round trip.
    pub heard_lag: Option<Quantiles>,
    /// The round trip, once one was measured.
    pub trip: Option<Duration>,
    /// What the path carries: bytes a second.
    pub rate: u64,
    /// Bytes of the longest datagram that it carries, as far as is known.
    pub path_len: usize,
    /// The counters.
    pub counts: super::association::Counts,
}

impl V2 {
    /// A conversation that begins at `now`.
    #[must_use]
    pub fn new(config: &Config, cluster: Arc<Cluster>, now: Instant) -> Self {
        let mut claims = Claims::new(config, &cluster);
        let slices = config.share.slices();
        let peers = cluster.peers.iter().enumerate().flat_map(|(at, owner)| {
            let whose = (PeerId::at(at), *owner);
            streams::associations(&mut claims, now, whose, (slices.clone(), 1))
        });
        let peers = peers.collect();
        Self {
            claims,
            slices,
            is_first: config.share.index == 0,
            peers,
            notes: Vec::new(),
            queue: Vec::new(),
            settling: Bounded::new(config.flows_max),
            began: now,
            scan: None,
            scanned: false,
            look: None,
            taken: Vec::new(),
            taking: None,
            standby: false,
            asking: None,
            committed_at: None,
            takes_more: false,
            unsettled: Vec::new(),
            extend: Scan { from: 0, due: now },
            expects: Expecting::default(),
            clock: Clock::default(),
            dated: 0,
            event_at: None,
            turn: 0,
            cluster,
        }
    }

    /// By peer: bytes a second that are sent to it at most.
    pub fn set_rates(&mut self, rates: Vec<Option<u64>>) {
        for peer in &mut self.peers {
            let rate = rates.get(peer.peer.index()).copied().flatten();
            peer.rate.set_cap(peer.part_of(rate));
        }
        Arc::make_mut(&mut self.cluster).rates = rates;
    }

    /// The session is gone. The peer's flows stay.
    pub fn on_peer_down(&mut self, now: Instant, peer: PeerId) {
        self.with_peer(peer).for_each(Association::on_down);
        for at in 0..self.peers.len() {
            if self.peers[at].peer == peer {
                self.note_free(now, AssociationId(at));
            }
        }
    }

    /// A datagram of `tried` bytes, sealed, is too long for the path to a peer, which carries `most`.
    pub fn on_path_limit(
        &mut self,
        now: Instant,
        (peer, to): (PeerId, u8),
        (tried, most): (usize, usize),
    ) {
        if let Some(peer) = self.find(peer, to).and_then(|id| self.association(id)) {
            let abandoned = peer.path.on_limit(now, tried, most);
            abandoned.into_iter().for_each(|number| peer.sent.abandon(number));
            peer.follow_path();
        }
    }

    /// Logs paths that carry other datagrams than before. All streams to a peer find the same, and one of them logs
    /// it.
    pub(super) fn tell_paths(&mut self, node: &mut Node) {
        for peer in self.peers.iter_mut().filter(|peer| self.is_first && peer.to == 0) {
            let len = peer.path.size();
            if peer.up && core::mem::replace(&mut peer.path_told, len) != len {
                node.tell(Event::PathLength { peer: peer.peer, len });
            }
        }
    }

    /// This node stops, and its peers have to learn it.
    pub fn leave(&mut self) {
        self.peers.iter_mut().for_each(|peer| peer.owes_bye = peer.up);
    }

    /// A node does not carry its flows any more. Who took over just before takes over these too: of nodes that change
    /// roles neither waits for the other.
    pub(super) fn note_free(&mut self, now: Instant, peer: AssociationId) {
        let rows = self.peers.get(peer.0).map(|peer| self.rows_of(peer));
        let just_took = self.committed_at.is_some_and(|at| now.since(at) < TAKE_MORE);
        self.takes_more |= just_took && rows.is_some_and(|rows| rows != 0);
    }

    /// Starts a commit: of one peer's flows, whether or not it carries them, or of those that no node carries.
    pub fn on_commit(&mut self, now: Instant, peer: Option<PeerId>) {
        self.taking = peer.and_then(|peer| self.cluster.peers.get(peer.index()).copied());
        (self.committed_at, self.standby) = (Some(now), false);
        self.begin_asking(now);
    }

    /// A commit of expectations alone is asked for.
    pub fn on_commit_expectations(&mut self, now: Instant) {
        self.taking = None;
        self.begin_asking(now);
    }

    /// Another node takes over: this one claims by traffic alone. With `release`, its claims have no owner from here
    /// on: its kernel is about to be emptied.
    pub fn on_stepping_back(&mut self, now: Instant, release: bool) {
        self.standby |= !release;
        self.committed_at = None;
        if release {
            let upto = self.claims.ledger.last();
            self.claims.forget_own();
            for peer in &mut self.peers {
                (peer.release, peer.release_at) = (Some(upto), now);
            }
        }
        // Peers learn the role with the next cut.
        self.peers.iter_mut().for_each(|peer| peer.cut_at = Instant(0));
    }

    /// This node's kernel is looked at later: flows lost their owner, and whose they are, or how they ended, may be on
    /// the way.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.look = Some(Look { since: now, next: now + LOOK_AGAIN });
    }

    /// Whether this node is complete of each peer, or has waited long enough.
    pub(super) fn is_joined(&self, now: Instant) -> bool {
        let complete = || self.peers.iter().all(|peer| peer.complete);
        now.since(self.began) >= JOIN_WAIT || complete()
    }

    /// Whether a commit takes over what a peer claims: if the peer does not carry it, or released it (R13.1).
    /// With one peer, the command decides.
    pub(super) fn may_take(&self, released: bool, owner: Owner, peer: &Association) -> bool {
        match self.taking {
            Some(meant) => owner == meant,
            None => {
                let free = !peer.up || peer.standby || released;
                free || self.cluster.peers.len() == 1 || self.is_dead(peer)
            }
        }
    }

    /// How long ago the flow in a slot of the remote table had the lifetime that its owner sent, in seconds: since
    /// the owner was last equal, or since the flow last changed (R13.2). `None`: a commit does not take it over.
    pub(super) fn taken_age_s(&self, slot: Slot, updated_s: u32, now: Instant) -> Option<u32> {
        let owner = self.claims.holder(slot)?;
        let peer = self.telling(owner, self.claims.held_slice(slot)?)?;
        if !self.may_take(self.claims.is_released(slot), owner, peer) {
            return None;
        }
        let equal_s = peer.equal_at.map_or(0, seconds);
        Some(seconds(now).saturating_sub(updated_s.max(equal_s)))
    }

    /// Each peer compares what it holds with what this node has (`-B`).
    pub fn have_compared(&mut self, now: Instant) {
        for peer in &mut self.peers {
            peer.cut_at = Instant(0);
            peer.locate_at = now;
        }
    }

    /// What this node holds is compared with what its peers have (`-n`): with the next cut, which comes each second.
    pub fn compare(&mut self, now: Instant) {
        self.peers.iter_mut().for_each(|peer| peer.locate_at = now);
    }

    /// Nothing of the peers is held any more: they send all of it again (`-f external`).
    pub fn on_remote_flushed(&mut self, now: Instant) {
        self.claims.forget_held();
        // The peer that claimed what this node ceded may be gone.
        self.look_again(now);
        for peer in &mut self.peers {
            (peer.hold, peer.complete) = (None, false);
            if peer.up {
                peer.begin_anew(now);
            }
        }
    }

    /// How this node stands with its peers.
    #[must_use]
    pub fn standing(&self, node: &Node, now: Instant) -> Standing {
        let heard = self.peers.iter().filter_map(|peer| peer.heard_at).max();
        let speaks = |peer: &&Association| peer.up;
        Standing {
            local_loaded: node.is_loaded() && self.scanned,
            peer_heard: heard.map(|at| now.since(at)),
            remote_complete: self.peers.iter().filter(speaks).all(|peer| peer.complete),
            remote_exact: self.peers.iter().filter(speaks).all(Association::was_equal),
            in_bulk: self.peers.iter().any(|peer| peer.opened && self.waits(peer) > BULK_ROWS),
            committing: node.is_committing(),
        }
    }

    /// The owner of a living flow, and the flow as its owner sent it.
    #[must_use]
    pub fn claimed(&self, node: &Node, key: &FlowKey) -> Option<(Owner, Flow)> {
        match self.claims.known(node, key) {
            Known::Own(slot, claim) => Some((claim.owner, self.claims.flow(node, slot)?)),
            Known::Held(slot, claim) => Some((claim.owner, node.remote.table().at(slot)?.flow())),
            _ => None,
        }
    }

    /// Forgets the claim of an identity, without a message of any peer.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, node: &mut Node, key: &FlowKey) {
        let known = self.claims.known(node, key);
        self.claims.let_go(node, key, known);
    }

    /// Replaces a peer's held flow with another state, without a message of any peer.
    #[cfg(test)]
    pub(crate) fn alter_held(&mut self, node: &mut Node, now: Instant, flow: Flow) {
        let known = self.claims.known(node, &flow.key());
        let Known::Held(_, claim) = known else { panic!("{known:?}") };
        self.claims.hold(node, (now, false), (claim, flow), known).unwrap();
    }

    /// How long the oldest change waits that a peer has not acknowledged. What it lacked when the association began
    /// waits since then.
    fn behind_for(&self, peer: &Association, now: Instant) -> Duration {
        let behind = peer.told_to(&self.claims.ledger);
        let stable = sent::stable(behind, &peer.sent, &peer.lost, peer.stable);
        if stable >= self.claims.ledger.last() {
            return Duration::ZERO;
        }
        now.since(self.clock.at(stable + 1).max(peer.news_from.1))
    }

    /// Versions arose in what was handled just now.
    pub(super) fn date_versions(&mut self, now: Instant) {
        let last = self.claims.ledger.last();
        let at = self.event_at.take().unwrap_or(now);
        if last != self.dated {
            self.clock.note(self.dated + 1, at);
            self.dated = last;
        }
    }

    /// The kernel's event that is handled next happened then.
    pub fn on_event_at(&mut self, at: Instant) {
        self.event_at = Some(at);
    }

    /// How many flows and expectations that a peer sends here are here.
    pub(super) fn rows_of(&self, peer: &Association) -> u32 {
        self.claims.digest(peer.owner).sum(peer.slices.clone()).1
    }

    /// How many of these are expectations.
    fn expectations_of(&self, peer: &Association) -> u32 {
        self.claims.expects.count_of(peer.owner, &peer.slices) as u32
    }

    /// How many changes wait for a peer, as the difference of versions: at least as many as there are.
    fn waits(&self, peer: &Association) -> u64 {
        self.claims.ledger.last().saturating_sub(peer.told_to(&self.claims.ledger))
    }

    /// Its queues, by name.
    pub fn queues(&self, queues: &mut QueueUsages) {
        let [mut replies, mut told_again] = [QueueUsage::default(); 2];
        for peer in &self.peers {
            replies += peer.replies.usage();
            told_again += peer.lost.usage();
        }
        queues.extend([
            ("replies", replies),
            ("told_again", told_again),
            ("claimed_ends", self.claims.ends()),
        ]);
    }

    /// How each peer stands, in the order of the configuration.
    pub fn peer_standings(&self, now: Instant) -> impl Iterator<Item = PeerStanding> {
        (0..self.cluster.peers.len()).filter_map(move |at| {
            let streams = self.peers.iter().filter(|peer| peer.peer == PeerId::at(at));
            streams.map(|peer| self.stream_standing(peer, now)).reduce(PeerStanding::join)
        })
    }

    fn stream_standing(&self, peer: &Association, now: Instant) -> PeerStanding {
        PeerStanding {
            up: peer.up && peer.opened,
            heard: peer.heard_at.map(|at| now.since(at)),
            complete: peer.complete,
            equal: peer.is_equal(now),
            equal_since: peer.equal_at.map(|at| now.since(at)),
            full: peer.full,
            standby: peer.standby,
            rows: self.rows_of(peer) - self.expectations_of(peer),
            expectations: self.expectations_of(peer),
            in_flight: peer.sent.bytes(),
            behind: self.claims.ledger.last().saturating_sub(peer.stable),
            behind_for: self.behind_for(peer, now),
            lag: peer.lags.quantiles(now),
            heard_lag: peer.lags_heard.quantiles(now),
            trip: peer.rate.trip().is_measured().then(|| peer.rate.trip().smoothed()),
            rate: peer.rate.rate(),
            path_len: peer.path.size(),
            counts: peer.counts,
        }
    }
}

/// More changes than this that wait for a peer are a transfer, not news.
const BULK_ROWS: u64 = 4_096;
