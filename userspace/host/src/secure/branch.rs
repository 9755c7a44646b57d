//! The sealed sessions as a shard has them that makes no handshakes: its lane, and where peers are.
//!
//! ```text
//!   shard 0: Secure --PeerState: sessions, address, run--> Branch of shard 1 --- seal, open
//!                   <--Report: what was opened-------------
//! ```
//!
//! Like [`Secure`](super::Secure) it does no I/O: the caller carries states and reports from one thread to another.

use super::lane::{Lane, Opened, PeerKeys};
use super::limit::PEERS_MAX;
use super::message::DATA;
use super::refusal::{Refusal, Refused};
use super::{Event, PeerId, Sealed};
use common::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// What is opened is reported so often, if nothing about it is new: a peer is silent after five times as long.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What shard 0 tells the others of a peer: all of it, so that one that is lost is made good by the next.
#[derive(Clone, Debug)]
pub struct PeerState {
    /// Which peer.
    pub peer: PeerId,
    /// Its sessions.
    pub keys: PeerKeys,
    /// Data for it goes there.
    pub address: Option<SocketAddr>,
    /// Which run of it is there; `None`: none is.
    pub run: Option<Run>,
}

/// A run of a peer, as in [`Event::PeerUp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which run of it.
    pub incarnation: u64,
    /// How many shards it has.
    pub shards: u8,
}

/// What another shard opened.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Where it came from.
    pub from: SocketAddr,
    /// The datagram that was opened.
    pub opened: Opened,
}

/// The sessions of all peers, for a shard but the first.
#[derive(Debug)]
pub struct Branch {
    lane: Lane,
    peers: [Known; PEERS_MAX],
    refused: Refused,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The run of the peer that this shard's engine knows.
    run: Option<Run>,
    address: Option<SocketAddr>,
    /// What was reported last: under which session, from where, when.
    reported: Option<(u32, SocketAddr, Instant)>,
}

impl Branch {
    /// The sessions of a shard of this node, from 1 to 63.
    #[must_use]
    pub fn new(shard: u8) -> Self {
        let peers = [Known::default(); PEERS_MAX];
        Self { lane: Lane::new(shard), peers, refused: Refused::default() }
    }

    /// Takes what shard 0 says of a peer. Returns the run that is there now, if the engine must know of that: another
    /// one, or none any more.
    pub fn take(&mut self, state: &PeerState) -> Option<Option<Run>> {
        self.lane.follow(state.peer, &state.keys);
        let known = &mut self.peers[state.peer.place()];
        known.address = state.address;
        let before = core::mem::replace(&mut known.run, state.run);
        (before != state.run).then_some(state.run)
    }

    /// Takes a datagram, as [`Secure::handle_datagram`](super::Secure::handle_datagram) does. Handshakes are refused:
    /// they go to shard 0.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &mut [u8]) -> Option<Opened> {
        let is_data = bytes.first() == Some(&DATA);
        let opened = if is_data { self.lane.open(bytes) } else { Err(Refusal::Malformed) };
        opened.map_err(|refusal| self.refused.note(refusal, from)).ok()
    }

    /// Whether shard 0 must know of what was opened: it confirms sessions, sees whether a peer is silent, and where it
    /// is. Most of what comes says nothing new of that.
    pub fn report(&mut self, now: Instant, from: SocketAddr, opened: &Opened) -> Option<Report> {
        let reported = &mut self.peers[opened.peer.place()].reported;
        let is_known = reported.is_some_and(|(index, address, at)| {
            let moved = opened.newest && address != from;
            index == opened.index && !moved && now.since(at) < REPORT_EVERY
        });
        if is_known {
            return None;
        }
        *reported = Some((opened.index, from, now));
        Some(Report { from, opened: *opened })
    }

    /// Whether the engine of this shard knows the run that sealed a datagram. Keys reach a shard before the word that
    /// the peer is there, and an engine would take what a new run sent for the old one's. What it does not take, the
    /// peer sends again; this counts as refused.
    pub fn is_of_known_run(&mut self, from: SocketAddr, opened: &Opened) -> bool {
        let run = self.lane.run_of(opened);
        let is =
            run.is_some() && run == self.peers[opened.peer.place()].run.map(|run| run.incarnation);
        if !is {
            self.refused.note(Refusal::UnknownIndex, from);
        }
        is
    }

    /// As [`Secure::seal`](super::Secure::seal), and only for the run of the peer that this shard's engine knows: its
    /// numbers begin again with the next run, under whose key those of the last run must not have been sealed.
    pub fn seal(
        &mut self,
        peer: PeerId,
        to: u8,
        number: u64,
        (datagram, len): (&mut [u8], usize),
    ) -> Option<Sealed> {
        let known = self.peers[peer.place()];
        let address = known.address?;
        let run = known.run?;
        if self.lane.sealing_run(peer) != Some(run.incarnation) {
            return None;
        }
        let len = self.lane.seal(peer, to, number, datagram, len)?;
        Some(Sealed { len, to: address })
    }

    /// The log line about refused datagrams that is due (R5.9).
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        let (kind, count, last) = self.refused.tell(now)?;
        Some(Event::Refused { kind, count, last })
    }

    /// When [`Branch::poll_event`] has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.refused.tell_at()
    }

    /// How many datagrams were refused, by kind.
    #[must_use]
    pub fn refused(&self, kind: Refusal) -> u64 {
        self.refused.count(kind)
    }
}
