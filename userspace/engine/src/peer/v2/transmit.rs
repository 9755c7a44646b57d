//! What goes out: one datagram at a time, for one peer at a time.
//!
//! ```text
//!   probe, witness | ACK | OPEN | what was lost, news, bulk | sums, rows, wants, repairs | CUT, if nothing waits
//!   not paced    paced: as much as the path and the peer take       not paced
//! ```

use super::association::{BEAT, Reply};
use super::digest;
use super::lag::AGE_UNIT;
use super::ledger::{Entry, Item};
use super::path::{Owed, SEAL_LEN};
use super::rate::Snapshot;
use super::sent;
use super::session::V2;
use crate::flows::exactness::Exactness;
use crate::node::Node;
use crate::output::Sealed;
use alloc::vec::Vec;
use common::Instant;
use ctnetlink::FlowKey;
use wire::sync::v2::digest::{IdRow, Level};
use wire::sync::v2::frame::{Flags, FlowsFlags};
use wire::sync::v2::{
    Bye, Canonical, Claim, Cut, Datagram, Head, Hold, Open, Role, Table, control,
};

/// Most records of a datagram of any length: the least has 15 bytes.
const RECORDS_MAX: usize = 1 << 12;
/// How much a peer may have in flight to this node, sent with each acknowledgement.
const ROOM_KIB: u16 = 1024;

/// One of so many datagrams has bulk and answers before news.
const BULK_SHARE: u64 = 8;

/// The part of the ledger that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Items that were sent and lost.
    Lost,
    /// The ledger's changes.
    News,
    /// What was there before.
    Bulk,
}

type Order = [Of; 3];

const NEWS_FIRST: Order = [Of::Lost, Of::News, Of::Bulk];
const BULK_FIRST: Order = [Of::Bulk, Of::Lost, Of::News];

/// What a datagram contains.
#[derive(Clone, Copy, Default)]
struct Packed {
    /// The peer has to acknowledge it.
    elicits: bool,
    /// OPEN is in it.
    opens: bool,
    /// A release is in it.
    releases: bool,
}

impl V2 {
    /// Does what the time asks for: finds what is lost, and looks for what paths carry.
    pub fn handle_timeout(&mut self, now: Instant) {
        for peer in self.peers.iter_mut().filter(|peer| peer.up) {
            if peer.sent.timeout(peer.rate.trip()).is_some_and(|at| at <= now) {
                let super::association::Association { sent, rate, path, lost, .. } = peer;
                let models = sent::Models { rate, path };
                sent.on_timeout(now, models, |record| lost.push(record));
            }
            peer.path.on_time(now);
            peer.follow_path();
        }
    }

    /// When there is something to do, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self, node: &Node) -> Option<Instant> {
        let peers = self.peers.iter().filter_map(|peer| peer.timeout(self.has_news(peer)));
        let people = self.peers.iter().filter_map(|peer| Some(peer.comparing.as_ref()?.due()));
        let expects = self.expectations_due();
        let scan = self.scan_due(node.has_read_all());
        let asking = [scan, self.ask_due(), expects].into_iter().flatten();
        peers.chain(people).chain(asking).min()
    }

    fn has_news(&self, peer: &super::association::Association) -> bool {
        let ledger = &self.claims.ledger;
        let has_records = ledger.peek(peer.position).is_some() || peer.peek_bulk(ledger).is_some();
        (has_records && !self.holds_back(peer)) || !peer.lost.is_empty() || !peer.replies.is_empty()
    }

    /// Whether news is held back: claims that this node is about to make are compared with what the peer holds,
    /// instead of sent.
    const fn holds_back(&self, peer: &super::association::Association) -> bool {
        peer.compares && !self.scanned && self.scan.is_some()
    }

    /// Packs the next datagram for one of the peers; `None` when there is nothing to send now.
    pub fn poll_sealed(&mut self, node: &Node, now: Instant, bytes: &mut [u8]) -> Option<Sealed> {
        self.skip_others();
        for _ in 0..self.peers.len() {
            let at = self.turn % self.peers.len();
            if let Some(sealed) = self.pack_probe(now, at, bytes) {
                return Some(sealed);
            }
            if let Some((number, len)) = self.pack(node, now, at, bytes) {
                let asks_limit = false;
                let (peer, to) = (self.peers[at].peer, self.peers[at].to);
                return Some(Sealed { peer, to, number, len, asks_limit });
            }
            self.turn = at + 1;
        }
        None
    }

    fn pack(
        &mut self,
        node: &Node,
        now: Instant,
        at: usize,
        bytes: &mut [u8],
    ) -> Option<(u64, usize)> {
        let peer = self.peers.get(at).filter(|peer| peer.up)?;
        let mut packed = Packed::default();
        let most = bytes.len().min(peer.path.text_len());
        let mut head = head(now);
        let mut d = Datagram::new(&mut bytes[..most], &head)?;
        let tells = peer.opened && !peer.owes_bye && self.has_news(peer);
        if core::mem::take(&mut self.peers[at].owes_bye) {
            d.bye(Bye::Stopping);
        }
        self.put_ack(now, at, &mut d, tells);
        if self.peers[at].owes_open(now) {
            packed.opens = self.put_open(at, &mut d);
            packed.elicits |= packed.opens;
        }
        if let Some(upto) = self.peers[at].owes_release(now) {
            packed.releases = d.release(upto);
            packed.elicits |= packed.releases;
        }
        let may = tells && self.may_send(now, at, most);
        let mut fills = false;
        if may {
            let (any, oldest) = self.put_records((node, now), at, &mut d);
            packed.elicits |= any;
            if let Some(oldest) = oldest {
                let age = now.since(oldest).as_micros() / AGE_UNIT.as_micros();
                // 0 is no news.
                head.age = u16::try_from(age.max(1)).unwrap_or(u16::MAX);
            }
            fills = packed.elicits && self.has_news(&self.peers[at]);
        }
        if self.put_beat(node, now, at, &mut d) {
            packed.elicits = true;
            head.flags |= Flags::ANSWER;
        }
        if d.is_empty() {
            return None;
        }
        if fills {
            // All that are full have one length (R6.3).
            d.pad();
        }
        if packed.elicits && self.peers[at].closes_window(d.len(), most) {
            // The receiver would wait for the rest of a burst that does not come.
            head.flags |= Flags::ANSWER;
        }
        d.set_head(&head);
        let (len, more) = (d.len(), self.has_news(&self.peers[at]));
        let peer = &mut self.peers[at];
        let snapshot = if packed.elicits {
            peer.rate.on_sent(now, len as u64, peer.sent.bytes(), more)
        } else {
            Snapshot::default()
        };
        let number = peer.sent.send(now, len, packed.elicits, snapshot);
        if packed.opens {
            peer.on_open_sent(now, number);
        }
        if packed.releases {
            peer.on_release_sent(now, number);
        }
        peer.counts.sent += 1;
        Some((number, len))
    }

    /// A cut if it is time for one, and a probe that is owed; whether there is a probe.
    fn put_beat(&mut self, node: &Node, now: Instant, at: usize, d: &mut Datagram<'_>) -> bool {
        let peer = &self.peers[at];
        if !peer.opened {
            return false;
        }
        if !self.has_news(peer) && now >= peer.cut_at + BEAT {
            self.put_cut(node, now, at, d);
            // A node without news measures the path, too: a received timestamp took half of a round trip.
            let peer = &mut self.peers[at];
            peer.owes_probe |= !peer.rate.trip().is_measured();
        }
        let peer = &mut self.peers[at];
        let probes = peer.owes_probe && d.probe();
        peer.owes_probe &= !probes;
        probes
    }

    /// Packs what finds out what the path to a peer carries.
    fn pack_probe(&mut self, now: Instant, at: usize, bytes: &mut [u8]) -> Option<Sealed> {
        let peer = self.peers.get_mut(at).filter(|peer| peer.up && !peer.owes_bye)?;
        if let Some(Owed::Probe { size, .. }) = peer.owed_to_path() {
            // Nothing longer than the caller seals can be sent. No probe is in flight.
            let _ = peer.path.on_limit(now, size, bytes.len() + SEAL_LEN);
        }
        let owed = peer.owed_to_path()?;
        let most = match owed {
            Owed::Probe { size, .. } => size - SEAL_LEN,
            Owed::Witness => bytes.len(),
        };
        let mut d = Datagram::new(bytes.get_mut(..most)?, &head(now))?;
        d.probe();
        let asks_limit = matches!(owed, Owed::Probe { again: true, .. });
        let number = if owed == Owed::Witness {
            let snapshot = peer.rate.on_sent(now, d.len() as u64, peer.sent.bytes(), false);
            peer.sent.send(now, d.len(), true, snapshot)
        } else {
            d.pad();
            peer.sent.send_probe(now, d.len())
        };
        peer.path.on_sent(owed, number);
        peer.counts.sent += 1;
        Some(Sealed { peer: peer.peer, to: peer.to, number, len: d.len(), asks_limit })
    }

    /// Whether the path and the peer take another datagram of this length.
    fn may_send(&mut self, now: Instant, at: usize, len: usize) -> bool {
        let peer = &mut self.peers[at];
        let allowed = peer.rate.allowance(now, peer.sent.bytes(), peer.room);
        let may = allowed >= len as u64 && peer.sent.has_room(RECORDS_MAX);
        let full = peer.sent.bytes() + len as u64 > peer.rate.window().min(peer.room);
        // A full window opens with an acknowledgement, or what is in flight is found to be lost.
        peer.paced_until = (!may && !full).then(|| now + peer.rate.wait().max(PACE_MIN));
        may
    }

    fn put_ack(&mut self, now: Instant, at: usize, d: &mut Datagram<'_>, tells: bool) {
        let arrived = &mut self.peers[at].arrived;
        if !(arrived.is_due(now) || tells && arrived.is_owed()) {
            return;
        }
        let delay = arrived.delay(now).as_micros() as u64;
        if d.ack(|w| control::put_ack(w, delay, ROOM_KIB, arrived.ranges())) {
            arrived.on_acknowledged();
        }
    }

    fn put_open(&self, at: usize, d: &mut Datagram<'_>) -> bool {
        let peer = &self.peers[at];
        let rows = self.rows_of(peer);
        let hold = peer.hold.map(|(incarnation, version)| Hold { incarnation, version, rows });
        d.open(&Open {
            mine: self.cluster.incarnation,
            yours: peer.incarnation,
            round: peer.my_round,
            leaf_bits: self.claims.digest(self.cluster.me).bits(),
            hold,
            ..Open::default()
        })
    }

    /// What was lost, news, bulk, answers; in some datagrams the last two come first, so that they get their share of
    /// a path that news fills (R8.2). Whether anything was put, and when the oldest news of it arose.
    fn put_records(
        &mut self,
        node: At<'_>,
        at: usize,
        d: &mut Datagram<'_>,
    ) -> (bool, Option<Instant>) {
        let turns = self.peers[at].counts.sent.is_multiple_of(BULK_SHARE);
        if turns {
            let replied = self.put_replies(node, at, d);
            let (any, oldest) = self.put_ledger(node, at, d, BULK_FIRST);
            return (any || replied, oldest);
        }
        let (any, oldest) = self.put_ledger(node, at, d, NEWS_FIRST);
        (self.put_replies(node, at, d) || any, oldest)
    }

    fn put_ledger(
        &mut self,
        node: At<'_>,
        at: usize,
        d: &mut Datagram<'_>,
        order: Order,
    ) -> (bool, Option<Instant>) {
        let holds_back = self.holds_back(&self.peers[at]);
        let Self { claims, peers, clock, .. } = self;
        let peer = &mut peers[at];
        let (mut any, mut oldest) = (false, u64::MAX);
        loop {
            let mut next = |of: &Of| match of {
                Of::Lost => peer.lost.peek(&claims.ledger),
                _ if holds_back => None,
                Of::News => claims.ledger.peek(peer.position),
                Of::Bulk => peer.peek_bulk(&claims.ledger),
            };
            let found = order.iter().find_map(|of| Some((*of, next(of)?)));
            let Some((of, (item, entry))) = found else { break };
            match put_claim(claims, node, d, (item, &entry), FlowsFlags::empty()) {
                Some(true) => {
                    any = true;
                    peer.sent.tell(item, entry.version);
                    if entry.version > peer.news_from.0 {
                        oldest = oldest.min(entry.version);
                    }
                    peer.counts.records_sent += 1;
                    peer.counts.records_sent_again += u64::from(of == Of::Lost);
                }
                Some(false) => break,
                // The flow is not here as the ledger has it: the next change will send it.
                None => {}
            }
            match (of, peer.bulk) {
                (Of::Lost, _) => peer.lost.advance(),
                (Of::Bulk, Some(bulk)) => claims.advance(bulk.position, peer.slices_sent()),
                _ => claims.advance(peer.position, peer.slices_sent()),
            }
        }
        let oldest = (oldest != u64::MAX).then(|| clock.at(oldest));
        oldest.into_iter().for_each(|oldest| peer.sent.date(oldest));
        (any, oldest)
    }

    fn put_replies(&mut self, node: At<'_>, at: usize, d: &mut Datagram<'_>) -> bool {
        let mut any = false;
        while let Some(reply) = self.peers[at].replies.pop() {
            let (fitted, rest) = self.put_reply(node, at, reply, d);
            any |= fitted;
            if let Some(rest) = rest {
                // It has just left this place.
                let _ = self.peers[at].replies.put_back(rest);
                break;
            }
        }
        any
    }

    /// Whether something was put, and what is left of it.
    fn put_reply(
        &mut self,
        node: At<'_>,
        at: usize,
        reply: Reply,
        d: &mut Datagram<'_>,
    ) -> (bool, Option<Reply>) {
        let Self { claims, peers, cluster, .. } = self;
        let peer = &mut peers[at];
        match reply {
            Reply::Sums(level, mut nodes) => {
                let owner = if level == Level::Groups { cluster.me } else { peer.owner };
                let count = digest::pack_sums(d, claims.digest(owner), level, &nodes, peer.bits);
                nodes.drain(..count);
                (count > 0, (!nodes.is_empty()).then_some(Reply::Sums(level, nodes)))
            }
            Reply::Ids { upto, leaves, at: mut place } => {
                let before = place;
                let rows: Vec<(u16, &[IdRow])> =
                    leaves.iter().map(|(leaf, rows)| (*leaf, &rows[..])).collect();
                digest::pack_rows(d, upto, &rows, &mut place);
                let over = place.is_over(rows.len());
                (place != before, (!over).then_some(Reply::Ids { upto, leaves, at: place }))
            }
            Reply::Wants { upto, mut ids, people } => {
                let count = digest::pack_wants(d, (upto, people), &ids);
                ids.drain(..count);
                let rest = (!ids.is_empty()).then_some(Reply::Wants { upto, ids, people });
                (count > 0, rest)
            }
            Reply::Repair(item) | Reply::Show(item) => {
                let repairs = matches!(reply, Reply::Repair(_));
                let flags = if repairs { FlowsFlags::REPAIR } else { FlowsFlags::DIFF };
                let Some(entry) = claims.ledger.entry(item) else { return (false, None) };
                match put_claim(claims, node, d, (item, &entry), flags) {
                    Some(true) => {
                        peer.counts.repaired += u64::from(repairs);
                        (true, None)
                    }
                    Some(false) => (false, Some(reply)),
                    None => (false, None),
                }
            }
            Reply::Beaten(key) => {
                let fitted = self.put_beaten(node.0, d, &key);
                (fitted == Some(true), (fitted == Some(false)).then_some(Reply::Beaten(key)))
            }
        }
    }

    /// Says what is held against a claim of the peer's; `None` if nothing is.
    fn put_beaten(&self, node: &Node, d: &mut Datagram<'_>, key: &FlowKey) -> Option<bool> {
        let known = self.claims.known(node, key);
        let super::claims::Claimed { version, epoch, base, what, .. } = *known.claim()?;
        let claim = Claim { version, epoch, base, what };
        let flow = match known {
            super::claims::Known::Own(slot, _) => self.claims.flow(node, slot),
            super::claims::Known::Held(slot, _) => node.remote.table().at(slot).map(|e| e.flow()),
            _ => None,
        };
        match flow.as_ref().and_then(Canonical::of) {
            Some(canonical) => Some(d.beaten(&claim, &canonical)),
            None if what.is_end() => Some(d.beaten_end(&claim, key)),
            None => None,
        }
    }

    fn put_cut(&mut self, node: &Node, now: Instant, at: usize, d: &mut Datagram<'_>) {
        let table = self.table(node);
        let role = if self.standby { Role::Standby } else { Role::Active };
        let Self { claims, peers, cluster, .. } = self;
        let peer = &mut peers[at];
        let behind = peer.told_to(&claims.ledger);
        peer.stable = sent::stable(behind, &peer.sent, &peer.lost, peer.stable);
        let (digest, rows) = claims.digest(cluster.me).sum(peer.slices.clone());
        let cut = Cut {
            upto: claims.ledger.last(),
            settled: peer.sent.settled(),
            stable: peer.stable,
            rows,
            digest,
            table,
            role,
        };
        if d.cut(&cut) {
            peer.cut_at = now;
        }
    }

    /// How sure this node is of what it claims.
    fn table(&self, node: &Node) -> Table {
        match node.exactness.state() {
            _ if !node.is_loaded() || !self.scanned || !self.expects.scanned => Table::Loading,
            Exactness::Exact => Table::Exact,
            Exactness::Degraded { .. } => Table::Degraded,
            Exactness::Repairing { .. } => Table::Repairing,
        }
    }
}

/// The node whose present state is sent, and the time.
type At<'n> = (&'n Node, Instant);

/// What every datagram begins with.
fn head(now: Instant) -> Head {
    Head { sent_us: (now.0 / 1_000) as u32, ..Head::default() }
}

/// Between two looks at what may be sent.
const PACE_MIN: core::time::Duration = core::time::Duration::from_micros(100);

/// Puts a claim of this node's: whether it fitted; `None` if it is not here.
fn put_claim(
    claims: &mut super::claims::Claims,
    (node, now): At<'_>,
    d: &mut Datagram<'_>,
    (item, entry): (Item, &Entry),
    flags: FlowsFlags,
) -> Option<bool> {
    let Entry { version, epoch, base, what } = *entry;
    let claim = Claim { version, epoch, base, what };
    match item {
        Item::Flow(slot) => {
            let flow = claims.sent_flow(node, slot)?;
            Some(d.flow(flags, &claim, &Canonical::of(&flow)?))
        }
        Item::End(place) => {
            let (_, key) = claims.ledger.ended(place)?;
            Some(d.end(flags, &claim, &key))
        }
        // People are shown flows alone.
        Item::Expect(_) if flags.contains(FlowsFlags::DIFF) => None,
        Item::Expect(place) => {
            let key = claims.expects.key_at(place)?;
            let expect = if what.is_end() {
                key.identity()
            } else {
                V2::expectation_record(node, now, key)?
            };
            Some(d.expect(version, what, &expect))
        }
    }
}
