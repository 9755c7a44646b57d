//! One node: a kernel that is a model, and the product's decisions around it.

use crate::peer::v2::claim::{
    self, Claim, Comes, Content, Happened, KernelEntry, Meeting, Said, What,
};
use crate::peer::v2::digest::{self, Digest, Held, Listing, Verdict};
use crate::peer::v2::ledger::{Item, Ledger, PositionId};
use crate::peer::v2::path::Path;
use crate::peer::v2::rate::{Rate, Snapshot};
use crate::peer::v2::sent::{self, Lost, Models, Sent};
use crate::peer::v2::stream::{Arrived, Number};
use common::Instant;
use core::time::Duration;
use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::{Flow, FlowKey, Tuple};
use std::collections::VecDeque;
use std::vec::Vec;
use wire::sync::v2::digest::{FlowId, IdRow, Ids, Level, SLICES, Sums, Wants};
use wire::sync::v2::frame::FlowsFlags;
use wire::sync::v2::{
    Ack, Canonical, Cut, Datagram, DigestKey, FlowRecord, Frame, Frames, Head, Hold, Open, control,
};

/// How many identities there are.
pub(super) const FLOWS: usize = 10;
const KEY: DigestKey = DigestKey([9; 16]);
/// Bits of leaves.
const BITS: u8 = 4;
const SILENCE: Duration = Duration::from_secs(5);
const JOIN_WAIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(3);
const BEAT: Duration = Duration::from_secs(1);
const DATAGRAM_LEN: usize = 400;

/// An entry of the kernel.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) flow: Flow,
    /// The owner of the entry, for this node.
    pub(super) entry: KernelEntry,
}

/// A claim that is known, with the flow.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) claim: Claim<usize>,
    pub(super) flow: Flow,
}

/// The content of a frame that waits to be sent.
enum Reply {
    Sums(Level, Vec<u16>),
    Ids { upto: u64, leaves: Vec<(u16, Vec<IdRow>)>, at: Listing },
    Wants(u64, Vec<FlowId>),
    Repair(usize),
    Beaten(usize),
}

pub(super) struct Peer {
    pub(super) incarnation: u64,
    /// In the order in which this node met them.
    count: u32,
    pub(super) up: bool,
    heard_at: Instant,
    opened: bool,
    /// The peer's round.
    round: u32,
    my_round: u32,
    open_number: Option<u64>,
    open_acked: bool,
    open_at: Instant,
    position: PositionId,
    sent: Sent,
    lost: Lost,
    rate: Rate,
    arrived: Arrived,
    stable: u64,
    /// Up to where this node has everything of the peer, and of which incarnation.
    hold: (u64, u64),
    cut_at: Instant,
    locate_at: Instant,
    complete: bool,
    pub(super) equal: bool,
    equal_at: Instant,
    replies: VecDeque<Reply>,
}

pub(super) struct Node {
    pub(super) me: usize,
    pub(super) incarnation: u64,
    pub(super) hot: bool,
    pub(super) kernel: [Option<Live>; FLOWS],
    pub(super) rows: [Option<Row>; FLOWS],
    ledger: Ledger,
    ends: [Option<u32>; FLOWS],
    pub(super) peers: Vec<Option<Peer>>,
    began: Instant,
    read: bool,
    look_at: Option<Instant>,
    pub(super) claims: u64,
    pub(super) events: u64,
}

/// A datagram: number and bytes.
pub(super) type Out = (u64, Vec<u8>);

pub(super) fn tuple(which: usize) -> Tuple {
    Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], 6).with_ports(1_000 + which as u16, 80)
}

pub(super) fn which(key: &FlowKey) -> usize {
    usize::from(key.tuple.ports().0) - 1_000
}

/// A flow as a kernel shows it in this state of TCP.
pub(super) fn flow(which: usize, state: u8, reply: u16) -> Flow {
    let orig = tuple(which);
    let mut status = Status::CONFIRMED;
    status.set(Status::SEEN_REPLY, state >= 2);
    status.set(Status::ASSURED, state >= 3);
    let flow = Flow {
        reply: orig.inverted().with_ports(80, 1_000 + which as u16 + reply * 100),
        status,
        known: Known::STATUS | Known::MARK,
        proto: ProtoState::Tcp(TcpState { state, ..TcpState::default() }),
        ..Flow::new(orig)
    };
    Canonical::of(&flow).unwrap().to_flow()
}

fn state(flow: &Flow) -> u8 {
    flow.tcp().map_or(0, |tcp| tcp.state)
}

fn print(flow: &Flow) -> (FlowId, u64) {
    let canonical = Canonical::of(flow).unwrap();
    let id = KEY.id(&canonical.key);
    (id, KEY.print(id, &canonical))
}

impl Peer {
    fn new(now: Instant, incarnation: u64, count: u32, position: PositionId) -> Self {
        Self {
            incarnation,
            count,
            up: true,
            heard_at: now,
            opened: false,
            round: 0,
            my_round: 1,
            open_number: None,
            open_acked: false,
            open_at: now,
            position,
            sent: Sent::default(),
            lost: Lost::default(),
            rate: Rate::new(now, DATAGRAM_LEN, None),
            arrived: Arrived::default(),
            stable: 0,
            hold: (0, 0),
            cut_at: now,
            locate_at: now,
            complete: false,
            equal: false,
            equal_at: Instant(0),
            replies: VecDeque::new(),
        }
    }
}

impl Node {
    pub(super) fn new(
        now: Instant,
        me: usize,
        nodes: usize,
        incarnation: u64,
        hot: bool,
        ends_max: usize,
    ) -> Self {
        Self {
            me,
            incarnation,
            hot,
            kernel: [const { None }; FLOWS],
            rows: [const { None }; FLOWS],
            ledger: Ledger::new(ends_max),
            ends: [None; FLOWS],
            peers: (0..nodes).map(|_| None).collect(),
            began: now,
            read: false,
            look_at: None,
            claims: 0,
            events: 0,
        }
    }

    /// The daemon starts again over the same kernel, of which it does not know who wrote what; or over an empty one.
    pub(super) fn restart(
        &mut self,
        now: Instant,
        incarnation: u64,
        reboot: bool,
        ends_max: usize,
    ) {
        let mut kernel = core::mem::replace(&mut self.kernel, [const { None }; FLOWS]);
        kernel.iter_mut().flatten().for_each(|live| live.entry = KernelEntry::Ceded);
        let (claims, events) = (self.claims, self.events);
        *self = Self::new(now, self.me, self.peers.len(), incarnation, self.hot, ends_max);
        (self.claims, self.events) = (claims, events);
        (0..FLOWS).for_each(|at| self.trace(at, format_args!("starts again, reboot {reboot}")));
        if !reboot {
            self.kernel = kernel;
        }
    }

    fn joined(&self, now: Instant) -> bool {
        let complete = self.peers.iter().flatten().all(|peer| peer.complete);
        let met = self.peers.iter().flatten().count() + 1 == self.peers.len();
        now.since(self.began) >= JOIN_WAIT || complete && met
    }

    /// With `CTFLOW_MODEL_TRACE=FLOW`, what happens to one flow is printed.
    fn trace(&self, at: usize, what: core::fmt::Arguments<'_>) {
        if std::env::var("CTFLOW_MODEL_TRACE").is_ok_and(|flow| flow == std::format!("{at}")) {
            let row = self.rows[at].as_ref().map(|row| row.claim);
            let kernel = self.kernel[at].as_ref().map(|live| (live.entry, state(&live.flow)));
            std::println!("{} node {} has {row:?} {kernel:?}: {what}", self.events, self.me);
        }
    }

    fn own(&self, at: usize) -> Option<&Row> {
        self.rows[at].as_ref().filter(|row| row.claim.owner == self.me)
    }

    /// Claims, or ends, a flow.
    fn claim(&mut self, at: usize, epoch: u32, base: u64, what: What, flow: Flow) {
        self.claims += 1;
        self.trace(at, format_args!("claims epoch {epoch} base {base} {what:?}"));
        let live = self.own(at).is_some_and(|row| !row.claim.what.is_end());
        if let Some(place) = self.ends[at].take() {
            self.ledger.drop_end(place);
        }
        let version = if what.is_end() {
            let slot = live.then_some(at as u32);
            let key = FlowKey::new(tuple(at), 0);
            let (place, version, gone) = self.ledger.end(slot, key, epoch, base, what);
            if let Some(gone) = gone {
                let gone = which(&gone.key);
                (self.ends[gone], self.rows[gone]) = (None, None);
            }
            self.ends[at] = Some(place);
            version
        } else {
            if let Some(live) = &mut self.kernel[at] {
                live.entry = KernelEntry::Own;
            }
            self.ledger.change(at as u32, epoch, base, what)
        };
        let claim = Claim { owner: self.me, incarnation: 0, epoch, version, base, what };
        self.rows[at] = Some(Row { claim, flow });
    }

    /// Drops this node's claim: another node's was taken.
    fn let_go(&mut self, at: usize) {
        self.ledger.drop_flow(at as u32);
        if let Some(place) = self.ends[at].take() {
            self.ledger.drop_end(place);
        }
    }

    /// The kernel says something of a flow.
    pub(super) fn happen(&mut self, now: Instant, at: usize, happened: Happened, shown: &Flow) {
        self.events += 1;
        self.trace(at, format_args!("{:?} {happened:?} {}", now.0 / 1_000_000, state(shown)));
        let node =
            claim::Node { me: self.me, hot: self.hot, standby: false, joined: self.joined(now) };
        let known = self.rows[at].as_ref();
        let closing = known.is_some_and(|row| claim::is_closing(state(&row.flow)));
        match claim::said(&node, happened, known.map(|row| &row.claim), closing) {
            Said::Nothing => {}
            Said::WriteAgain => {
                let flow = known.expect("it is another's").flow.clone();
                self.kernel[at] = Some(Live { flow, entry: KernelEntry::Injected });
            }
            Said::Claim { epoch, base, what, carries } => {
                let mut flow = shown.clone();
                if let (Content::Kept | Content::Joined, Some(row)) = (carries, known) {
                    claim::join(&mut flow, &row.flow);
                }
                self.claim(at, epoch, base, what, flow);
            }
        }
    }

    /// The kernel is asked: what is there and open is claimed.
    fn ask(&mut self, at: usize) {
        let Some(row) = &self.rows[at] else { return };
        let Claim { epoch, version, .. } = row.claim;
        if let Some(live) = &self.kernel[at]
            && !claim::is_closing(state(&live.flow))
        {
            let flow = live.flow.clone();
            self.claim(at, epoch + 1, version, What::State, flow);
        }
    }

    fn entry(&self, at: usize) -> KernelEntry {
        let closed = self.own(at).is_some_and(|row| row.claim.what == What::Closed);
        match &self.kernel[at] {
            Some(live) => live.entry,
            None if closed => KernelEntry::OwnClose,
            None => KernelEntry::None,
        }
    }

    /// A record of a peer.
    fn record(&mut self, from: usize, record: &FlowRecord<'_>, repair: bool) {
        let at = which(&record.key);
        let wire::sync::v2::Claim { version, epoch, base, what } = record.claim;
        let incarnation = self.peers[from].as_ref().map_or(0, |peer| peer.count);
        let coming = Claim { owner: from, incarnation, epoch, version, base, what };
        let known = self.rows[at].as_ref().map(|row| row.claim);
        let outcome = claim::outcome(known.as_ref(), &coming, repair);
        if outcome.is_beaten()
            && repair
            && let Some(peer) = &mut self.peers[from]
        {
            peer.replies.push_back(Reply::Beaten(at));
        }
        if outcome.is_taken() {
            self.take(at, known, coming, record.to_flow());
        }
    }

    fn take(&mut self, at: usize, known: Option<Claim<usize>>, coming: Claim<usize>, flow: Flow) {
        let entry = self.entry(at);
        let comes = Comes::of(known.as_ref(), &coming);
        let ours = known.filter(|known| known.owner == self.me);
        let mine = self.kernel[at].as_ref().map(|live| &live.flow);
        let same_reply = mine.is_none_or(|mine| mine.reply == flow.reply);
        let held = self.own(at).map(|row| &row.flow).or(mine);
        let meeting = Meeting {
            knew: ours.is_some_and(|ours| claim::knew(&ours, &coming)),
            same_reply,
            adds: held.is_some_and(|held| claim::adds(held, &flow)),
            hot: self.hot,
        };
        self.trace(at, format_args!("takes {coming:?}, {comes:?} {meeting:?}"));
        let mut joined = held.cloned().unwrap_or_else(|| flow.clone());
        self.let_go(at);
        self.rows[at] = Some(Row { claim: coming, flow: flow.clone() });
        self.act(at, claim::meet(entry, comes, meeting), &coming, flow, &mut joined);
    }

    fn act(
        &mut self,
        at: usize,
        action: claim::Action,
        coming: &Claim<usize>,
        flow: Flow,
        ours: &mut Flow,
    ) {
        use claim::Action;
        let (epoch, base) = (coming.epoch + 1, coming.version);
        match action {
            Action::Nothing | Action::AskWhenOver => {}
            Action::Cede | Action::CedeConflict | Action::Forget => {
                if let Some(live) = &mut self.kernel[at] {
                    live.entry = KernelEntry::Ceded;
                }
            }
            Action::ClaimJoined => {
                claim::join(ours, &flow);
                self.claim(at, epoch, base, What::State, ours.clone());
            }
            Action::Replace | Action::Create | Action::Write => {
                self.kernel[at] = Some(Live { flow, entry: KernelEntry::Injected });
            }
            Action::Advance => {
                if let Some(live) = &mut self.kernel[at] {
                    claim::join(&mut live.flow, &flow);
                }
            }
            Action::Ask => self.ask(at),
            Action::Delete => self.kernel[at] = None,
            Action::CloseAgain => self.claim(at, epoch, base, What::Closed, flow),
        }
    }

    /// The sums over what this node holds of an owner, itself included.
    pub(super) fn digest(&self, owner: usize) -> Digest {
        let mut digest = Digest::new(BITS);
        let live = self
            .rows
            .iter()
            .flatten()
            .filter(|row| row.claim.owner == owner && !row.claim.what.is_end());
        live.map(|row| print(&row.flow)).for_each(|(id, print)| digest.add(id, print));
        digest
    }

    /// A datagram came. `incarnations`: of its sender, and of its receiver.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        from: usize,
        incarnations: [u64; 2],
        number: u64,
        bytes: &[u8],
    ) {
        let [theirs, mine] = incarnations;
        if mine != self.incarnation && mine != 0 {
            return;
        }
        self.meet_peer(now, from, theirs);
        let Some(peer) = self.peers[from].as_mut().filter(|peer| peer.incarnation == theirs) else {
            return;
        };
        peer.heard_at = now;
        if !peer.up {
            (peer.up, peer.opened, peer.open_acked, peer.open_number) = (true, false, false, None);
            (peer.my_round, peer.open_at) = (peer.my_round + 1, now);
        }
        if bytes.is_empty() || mine == 0 {
            return;
        }
        let frames: Vec<_> = Frames::of(bytes).unwrap().1.map(Result::unwrap).collect();
        if !peer.opened && !frames.iter().any(|frame| matches!(frame, Frame::Open(_))) {
            return;
        }
        let elicits = frames.iter().any(crate::peer::v2::stream::elicits);
        if peer.arrived.on_datagram(now, number, elicits, false) == Number::Settled {
            return;
        }
        for frame in frames {
            self.frame(now, from, number, frame);
        }
    }

    /// Notes the incarnation of a peer.
    fn meet_peer(&mut self, now: Instant, from: usize, theirs: u64) {
        let known = self.peers[from].as_ref().map(|peer| (peer.incarnation, peer.count, peer.hold));
        if known.is_some_and(|(known, ..)| known >= theirs) {
            return;
        }
        if let Some(old) = self.peers[from].take() {
            self.ledger.close(old.position);
        }
        let position = self.ledger.open();
        let count = known.map_or(1, |(_, count, _)| count + 1);
        let mut peer = Peer::new(now, theirs, count, position);
        peer.hold = known.map_or((0, 0), |(_, _, hold)| hold);
        self.peers[from] = Some(peer);
    }

    fn frame(&mut self, now: Instant, from: usize, number: u64, frame: Frame<'_>) {
        match frame {
            Frame::Open(open) => self.on_open(from, &open),
            Frame::Flows { flags, records } => {
                let repair = flags.contains(FlowsFlags::REPAIR);
                records.for_each(|record| self.record(from, &record.unwrap(), repair));
            }
            Frame::Ack(ack) => self.on_ack(now, from, ack),
            Frame::Cut(cut) => self.on_cut(now, from, number, &cut),
            Frame::Sums(sums) => self.on_sums(from, sums),
            Frame::Ids(ids) => self.on_ids(now, from, ids),
            Frame::Wants(wants) => self.on_wants(from, wants),
            Frame::Beaten(records) => {
                records.for_each(|record| self.on_beaten(now, &record.unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }

    fn on_open(&mut self, from: usize, open: &Open) {
        let Some(peer) = &mut self.peers[from] else { return };
        if peer.opened && open.round <= peer.round {
            return;
        }
        if peer.opened {
            // The peer restarted: this node's messages are forgotten there.
            (peer.open_acked, peer.open_number) = (false, None);
        }
        (peer.opened, peer.round) = (true, open.round);
        peer.sent.forget();
        peer.lost.clear();
        let since = open.hold.filter(|hold| hold.incarnation == self.incarnation);
        let resumes = since.is_some_and(|hold| self.ledger.to_version(peer.position, hold.version));
        if open.hold.is_none() {
            self.ledger.to_head(peer.position);
        } else if !resumes {
            // Living claims are compared. Ends are not, where they ended claims of others: all of them are sent.
            self.ledger.to_tail(peer.position);
            let ends = self.ledger.iter().filter(|(item, _)| matches!(item, Item::End(_)));
            ends.for_each(|(item, entry)| {
                peer.lost.push(sent::SentRecord { item, version: entry.version });
            });
        }
    }

    fn on_ack(&mut self, now: Instant, from: usize, ack: Ack<'_>) {
        let Some(peer) = &mut self.peers[from] else { return };
        let ranges: Vec<_> = ack.ranges().map(Result::unwrap).collect();
        peer.open_acked |=
            peer.open_number.is_some_and(|open| ranges.iter().any(|range| range.contains(&open)));
        let delay = Duration::from_micros(ack.delay_us);
        let lost = |carried| peer.lost.push(carried);
        let models = Models { rate: &mut peer.rate, path: &mut Path::new(now) };
        peer.sent.on_ack(now, models, ranges.into_iter(), delay, lost);
    }

    fn on_cut(&mut self, now: Instant, from: usize, number: u64, cut: &Cut) {
        let (sum, _) = self.digest(from).sum(0..SLICES);
        let Some(peer) = &mut self.peers[from] else { return };
        peer.hold = (
            peer.incarnation,
            if peer.hold.0 == peer.incarnation { peer.hold.1.max(cut.stable) } else { cut.stable },
        );
        if peer.arrived.is_comparable(cut.settled, number) {
            peer.equal = sum == cut.digest;
            peer.complete |= peer.equal;
            if peer.equal {
                peer.equal_at = now;
            }
            if !peer.equal && now >= peer.locate_at {
                peer.locate_at = now + BEAT;
                peer.replies.push_back(Reply::Sums(Level::Slices, std::vec![0]));
            }
        }
        peer.arrived.on_settled(cut.settled);
    }

    fn on_sums(&mut self, from: usize, sums: Sums<'_>) {
        let owner = if sums.level == Level::Groups { from } else { self.me };
        let digest = self.digest(owner);
        let found: Vec<u16> = digest::differing(&digest, sums, BITS, 0..SLICES).collect();
        if found.is_empty() {
            return;
        }
        let reply = match sums.level {
            Level::Slices => Reply::Sums(Level::Groups, found),
            Level::Groups => Reply::Sums(Level::Leaves, found),
            Level::Leaves => self.list(&found),
        };
        if let Some(peer) = &mut self.peers[from] {
            peer.replies.push_back(reply);
        }
    }

    fn on_ids(&mut self, now: Instant, from: usize, ids: Ids<'_>) {
        let count = self.peers[from].as_ref().map_or(0, |peer| peer.count);
        let (mut wants, mut drops) = (Vec::new(), Vec::new());
        for part in ids.parts().map(Result::unwrap) {
            let (first, last) = part.range;
            let mut held: Vec<Held> = Vec::new();
            for row in self.rows.iter().flatten().filter(|row| row.claim.owner == from) {
                let (id, print) = print(&row.flow);
                let print = if row.claim.what.is_end() { 0 } else { print as u32 };
                // Versions of an earlier incarnation are older than any.
                let version = if row.claim.incarnation == count { row.claim.version } else { 0 };
                if (first..=last).contains(&id) {
                    held.push(Held { id, print, version });
                }
            }
            held.sort_by_key(|held| held.id);
            digest::judge(part.rows(), held, ids.upto, |verdict| match verdict {
                Verdict::Drop(id) => drops.push(id),
                Verdict::Want(id) => wants.push(id),
            });
        }
        for id in drops {
            self.drop_row(now, id);
        }
        if let Some(peer) = self.peers[from].as_mut().filter(|_| !wants.is_empty()) {
            peer.replies.push_back(Reply::Wants(ids.upto, wants));
        }
    }

    /// A flow lost its owner without an end. Whose it is, or how it ended, may be on the way: the kernel is read later.
    fn look_again(&mut self, now: Instant) {
        self.look_at = Some(now);
    }

    /// The owner does not know a flow any more.
    fn drop_row(&mut self, now: Instant, id: FlowId) {
        let at = (0..FLOWS).find(|at| KEY.id(&FlowKey::new(tuple(*at), 0)) == id).unwrap();
        self.trace(at, format_args!("is not listed"));
        if self.own(at).is_none() {
            self.rows[at] = None;
            self.look_again(now);
        }
    }

    fn on_wants(&mut self, from: usize, wants: Wants<'_>) {
        let ids: Vec<FlowId> = wants.leaves().flat_map(|leaf| leaf.unwrap().1).collect();
        let at = (0..FLOWS).filter(|at| ids.contains(&KEY.id(&FlowKey::new(tuple(*at), 0))));
        let at: Vec<usize> = at.collect();
        if let Some(peer) = &mut self.peers[from] {
            peer.replies.extend(at.into_iter().map(Reply::Repair));
        }
    }

    fn on_beaten(&mut self, now: Instant, record: &FlowRecord<'_>) {
        let at = which(&record.key);
        let Some(row) = self.own(at).cloned() else { return };
        let wire::sync::v2::Claim { version, epoch, base, what } = record.claim;
        let held = Claim { owner: usize::MAX, incarnation: 0, epoch, version, base, what };
        let there = self.kernel[at].clone();
        self.trace(at, format_args!("is beaten by {held:?}"));
        match claim::beaten(&row.claim, &held, there.is_some()) {
            Said::Claim { epoch, base, what, .. } => {
                let flow = there.map_or(row.flow, |live| live.flow);
                self.claim(at, epoch, base, what, flow);
            }
            _ if held.epoch >= row.claim.epoch && !what.is_end() && !row.claim.what.is_end() => {
                self.let_go(at);
                self.rows[at] = None;
                self.look_again(now);
                if let Some(live) = &mut self.kernel[at] {
                    live.entry = KernelEntry::Ceded;
                }
            }
            _ => {}
        }
    }

    /// Time went by: readings, silence, datagrams that are due. Returns datagrams by peer.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<(usize, [u64; 2], Out)> {
        if !self.read && self.joined(now) {
            self.read = true;
            self.reading(now);
        }
        // Until each peer has said since then that nothing differs, or too long.
        if let Some(at) = self.look_at
            && now.since(at) >= LOOK_AGAIN
            && (self.peers.iter().flatten().all(|peer| peer.equal && peer.equal_at > at)
                || now.since(at) >= JOIN_WAIT)
        {
            self.look_at = None;
            self.reading(now);
        }
        let mut out = Vec::new();
        for to in 0..self.peers.len() {
            if to == self.me {
                continue;
            }
            let Some(peer) = &mut self.peers[to] else { continue };
            if peer.up && now.since(peer.heard_at) >= SILENCE {
                (peer.up, peer.opened, peer.equal) = (false, false, false);
                peer.sent.forget();
                peer.lost.clear();
                peer.replies.clear();
            }
            if !peer.up {
                continue;
            }
            if peer.sent.timeout(peer.rate.trip()).is_some_and(|at| at <= now) {
                let models = Models { rate: &mut peer.rate, path: &mut Path::new(now) };
                peer.sent.on_timeout(now, models, |carried| peer.lost.push(carried));
            }
            let incarnations = [self.incarnation, peer.incarnation];
            while let Some(datagram) = self.datagram(now, to) {
                out.push((to, incarnations, datagram));
            }
        }
        out
    }

    /// What the kernel shows and no node claims.
    fn reading(&mut self, now: Instant) {
        for at in 0..FLOWS {
            // What was written for another goes by itself, or its traffic claims it (R13.3).
            if let Some(live) =
                self.kernel[at].clone().filter(|live| live.entry != KernelEntry::Injected)
                && self.rows[at].is_none()
            {
                self.happen(now, at, Happened::Shown, &live.flow);
            }
        }
    }

    /// The next datagram for a peer, if one is due.
    fn datagram(&mut self, now: Instant, to: usize) -> Option<Out> {
        let mut bytes = [0; DATAGRAM_LEN];
        let mut d = Datagram::new(&mut bytes, &Head::default()).unwrap();
        let peer = self.peers[to].as_mut()?;
        let mut elicits = false;
        if !peer.open_acked && now >= peer.open_at {
            peer.open_at = now + Duration::from_millis(100);
            let (incarnation, version) = peer.hold;
            let rows = 0;
            let hold = (incarnation != 0).then_some(Hold { incarnation, version, rows });
            let (mine, yours) = (self.incarnation, peer.incarnation);
            let open = Open { mine, yours, round: peer.my_round, hold, ..Open::default() };
            assert!(d.open(&open));
            (elicits, peer.open_number) = (true, Some(peer.sent.next_number()));
        }
        if peer.arrived.is_due(now) {
            let delay = peer.arrived.delay(now).as_micros() as u64;
            let ranges = peer.arrived.ranges().take(8).collect::<Vec<_>>();
            if d.ack(|w| control::put_ack(w, delay, 0, ranges.into_iter())) {
                peer.arrived.on_acknowledged();
            }
        }
        if peer.opened && peer.sent.bytes() < 20 * DATAGRAM_LEN as u64 {
            elicits |= self.put_news(to, &mut d);
            elicits |= self.put_replies(to, &mut d);
        }
        let peer = self.peers[to].as_mut()?;
        let waits = self.ledger.peek(peer.position).is_some()
            || peer.lost.peek(&self.ledger).is_some()
            || !peer.replies.is_empty();
        if peer.opened && !waits && now.since(peer.cut_at) >= BEAT {
            let behind = self.ledger.version_of(peer.position);
            peer.stable = sent::stable(behind, &peer.sent, &peer.lost, peer.stable);
            let (settled, stable) = (peer.sent.settled(), peer.stable);
            let (digest, rows) = self.digest(self.me).sum(0..SLICES);
            let cut =
                Cut { upto: self.ledger.last(), settled, stable, rows, digest, ..Cut::default() };
            if d.cut(&cut)
                && let Some(peer) = &mut self.peers[to]
            {
                peer.cut_at = now;
            }
        }
        if d.is_empty() {
            return None;
        }
        let len = d.len();
        let peer = self.peers[to].as_mut()?;
        let number = peer.sent.send(now, len, elicits, Snapshot::default());
        Some((number, bytes[..len].to_vec()))
    }

    /// What was lost, then news.
    fn put_news(&mut self, to: usize, d: &mut Datagram<'_>) -> bool {
        let Some(peer) = self.peers[to].as_mut() else { return false };
        let mut any = false;
        loop {
            let lost = peer.lost.peek(&self.ledger);
            let Some((item, entry)) = lost.or_else(|| self.ledger.peek(peer.position)) else {
                break;
            };
            let at = match item {
                Item::Flow(slot) => slot as usize,
                Item::End(place) => which(&self.ledger.ended(place).unwrap().1),
                Item::Expect(_) => unreachable!("this node has none"),
            };
            let claim = wire::sync::v2::Claim {
                version: entry.version,
                epoch: entry.epoch,
                base: entry.base,
                what: entry.what,
            };
            let row = self.rows[at].as_ref().unwrap();
            assert_eq!(
                (row.claim.version, row.claim.owner),
                (entry.version, self.me),
                "ledger and rows agree"
            );
            if !d.flow(FlowsFlags::empty(), &claim, &Canonical::of(&row.flow).unwrap()) {
                break;
            }
            any = true;
            peer.sent.carry(item, entry.version);
            if lost.is_some() {
                peer.lost.advance();
            } else {
                self.ledger.advance(peer.position);
            }
        }
        any
    }

    fn put_replies(&mut self, to: usize, d: &mut Datagram<'_>) -> bool {
        let mut any = false;
        while let Some(reply) = self.peers[to].as_mut().and_then(|peer| peer.replies.pop_front()) {
            let (fitted, rest) = self.put_reply(to, reply, d);
            any |= fitted;
            if let (Some(rest), Some(peer)) = (rest, &mut self.peers[to]) {
                peer.replies.push_front(rest);
                break;
            }
        }
        any
    }

    /// Whether something was put, and what is left of it.
    fn put_reply(&self, to: usize, reply: Reply, d: &mut Datagram<'_>) -> (bool, Option<Reply>) {
        match reply {
            Reply::Sums(level, mut nodes) => {
                let owner = if level == Level::Groups { self.me } else { to };
                let count = digest::pack_sums(d, &self.digest(owner), level, &nodes, BITS);
                nodes.drain(..count);
                (count > 0, (!nodes.is_empty()).then_some(Reply::Sums(level, nodes)))
            }
            Reply::Ids { upto, leaves, mut at } => {
                let before = at;
                let rows: Vec<(u16, &[IdRow])> =
                    leaves.iter().map(|(leaf, rows)| (*leaf, &rows[..])).collect();
                digest::pack_rows(d, upto, &rows, &mut at);
                let over = at.is_over(rows.len());
                (at != before, (!over).then_some(Reply::Ids { upto, leaves, at }))
            }
            Reply::Wants(upto, mut ids) => {
                let count = digest::pack_wants(d, (upto, false), &ids);
                ids.drain(..count);
                (count > 0, (!ids.is_empty()).then_some(Reply::Wants(upto, ids)))
            }
            Reply::Repair(at) => {
                let Some(row) = self.own(at) else { return (false, None) };
                let Claim { version, epoch, base, what, .. } = row.claim;
                let claim = wire::sync::v2::Claim { version, epoch, base, what };
                let fitted = d.flow(FlowsFlags::REPAIR, &claim, &Canonical::of(&row.flow).unwrap());
                (fitted, (!fitted).then_some(reply))
            }
            Reply::Beaten(at) => {
                let Some(row) = self.rows[at].as_ref().filter(|row| row.claim.owner != to) else {
                    return (false, None);
                };
                let Claim { version, epoch, base, what, .. } = row.claim;
                let claim = wire::sync::v2::Claim { version, epoch, base, what };
                let fitted = d.beaten(&claim, &Canonical::of(&row.flow).unwrap());
                (fitted, (!fitted).then_some(reply))
            }
        }
    }

    /// Every row of these leaves, ends included.
    fn list(&self, leaves: &[u16]) -> Reply {
        let mut rows: Vec<IdRow> = Vec::new();
        for row in self.rows.iter().flatten().filter(|row| row.claim.owner == self.me) {
            let (id, print) = print(&row.flow);
            let print = if row.claim.what.is_end() { 0 } else { print as u32 };
            rows.push(IdRow { id, print });
        }
        rows.sort();
        let all = leaves.iter().flat_map(|leaf| digest::listed_leaves(*leaf, BITS));
        let of = |leaf: usize| {
            rows.iter().filter(|row| usize::from(row.id.leaf()) == leaf).copied().collect()
        };
        let leaves = all.map(|leaf| (leaf as u16, of(leaf))).collect();
        Reply::Ids { upto: self.ledger.last(), leaves, at: Listing::default() }
    }
}
