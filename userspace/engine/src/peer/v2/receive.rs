//! What peers say: datagrams in, claims taken, comparisons answered.

use super::association::{Association, AssociationId, BEAT, FIRST_ROUND, Reply};
use super::claim::{self, Action, Claim, Comes, KernelEntry, Meeting, Said, What};
use super::claims::{Claimed, Known};
use super::compare;
use super::digest::{self, Listing, Verdict};
use super::lag::AGE_UNIT;
use super::ledger::Item;
use super::sent;
use super::session::V2;
use super::stream::{Number, elicits};
use crate::flows::table::Full;
use crate::kernel::Purpose;
use crate::message_id::PeerId;
use crate::node::Node;
use crate::output::{Event, Request, Side};
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::Flow;
use wire::sync::v2::digest::{FlowId, Ids, LEAF_BITS_MAX, Level, Sums, Wants, leaf_slice};
use wire::sync::v2::frame::{Flags, FlowsFlags};
use wire::sync::v2::{Ack, Cut, FlowRecord, Frame, Frames, Open, Role, Table};

impl V2 {
    /// Takes what a peer sealed, and what was opened for the first time.
    pub fn on_opened(
        &mut self,
        node: &mut Node,
        now: Instant,
        (peer, shard, number): (PeerId, u8, u64),
        bytes: &[u8],
    ) {
        let Some(from) = self.find(peer, shard) else { return };
        let Some(peer) = self.association(from).filter(|peer| peer.up) else { return };
        peer.heard_at = Some(now);
        peer.counts.received += 1;
        let Ok((head, frames)) = Frames::of(bytes) else {
            peer.counts.malformed += 1;
            return;
        };
        let is_open = |frame: Result<Frame<'_>, _>| matches!(frame, Ok(Frame::Open(_)));
        if !peer.opened && !frames.clone().any(is_open) {
            // The datagram would be acknowledged, and not be taken (R8.9).
            peer.counts.unopened += 1;
            return;
        }
        let asks = frames.clone().flatten().any(|frame| elicits(&frame));
        let soon = head.flags.contains(Flags::ANSWER);
        if peer.arrived.on_datagram(now, number, asks, soon) == Number::Settled {
            return;
        }
        if head.age != 0 && peer.rate.trip().is_measured() {
            let lag = AGE_UNIT * u32::from(head.age) + peer.rate.trip().least() / 2;
            peer.lags_heard.record(now, lag);
            peer.heard_lag = Some(lag);
        }
        for frame in frames {
            match frame {
                Ok(frame) => self.on_frame(node, now, (from, number), frame),
                Err(_) => self.count(from, |counts| counts.malformed += 1),
            }
        }
    }

    pub(super) fn count(
        &mut self,
        from: AssociationId,
        count: impl FnOnce(&mut super::association::Counts),
    ) {
        if let Some(peer) = self.association(from) {
            count(&mut peer.counts);
        }
    }

    fn on_frame(
        &mut self,
        node: &mut Node,
        now: Instant,
        (from, number): (AssociationId, u64),
        frame: Frame<'_>,
    ) {
        match frame {
            Frame::Open(open) => self.on_open(now, from, &open),
            Frame::Flows { flags, records } if !flags.contains(FlowsFlags::DIFF) => {
                let repair = flags.contains(FlowsFlags::REPAIR);
                for record in records {
                    match record {
                        Ok(record) => self.on_record(node, now, from, (&record, repair)),
                        Err(_) => self.count(from, |counts| counts.malformed += 1),
                    }
                }
            }
            Frame::Flows { records, .. } => {
                records.flatten().for_each(|record| self.on_shown(now, from, &record));
            }
            Frame::Expects(expects) => self.on_expects(node, now, from, &expects),
            Frame::Ack(ack) => self.on_ack(now, from, ack),
            Frame::Cut(cut) => self.on_cut(node, now, (from, number), &cut),
            Frame::Sums(sums) => self.on_sums(from, sums),
            Frame::Ids(ids) => self.on_ids(node, now, from, ids),
            Frame::Wants(wants) => self.on_wants(from, wants),
            Frame::Release(upto) => self.on_release(now, from, upto),
            Frame::Bye(_) => {
                let peer = self.association(from).map(|peer| peer.peer);
                peer.into_iter().for_each(|peer| node.report(Event::PeerLeft(peer)));
            }
            Frame::Beaten(records) => {
                records.flatten().for_each(|record| self.on_beaten(node, now, &record));
            }
            // Frames of later features, or for people.
            _ => {}
        }
    }

    /// The peer says how it begins, and what it holds of this node (R9.1).
    fn on_open(&mut self, now: Instant, from: AssociationId, open: &Open) {
        let Self { claims, peers, cluster, .. } = self;
        let Some(peer) = peers.get_mut(from.0) else { return };
        if open.mine != peer.incarnation || open.yours != cluster.incarnation {
            return;
        }
        if peer.opened && open.round <= peer.round {
            return;
        }
        if peer.opened || open.round > FIRST_ROUND {
            // The peer restarted: this node's messages are forgotten there, though they were acknowledged before.
            (peer.open_acked, peer.open_number) = (false, None);
        }
        (peer.opened, peer.round) = (true, open.round);
        peer.bits = open.leaf_bits.min(claims.digest(cluster.me).bits()).min(LEAF_BITS_MAX);
        peer.sent.forget();
        peer.path.on_forgotten();
        peer.lost.clear();
        peer.cut_at = Instant(0);
        let ledger = &mut claims.ledger;
        peer.news_from = (ledger.last(), now);
        let since = open.hold.filter(|hold| hold.incarnation == cluster.incarnation);
        let resumes = since.is_some_and(|hold| peer.begin_bulk(ledger, Some(hold.version)));
        peer.compares = open.hold.is_some() && !resumes;
        if open.hold.is_none() {
            peer.begin_bulk(ledger, None);
        } else if !resumes {
            // Living claims are compared. Ends are not, where they ended claims of others: all of them are sent.
            peer.end_bulk(ledger);
            ledger.to_tail(peer.position);
            let ends = claims.ledger.iter().filter(|(item, _)| matches!(item, Item::End(_)));
            let whole = peer.is_whole;
            for (item, entry) in ends.filter(|(item, _)| whole || claims.is_in(*item, &peer.slices))
            {
                peer.lost.push(sent::SentRecord { item, version: entry.version });
            }
        }
    }

    fn on_ack(&mut self, now: Instant, from: AssociationId, ack: Ack<'_>) {
        let Some(peer) = self.peers.get_mut(from.0) else { return };
        let ranges: Vec<_> = ack.ranges().flatten().collect();
        let acked = |number| ranges.iter().any(|range| range.contains(&number));
        peer.open_acked |= peer.open_number.is_some_and(acked);
        if peer.release_number.is_some_and(acked) {
            (peer.release, peer.release_number) = (None, None);
        }
        peer.room = u64::from(ack.room_kib) * 1024;
        let delay = Duration::from_micros(ack.delay_us);
        let Association { sent, rate, path, lost, lags, .. } = peer;
        let models = sent::Models { rate, path };
        let acked = sent.on_ack(now, models, ranges.into_iter(), delay, |record| lost.push(record));
        if let Some(news_at) = acked.news_at {
            lags.record(now, now.since(news_at).saturating_sub(delay));
        }
        peer.follow_path();
    }

    /// A record of a peer.
    fn on_record(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: AssociationId,
        (record, repair): (&FlowRecord<'_>, bool),
    ) {
        let Self { claims, peers, .. } = self;
        let Some(peer) = peers.get_mut(from.0) else { return };
        if !peer.has(|| claims.slice(&record.key)) {
            // The record belongs to another stream (R8.9).
            peer.counts.malformed += 1;
            return;
        }
        let known = claims.known(node, &record.key);
        let wire::sync::v2::Claim { version, epoch, base, what } = record.claim;
        let coming = Claim { owner: peer.owner, incarnation: peer.run, epoch, version, base, what };
        let outcome = claim::outcome(known.claim(), &coming, repair);
        if outcome.is_beaten() {
            peer.counts.beaten += 1;
            if repair {
                peer.reply(Reply::Beaten(record.key));
            }
        } else if outcome.is_taken() {
            peer.counts.taken += 1;
            self.take(node, now, from, (coming, record, known));
        } else {
            peer.counts.again += 1;
        }
    }

    /// A peer's claim is taken: it is remembered, and this node's kernel and own claim follow (R10.4).
    fn take(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: AssociationId,
        (coming, record, known): (Claimed, &FlowRecord<'_>, Known),
    ) {
        let key = record.key;
        // Where an injection made an entry, what is known of this node's own is about to go.
        let shows = matches!(known, Known::Own(..)) || !node.remote.made(&key);
        let slot = node.flows.table.find(&key);
        let slot = slot.filter(|slot| shows && node.flows.is_alive(*slot));
        let flow = record.to_flow();
        let mine = slot.and_then(|slot| self.claims.flow(node, slot));
        let entry = match known {
            Known::Own(..) => KernelEntry::Own,
            _ if mine.is_some() => KernelEntry::Ceded,
            _ if node.remote.made(&key) => KernelEntry::Injected,
            Known::OwnEnd(_, claim) if claim.what == What::Closed => KernelEntry::OwnClose,
            _ => KernelEntry::None,
        };
        let comes = Comes::of(known.claim(), &coming);
        let ours = known.claim().filter(|claim| claim.owner == self.cluster.me);
        let written = match known {
            Known::Held(slot, _) if entry == KernelEntry::Injected => node.remote.table().at(slot),
            _ => None,
        };
        let meeting = Meeting {
            knew: ours.is_some_and(|ours| claim::knew(ours, &coming)),
            same_reply: mine.as_ref().is_none_or(|mine| mine.reply == flow.reply)
                && written.is_none_or(|written| !written.has_other_reply(&flow.reply)),
            adds: mine.as_ref().is_some_and(|mine| claim::adds(mine, &flow)),
            hot: self.cluster.hot,
        };
        let action = claim::meet(entry, comes, meeting);
        // Its packets may go on through this node: the entry follows, as far as the owner knows more.
        let follows = self.cluster.hot
            && action == Action::Cede
            && mine.as_ref().is_some_and(|mine| claim::adds(&flow, mine));
        let action = if follows { Action::Advance } else { action };
        // Most claims are held and nothing else: only what acts needs a copy.
        let acts = action != Action::Nothing;
        let state = (acts && matches!(comes, Comes::Live | Comes::New)).then(|| flow.clone());
        let mut refused = false;
        if coming.what.is_end() {
            self.claims.hold_end(node, &key, coming, known);
        } else {
            let held = self.claims.hold(node, (now, comes == Comes::New), (coming, flow), known);
            refused = held.is_err();
            let lacks = match held {
                Ok(gave) => gave,
                Err(Full) => Some(coming.owner),
            };
            let mut lacking = self.peers.iter_mut().filter(|peer| Some(peer.owner) == lacks);
            lacking.next().into_iter().for_each(|peer| {
                peer.full = true;
                peer.counts.no_space += 1;
            });
            lacking.for_each(|peer| peer.full = true);
            node.note_room(now, Side::Remote, held.map(drop));
        }
        // A write to the kernel needs its record here: without room for the record, there is no write.
        if acts && !(refused && action.is_write()) {
            self.act(node, now, from, (action, coming), (slot, key), state);
        }
    }

    fn act(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: AssociationId,
        (action, coming): (Action, Claimed),
        (slot, key): (Option<u32>, ctnetlink::FlowKey),
        state: Option<Flow>,
    ) {
        let next = (coming.epoch.saturating_add(1), coming.version);
        match action {
            Action::CedeConflict => self.count(from, |counts| counts.nat_conflicts += 1),
            Action::ClaimJoined => {
                let known = self.claims.known(node, &key);
                if let (Some(slot), Some(theirs)) = (slot, state) {
                    self.claims.join(slot, theirs);
                    self.claims.claim(node, slot, (next.0, next.1, What::State), known);
                }
            }
            Action::Ask => {
                let known = self.claims.known(node, &key);
                slot.into_iter().for_each(|slot| self.ask(node, slot, known));
            }
            // Without room in the queue the entry stays until its time is over.
            Action::Delete => {
                let entry = slot.and_then(|slot| node.flows.table.at(slot));
                let id = match entry {
                    Some(entry) => entry.id(),
                    None => node.remote.made_id(&key),
                };
                // If an injection made the entry just now, its event will show which one it is: it is deleted then.
                if entry.is_some() || id.is_some() || !self.cluster.hot {
                    let request = Request::Delete(key, id);
                    let _queued = node.kernel.push(Purpose::InjectDestroy, request);
                }
            }
            Action::CloseAgain => {
                let known = self.claims.known(node, &key);
                self.claims.end(node, &key, (next.0, next.1, What::Closed), known);
            }
            Action::Create | Action::Write | Action::Replace | Action::Advance => {
                if let Some(flow) = state {
                    self.inject(node, now, action, flow);
                }
            }
            Action::Nothing | Action::Cede | Action::Forget | Action::AskWhenOver => {}
        }
    }

    /// The peer says what its claims sum up to (R11.3).
    fn on_cut(
        &mut self,
        node: &Node,
        now: Instant,
        (from, number): (AssociationId, u64),
        cut: &Cut,
    ) {
        let Self { claims, peers, .. } = self;
        let Some(peer) = peers.get_mut(from.0) else { return };
        let (sum, rows) = claims.digest(peer.owner).sum(peer.slices.clone());
        peer.full &= cut.rows.saturating_sub(rows) as usize > claims.room_for(node, peer.owner);
        let version = match peer.hold {
            Some((run, version)) if run == peer.incarnation => version.max(cut.stable),
            _ => cut.stable,
        };
        peer.hold = Some((peer.incarnation, version));
        let steps_back = cut.role == Role::Standby && !peer.standby;
        peer.standby = cut.role == Role::Standby;
        let was_equal = peer.equal;
        if peer.arrived.is_comparable(cut.settled, number) {
            let equal = (sum, rows) == (cut.digest, cut.rows);
            // A node that is still reading its kernel's table claims little of what it will.
            let says_all = cut.table == Table::Exact;
            peer.complete |= equal;
            peer.equal = equal && says_all;
            if peer.equal {
                peer.equal_at = Some(now);
            }
            if let Some(comparing) = &mut peer.comparing {
                let ours = compare::Sum { print: sum as u32, rows };
                let theirs = compare::Sum { print: cut.digest as u32, rows: cut.rows };
                if comparing.on_cut(now, [ours, theirs], says_all) {
                    peer.counts.unequal += 1;
                    peer.reply(Reply::Sums(Level::Slices, alloc::vec![0]));
                }
            } else if !equal && says_all && !peer.full && now >= peer.locate_at {
                peer.counts.unequal += 1;
                peer.locate_at = now + BEAT;
                peer.reply(Reply::Sums(Level::Slices, alloc::vec![0]));
            }
        }
        peer.arrived.on_settled(cut.settled);
        // A node that forgot what the peer carries holds it again once both are equal.
        if steps_back || peer.standby && peer.equal && !was_equal {
            self.note_free(now, from);
        }
    }

    /// The peer's claims up to a version lose their owner.
    fn on_release(&mut self, now: Instant, from: AssociationId, upto: u64) {
        let Some(peer) = self.peers.get(from.0) else { return };
        let (owner, run, slices) = (peer.owner, peer.run, peer.slices.clone());
        self.note_free(now, from);
        self.claims.release((owner, run), &slices, upto);
    }

    fn on_sums(&mut self, from: AssociationId, sums: Sums<'_>) {
        let Self { claims, peers, cluster, .. } = self;
        let Some(peer) = peers.get_mut(from.0) else { return };
        let (level, bits) = (sums.level, peer.bits);
        let owner = if level == Level::Groups { peer.owner } else { cluster.me };
        let found: Vec<u16> =
            digest::differing(claims.digest(owner), sums, bits, peer.slices.clone()).collect();
        if found.is_empty() {
            return;
        }
        match level {
            Level::Slices => peer.reply(Reply::Sums(Level::Groups, found)),
            Level::Groups => peer.reply(Reply::Sums(Level::Leaves, found)),
            // However many differ: a bulk shows what the peer lacks, and not what it has too much.
            Level::Leaves => {
                let leaves = found.iter().flat_map(|leaf| digest::listed_leaves(*leaf, bits));
                let leaves = claims.list(leaves.filter_map(|leaf| u16::try_from(leaf).ok()));
                let upto = claims.ledger.last();
                peer.reply(Reply::Ids { upto, leaves, at: Listing::default() });
            }
        }
    }

    fn on_ids(&mut self, node: &mut Node, now: Instant, from: AssociationId, ids: Ids<'_>) {
        let Self { claims, peers, .. } = self;
        let Some(peer) = peers.get_mut(from.0) else { return };
        let (owner, run, peer_slices) = (peer.owner, peer.run, peer.slices.clone());
        // What is listed of others is not this stream's (R8.9).
        let parts =
            || ids.parts().flatten().filter(|part| peer_slices.contains(&leaf_slice(part.leaf)));
        let leaves = parts().map(|part| part.leaf);
        let held = claims.held_in((owner, run), leaves);
        if let Some(comparing) = &mut peer.comparing {
            let wants = comparing.on_ids(now, ids, &held);
            if !wants.is_empty() {
                peer.reply(Reply::Wants { upto: ids.upto, ids: wants, people: true });
            }
            return;
        }
        let (mut wants, mut drops): (Vec<FlowId>, Vec<FlowId>) = (Vec::new(), Vec::new());
        for part in parts() {
            let (first, last) = part.range;
            let here = held.get(&part.leaf).into_iter().flatten();
            let here = here.filter(|held| (first..=last).contains(&held.id)).copied();
            digest::judge(part.rows(), here, ids.upto, |verdict| match verdict {
                Verdict::Drop(id) => drops.push(id),
                Verdict::Want(id) => wants.push(id),
            });
        }
        drops.sort_unstable();
        wants.sort_unstable();
        if !wants.is_empty() {
            peer.reply(Reply::Wants { upto: ids.upto, ids: wants, people: false });
        }
        if !drops.is_empty() {
            let flows = claims.drop_held(node, owner, &drops);
            let expectations = self.drop_unlisted_expectations(node, now, (owner, &drops));
            self.count(from, |counts| counts.unlisted += flows + expectations);
            self.look_again(now);
        }
    }

    fn on_wants(&mut self, from: AssociationId, wants: Wants<'_>) {
        let Self { claims, peers, .. } = self;
        let Some(peer) = peers.get_mut(from.0) else { return };
        let listed = wants.leaves().flatten();
        let listed = listed.filter(|(leaf, _)| peer.slices.contains(&leaf_slice(*leaf)));
        let listed = listed.flat_map(|(_, ids)| ids);
        let mut ids: Vec<FlowId> = listed.collect();
        ids.sort_unstable();
        let reply = if wants.is_for_people() { Reply::Show } else { Reply::Repair };
        claims.find_own(&ids).into_iter().for_each(|item| peer.reply(reply(item)));
    }

    /// A peer holds another claim against one of this node's (R10.8).
    fn on_beaten(&mut self, node: &mut Node, now: Instant, record: &FlowRecord<'_>) {
        let key = record.key;
        let known = self.claims.known(node, &key);
        let Some(ours) = known.claim().filter(|claim| claim.owner == self.cluster.me) else {
            return;
        };
        let ours = *ours;
        let wire::sync::v2::Claim { version, epoch, base, what } = record.claim;
        // The record does not name its owner, and the owner does not matter.
        let held = Claim { owner: ours.owner, incarnation: 0, epoch, version, base, what };
        let slot = node.flows.table.find(&key).filter(|slot| node.flows.is_alive(*slot));
        match (claim::beaten(&ours, &held, slot.is_some()), slot) {
            (Said::Claim { epoch, base, what, .. }, Some(slot)) if !what.is_end() => {
                self.claims.claim(node, slot, (epoch, base, what), known);
            }
            (Said::Claim { epoch, base, what, .. }, _) if what.is_end() => {
                self.claims.end(node, &key, (epoch, base, what), known);
            }
            (Said::Claim { .. }, _) => {}
            _ if epoch >= ours.epoch && !what.is_end() && !ours.what.is_end() => {
                self.claims.let_go(node, &key, known);
                self.look_again(now);
            }
            _ => {}
        }
    }
}
