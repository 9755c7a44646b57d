//! Whether this node holds what its peers have, and whether they hold what it has (`docs/spec/sync.md` S10).

use super::ftfw::Ftfw;
use super::session::{Arrival, V1};
use super::whole::Finding;
use super::{Peer, Step, counted};
use crate::config::{Mode, limit};
use crate::flows::exactness::Exactness;
use crate::message_id::{MessageId, PeerId};
use crate::node::Node;
use crate::output::Event;
use alloc::vec::Vec;
use common::Instant;
use core::time::Duration;
use ctnetlink::FlowKey;
use wire::sync::v1::{self, Account, Control, Message, Messages};

/// How long after a request all of the answer counts as arrived, for modes without acknowledgements whose peer sends
/// no accounts.
const ANSWER_TIME: Duration = Duration::from_secs(1);

impl V1 {
    /// What this node says of its own table.
    fn account(&self, node: &Node) -> Account {
        let flows = counted(&node.flows.table) as u32;
        let exact =
            node.exactness.state() == Exactness::Exact && node.is_loaded() && !self.owes_transfer();
        let transfer = self.transferred;
        let keeps = node.config.replication.keep_local;
        let injects = !node.config.replication.keep_remote;
        let counted = keeps && transfer.is_some() && !self.has_unsent;
        Account { exact, whole: keeps, injects, transfer, flows: counted.then_some(flows) }
    }

    /// Announces to the peers that nothing is left to send, and how many flows they should hold.
    pub(super) fn queue_account(&mut self, node: &mut Node, now: Instant) {
        let account = self.account(node);
        self.outbox.queue_control(Control::Settled(Some(account)));
        self.debt_announced = self.owes_transfer();
        self.account_next = now + limit::ACCOUNT_EVERY;
    }

    /// Whether a bulk transfer is under way: from the table, or, where none is kept, straight from the kernel's.
    pub(super) fn is_transferring(&self, node: &Node) -> bool {
        let passes_on = !node.config.replication.keep_local && node.dump.is_some();
        self.outbox.is_in_bulk() || passes_on
    }

    /// Whether it is time for an account although this node speaks all the time.
    pub(super) fn owes_account(&self, node: &Node, now: Instant) -> bool {
        let due = now >= self.account_next && !self.sends_all(node);
        let due = due || self.has_debt_to_announce(node);
        self.converses(node) && due && self.outbox.is_empty()
    }

    /// Records that this node sends a flow to peers that write it straight into their kernels. If such a peer has
    /// sent that flow too, our message may change or end the peer's, and the peer does not report that. So the peer
    /// has to send everything once more.
    pub(super) fn note_said(&mut self, node: &mut Node, now: Instant, datagram: &[u8]) {
        for message in Messages::datagram(datagram).flatten().map(|raw| v1::decode(&raw)) {
            let Ok(Message::Flow { flow, .. }) = message else { continue };
            self.said_at = Some(now);
            let entry = node.remote.table().get(&flow.key());
            let message = entry.and_then(|entry| MessageId::from_stamp(entry.stamp));
            let peer = message.and_then(|message| self.peers.get_mut(message.peer()));
            if let Some(peer) = peer.filter(|peer| peer.whole.injects()) {
                peer.whole.on_said(now);
            }
        }
    }

    /// Whether a peer's word about a flow may have crossed one of this node's.
    pub(super) fn may_have_crossed(&self, node: &Node, now: Instant, key: &FlowKey) -> bool {
        self.said_at.is_some_and(|at| now.since(at) <= limit::CROSSING) && node.is_own(key)
    }

    /// A peer has said how much of its table should be here.
    pub(super) fn on_account(
        &mut self,
        node: &mut Node,
        now: Instant,
        arrival: Arrival,
        account: Account,
    ) {
        let (nacks, reliable) = (self.outbox.open_requests().nacks, self.peers.are_reliable());
        let (id, held) = (arrival.peer, node.remote.held_of(arrival.peer));
        if matches!(arrival.place.step, Step::Late | Step::Again) {
            return;
        }
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.whole.shows_new_life(account, peer.tracker.order()) {
            node.counters.replica.peer_restarts += 1;
        }
        let about = peer.circumstances(now, account.transfer, (nacks, reliable), (held, true));
        if about.quiet {
            peer.ftfw.iter_mut().for_each(Ftfw::on_made_good);
        }
        if account.injects && !peer.whole.injects() && node.config.replication.keep_remote {
            // What was said to it before this was known.
            peer.whole.on_said(now);
        }
        match peer.whole.on_account(account, about) {
            Finding::Fine => {}
            Finding::Sweep(base) => self.begin_remote_sweep(node, now, id, base),
            Finding::Ask => self.ask(now, id),
            Finding::Differs { theirs, ours } => {
                node.report(Event::PeerDiffers { theirs, ours });
                self.ask(now, id);
            }
        }
    }

    /// Looks whether a peer that sends no accounts has sent what it was asked for.
    pub(super) fn conclude(&mut self, node: &mut Node, now: Instant, id: PeerId) {
        let (nacks, reliable) = (self.outbox.open_requests().nacks, self.peers.are_reliable());
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Some(asked) = peer.whole.asked_at().filter(|_| !peer.whole.has_account()) else {
            return;
        };
        let (hole, quiet) = (peer.hole(reliable), peer.is_quiet(nacks));
        let done = match &peer.ftfw {
            Some(ftfw) => ftfw.is_answered() && quiet,
            None => now.since(asked) >= ANSWER_TIME,
        };
        if !done {
            return;
        }
        // An unacknowledged request may have been lost, and a peer that has just started may not know everything yet.
        let settled = now.since(peer.began) >= limit::STRANGER_START;
        let sure = reliable && peer.ftfw.is_some() && settled;
        if let Some(base) = peer.whole.on_answered(hole, sure) {
            self.begin_remote_sweep(node, now, id, base);
        }
    }

    fn begin_remote_sweep(&mut self, node: &mut Node, now: Instant, id: PeerId, base: u64) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.tracker.forgive(base);
        }
        let counters = &mut node.counters.remote_expectations;
        node.remote_expectations.sweep(counters, id, base);
        node.remote.begin_sweep(id, base, now);
        self.sweep_remote(node, now);
    }

    /// Goes on removing what the peers' transfers did not name.
    pub(super) fn sweep_remote(&mut self, node: &mut Node, now: Instant) {
        while let Some((id, removed)) = node.sweep_remote(now) {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.whole.on_swept();
            }
            if removed > 0 {
                node.report(Event::StaleRemoved { flows: removed });
            }
        }
    }

    /// Requests everything from one peer once more. The request names no peer, so all of them answer it.
    fn ask(&mut self, now: Instant, id: PeerId) {
        let Self { peers, outbox, .. } = self;
        let Some(peer) = peers.get_mut(id) else { return };
        peer.whole.on_ask_again(now, peer.tracker.order());
        if peer.with_ftfw(now, outbox, Ftfw::ask_after_greeting).is_none() {
            peer.whole.on_asked(now, peer.tracker.order());
            outbox.queue_resync();
        }
    }

    /// Repeats the request to peers whose messages could not be kept, when there is room, and to peers that were
    /// asked too soon after they started; asks a peer that came when another fell silent, which may have been itself.
    pub(super) fn ask_in_time(&mut self, node: &mut Node, now: Instant) {
        if !node.config.replication.mode.converses() {
            return;
        }
        self.ask_successor(node, now);
        let due: Vec<_> = self.to_ask(node).filter(|(_, due)| *due <= now).collect();
        due.into_iter().for_each(|(id, _)| self.ask(now, id));
    }

    /// Asks for what is held of silent peers: the peers that speak name the flows that are theirs.
    fn ask_successor(&mut self, node: &Node, now: Instant) {
        if !self.holds_of_silent_peers(node, now) {
            return;
        }
        let unasked = |peer: &Peer| peer.whole.asked_at().is_none() && !peer.whole.is_complete();
        let newest = self.peers.present(now).filter(|(_, peer)| unasked(peer)).last();
        if let Some((id, _)) = newest.filter(|(_, peer)| peer.whole.may_ask(now)) {
            self.ask(now, id);
        }
    }

    /// When to ask a peer again.
    pub(super) fn ask_due(&self, node: &Node) -> Option<Instant> {
        let converses = node.config.replication.mode.converses();
        self.to_ask(node).map(|(_, due)| due).filter(|_| converses).min()
    }

    /// Peers to ask again without a message of theirs, and when.
    fn to_ask(&self, node: &Node) -> impl Iterator<Item = (PeerId, Instant)> {
        let (len, max) = node.remote.room();
        let room = len + max / 16 < max;
        let ftfw = matches!(node.config.replication.mode, Mode::Ftfw { .. });
        self.peers.iter().filter_map(move |(id, peer)| {
            let whole = &peer.whole;
            let waits = whole.asked_at().is_some();
            let stranger = ftfw && !whole.has_account() && whole.lingers() && whole.is_complete();
            let due = if whole.lacks_some() && room && !waits {
                whole.ask_next().max(node.refusals.retry)
            } else if stranger && !waits {
                whole.ask_next().max(peer.began + limit::STRANGER_START)
            } else {
                return None;
            };
            Some((id, due))
        })
    }

    /// A peer's word changed a flow of this node's. An answer to each such word would be answered by others, without an
    /// end, so what those who did not say it are owed is a transfer.
    pub(in crate::peer) fn on_overwritten(&mut self) {
        self.owes |= self.peers.iter().nth(1).is_some();
    }

    /// Begins the transfer that this node owes its peers, because it dropped an end that they should have received.
    pub(super) fn pay_transfer(&mut self, node: &mut Node, now: Instant) {
        if self.pay_due(node).is_some_and(|due| now >= due) {
            self.pay_next = now + self.pay_pause;
            self.pay_pause = (self.pay_pause * 2).min(limit::ASK_AGAIN_MAX);
            self.start_bulk(node, now, None);
        }
    }

    /// Whether an end was dropped that peers should have received.
    fn owes_transfer(&self) -> bool {
        self.owes || self.outbox.has_forgotten()
    }

    /// Whether peers take what they hold for exact, because they do not know yet what they are owed. A transfer that
    /// was put off may be seconds away.
    pub(super) fn has_debt_to_announce(&self, node: &Node) -> bool {
        self.owes_transfer() && !self.debt_announced && !self.is_transferring(node)
    }

    /// Whether a transfer is under way, or about to begin.
    pub(super) fn sends_all(&self, node: &Node) -> bool {
        self.is_transferring(node) || self.bulk_due.is_some()
    }

    /// When to begin it; `None` while nothing is owed, or no peer is there to receive it.
    pub(super) fn pay_due(&self, node: &Node) -> Option<Instant> {
        let busy = self.outbox.is_in_bulk() || self.bulk_due.is_some() || node.dump.is_some();
        let heard = self.peers.heard_at().is_some() && !self.peer_silent;
        (self.owes_transfer() && !busy && heard && self.converses(node)).then_some(self.pay_next)
    }

    /// Whether all of the peers' flows are here, and whether they equal what the peers have, as far as that is known.
    pub(super) fn remote_standing(&self, node: &Node, now: Instant) -> (bool, bool) {
        if let Mode::Alarm { expire_s, .. } = node.config.replication.mode {
            // After so long, all that was not refreshed has gone, and all that was has arrived, if there is room.
            let round = Duration::from_secs(expire_s.into());
            let refused = node.remote_refused.is_some_and(|at| now.since(at) < round);
            return (now.since(self.began) >= round, !refused && node.is_mirror());
        }
        let (nacks, reliable) = (self.outbox.open_requests().nacks, self.peers.are_reliable());
        let (mut complete, mut exact) = (false, node.is_mirror());
        for (at, (_, peer)) in self.peers.present(now).enumerate() {
            complete = (complete || at == 0) && peer.whole.is_complete();
            let hole = peer.hole(reliable);
            let believed = peer.doubtful.is_empty();
            let here = peer.is_quiet(nacks) && !peer.waits_for_missing();
            exact &= believed && here && peer.whole.is_exact(hole);
        }
        exact &= !self.holds_of_silent_peers(node, now);
        // Of a node that was not heard by then, nothing is known.
        (complete && now.since(self.began) >= silence(node), exact)
    }

    /// Whether flows are held of a peer that was left behind when another came.
    fn holds_of_silent_peers(&self, node: &Node, now: Instant) -> bool {
        self.peers.left_behind(now, silence(node)).any(|id| node.remote.holds_of(id))
    }
}

/// After so long, a peer that is there has sent something.
fn silence(node: &Node) -> Duration {
    node.config.replication.alive_after + limit::ALIVE_LATE
}
