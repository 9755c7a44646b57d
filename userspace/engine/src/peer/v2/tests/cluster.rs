//! Whole engines that speak version 2 with each other, over a network and kernels that do what requests say.

use crate::config::{Cluster, Config, Helpers, Owner};
use crate::expectations::ExpectKey;
use crate::message_id::PeerId;
use crate::{Command, CommandId, Engine, Event, Input, Origin, Request, Side, Stamp};
use common::Instant;
use core::time::Duration;
use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::{Change, Expectation, Flow, FlowKey, Tuple};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;
use wire::sync::v2::{DigestKey, Flags, Frames};

mod disorder;
mod expects;
mod hot;
mod lag;
mod limit;
mod owners;
mod paths;
mod people;
mod settle;
mod shards;
mod split;

const STEP: Duration = Duration::from_millis(5);
const LEN: usize = 1_180;

/// One node: an engine and the flows of its kernel.
struct Node {
    engine: Engine,
    incarnation: u64,
    kernel: BTreeMap<u16, Flow>,
    /// Its kernel's expectations.
    expects: BTreeMap<ExpectKey, Expectation>,
    /// The id of the entry that was created last on request.
    last_id: u32,
    /// How late the kernel's events about requests are, and those that are on their way.
    late: Duration,
    events: Vec<(Instant, Change, Flow, Origin)>,
}

/// The flow with this number, in this state of TCP.
fn flow(number: u16, state: u8) -> Flow {
    let orig = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], 6).with_ports(number, 80);
    let mut status = Status::CONFIRMED;
    status.set(Status::SEEN_REPLY, state >= 2);
    status.set(Status::ASSURED, state >= 3);
    Flow {
        reply: orig.inverted(),
        status,
        timeout_s: 300,
        known: Known::STATUS | Known::MARK | Known::TIMEOUT,
        proto: ProtoState::Tcp(TcpState { state, ..TcpState::default() }),
        ..Flow::new(orig)
    }
}

fn number(key: &FlowKey) -> u16 {
    key.tuple.ports().0
}

struct World {
    now: Instant,
    nodes: Vec<Option<Node>>,
    /// Whether pairs of nodes do not hear each other.
    cut: bool,
    /// One of so many datagrams is lost; 0: none.
    loses: u64,
    count: u64,
    hot: bool,
    /// Most flows of peers of a node that starts.
    remote_max: usize,
    settle: Duration,
    /// Bytes of text that are sealed at most, and that paths carry.
    seals: usize,
    carries: usize,
    datagrams: Vec<(usize, usize, u64, u64, Vec<u8>)>,
    /// The engines' events, and whose each is.
    heard: Vec<(usize, Event)>,
}

impl World {
    fn new(nodes: usize) -> Self {
        Self::with(nodes, false)
    }

    fn with(nodes: usize, hot: bool) -> Self {
        let mut world = Self {
            now: Instant(1_000_000_000),
            nodes: (0..nodes).map(|_| None).collect(),
            cut: false,
            loses: 0,
            count: 0,
            hot,
            remote_max: 100_000,
            settle: Duration::ZERO,
            seals: LEN,
            carries: LEN,
            datagrams: Vec::new(),
            heard: Vec::new(),
        };
        (0..nodes).for_each(|at| world.start(at, BTreeMap::new()));
        world
    }

    /// A daemon starts over a kernel, and makes sessions with those that run.
    fn start(&mut self, at: usize, kernel: BTreeMap<u16, Flow>) {
        self.count += 1;
        let incarnation = 1_000 - self.count;
        let peers: Vec<Owner> =
            (0..self.nodes.len()).filter(|n| *n != at).map(|n| Owner(n as u8)).collect();
        let cluster = Cluster {
            me: Owner(at as u8),
            hot: self.hot,
            remote_max: self.remote_max,
            settle: self.settle,
            rates: vec![None; peers.len()],
            peers,
            incarnation,
            digest_key: DigestKey([7; 16]),
        };
        let (cluster, expectations) = (Some(Arc::new(cluster)), Helpers::All);
        let config = Config { cluster, expectations, ..Config::default() };
        let engine = Engine::new(config, self.now);
        let expects = BTreeMap::new();
        self.nodes[at] = Some(Node {
            engine,
            incarnation,
            kernel,
            expects,
            last_id: 1_000,
            late: Duration::ZERO,
            events: Vec::new(),
        });
        for other in 0..self.nodes.len() {
            self.connect(at, other);
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        for (at, other) in [(a, b), (b, a)] {
            if at == other || self.nodes[other].is_none() {
                continue;
            }
            let incarnation = self.nodes[other].as_ref().unwrap().incarnation;
            let peer = peer_of(at, other);
            if let Some(node) = &mut self.nodes[at] {
                node.engine.handle(self.now, Input::PeerUp { peer, incarnation, shards: 1 });
            }
        }
    }

    fn stop(&mut self, at: usize) -> BTreeMap<u16, Flow> {
        let node = self.nodes[at].take().unwrap();
        for other in 0..self.nodes.len() {
            if let Some(node) = &mut self.nodes[other] {
                node.engine.handle(self.now, Input::PeerDown { peer: peer_of(other, at) });
            }
        }
        node.kernel
    }

    fn at(&mut self, at: usize) -> &mut Node {
        self.nodes[at].as_mut().unwrap()
    }

    fn kernel(&mut self, at: usize, event: Change, flow: Flow) {
        let now = self.now;
        let node = self.at(at);
        let number = number(&flow.key());
        if event == Change::Destroy {
            node.kernel.remove(&number);
        } else {
            node.kernel.insert(number, flow.clone());
        }
        let (origin, stamp) = (Origin::Foreign, Stamp::InOrder);
        node.engine.handle(now, Input::Kernel { event, flow, origin, stamp });
    }

    fn run(&mut self, how_long: Duration) {
        let end = self.now + how_long;
        while self.now < end {
            self.now += STEP;
            for (from, to, incarnation, number, bytes) in core::mem::take(&mut self.datagrams) {
                let now = self.now;
                let Some(node) = &mut self.nodes[to] else { continue };
                if incarnation == node.incarnation {
                    let peer = peer_of(to, from);
                    let opened = Input::Opened { peer, from: 0, number, bytes: &bytes };
                    node.engine.handle(now, opened);
                }
            }
            (0..self.nodes.len()).for_each(|at| self.turn(at));
        }
    }

    fn turn(&mut self, at: usize) {
        let now = self.now;
        let incarnations: Vec<u64> =
            self.nodes.iter().map(|n| n.as_ref().map_or(0, |n| n.incarnation)).collect();
        let Some(node) = &mut self.nodes[at] else { return };
        if now >= node.engine.poll_timeout() {
            node.engine.handle(now, Input::Timeout);
        }
        node.answer(now);
        while let Some(event) = node.engine.poll_event() {
            self.heard.push((at, event));
        }
        let mut bytes = vec![0; self.seals];
        while let Some(sealed) = node.engine.poll_sealed(now, &mut bytes) {
            let to = sealed.peer.index() + usize::from(sealed.peer.index() >= at);
            self.count += 1;
            // The lost ones follow no pattern: where each second is like the last one, nothing would come through by
            // itself.
            let draw = ((self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) * self.loses) >> 24;
            let lost = self.loses != 0 && draw == 0;
            let lost = lost || sealed.len > self.carries;
            if !self.cut && !lost {
                let bytes = bytes[..sealed.len].to_vec();
                self.datagrams.push((at, to, incarnations[to], sealed.number, bytes));
            }
        }
    }

    fn command(&mut self, at: usize, command: Command) {
        let now = self.now;
        self.at(at).engine.handle(now, Input::Command(CommandId(1), command));
    }

    /// Each node holds what the others have, and all know that.
    fn assert_equal(&mut self, after: &str) {
        let now = self.now;
        let kernels: Vec<Option<Vec<u16>>> = self
            .nodes
            .iter()
            .map(|node| node.as_ref().map(|node| node.kernel.keys().copied().collect()))
            .collect();
        for at in 0..self.nodes.len() {
            let Some(node) = &self.nodes[at] else { continue };
            let standing = node.engine.standing(now);
            let mut held: Vec<u16> =
                node.engine.flows(Side::Remote).map(|flow| number(&flow.key())).collect();
            held.sort_unstable();
            let others = kernels.iter().enumerate().filter(|(other, _)| *other != at);
            let mut wanted: Vec<u16> = others.filter_map(|(_, k)| k.clone()).flatten().collect();
            wanted.retain(|number| !node.kernel.contains_key(number));
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(held, wanted, "{after}: what node {at} holds");
            assert!(standing.remote_exact && standing.remote_complete, "{after}: {standing:?}");
        }
    }
}

impl Node {
    /// The kernel answers all it is asked.
    fn answer(&mut self, now: Instant) {
        while let Some(op) = self.engine.poll_kernel() {
            let (token, commit, request) = (op.token, op.commit, op.request.clone());
            let origin = if commit { Origin::Commit } else { Origin::Inject };
            let mut event = None;
            let mut errno = 0;
            match request {
                Request::Dump => {
                    for flow in self.kernel.values() {
                        self.engine.handle(now, Input::Dumped(flow.clone()));
                    }
                    self.engine.handle(now, Input::DumpDone { complete: true });
                }
                Request::DumpExpectations => {
                    for expect in self.expects.values() {
                        let expect = std::boxed::Box::new(expect.clone());
                        self.engine.handle(now, Input::DumpedExpectation(expect));
                    }
                    self.engine.handle(now, Input::ExpectationDumpDone { complete: true });
                }
                Request::Get(key) => {
                    let flow = self.kernel.get(&number(&key)).cloned();
                    self.engine.handle(now, Input::Verified { key, flow });
                }
                Request::Create(flow) if self.kernel.contains_key(&number(&flow.key())) => {
                    errno = 17;
                }
                Request::Create(mut flow) => {
                    self.last_id += 1;
                    flow.id = self.last_id;
                    flow.known |= Known::ID;
                    self.kernel.insert(number(&flow.key()), flow.clone());
                    event = Some((Change::New, flow));
                }
                Request::Update(flow) => match self.kernel.get_mut(&number(&flow.key())) {
                    Some(known) => {
                        known.timeout_s =
                            if flow.has(Known::TIMEOUT) { flow.timeout_s } else { known.timeout_s };
                        known.status |= flow.status;
                        known.proto = if flow.tcp().is_some() { flow.proto } else { known.proto };
                        event = Some((Change::Update, known.clone()));
                    }
                    None => errno = 2,
                },
                Request::Delete(key, id) => {
                    let number = number(&key);
                    let there = self.kernel.get(&number);
                    if there.is_some_and(|flow| id.is_none_or(|id| id == flow.id)) {
                        event = self.kernel.remove(&number).map(|flow| (Change::Destroy, flow));
                    }
                    errno = if event.is_some() { 0 } else { 2 };
                }
                Request::CreateExpectation(expect) => {
                    errno = self.create_expectation(now, *expect, origin);
                }
                Request::DeleteExpectation(key) => {
                    errno = self.delete_expectation(now, &key, origin);
                }
            }
            if errno != 0 {
                self.engine.handle(now, Input::KernelFailed { token, errno });
            }
            self.engine.handle(now, Input::KernelSettled { token });
            if let Some((change, flow)) = event {
                self.events.push((now + self.late, change, flow, origin));
            }
            self.hear(now);
        }
        self.hear(now);
    }

    /// The kernel's events that are due come in.
    fn hear(&mut self, now: Instant) {
        while self.events.first().is_some_and(|(due, ..)| *due <= now) {
            let (_, event, flow, origin) = self.events.remove(0);
            let stamp = Stamp::InOrder;
            self.engine.handle(now, Input::Kernel { event, flow, origin, stamp });
        }
    }
}

/// The number by which node `at` knows node `other`.
fn peer_of(at: usize, other: usize) -> PeerId {
    PeerId::at(other - usize::from(other > at))
}

const S: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn each_node_holds_what_the_others_have() {
    for nodes in [2, 3, 5] {
        let mut world = World::new(nodes);
        world.run(S(2));
        for n in 0..200 {
            let at = usize::from(n) % nodes;
            world.kernel(at, Change::New, flow(1_000 + n, 1));
            world.kernel(at, Change::Update, flow(1_000 + n, 3));
        }
        world.run(S(3));
        world.assert_equal("200 flows");
        for n in 0..100 {
            world.kernel(usize::from(n) % nodes, Change::Destroy, flow(1_000 + n, 7));
        }
        world.run(S(3));
        world.assert_equal("100 of them ended");
    }
}

#[test]
fn what_is_lost_is_told_again() {
    let mut world = World::new(2);
    world.loses = 5;
    for n in 0..2_000 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
        if n % 20 == 0 {
            world.run(STEP);
        }
        if n % 3 == 0 {
            world.kernel(0, Change::Destroy, flow(1_000 + n, 7));
        }
    }
    world.run(S(6));
    world.assert_equal("a fifth was lost");
}

/// Node 1 owes an acknowledgement of node 0's OPEN when it restarts, and its own has not come through yet (seed
/// 96,001,224 of the mesh).
#[test]
fn who_began_anew_before_it_was_heard_is_told_again() {
    let mut world = World::new(2);
    world.kernel(0, Change::New, flow(1_000, 3));
    world.run(STEP);
    world.datagrams.retain(|(from, ..)| *from == 0);
    world.run(STEP);
    world.command(1, Command::Flush { local: false, remote: true });
    world.run(S(4));
    world.assert_equal("node 1 asked for everything");
}

/// R8.2: changes are sent before the flows that were there already, whose transfer goes on all the same. Node 0 is
/// about to send node 1, which has just started, 20,000 flows.
fn transfer() -> World {
    let mut world = World::new(2);
    drop(world.stop(1));
    for n in 0..20_000 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.start(1, BTreeMap::new());
    world
}

/// Flows of node 0 that node 1 holds.
fn held(world: &World) -> u32 {
    let node = world.nodes[1].as_ref().unwrap();
    node.engine.peer_standings(world.now).next().unwrap().rows
}

#[test]
fn news_does_not_wait_for_a_bulk_nor_a_bulk_for_news() {
    let mut world = transfer();
    while held(&world) == 0 {
        world.run(STEP);
    }
    world.kernel(0, Change::New, flow(60_000, 3));
    let key = flow(60_000, 3).key();
    while world.nodes[1].as_ref().unwrap().engine.claimed(&key).is_none() {
        world.run(STEP);
    }
    assert!(held(&world) < 10_000, "{} of the bulk", held(&world));
    // A flood of news takes seven eighths of what there is.
    for _ in 0..200 {
        for n in 0..1_000 {
            world.kernel(0, Change::Update, flow(1_000 + n, 2 + (held(&world) % 2) as u8));
        }
        world.run(STEP);
    }
    assert!(held(&world) > 10_000, "{} of the bulk", held(&world));
    world.run(S(4));
    world.assert_equal("all is told");
}

/// A receiver of fewer datagrams than an acknowledgement needs waits for more, which do not come.
#[test]
fn the_datagram_that_closes_the_window_asks_for_an_answer() {
    let mut world = transfer();
    while held(&world) < 1_000 {
        world.run(STEP);
    }
    let asks = (0..100).find_map(|_| {
        world.run(STEP);
        let now = world.now + STEP;
        let engine = &mut world.at(0).engine;
        let mut bytes = [0; 1_500];
        let train = core::iter::from_fn(|| {
            let sealed = engine.poll_sealed(now, &mut bytes)?;
            let (head, _) = Frames::of(&bytes[..sealed.len]).expect("it is a datagram");
            Some(head.flags.contains(Flags::ANSWER))
        });
        Some(train.collect::<Vec<_>>()).filter(|train| train.len() > 5)
    });
    let asks = asks.expect("more than an acknowledgement's worth is told at once");
    assert_eq!(asks.iter().position(|asks| *asks), Some(asks.len() - 1), "{asks:?}");
}

#[test]
fn a_node_that_was_away_gets_the_difference() {
    let mut world = World::new(2);
    for n in 0..500 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.assert_equal("before");
    world.cut = true;
    let taken = |world: &World| {
        let node = world.nodes[1].as_ref().unwrap();
        node.engine.peer_standings(world.now).next().unwrap().counts.taken
    };
    let before = taken(&world);
    world.run(S(2));
    for (at, other) in [(0, 1), (1, 0)] {
        let now = world.now;
        let peer = peer_of(at, other);
        world.at(at).engine.handle(now, Input::PeerDown { peer });
    }
    for n in 0..10 {
        world.kernel(0, Change::Destroy, flow(1_000 + n, 7));
        world.kernel(0, Change::New, flow(3_000 + n, 3));
    }
    world.run(S(6));
    assert!(world.nodes[1].as_ref().unwrap().engine.standing(world.now).peer_heard.is_some());
    world.cut = false;
    world.connect(0, 1);
    world.run(S(3));
    world.assert_equal("after");
    assert_eq!(taken(&world) - before, 20, "what changed meanwhile, and no more");
}

#[test]
fn a_restart_over_the_same_kernel_costs_a_comparison() {
    let mut world = World::new(2);
    for n in 0..500 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    let mut kernel = world.stop(0);
    world.run(S(1));
    // What ended and what began without an event.
    (0..5).for_each(|n| drop(kernel.remove(&(1_000 + n))));
    kernel.insert(9_000, flow(9_000, 3));
    let taken = |world: &World| {
        let node = world.nodes[1].as_ref().unwrap();
        node.engine.peer_standings(world.now).next().unwrap().counts
    };
    let before = taken(&world).taken;
    world.start(0, kernel);
    world.run(S(5));
    world.assert_equal("after the restart");
    let counts = taken(&world);
    assert!(counts.unlisted == 5 && counts.taken - before == 1, "{counts:?}");
}

#[test]
fn a_commit_takes_over_and_the_old_owner_cedes() {
    let mut world = World::new(2);
    for n in 0..300 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.command(1, Command::CommitAll);
    world.run(S(3));
    let kernel = world.at(1).kernel.len();
    assert_eq!(kernel, 300, "node 1 carries all");
    let held = |world: &World, at: usize| {
        let node = world.nodes[at].as_ref().unwrap();
        node.engine.peer_standings(world.now).next().unwrap().rows
    };
    assert_eq!((held(&world, 0), held(&world, 1)), (300, 0), "all are node 1's");
    // What ends at node 1 goes from node 0's kernel, too.
    for n in 0..100 {
        world.kernel(1, Change::Destroy, flow(1_000 + n, 7));
    }
    world.run(S(3));
    assert_eq!(world.at(0).kernel.len(), 200, "closed flows are deleted where they were ceded");
    let exact = |world: &World, at: usize| {
        world.nodes[at].as_ref().unwrap().engine.standing(world.now).remote_exact
    };
    assert!(exact(&world, 0) && exact(&world, 1));
}

#[test]
fn with_three_nodes_a_commit_takes_what_the_silent_one_had() {
    let mut world = World::new(3);
    for n in 0..90 {
        world.kernel(usize::from(n) % 2, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.stop(0);
    world.run(S(1));
    world.command(2, Command::CommitAll);
    world.run(S(3));
    assert_eq!(world.at(2).kernel.len(), 45, "those of node 0, and not those of node 1");
    assert_eq!(world.at(1).kernel.len(), 45);
}

#[test]
fn a_row_changed_behind_the_back_is_found_and_mended() {
    let mut world = World::new(2);
    for n in 0..500 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.at(1).engine.spoil(&flow(1_007, 3).key());
    world.run(S(4));
    world.assert_equal("the row is there again");
}

#[test]
fn of_three_nodes_one_that_steps_back_is_taken_over_whoever_comes_first() {
    for commit_first in [true, false] {
        let mut world = World::new(3);
        for n in 0..90 {
            world.kernel(usize::from(n) % 2, Change::New, flow(1_000 + n, 3));
        }
        world.run(S(3));
        let commands = [(2, Command::CommitAll), (0, Command::StandBy)];
        for at in if commit_first { [0, 1] } else { [1, 0] } {
            let (node, command) = commands[at];
            world.command(node, command);
            world.run(S(2));
        }
        world.run(S(2));
        assert_eq!(world.at(2).kernel.len(), 45, "those of node 0, commit first: {commit_first}");
        assert_eq!(world.at(1).kernel.len(), 45);
    }
}

#[test]
fn a_dead_node_is_taken_over_before_its_session_is_silent_and_a_live_one_is_not() {
    for carries in [0, 45] {
        let mut world = World::new(3);
        for n in 0..90 {
            world.kernel(0, Change::New, flow(1_000 + n, 3));
        }
        for n in 0..carries {
            world.kernel(1, Change::New, flow(2_000 + n, 3));
        }
        world.run(S(3));
        // Its death is not announced, as it never is within the first seconds.
        world.nodes[0] = None;
        world.run(S(1));
        world.command(2, Command::CommitAll);
        // What the dead one carried does not wait for the other one to step back.
        world.run(Duration::from_millis(800));
        assert_eq!(world.at(2).kernel.len(), 90);
        // What a new primary does, with the old one's session still there.
        world.command(2, Command::Flush { local: true, remote: true });
        world.command(2, Command::ResyncKernelAll);
        world.command(2, Command::Bulk);
        world.run(S(4));
        let rows: Vec<_> = {
            let node = world.nodes[1].as_ref().unwrap();
            node.engine.peer_standings(world.now).map(|peer| peer.rows).collect()
        };
        assert_eq!(rows, [0, 90], "node 1 holds them as those of node 2");
        assert_eq!(world.at(2).kernel.len(), 90);
    }
}

#[test]
fn who_is_to_take_over_from_a_node_that_fell_silent_stays_ready() {
    let mut world = World::new(3);
    for n in 0..90 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.nodes[0] = None;
    // Longer than a comparison is good for, and shorter than a session takes to end.
    world.run(Duration::from_millis(4_500));
    let standing = world.nodes[1].as_ref().unwrap().engine.standing(world.now);
    assert!(standing.remote_exact && standing.remote_complete, "{standing:?}");
}

#[test]
fn a_live_peer_is_taken_over_by_name_alone() {
    let mut world = World::new(3);
    for n in 0..90 {
        world.kernel(usize::from(n) % 2, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.command(2, Command::CommitAll);
    world.run(S(3));
    assert_eq!(world.at(2).kernel.len(), 0, "both carry theirs");
    world.command(2, Command::TakeOver(peer_of(2, 1)));
    world.run(S(3));
    assert_eq!(world.at(2).kernel.len(), 45);
    let rows: Vec<_> = [0, 2]
        .map(|at| {
            let node = world.nodes[at].as_ref().unwrap();
            let rows = node.engine.peer_standings(world.now).map(|peer| (peer.rows, peer.equal));
            rows.collect::<Vec<_>>()
        })
        .into();
    // Node 0 sees nodes 1 and 2; node 2 sees nodes 0 and 1.
    assert_eq!(rows, [vec![(0, true), (45, true)], vec![(45, true), (0, true)]]);
}

#[test]
fn what_is_released_before_the_kernel_is_emptied_stays_with_its_holders() {
    let mut world = World::new(2);
    for n in 0..200 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.command(0, Command::StandBy);
    world.command(0, Command::Release);
    let now = world.now;
    let node = world.at(0);
    for flow in core::mem::take(&mut node.kernel).into_values() {
        let (event, origin, stamp) = (Change::Destroy, Origin::Purge, Stamp::InOrder);
        node.engine.handle(now, Input::Kernel { event, flow, origin, stamp });
    }
    world.run(S(5));
    let held = world.at(1).engine.table(Side::Remote).alive();
    let standing = world.at(1).engine.peer_standings(now).next().unwrap();
    assert_eq!((held, standing.rows, standing.equal), (200, 0, true));
    world.command(1, Command::CommitAll);
    world.run(S(3));
    assert_eq!(world.at(1).kernel.len(), 200);
    assert_eq!(world.at(0).engine.table(Side::Remote).alive(), 200);
}

fn states(world: &mut World, at: usize) -> Vec<(u16, u8)> {
    let state = |flow: &Flow| flow.tcp().map_or(0, |tcp| tcp.state);
    world.at(at).kernel.iter().map(|(number, flow)| (*number, state(flow))).collect()
}

fn all_equal(world: &World) -> bool {
    let nodes = world.nodes.iter().flatten();
    nodes.into_iter().all(|node| node.engine.peer_standings(world.now).all(|peer| peer.equal))
}

#[test]
fn a_hot_node_has_the_flows_of_the_others_in_its_kernel() {
    let mut world = World::with(2, true);
    for n in 0..100 {
        world.kernel(0, Change::New, flow(1_000 + n, 1));
    }
    world.run(S(2));
    assert_eq!(world.at(1).kernel.len(), 100);
    for n in 0..100 {
        world.kernel(0, Change::Update, flow(1_000 + n, 3));
    }
    world.run(S(2));
    assert_eq!(states(&mut world, 1), states(&mut world, 0));
    let claimed = world.at(1).engine.table(Side::Local).alive();
    assert_eq!((claimed, all_equal(&world)), (0, true), "what was injected is not claimed");
    for n in 0..60 {
        world.kernel(0, Change::Update, flow(1_000 + n, 7));
        world.kernel(0, Change::Destroy, flow(1_000 + n, 7));
    }
    world.run(S(2));
    assert_eq!(world.at(1).kernel.len(), 40, "closed there, deleted here");
    assert!(all_equal(&world));
}

#[test]
fn paths_that_differ_by_direction_make_one_connection_at_both_nodes() {
    let mut world = World::with(2, true);
    // SYN passes node 0; SYN/ACK node 1; then both.
    world.kernel(0, Change::New, flow(1_000, 1));
    world.run(S(1));
    world.kernel(1, Change::Update, flow(1_000, 2));
    world.run(S(1));
    world.kernel(0, Change::Update, flow(1_000, 3));
    world.run(S(1));
    let wanted = vec![(1_000, 3)];
    assert_eq!([states(&mut world, 0), states(&mut world, 1)], [wanted.clone(), wanted]);
    world.kernel(1, Change::Update, flow(1_000, 7));
    world.kernel(1, Change::Destroy, flow(1_000, 7));
    world.run(S(5));
    assert_eq!([states(&mut world, 0), states(&mut world, 1)], [vec![], vec![]]);
    assert!(all_equal(&world));
}

#[test]
fn an_injected_flow_lives_as_long_as_its_owner_says() {
    let mut world = World::with(2, true);
    world.kernel(0, Change::New, flow(1_000, 3));
    world.run(S(2));
    assert_eq!(world.at(1).kernel[&1_000].timeout_s, 288, "what was told, as it travels");
    world.at(1).kernel.get_mut(&1_000).unwrap().timeout_s = 1;
    world.run(S(170));
    assert_eq!(
        world.at(1).kernel[&1_000].timeout_s,
        288,
        "half of its time is over: it gets it again"
    );
    // The flow ends here by itself: the owner says that it lives.
    let gone = world.at(1).kernel[&1_000].clone();
    world.kernel(1, Change::Destroy, gone);
    world.run(S(2));
    assert!(world.at(1).kernel.contains_key(&1_000));
    world.stop(0);
    world.at(1).kernel.get_mut(&1_000).unwrap().timeout_s = 1;
    world.run(S(400));
    assert_eq!(world.at(1).kernel[&1_000].timeout_s, 1, "nobody says that it lives");
}

#[test]
fn a_commit_of_a_hot_node_claims_and_deletes_nothing() {
    let mut world = World::with(2, true);
    for n in 0..100 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.stop(0);
    world.run(S(1));
    world.command(1, Command::CommitAll);
    world.run(S(3));
    let node = world.at(1);
    assert_eq!((node.kernel.len(), node.engine.flows(Side::Local).count()), (100, 100));
    assert_eq!(node.engine.table(Side::Remote).alive(), 0, "all are its own");
}
