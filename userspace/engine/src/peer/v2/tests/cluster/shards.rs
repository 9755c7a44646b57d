//! Nodes with several shards, each an engine of its own: every pair with slices in common has a stream (R8.1).

mod expects;

use super::{Node, S, STEP, flow, number, peer_of};
use crate::config::{Cluster, Config, Helpers, Owner};
use crate::output::Compared;
use crate::peer::v2::session::PeerStanding;
use crate::{Command, CommandId, Engine, Event, Input, Origin, Share, ShareBy, Side, Stamp};
use common::Instant;
use core::time::Duration;
use ctnetlink::{Change, Flow, FlowKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;
use wire::sync::v2::DigestKey;

const KEY: DigestKey = DigestKey([9; 16]);

/// A datagram: from and to which node and shard, for which run of the receiver, its number, its text.
type Datagram = ([usize; 2], [u8; 2], u64, u64, Vec<u8>);

/// By node: its shards. Each has the part of the kernel's table that is its own.
struct World {
    now: Instant,
    nodes: Vec<Vec<Node>>,
    datagrams: Vec<Datagram>,
    /// One of so many datagrams is lost; 0: none.
    loses: u64,
    count: u64,
    heard: Vec<(usize, Event)>,
}

impl World {
    /// Nodes with so many shards.
    fn new(shards: &[usize]) -> Self {
        let mut world = Self {
            now: Instant(1_000_000_000),
            nodes: shards.iter().map(|_| Vec::new()).collect(),
            datagrams: Vec::new(),
            loses: 0,
            count: 0,
            heard: Vec::new(),
        };
        (0..shards.len()).for_each(|at| world.start(at, shards[at], &BTreeMap::new()));
        world
    }

    fn share(shards: usize, index: usize) -> Share {
        Share { index, count: shards, by: ShareBy::Slices(KEY) }
    }

    fn start(&mut self, at: usize, shards: usize, kernel: &BTreeMap<u16, Flow>) {
        self.count += 1;
        let incarnation = 10_000 - self.count;
        let peers = (0..self.nodes.len()).filter(|n| *n != at).map(|n| Owner(n as u8)).collect();
        let cluster = Arc::new(Cluster {
            me: Owner(at as u8),
            peers,
            rates: vec![None; self.nodes.len() - 1],
            hot: false,
            settle: Duration::ZERO,
            remote_max: 10_000,
            incarnation,
            digest_key: KEY,
        });
        let shard = |index| {
            let share = Self::share(shards, index);
            let (cluster, expectations) = (Some(Arc::clone(&cluster)), Helpers::All);
            let engine =
                Engine::new(Config { cluster, share, expectations, ..Config::default() }, self.now);
            let mine = kernel.iter().filter(|(_, flow)| share.holds(&flow.key()));
            let kernel = mine.map(|(number, flow)| (*number, flow.clone())).collect();
            Node {
                engine,
                incarnation,
                kernel,
                expects: BTreeMap::new(),
                last_id: 1_000,
                late: Duration::ZERO,
                events: Vec::new(),
            }
        };
        self.nodes[at] = (0..shards).map(shard).collect();
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.introduce(at, other);
            self.introduce(other, at);
        }
    }

    /// A node learns that another one is there.
    fn introduce(&mut self, to: usize, who: usize) {
        let Some(incarnation) = self.nodes[who].first().map(|shard| shard.incarnation) else {
            return;
        };
        let (peer, shards) = (peer_of(to, who), self.nodes[who].len() as u8);
        for shard in &mut self.nodes[to] {
            shard.engine.handle(self.now, Input::PeerUp { peer, incarnation, shards });
        }
    }

    fn stop(&mut self, at: usize) -> BTreeMap<u16, Flow> {
        let shards = core::mem::take(&mut self.nodes[at]);
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            for shard in &mut self.nodes[other] {
                shard.engine.handle(self.now, Input::PeerDown { peer: peer_of(other, at) });
            }
        }
        shards.into_iter().flat_map(|shard| shard.kernel).collect()
    }

    fn shard_of(&mut self, at: usize, key: &FlowKey) -> &mut Node {
        let owner = Self::share(self.nodes[at].len(), 0).owner(key);
        &mut self.nodes[at][owner]
    }

    fn kernel(&mut self, at: usize, event: Change, flow: Flow) {
        let now = self.now;
        let shard = self.shard_of(at, &flow.key());
        match event {
            Change::Destroy => drop(shard.kernel.remove(&number(&flow.key()))),
            _ => drop(shard.kernel.insert(number(&flow.key()), flow.clone())),
        }
        let (origin, stamp) = (Origin::Foreign, Stamp::InOrder);
        shard.engine.handle(now, Input::Kernel { event, flow, origin, stamp });
    }

    fn run(&mut self, how_long: Duration) {
        let end = self.now + how_long;
        while self.now < end {
            self.now += STEP;
            for ([from, to], [shard, for_shard], run, number, bytes) in
                core::mem::take(&mut self.datagrams)
            {
                let Some(node) = self.nodes[to].get_mut(usize::from(for_shard)) else { continue };
                if node.incarnation == run {
                    let (peer, from) = (peer_of(to, from), shard);
                    let opened = Input::Opened { peer, from, number, bytes: &bytes };
                    node.engine.handle(self.now, opened);
                }
            }
            for at in 0..self.nodes.len() {
                (0..self.nodes[at].len()).for_each(|shard| self.turn(at, shard));
            }
        }
    }

    fn turn(&mut self, at: usize, shard: usize) {
        let now = self.now;
        let runs: Vec<u64> =
            self.nodes.iter().map(|n| n.first().map_or(0, |n| n.incarnation)).collect();
        let node = &mut self.nodes[at][shard];
        if now >= node.engine.poll_timeout() {
            node.engine.handle(now, Input::Timeout);
        }
        node.answer(now);
        while let Some(event) = node.engine.poll_event() {
            self.heard.push((at, event));
        }
        let mut bytes = vec![0; 1_180];
        while let Some(sealed) = node.engine.poll_sealed(now, &mut bytes) {
            let to = sealed.peer.index() + usize::from(sealed.peer.index() >= at);
            self.count += 1;
            let draw = ((self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) * self.loses) >> 24;
            if self.loses == 0 || draw != 0 {
                let shards = [shard as u8, sealed.to];
                let text = bytes[..sealed.len].to_vec();
                self.datagrams.push(([at, to], shards, runs[to], sealed.number, text));
            }
        }
    }

    fn command(&mut self, at: usize, command: Command) {
        for shard in &mut self.nodes[at] {
            shard.engine.handle(self.now, Input::Command(CommandId(1), command));
        }
    }

    /// How a node stands with its peers, all shards together.
    fn standings(&self, at: usize) -> Vec<PeerStanding> {
        let of = |shard: &Node| shard.engine.peer_standings(self.now).collect::<Vec<_>>();
        let join = |all: Vec<PeerStanding>, more: Vec<PeerStanding>| {
            all.into_iter().zip(more).map(|(a, b)| a.join(b)).collect()
        };
        self.nodes[at].iter().map(of).reduce(join).unwrap()
    }

    /// What is in a table of a node.
    fn held(&self, at: usize, side: Side) -> Vec<u16> {
        let shards = self.nodes[at].iter();
        let mut held: Vec<u16> =
            shards.flat_map(|s| s.engine.flows(side)).map(|flow| number(&flow.key())).collect();
        held.sort_unstable();
        held
    }

    fn kernel_of(&self, at: usize) -> Vec<u16> {
        let mut all: Vec<u16> =
            self.nodes[at].iter().flat_map(|shard| shard.kernel.keys().copied()).collect();
        all.sort_unstable();
        all
    }

    /// Each node holds what the others have, and all know that.
    fn assert_equal(&self, after: &str) {
        let runs = |at: &usize| !self.nodes[*at].is_empty();
        for at in (0..self.nodes.len()).filter(runs) {
            let others = (0..self.nodes.len()).filter(|other| *other != at).filter(runs);
            let mut wanted: Vec<u16> = others.flat_map(|other| self.kernel_of(other)).collect();
            wanted.sort_unstable();
            assert_eq!(self.held(at, Side::Remote), wanted, "{after}: what node {at} holds");
            for (peer, standing) in self.standings(at).into_iter().enumerate() {
                let other = peer + usize::from(peer >= at);
                if self.nodes[other].is_empty() {
                    continue;
                }
                let rows = self.kernel_of(other).len();
                let equal = standing.equal && standing.complete && standing.up;
                assert!(equal, "{after}: node {at} of {other}: {standing:?}");
                assert_eq!(standing.rows as usize, rows, "{after}: node {at} of {other}");
                assert_eq!(standing.counts.malformed, 0, "{after}: node {at} of {other}");
            }
        }
    }
}

/// Numbers of shards of the nodes of a cluster.
const CLUSTERS: [&[usize]; 6] = [&[2, 2], &[2, 1], &[1, 4], &[3, 2], &[64, 7], &[2, 3, 1]];

fn filled(shards: &[usize]) -> World {
    let mut world = World::new(shards);
    world.run(S(2));
    for n in 0..300 {
        let at = usize::from(n) % shards.len();
        world.kernel(at, Change::New, flow(1_000 + n, 1));
        world.kernel(at, Change::Update, flow(1_000 + n, 3));
    }
    world
}

#[test]
fn r8_1_nodes_with_any_numbers_of_shards_hold_what_the_others_have() {
    for shards in CLUSTERS {
        let mut world = filled(shards);
        world.run(S(4));
        world.assert_equal(&std::format!("{shards:?}: flows began"));
        for n in (0..300).step_by(3) {
            world.kernel(usize::from(n) % shards.len(), Change::Destroy, flow(1_000 + n, 3));
        }
        world.run(S(4));
        world.assert_equal(&std::format!("{shards:?}: flows ended"));
        let unsent = world.nodes.iter().flatten().map(|s| s.engine.peer_standings(world.now));
        let busy: Vec<_> = unsent.flatten().map(|s| (s.behind, s.in_flight)).collect();
        assert!(busy.iter().all(|state| *state == (0, 0)), "{shards:?}: {busy:?}");
    }
}

#[test]
fn loss_costs_delay_only_whatever_numbers_of_shards_both_have() {
    for shards in CLUSTERS {
        let mut world = World::new(shards);
        world.loses = 5;
        world.run(S(2));
        for n in 0..300 {
            let at = usize::from(n) % shards.len();
            world.kernel(at, Change::New, flow(1_000 + n, 1));
            world.run(STEP);
            world.kernel(at, Change::Update, flow(1_000 + n, 3));
            if n % 4 == 3 {
                world.kernel(at, Change::Destroy, flow(1_000 + n, 3));
            }
        }
        world.loses = 0;
        world.run(S(10));
        world.assert_equal(&std::format!("{shards:?}"));
    }
}

#[test]
fn a_node_comes_back_with_another_number_of_shards() {
    for (before, after) in [(2, 3), (4, 1), (1, 2), (2, 2)] {
        let mut world = filled(&[before, 2, 1]);
        world.run(S(4));
        let mut kernel = world.stop(0);
        world.run(S(1));
        // Some of its flows end, and others begin, while no daemon runs.
        kernel.retain(|number, _| number % 7 != 0);
        kernel.extend((0..20).map(|n| (5_000 + n, flow(5_000 + n, 3))));
        let sent = |world: &World| world.standings(1)[0].counts.received;
        let received = sent(&world);
        world.start(0, after, &kernel);
        world.run(S(16));
        world.assert_equal(&std::format!("from {before} shards to {after}"));
        assert!(sent(&world) > received, "counts go on");
        // And it goes on.
        world.kernel(0, Change::New, flow(6_000, 1));
        world.kernel(1, Change::New, flow(6_001, 1));
        world.run(S(3));
        world.assert_equal(&std::format!("later, from {before} shards to {after}"));
    }
}

#[test]
fn a_difference_is_found_and_mended_in_its_stream_alone() {
    for shards in CLUSTERS {
        let mut world = filled(shards);
        world.run(S(4));
        let key = flow(1_000, 3).key();
        world.shard_of(1, &key).engine.spoil(&key);
        world.run(S(4));
        world.assert_equal(&std::format!("{shards:?}"));
        let unequal: u64 = world.standings(1).iter().map(|s| s.counts.unequal).sum();
        assert_eq!(unequal, 1, "{shards:?}: one stream found it, once");
    }
}

#[test]
fn r11_7_people_are_shown_what_differs_in_all_streams() {
    let mut world = filled(&[2, 3]);
    world.run(S(4));
    let now = world.now;
    for n in [0, 2, 4, 6, 8, 10, 12, 14] {
        let key = flow(1_000 + n, 3).key();
        world.shard_of(1, &key).engine.spoil(&key);
    }
    world.heard.clear();
    world.command(1, Command::Compare(peer_of(1, 0)));
    world.run(S(6));
    let mut found = Compared { counts: Some([0; 3]), peer_is_exact: true, ..Compared::default() };
    let mut answers = 0;
    for (at, event) in world.heard.drain(..) {
        if let Event::Compared(_, one) = event {
            assert_eq!(at, 1);
            found.join(*one);
            answers += 1;
        }
    }
    assert_eq!(answers, 3, "each shard answers once, for all of its streams");
    assert_eq!(found.counts, Some([8, 0, 0]), "{:?} {now:?}", found.rows);
    assert_eq!((found.rows, found.differing.len()), ([142, 150], 8));
}

#[test]
fn a_commit_takes_over_what_all_streams_told() {
    for shards in CLUSTERS {
        let mut world = filled(shards);
        world.run(S(4));
        let theirs = world.kernel_of(0);
        drop(world.stop(0));
        world.run(S(1));
        world.command(1, Command::Commit);
        world.run(S(6));
        let kernel = world.kernel_of(1);
        assert!(theirs.iter().all(|number| kernel.contains(number)), "{shards:?}");
        world.assert_equal(&std::format!("{shards:?}: who took over claims it"));
    }
}

#[test]
fn r8_9_what_is_not_of_a_streams_slices_is_not_taken() {
    let mut world = World::new(&[2, 2]);
    world.run(S(2));
    let key = flow(1_000, 1).key();
    let mine = World::share(2, 0).owner(&key) as u8;
    world.kernel(0, Change::New, flow(1_000, 1));
    world.turn(0, usize::from(mine));
    // The engines of the other shards get what was sent to those of these.
    let other = 1 - mine;
    for (_, shards, _, number, _) in &mut world.datagrams {
        (*shards, *number) = ([other, other], *number + 1_000);
    }
    world.run(S(0) + STEP);
    let refused: u64 = world.standings(1).iter().map(|s| s.counts.malformed).sum();
    assert!(refused > 0);
    assert!(!world.held(1, Side::Remote).contains(&1_000));
    world.run(S(8));
    assert!(world.held(1, Side::Remote).contains(&1_000), "what was lost is told again");
}
