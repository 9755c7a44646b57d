//! Expectations (R13.7).

use super::{LEN, Node, S, STEP, World, flow, number, peer_of};
use crate::errno::{EEXIST, ENOENT};
use crate::expectations::ExpectKey;
use crate::{Command, Input, Origin, Side};
use common::Instant;
use core::time::Duration;
use ctnetlink::flow::HelperName;
use ctnetlink::{Change, Expectation, FlowKey, Tuple};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

/// What the flow with this number announces: a connection to this port.
pub(super) fn expectation(master: u16, port: u16) -> Expectation {
    let master = flow(master, 3).orig;
    let mask = Tuple::v4([255; 4], [255; 4], 6).with_ports(0, 0xffff);
    Expectation::new(master, master.inverted().with_ports(0, port), mask).with(|expect| {
        (expect.timeout_s, expect.flags, expect.class) = (Some(300), Some(0), Some(0));
        expect.helper = HelperName::from_bytes(b"irc");
        expect.zone = Some(0);
    })
}

/// Its kernel's expectations.
impl Node {
    pub(super) fn report(
        &mut self,
        now: Instant,
        event: Change,
        expect: Expectation,
        origin: Origin,
    ) {
        let expect = Box::new(expect);
        self.engine.handle(now, Input::KernelExpect { event, expect, origin });
    }

    pub(super) fn create_expectation(
        &mut self,
        now: Instant,
        expect: Expectation,
        origin: Origin,
    ) -> i32 {
        let key = ExpectKey::of(&expect);
        let master = FlowKey::new(expect.master, 0);
        if !self.kernel.contains_key(&number(&master)) {
            return ENOENT;
        }
        if self.expects.contains_key(&key) {
            return EEXIST;
        }
        self.expects.insert(key, expect.clone());
        self.report(now, Change::New, expect, origin);
        0
    }

    pub(super) fn delete_expectation(
        &mut self,
        now: Instant,
        key: &FlowKey,
        origin: Origin,
    ) -> i32 {
        let found = self.expects.keys().find(|expect| expect.tuple == key.tuple).copied();
        let Some(found) = found.and_then(|key| self.expects.remove(&key)) else { return ENOENT };
        self.report(now, Change::Destroy, found, origin);
        0
    }
}

impl World {
    fn announce(&mut self, at: usize, expect: Expectation) {
        let now = self.now;
        assert_eq!(self.at(at).create_expectation(now, expect, Origin::Foreign), 0);
    }

    fn fulfil(&mut self, at: usize, expect: &Expectation) {
        let (now, key) = (self.now, FlowKey::new(expect.tuple, 0));
        assert_eq!(self.at(at).delete_expectation(now, &key, Origin::Foreign), 0);
    }

    /// Ports of the expectations that a node holds of others.
    fn held(&self, at: usize) -> Vec<u16> {
        let node = self.nodes[at].as_ref().unwrap();
        let all = node.engine.expectations(Side::Remote, None);
        let mut ports: Vec<u16> = all.map(|(key, _)| key.tuple.ports().1).collect();
        ports.sort_unstable();
        ports
    }

    /// The expectations of its kernel.
    fn own(&self, at: usize) -> Vec<u16> {
        let node = self.nodes[at].as_ref().unwrap();
        let mut ports: Vec<u16> = node.expects.keys().map(|key| key.tuple.ports().1).collect();
        ports.sort_unstable();
        ports
    }

    fn all_are_equal(&self) -> bool {
        let nodes = self.nodes.iter().flatten();
        nodes.flat_map(|node| node.engine.peer_standings(self.now)).all(|peer| peer.equal)
    }

    fn unequal(&self) -> u64 {
        let nodes = self.nodes.iter().flatten();
        nodes.flat_map(|node| node.engine.peer_standings(self.now)).map(|p| p.counts.unequal).sum()
    }

    /// Runs until something is so, at most so many seconds.
    fn run_until(&mut self, most: u64, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..most * 10 {
            self.run(STEP * 20);
            if is_so(self) {
                return;
            }
        }
        panic!("not after {most} s");
    }

    /// A daemon restarts over its kernel.
    fn restart(&mut self, at: usize) {
        let expects = self.nodes[at].as_ref().unwrap().expects.clone();
        let kernel = self.stop(at);
        self.run(S(1));
        self.start(at, kernel);
        self.at(at).expects = expects;
    }
}

/// Two nodes, and two connections of node 0.
fn world(nodes: usize, hot: bool) -> World {
    let mut world = World::with(nodes, hot);
    world.kernel(0, Change::New, flow(1_000, 3));
    world.kernel(0, Change::New, flow(1_001, 3));
    world.run(S(2));
    world
}

#[test]
fn r13_7_they_come_and_go_and_both_ends_know_that_they_are_equal() {
    let mut world = world(2, false);
    world.announce(0, expectation(1_000, 5_000));
    world.announce(0, expectation(1_001, 5_001));
    world.run(S(2));
    assert_eq!(world.held(1), [5_000, 5_001]);
    let standing = world.at(1).engine.peer_standings(Instant(0)).next().unwrap();
    assert_eq!((standing.rows, standing.expectations), (2, 2));
    world.fulfil(0, &expectation(1_000, 5_000));
    world.run(S(2));
    assert_eq!(world.held(1), [5_001]);
    assert!(world.all_are_equal() && world.unequal() == 0);
    // All that travels is there, and the seconds that are left since the kernel said so.
    let node = world.at(1);
    let shown = node.engine.expectations(Side::Remote, None).next().unwrap().1.expect.clone();
    let left_s = shown.timeout_s.unwrap();
    assert!((299..=300).contains(&left_s), "{left_s}");
    let same = shown.with(|expect| expect.timeout_s = Some(300));
    assert_eq!(same, expectation(1_001, 5_001));
}

#[test]
fn r13_7_a_commit_writes_them_after_their_flows_and_claims_them() {
    let mut world = world(3, false);
    world.announce(0, expectation(1_000, 5_000));
    // What a live third node announces is not taken.
    world.kernel(1, Change::New, flow(2_000, 3));
    world.announce(1, expectation(2_000, 6_000));
    world.run(S(2));
    assert_eq!(world.held(2), [5_000, 6_000]);
    world.stop(0);
    world.run(S(1));
    world.command(2, Command::CommitAll);
    world.run(S(4));
    assert_eq!((world.own(2), world.held(2)), ([5_000].into(), [6_000].into()));
    assert_eq!(world.held(1), [5_000], "node 1 holds it of node 2");
    world.fulfil(2, &expectation(1_000, 5_000));
    world.run(S(2));
    assert!(world.held(1).is_empty(), "it is over, whatever the dead node said");
    world.command(2, Command::CommitAll);
    world.run(S(4));
    assert!(world.own(2).is_empty());
}

#[test]
fn r1_1_whatever_is_lost_or_restarted_costs_delay_alone() {
    for loses in [5, 7, 11] {
        let mut world = world(3, false);
        world.loses = loses;
        for n in 0..300_u16 {
            let (master, port) = (1_000 + n % 2, 5_000 + n);
            world.announce(0, expectation(master, port));
            if n % 3 != 0 {
                world.run(STEP);
                world.fulfil(0, &expectation(master, port));
            }
            if n % 70 == 60 {
                world.restart(usize::from(n / 70) % 3);
            }
        }
        world.run(S(20));
        let own = world.own(0);
        assert_eq!(own.len(), 100);
        assert_eq!((world.held(1), world.held(2)), (own.clone(), own), "one in {loses} is lost");
        assert!(world.all_are_equal());
    }
}

#[test]
fn r9_2_a_restart_tells_the_differences_alone() {
    let mut world = world(2, false);
    (0..200).for_each(|n| world.announce(0, expectation(1_000, 5_000 + n)));
    world.run(S(2));
    let taken = |world: &World| {
        let node = world.nodes[1].as_ref().unwrap();
        node.engine.peer_standings(world.now).next().unwrap().counts
    };
    let before = taken(&world);
    let gone = ExpectKey::of(&expectation(1_000, 5_000));
    world.nodes[0].as_mut().unwrap().expects.remove(&gone);
    let new = expectation(1_000, 7_000);
    world.nodes[0].as_mut().unwrap().expects.insert(ExpectKey::of(&new), new);
    world.restart(0);
    world.run(S(5));
    assert_eq!(world.held(1), world.own(0));
    let counts = taken(&world);
    assert_eq!((counts.taken - before.taken, counts.unlisted - before.unlisted), (1, 1));
}

#[test]
fn r13_6_what_is_released_stays_with_its_holders_until_it_is_taken_over_or_its_time_is_over() {
    let mut world = world(2, false);
    world.announce(0, expectation(1_000, 5_000));
    world.run(S(2));
    world.command(0, Command::StandBy);
    world.command(0, Command::Release);
    let now = world.now;
    let key = FlowKey::new(expectation(1_000, 5_000).tuple, 0);
    world.at(0).delete_expectation(now, &key, Origin::Purge);
    world.run(S(3));
    assert!(world.held(1) == [5_000] && world.all_are_equal());
    world.run(S(330));
    assert!(world.held(1).is_empty(), "its time is over");
}

#[test]
fn r13_7_a_hot_node_has_them_in_its_kernel_once_it_has_the_master() {
    let mut world = World::with(2, true);
    world.run(S(2));
    // The master is lost at first, and comes when its loss is noticed.
    world.kernel(0, Change::New, flow(1_000, 3));
    world.turn(0);
    world.datagrams.clear();
    world.announce(0, expectation(1_000, 5_000));
    world.run(S(4));
    assert_eq!((world.own(1), world.held(1)), ([5_000].into(), [5_000].into()));
    let held = |world: &World, at: usize| world.held(at).len();
    assert_eq!(held(&world, 0), 0, "it is not node 1's");
    world.restart(1);
    world.run(S(15));
    assert_eq!((world.own(1), held(&world, 0)), ([5_000].into(), 0), "a reading claims it not");
    let node = world.at(1);
    assert_eq!(node.engine.counters().inject_expectations.created, 0, "it is not written again");
    assert_eq!(node.engine.expectations(Side::Local, None).count(), 0);
    world.fulfil(0, &expectation(1_000, 5_000));
    world.run(S(2));
    assert!(world.own(1).is_empty() && world.all_are_equal());
}

#[test]
fn what_finds_no_room_makes_the_peer_unequal_until_there_is_some() {
    let mut world = world(3, false);
    world.kernel(1, Change::New, flow(2_000, 3));
    for n in 1..=33_000 {
        world.announce(0, expectation(1_000, n));
        world.announce(1, expectation(2_000, n));
    }
    world.run_until(60, |world| world.held(2).len() == 65_536);
    assert!(!world.all_are_equal());
    (1..=500).for_each(|n| world.fulfil(0, &expectation(1_000, n)));
    world.run_until(60, |world| world.held(2).len() == 65_500 && world.all_are_equal());
}

#[test]
fn r8_8_what_is_known_and_what_is_older_changes_nothing() {
    let mut world = world(2, false);
    world.announce(0, expectation(1_000, 5_000));
    let mut copies = BTreeMap::new();
    for _ in 0..20 {
        world.turn(0);
        for (from, to, incarnation, number, bytes) in &world.datagrams {
            copies.insert((*from, *number), (*to, *incarnation, bytes.clone()));
        }
        world.run(STEP);
    }
    world.fulfil(0, &expectation(1_000, 5_000));
    world.run(S(1));
    assert!(world.held(1).is_empty());
    // The state comes again under a number that was never used.
    let again = copies.into_iter().filter(|((from, _), _)| *from == 0);
    let peer = peer_of(1, 0);
    for (n, (_, (_, _, bytes))) in again.enumerate() {
        assert!(bytes.len() <= LEN);
        let now = world.now + Duration::from_millis(n as u64);
        let number = (1 << 40) + n as u64;
        world.at(1).engine.handle(now, Input::Opened { peer, from: 0, number, bytes: &bytes });
    }
    assert!(world.held(1).is_empty());
}
