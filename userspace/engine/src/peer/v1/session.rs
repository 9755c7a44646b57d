//! The session of version 1: one conversation with all nodes that are heard on the links.
//!
//! ```text
//!   changes of flows --> [column, outbox] --> packer --> datagram, to all of them
//!   datagram, from an address --> [peers] --> `MessageId` --> Node: the remote table, or the kernel
//! ```
//!
//! Version 1 has one sequence for all who listen, and no message names whom it is for: so the nodes that are heard
//! share one session, with a tracker for each of them ([`Peers`]).

use super::ftfw::Ftfw;
use super::resend::AckVerdict;
use super::{Belief, Manners, Outbox, Packer, Peers, Placement, Step, count_fault};
use crate::bounded::{QueueUsage, QueueUsages};
use crate::config::{Config, Mode, limit};
use crate::input::Sender;
use crate::message_id::{MessageId, PeerId};
use crate::node::Node;
use crate::output::{Event, Side};
use crate::peer::standing::Standing;
use common::Instant;
use core::time::Duration;
use ctnetlink::Change;
use wire::sync::v1::{self, Control, Flags, Message, Messages, Options, RawMessage};

/// The conversation.
#[derive(Debug)]
pub struct V1 {
    pub(in crate::peer) outbox: Outbox,
    /// The nodes that were heard, and how much of what they have is here.
    pub(in crate::peer) peers: Peers,
    /// Whether the silence of the peer was reported.
    pub(super) peer_silent: bool,
    /// A bulk transfer begins when the kernel's table has been read.
    pub(super) bulk_wanted: bool,
    /// Datagrams a bulk transfer may still send before its next pause, and when that is over.
    pub(super) bulk_left: u32,
    pub(super) bulk_next: Instant,
    /// When the last bulk transfer began, and when the next one begins that the peer has asked for meanwhile.
    pub(super) bulk_began: Option<Instant>,
    pub(super) bulk_due: Option<Instant>,
    /// When this node last sent a flow while a peer wrote such messages into its kernel.
    pub(super) said_at: Option<Instant>,
    /// Number of the first message of the bulk transfer that is under way, and of the last one that came to its end.
    pub(super) bulk_from: u32,
    pub(super) transferred: Option<u32>,
    /// The local table may hold flows that no peer has received since the last transfer.
    pub(super) has_unsent: bool,
    /// An end was dropped that peers should have received: only another transfer can show it.
    pub(super) owes: bool,
    /// The last account said that this node is not exact because of that.
    pub(super) debt_told: bool,
    /// When that may begin, and how long to wait after that.
    pub(super) pay_next: Instant,
    pub(super) pay_pause: Duration,
    /// When peers receive the number of flows they should hold, even if there is always something else to send.
    pub(super) account_next: Instant,
    alive_next: Instant,
    /// The last datagram held a message that was understood.
    pub(in crate::peer) understood: bool,
    pub(super) began: Instant,
}

/// A message and where it came from.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) peer: PeerId,
    seq: u32,
    flags: Flags,
    pub(super) place: Placement,
}

impl Arrival {
    const fn message_id(self) -> MessageId {
        MessageId::new(self.peer, self.place.order)
    }
}

/// The numbers in a datagram.
struct Numbers {
    /// The number of the first message.
    first: u32,
    /// The one that follows the last message.
    next: u32,
    /// The first message says HELLO.
    hello: bool,
    /// Each number follows the one before it, as every sender counts.
    in_order: bool,
}

/// The numbers in a datagram; `None` if there is no message in it.
fn numbers(bytes: &[u8]) -> Option<Numbers> {
    let mut numbers: Option<Numbers> = None;
    // Messages that are refused have numbers too.
    let mut refused = 0;
    for raw in Messages::datagram(bytes) {
        let Ok(raw) = raw else {
            refused += 1;
            continue;
        };
        let (seq, next) = (raw.header.seq, raw.header.seq.wrapping_add(1));
        if let Some(known) = &mut numbers {
            known.in_order &= seq == known.next.wrapping_add(refused);
            known.next = next;
        } else {
            let hello = raw.header.flags.contains(Flags::HELLO);
            numbers = Some(Numbers { first: seq, next, hello, in_order: true });
        }
        refused = 0;
    }
    numbers
}

impl V1 {
    /// A conversation that begins at `now`.
    #[must_use]
    pub fn new(config: &Config, now: Instant) -> Self {
        let replication = config.replication;
        let (ack_window, resend_max) = match replication.mode {
            Mode::Ftfw { resend_max, ack_window } => {
                (Some(ack_window.max(1)), Some(resend_max.max(1)))
            }
            Mode::NoTrack | Mode::Alarm { .. } => (None, None),
        };
        let options = Options {
            timeout: config.commit_timeout_s.is_none(),
            window_scale: config.window_tracking,
        };
        let outbox = Outbox::new(config.first_seq, options, resend_max)
            .speaking(replication.has_peer)
            .refreshing(config, now);
        let (seed, ask) = (config.hash_seed, replication.startup_resync);
        Self {
            outbox,
            peers: Peers::new(Manners { seed, ack_window, ask }),
            peer_silent: false,
            bulk_wanted: false,
            bulk_left: limit::BULK_DATAGRAMS,
            bulk_next: now,
            bulk_began: None,
            bulk_due: None,
            said_at: None,
            bulk_from: config.first_seq,
            transferred: None,
            has_unsent: true,
            owes: false,
            debt_told: false,
            pay_next: now,
            pay_pause: limit::ASK_AGAIN,
            account_next: now,
            alive_next: now + replication.alive_after,
            understood: false,
            began: now,
        }
    }

    /// Takes a datagram that came from an address.
    pub fn handle_datagram(&mut self, node: &mut Node, now: Instant, from: Sender, bytes: &[u8]) {
        self.understood = false;
        let Some(Numbers { first, next, hello, in_order }) = numbers(bytes) else {
            return self.on_messages(node, now, None, bytes);
        };
        let (id, is_new) = self.peers.identify(now, from, first);
        if is_new {
            self.greet_new(node, now, id);
        }
        let converses = node.config.replication.mode.converses();
        let Some(peer) = self.peers.get_mut(id).filter(|_| converses) else {
            return self.on_messages(node, now, Some(id), bytes);
        };
        if !in_order {
            // No sender counts like that: a stranger uses its address, or the bytes are damaged.
            node.counters.replica.jumps_doubted += 1;
            peer.whole.on_refused(peer.tracker.order());
            return;
        }
        let anew = hello && peer.ftfw.is_some();
        match peer.tracker.believe(first, next, anew) {
            Belief::Continues if peer.doubtful.is_empty() => {}
            Belief::Continues => {
                // A stranger uses its address. How many of the accepted messages were forged is unknown.
                peer.doubtful.clear();
                peer.whole.on_refused(peer.tracker.order());
            }
            Belief::Doubtful => {
                node.counters.replica.jumps_doubted += 1;
                peer.doubtful.clear();
                peer.doubtful.extend_from_slice(bytes);
                return;
            }
            Belief::Confirmed => {
                let first = core::mem::take(&mut peer.doubtful);
                self.on_messages(node, now, Some(id), &first);
            }
        }
        self.on_messages(node, now, Some(id), bytes);
    }

    /// Takes the messages of a datagram; those that are refused are counted.
    fn on_messages(&mut self, node: &mut Node, now: Instant, peer: Option<PeerId>, bytes: &[u8]) {
        for raw in Messages::datagram(bytes) {
            match raw.and_then(|raw| Ok((raw, v1::decode(&raw)?))) {
                Ok((raw, message)) => {
                    let whole = &bytes[raw.at..raw.at + usize::from(raw.header.len)];
                    if let Some(peer) = peer {
                        self.on_raw(node, now, peer, &raw, whole, message);
                    }
                }
                Err(fault) => {
                    count_fault(&fault, &mut node.counters.replica);
                    // Its content is unknown; or a stranger uses the peer's address.
                    if let Some(peer) = peer.and_then(|id| self.peers.get_mut(id)) {
                        peer.whole.on_refused(peer.tracker.order());
                    }
                }
            }
        }
    }

    /// A node is heard for the first time.
    fn greet_new(&mut self, node: &mut Node, now: Instant, id: PeerId) {
        if !self.peers.asks_new() || !node.config.replication.mode.converses() {
            return;
        }
        let Self { peers, outbox, .. } = self;
        let Some(peer) = peers.get_mut(id) else { return };
        if peer.ftfw.is_some() {
            peer.with_ftfw(now, outbox, Ftfw::ask_after_greeting);
        } else {
            peer.whole.on_asked(now, peer.tracker.order());
            outbox.queue_resync();
        }
    }

    fn on_raw(
        &mut self,
        node: &mut Node,
        now: Instant,
        id: PeerId,
        raw: &RawMessage<'_>,
        whole: &[u8],
        message: Message,
    ) {
        let (seq, flags) = (raw.header.seq, raw.header.flags);
        let alarm = !node.config.replication.mode.converses();
        if alarm && (!flags.is_empty() || matches!(message, Message::Control(_))) {
            return;
        }
        self.understood = true;
        let counters = &mut node.counters.replica;
        counters.received += 1;
        let Some(peer) = self.peers.get_mut(id) else { return };
        let anew = peer.ftfw.as_ref().is_some_and(|ftfw| ftfw.is_anew(flags));
        let place = peer.tracker.place(now, seq, whole, anew, counters);
        if place.restarted {
            node.tell(Event::PeerRestarted { at: now });
        }
        if self.peer_silent {
            self.peer_silent = false;
            node.tell(Event::PeerBack);
        }
        let arrival = Arrival { peer: id, seq, flags, place };
        if place.step == Step::Late && self.is_overtaken(node, &message, arrival) {
            // Its number still counts as missing, and the peer sends again how the flow began.
            node.counters.remote.stale += 1;
            return;
        }
        let is_news = self.on_arrival(node, now, arrival);
        // Two lives of a peer that began in the same second begin with the same number, and with the same request.
        if is_news || message == Message::Control(Control::Resync) {
            self.on_message(node, now, arrival, message);
        }
    }

    /// Whether a late message carries the beginning of a flow of which later news is known. That news was merged into
    /// the state of an earlier life, and the two can no longer be separated.
    fn is_overtaken(&self, node: &Node, message: &Message, arrival: Arrival) -> bool {
        let Message::Flow { change: Change::New, flow } = message else { return false };
        let ftfw = matches!(node.config.replication.mode, Mode::Ftfw { .. });
        ftfw && node.remote.is_overtaken(&flow.key(), arrival.message_id())
    }

    /// Takes note of a message. False if it was here before.
    fn on_arrival(&mut self, node: &mut Node, now: Instant, arrival: Arrival) -> bool {
        let Arrival { peer: id, seq, flags, place } = arrival;
        let Self { peers, outbox, .. } = self;
        let flows = &mut node.flows;
        let Some(peer) = peers.get_mut(id) else { return true };
        if place.restarted {
            peer.whole.on_restart();
            peer.began = now;
        }
        if flags.contains(Flags::ACCOUNTS) {
            peer.whole.on_accountable();
        }
        if peer.ftfw.is_none() {
            if place.restarted && node.config.replication.mode.converses() {
                // What became of its flows since its last message is unknown here.
                peer.whole.on_asked(now, place.order);
                outbox.queue_resync();
            }
            return true;
        }
        let step = place.step;
        peer.with_ftfw(now, outbox, |ftfw, outbox| {
            ftfw.on_arrival(now, outbox, (seq, flags), step);
        });
        if place.restarted {
            outbox.on_peer_restart(&mut flows.table);
            peer.with_ftfw(now, outbox, Ftfw::ask_after_greeting);
        }
        place.step != Step::Again
    }

    fn on_message(&mut self, node: &mut Node, now: Instant, arrival: Arrival, message: Message) {
        let id = arrival.message_id();
        match message {
            Message::Flow { change, flow } if node.config.replication.keep_remote => {
                // After an end, this node's message makes another flow there, which the peer reports to no one.
                let goes_on = change != Change::Destroy;
                let crossed = goes_on && self.may_have_crossed(node, now, &flow.key());
                let Some(peer) = self.peers.get_mut(arrival.peer) else { return };
                let Node { counters, remote, .. } = node;
                if crossed && peer.whole.injects() {
                    peer.whole.on_said(now);
                }
                let tells_all = peer.whole.tells_all();
                if change == Change::Update && remote.table().find(&flow.key()).is_some() {
                    peer.whole.on_update(id.order());
                }
                if peer.whole.tells_parts() && remote.is_overtaken(&flow.key(), id) {
                    peer.whole.on_refused(id.order());
                }
                let how = (now, tells_all);
                let outcome = remote.on_message(&mut counters.remote, (change, flow), id, how);
                if outcome.is_err() {
                    peer.whole.on_refused(id.order());
                }
                node.note_room(now, Side::Remote, outcome);
            }
            Message::Flow { change, flow } => {
                let Some(peer) = self.peers.get_mut(arrival.peer) else { return };
                if change == Change::Update && node.remote.has_heard_of(&flow.key()) {
                    peer.whole.on_update(id.order());
                }
                let tells_all = peer.whole.tells_all();
                if node.inject(now, id, (change, flow), tells_all).is_err() {
                    peer.whole.on_refused(id.order());
                }
            }
            Message::Expect { change, expect } => {
                node.on_expect_message(now, (change, expect), id);
            }
            Message::Control(control) => self.on_control(node, now, arrival, control),
        }
    }

    fn on_control(&mut self, node: &mut Node, now: Instant, arrival: Arrival, control: Control) {
        let reliable = self.peers.are_reliable();
        let Self { peers, outbox, .. } = self;
        let flows = &mut node.flows;
        let Some(peer) = peers.get_mut(arrival.peer) else { return };
        let acknowledges = peer.ftfw.is_some();
        match control {
            Control::Resync => self.on_resync(node, now, arrival.peer),
            Control::Ack { from, to } if acknowledges => {
                let verdict = outbox.on_ack(&mut flows.table, (from, to));
                peer.with_ftfw(now, outbox, |ftfw, outbox| ftfw.on_acknowledged(outbox, to));
                self.on_verdict(node, now, verdict);
                self.conclude(node, now, arrival.peer);
            }
            Control::Nack { from, to } if acknowledges => {
                let verdict = match outbox.on_nack(&mut flows.table, (from, to)) {
                    // Another node may have acknowledged what this one lacks.
                    AckVerdict::Fine if !reliable => AckVerdict::Beyond,
                    verdict => verdict,
                };
                // The peer waits to hear that what it lacked has been sent.
                self.account_next = now;
                self.on_verdict(node, now, verdict);
            }
            Control::Settled(account) => {
                peer.ftfw.iter_mut().for_each(Ftfw::on_settled);
                match account {
                    Some(account) => self.on_account(node, now, arrival, account),
                    None => self.conclude(node, now, arrival.peer),
                }
            }
            Control::Alive if !acknowledges => self.conclude(node, now, arrival.peer),
            Control::Alive | Control::Ack { .. } | Control::Nack { .. } => {}
        }
    }

    /// A peer asks for everything.
    fn on_resync(&mut self, node: &mut Node, now: Instant, id: PeerId) {
        let Self { peers, outbox, .. } = self;
        let Some(peer) = peers.get_mut(id) else { return };
        peer.with_ftfw(now, outbox, Ftfw::acknowledge);
        match peer.grant(now) {
            Ok(()) => self.plan_bulk(node, now, now),
            Err(later) => {
                node.counters.replica.resyncs_put_off += 1;
                self.plan_bulk(node, now, later);
            }
        }
        node.tell(Event::ResyncRequested);
    }

    fn on_verdict(&mut self, node: &mut Node, now: Instant, verdict: AckVerdict) {
        match verdict {
            AckVerdict::Fine => {}
            AckVerdict::Absurd => node.counters.replica.absurd_ranges += 1,
            AckVerdict::Beyond => {
                if self.bulk_due.is_none() {
                    node.tell(Event::PeerMissed);
                }
                // A peer that loses much asks often.
                let pause = self.bulk_began.map_or(now, |began| began + limit::BULK_PAUSE);
                self.plan_bulk(node, now, pause);
            }
        }
    }

    /// Asks all peers for all their flows.
    pub fn ask_for_everything(&mut self, node: &mut Node, now: Instant) {
        self.peers.ask_new();
        let Self { peers, outbox, .. } = self;
        for (_, peer) in peers.iter_mut() {
            if peer.with_ftfw(now, outbox, Ftfw::ask_after_greeting).is_none() {
                peer.whole.on_asked(now, peer.tracker.order());
            }
        }
        if !matches!(node.config.replication.mode, Mode::Ftfw { .. }) {
            self.outbox.queue_resync();
        }
    }

    /// Does what the time asks for and what no event has to wait for: only [`crate::Input::Timeout`] leads here.
    pub fn handle_timeout(&mut self, node: &mut Node, now: Instant) {
        self.sweep_remote(node, now);
        self.ask_in_time(node, now);
        self.pay_transfer(node, now);
    }

    /// Does what the time asks for.
    pub fn on_time(&mut self, node: &mut Node, now: Instant) {
        let Self { peers, outbox, .. } = self;
        for (_, peer) in peers.iter_mut() {
            peer.with_ftfw(now, outbox, |ftfw, outbox| ftfw.on_time(now, outbox));
        }
        self.begin_due_bulk(node, now);
        self.outbox.tell_again(&node.flows.table, now);
        let silence = self.peers.heard_at().map_or(Duration::ZERO, |at| now.since(at));
        let converses = node.config.replication.mode.converses();
        if converses && !self.peer_silent && silence > limit::PEER_SILENCE {
            self.peer_silent = true;
            node.tell(Event::PeerSilent { since: silence });
        }
    }

    /// When to come back if nothing else happens before.
    pub fn poll_timeout(&self, node: &Node) -> Option<Instant> {
        let pausing = self.outbox.is_in_bulk() && !self.outbox.is_congested();
        // What a bulk transfer sends says enough.
        let times = [
            (self.converses(node) && !pausing).then_some(self.alive_next),
            pausing.then_some(self.bulk_next),
            self.bulk_due,
            self.peers.iter().filter_map(|(_, peer)| peer.ftfw.as_ref()?.due()).min(),
            self.ask_due(node),
            self.pay_due(node),
            self.outbox.refresh_next(),
        ];
        times.into_iter().flatten().min()
    }

    /// Fills `datagram` with messages for the peers and returns its length; `None` when there is nothing to send now.
    pub fn poll_transmit(
        &mut self,
        node: &mut Node,
        now: Instant,
        datagram: &mut [u8],
    ) -> Option<usize> {
        self.say_alive(node, now);
        self.outbox.at(now);
        let mut packer = Packer::new(datagram);
        self.pack(node, &mut packer);
        if !packer.is_empty() && self.owes_account(node, now) {
            self.queue_account(node, now);
            self.pack(node, &mut packer);
        }
        if self.outbox.is_empty() && self.outbox.is_in_bulk() {
            self.pack_bulk(node, now, &mut packer);
            // The answer has to go out at once.
            self.pack(node, &mut packer);
        }
        node.look_for_room(now);
        if packer.is_empty() {
            return None;
        }
        self.alive_next = now + node.config.replication.alive_after;
        let len = packer.len();
        let keeps = node.config.replication.keep_remote;
        if keeps && self.peers.iter().any(|(_, peer)| peer.whole.injects()) {
            self.note_said(node, now, &datagram[..len]);
        }
        Some(len)
    }

    /// Packs what waits.
    fn pack(&mut self, node: &mut Node, packer: &mut Packer<'_>) {
        let Node { flows, local_expectations, counters, .. } = node;
        self.outbox.pack(&mut flows.table, local_expectations, packer, &mut counters.replica);
    }

    /// Whether there is a peer that needs signs of life from this node.
    pub const fn converses(&self, node: &Node) -> bool {
        let replication = &node.config.replication;
        replication.has_peer && replication.mode.converses()
    }

    /// After a while of silence, queues an account or an ALIVE, so that the peer sees what it may have missed; at once,
    /// if the peers lack something for sure.
    pub fn say_alive(&mut self, node: &mut Node, now: Instant) {
        let owing = self.has_debt_to_tell(node);
        if !(owing || now >= self.alive_next) || !self.outbox.is_empty() {
            return;
        }
        if !self.converses(node) {
            return;
        }
        // What a transfer from the table sends says enough.
        let speaks = self.outbox.is_in_bulk();
        if owing || !self.tells_all(node) {
            self.queue_account(node, now);
        } else if !speaks || self.outbox.is_congested() {
            self.outbox.queue_control(Control::Alive);
        }
    }

    /// How this node stands with its peer.
    #[must_use]
    pub fn standing(&self, node: &Node, now: Instant) -> Standing {
        let (remote_complete, remote_exact) = self.remote_standing(node, now);
        Standing {
            local_loaded: node.is_loaded(),
            peer_heard: self.peers.heard_at().map(|at| now.since(at)),
            remote_complete,
            remote_exact,
            in_bulk: self.is_transferring(node),
            committing: node.is_committing(),
        }
    }

    /// The nodes that were heard.
    #[must_use]
    pub const fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Its queues, by name.
    pub fn queues(&self, queues: &mut QueueUsages) {
        let mut anchors = QueueUsage::default();
        self.peers.iter().for_each(|(_, peer)| anchors += peer.tracker.anchors());
        queues.push(("anchors", anchors));
        self.outbox.queues(queues);
    }

    /// The messages that wait to be sent, and those that wait for an acknowledgement.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

#[cfg(test)]
mod tests;
