//! Expectations of nodes with several shards (R13.7): the shard that has the master has them.

use super::super::expects::expectation;
use super::{CLUSTERS, S, World, filled, flow, peer_of};
use crate::expectations::ExpectKey;
use crate::{Command, Origin, Side};
use ctnetlink::{Change, Expectation};
use std::format;
use std::vec::Vec;

impl World {
    /// A node's kernel has a new expectation, or one less: all of its shards receive that event, and the same dump.
    fn expects(&mut self, at: usize, event: Change, expect: &Expectation) {
        let (now, key) = (self.now, ExpectKey::of(expect));
        for shard in &mut self.nodes[at] {
            match event {
                Change::Destroy => drop(shard.expects.remove(&key)),
                _ => drop(shard.expects.insert(key, expect.clone())),
            }
            shard.report(now, event, expect.clone(), Origin::Foreign);
        }
    }

    /// Ports of the expectations in a table of a node. None is in two shards.
    fn expected(&self, at: usize, side: Side) -> Vec<u16> {
        let shards = self.nodes[at].iter();
        let all = shards.flat_map(|shard| shard.engine.expectations(side, None));
        let mut ports: Vec<u16> = all.map(|(key, _)| key.tuple.ports().1).collect();
        ports.sort_unstable();
        ports
    }

    fn assert_expected(&self, wanted: &[u16], after: &str) {
        self.assert_equal(after);
        assert_eq!(self.expected(0, Side::Local), wanted, "{after}");
        for at in 1..self.nodes.len() {
            assert_eq!(self.expected(at, Side::Remote), wanted, "{after}: node {at}");
            let held = self.standings(at)[0].expectations;
            assert_eq!(held as usize, wanted.len(), "{after}: node {at}");
        }
    }
}

/// Flow of node 0 with this number, and what it announces.
fn announced(nodes: usize, n: u16) -> Expectation {
    expectation(1_000 + n * nodes as u16, 5_000 + n)
}

#[test]
fn r13_7_they_are_where_their_masters_are_whatever_the_numbers_of_shards() {
    for shards in CLUSTERS {
        let mut world = filled(shards);
        world.loses = 8;
        for n in 0..40 {
            world.expects(0, Change::New, &announced(shards.len(), n));
        }
        world.run(S(6));
        world.loses = 0;
        world.run(S(6));
        world.assert_expected(&Vec::from_iter(5_000..5_040), &format!("{shards:?}: announced"));
        for n in 0..10 {
            world.expects(0, Change::Destroy, &announced(shards.len(), n));
        }
        world.run(S(4));
        world.assert_expected(&Vec::from_iter(5_010..5_040), &format!("{shards:?}: over"));
    }
}

#[test]
fn r13_7_a_commit_of_all_shards_writes_each_behind_its_master() {
    let mut world = filled(&[3, 2]);
    for n in 0..40 {
        world.expects(0, Change::New, &announced(2, n));
    }
    world.run(S(6));
    world.stop(0);
    world.run(S(10));
    world.command(1, Command::CommitAll);
    world.run(S(4));
    let shards = world.nodes[1].iter();
    let written: Vec<usize> = shards.map(|shard| shard.expects.len()).collect();
    assert_eq!(written.iter().sum::<usize>(), 40, "{written:?}");
    assert!(written.iter().all(|count| *count > 0), "each shard wrote its own: {written:?}");
    assert_eq!(world.expected(1, Side::Local).len(), 40, "they are this node's");
    assert_eq!(world.expected(1, Side::Remote), [0; 0]);
}

#[test]
fn r13_7_a_node_that_starts_reads_them_with_another_number_of_shards() {
    let mut world = filled(&[2, 2]);
    for n in 0..20 {
        world.expects(0, Change::New, &announced(2, n));
    }
    world.run(S(6));
    let expects = world.nodes[0][0].expects.clone();
    let kernel = world.stop(0);
    world.run(S(1));
    world.start(0, 3, &kernel);
    world.nodes[0].iter_mut().for_each(|shard| shard.expects.clone_from(&expects));
    world.run(S(16));
    world.assert_expected(&Vec::from_iter(5_000..5_020), "restarted");
    assert_eq!(world.standings(1)[usize::from(peer_of(1, 0).index() > 0)].counts.malformed, 0);
    world.kernel(0, Change::Destroy, flow(1_000, 3));
    world.expects(0, Change::Destroy, &announced(2, 0));
    world.run(S(4));
    world.assert_expected(&Vec::from_iter(5_001..5_020), "one ended with its master");
}
