//! The nodes that are heard on the links, each with its own sequence.
//!
//! ```text
//!   datagram, from address --> Peers::identify --> Peer { tracker, ftfw, whole } --> PeerId + order --> Remote
//! ```
//!
//! Version 1 of the protocol names no sender, so a node is known by its address. A node with several links has an
//! address on each: what comes from an unknown address and continues the numbers of a node that has no address on that
//! link comes from that node, unless it turns out that both addresses speak in turn.

use super::ftfw::Ftfw;
use super::outbox::Outbox;
use super::tracker::Tracker;
use super::whole::{Circumstances, Whole};
use crate::config::limit;
use crate::input::Sender;
use crate::message_id::PeerId;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;

/// One node that was heard.
#[derive(Debug)]
pub struct Peer {
    addresses: Vec<Sender>,
    /// Its sequence.
    pub tracker: Tracker,
    /// The receiver's half of the reliable conversation, if that is the mode.
    pub ftfw: Option<Ftfw>,
    /// How much of its table is here.
    pub whole: Whole,
    /// Its last datagram, as long as the numbers in it lie far from all others and no second datagram agrees.
    pub doubtful: Vec<u8>,
    /// Requests for everything that it may have answered now.
    budget: Budget,
    /// When its first message came, or the last restart was noticed.
    pub began: Instant,
    /// When its first message came.
    met: Instant,
    /// The link it spoke over last, how often that changed within a while, and when.
    link: u8,
    switches: u32,
    switched: Instant,
    /// Two nodes were taken for this one, because their numbers were alike.
    apart: bool,
}

impl Peer {
    /// Whether it speaks over one link and over another in turn. No node does: these are two, on a link each.
    fn is_torn(&mut self, now: Instant, link: u8) -> bool {
        if core::mem::replace(&mut self.link, link) == link {
            return false;
        }
        let soon = now.since(self.switched) < limit::LINK_SWITCH;
        self.switches = if soon { self.switches + 1 } else { 1 };
        self.switched = now;
        self.switches > limit::LINK_SWITCHES
    }

    /// Whether no message of it is known to be missing or to be on its way again.
    #[must_use]
    pub fn is_quiet(&self, nacks_open: usize) -> bool {
        self.ftfw.as_ref().is_none_or(|ftfw| nacks_open == 0 && !ftfw.is_missing_some())
    }

    /// Whether what was missing may not have been sent again yet.
    #[must_use]
    pub fn waits_for_missing(&self) -> bool {
        let waits = self.ftfw.as_ref().is_some_and(Ftfw::waits_for_missing);
        waits && self.whole.has_account()
    }

    /// Whether it sent something not long before `now`.
    fn is_here(&self, now: Instant) -> bool {
        self.tracker.heard_at().is_some_and(|at| now.since(at) <= limit::PEER_SILENCE)
    }

    /// Order of the last message that passed over numbers whose messages no peer sends again. In modes where lost
    /// messages are sent again (`reliable`), there is none.
    #[must_use]
    pub const fn hole(&self, reliable: bool) -> u64 {
        if reliable { 0 } else { self.tracker.hole() }
    }

    /// What is known when an account comes that speaks of a transfer from number `transfer` on.
    #[must_use]
    pub fn circumstances(
        &self,
        now: Instant,
        transfer: Option<u32>,
        (nacks_open, reliable): (usize, bool),
        (held, table): (Option<u32>, bool),
    ) -> Circumstances {
        Circumstances {
            now,
            transfer: transfer.and_then(|seq| self.tracker.order_of(seq)),
            hole: self.hole(reliable),
            quiet: self.is_quiet(nacks_open),
            held,
            table,
        }
    }

    /// Has `ask` deal with the request for everything, and takes note if it was asked.
    pub fn with_ftfw<T>(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        act: impl FnOnce(&mut Ftfw, &mut Outbox) -> T,
    ) -> Option<T> {
        let ftfw = self.ftfw.as_mut()?;
        let result = act(ftfw, outbox);
        if ftfw.take_asked() {
            self.whole.on_asked(now, self.tracker.order());
        }
        Some(result)
    }

    /// Whether a request for everything may be answered at once; else when it may.
    pub fn grant(&mut self, now: Instant) -> Result<(), Instant> {
        self.budget.take(now)
    }
}

/// How many requests for everything of one node are answered: a few at once, which is what people and scripts send,
/// then one at a time. An answer can be a million times as large as the request.
#[derive(Debug)]
struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self { left: limit::RESYNCS_AT_ONCE, since: now }
    }

    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let refills = now.since(self.since).as_millis() / limit::RESYNC_EVERY.as_millis();
        if refills > 0 {
            let left = u128::from(self.left) + refills;
            self.left = left.min(u128::from(limit::RESYNCS_AT_ONCE)) as u32;
            self.since = now;
        }
        if self.left == 0 {
            return Err(self.since + limit::RESYNC_EVERY);
        }
        self.left -= 1;
        Ok(())
    }
}

/// How new peers are met.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Seed of hashes.
    pub seed: u64,
    /// Messages per acknowledgement, where messages are acknowledged.
    pub ack_window: Option<u32>,
    /// Whether a new peer is asked for everything.
    pub ask: bool,
}

/// All nodes that were heard.
#[derive(Debug)]
pub struct Peers {
    all: Vec<Peer>,
    manners: Manners,
    /// One of them at most is there: the one that sent the last datagram.
    alone: bool,
}

impl Peers {
    /// No peer yet.
    #[must_use]
    pub const fn new(manners: Manners) -> Self {
        Self { all: Vec::new(), manners, alone: true }
    }

    /// From now on new peers are asked for everything.
    pub const fn ask_new(&mut self) {
        self.manners.ask = true;
    }

    /// Whether new peers are asked for everything.
    #[must_use]
    pub const fn asks_new(&self) -> bool {
        self.manners.ask
    }

    /// The peer whose message `seq` came from an address; and whether it is new.
    pub fn identify(&mut self, now: Instant, from: Sender, seq: u32) -> (PeerId, bool) {
        let found = self.find_or_meet(now, from, seq);
        self.review(now, found.0);
        found
    }

    /// Looks whether peers other than the `speaker` are there. When the last of them has fallen silent, lost messages
    /// are sent again as before they came; what got lost while they were there, no peer sends again, so the engine has
    /// to request everything.
    fn review(&mut self, now: Instant, speaker: PeerId) {
        let alone = !self.iter().any(|(id, peer)| id != speaker && peer.is_here(now));
        if alone && !self.alone {
            for peer in self.all.iter_mut().filter(|peer| peer.tracker.hole() > 0) {
                peer.whole.on_refused(peer.tracker.order());
            }
        }
        self.alone = alone;
    }

    fn find_or_meet(&mut self, now: Instant, from: Sender, seq: u32) -> (PeerId, bool) {
        let known = self.all.iter().position(|peer| peer.addresses.contains(&from));
        let Some(at) = known.or_else(|| self.moved(from, seq)) else {
            return (self.meet(now, from), true);
        };
        let peer = &mut self.all[at];
        if !peer.addresses.contains(&from) {
            peer.addresses.push(from);
        }
        if peer.is_torn(now, from.link) && peer.addresses.len() > 1 {
            peer.addresses.retain(|address| *address != from);
            // A message of one of them may have counted as late, because the other was further.
            peer.whole.on_refused(peer.tracker.order());
            peer.apart = true;
            let id = self.meet(now, from);
            let other = &mut self.all[id.index()];
            other.whole.on_refused(1);
            other.apart = true;
            return (id, true);
        }
        (PeerId::at(at), false)
    }

    /// The node that speaks over another link now: it goes on with its numbers.
    fn moved(&self, from: Sender, seq: u32) -> Option<usize> {
        self.all.iter().position(|peer| {
            let here = peer.addresses.iter().any(|address| address.link == from.link);
            !here && !peer.apart && peer.tracker.continues_with(seq)
        })
    }

    fn meet(&mut self, now: Instant, from: Sender) -> PeerId {
        let Manners { seed, ack_window, ask } = self.manners;
        let mut peer = Peer {
            addresses: alloc::vec![from],
            tracker: Tracker::new(seed, ack_window.is_some()),
            ftfw: ack_window.map(|window| Ftfw::new(window, ask, now)),
            whole: Whole::default(),
            doubtful: Vec::new(),
            budget: Budget::new(now),
            began: now,
            met: now,
            link: from.link,
            switches: 0,
            switched: now,
            apart: false,
        };
        if self.all.len() < limit::PEERS_MAX {
            self.all.push(peer);
            return PeerId::at(self.all.len() - 1);
        }
        let silent = |(_, peer): &(usize, &Peer)| peer.tracker.heard_at();
        let oldest = self.all.iter().enumerate().min_by_key(silent).map_or(0, |(at, _)| at);
        // Messages of the predecessor stay, and are older than everything that its successor sends.
        peer.tracker = peer.tracker.behind(&self.all[oldest].tracker);
        self.all[oldest] = peer;
        PeerId::at(oldest)
    }

    /// A peer.
    #[must_use]
    pub fn get(&self, id: PeerId) -> Option<&Peer> {
        self.all.get(id.index())
    }

    /// The state of a peer, mutable.
    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.all.get_mut(id.index())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> + Clone {
        self.all.iter().enumerate().map(|(at, peer)| (PeerId::at(at), peer))
    }

    /// The states of all peers, mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PeerId, &mut Peer)> {
        self.all.iter_mut().enumerate().map(|(at, peer)| (PeerId::at(at), peer))
    }

    /// When any of them was heard last.
    #[must_use]
    pub fn heard_at(&self) -> Option<Instant> {
        self.all.iter().filter_map(|peer| peer.tracker.heard_at()).max()
    }

    /// Peers that sent something not long before `now`; all of them if none did.
    pub fn present(&self, now: Instant) -> impl Iterator<Item = (PeerId, &Peer)> {
        let nobody = !self.all.iter().any(|peer| peer.is_here(now));
        self.iter().filter(move |(_, peer)| nobody || peer.is_here(now))
    }

    /// Peers that fell silent before one that speaks was met; who speaks is never silent for longer than `silence`.
    /// Either may be a node of its own, or both are one node whose address changed: then no peer reports the ends of
    /// the flows that came from the old address.
    pub fn left_behind(&self, now: Instant, silence: Duration) -> impl Iterator<Item = PeerId> {
        let heard = self.iter().filter_map(|(id, peer)| Some((id, peer, peer.tracker.heard_at()?)));
        let speaks = move |at: Instant| now.since(at) <= silence;
        let newest = heard.clone().filter(|heard| speaks(heard.2)).map(|heard| heard.1.met).max();
        // What was under way still comes from the old address when the new one speaks already.
        let newest = newest.map(|met| met + limit::LATE_TIME);
        let before = move |at: Instant| newest.is_some_and(|newest| at <= newest);
        heard.filter(move |heard| !speaks(heard.2) && before(heard.2)).map(|heard| heard.0)
    }

    /// Whether lost messages are sent again: where messages are acknowledged, and one peer does so. Version 1 does not
    /// say whose messages are acknowledged.
    #[must_use]
    pub const fn are_reliable(&self) -> bool {
        self.manners.ack_window.is_some() && self.alone
    }
}
