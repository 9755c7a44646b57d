//! Datagrams are as long as a path carries (R12.4), and nodes that find that out stay equal.

use super::{S, World, flow};
use crate::peer::v2::path::{SEAL_LEN, SEARCH_EVERY, SIZE_BASE, SIZE_MAX};
use crate::{Event, Input};
use core::time::Duration;
use ctnetlink::Change;

/// Two nodes, whose sockets take anything, and a path that carries packets of so many bytes over IPv4.
fn world(mtu: usize) -> World {
    let mut world = World::new(2);
    world.seals = SIZE_MAX - SEAL_LEN;
    carry(&mut world, mtu);
    world
}

fn carry(world: &mut World, mtu: usize) {
    world.carries = mtu - 28 - SEAL_LEN;
}

fn send_flows(world: &mut World, numbers: core::ops::Range<u16>) {
    for number in numbers {
        world.kernel(0, Change::New, flow(number, 3));
    }
}

/// What both nodes know of the path.
fn known(world: &World) -> [usize; 2] {
    let known = |at: usize| {
        let node = world.nodes[at].as_ref().unwrap();
        node.engine.peer_standings(world.now).next().unwrap().path_len
    };
    [known(0), known(1)]
}

#[test]
fn each_size_is_found_and_flows_go_in_datagrams_of_it() {
    for (mtu, wanted) in [(1_280, SIZE_BASE), (1_500, 1_472), (9_000, 8_972), (20_000, 8_972)] {
        for loses in [0, 10] {
            let mut world = world(mtu);
            world.loses = loses;
            world.run(S(8));
            assert_eq!(known(&world), [wanted; 2], "{mtu}");
            send_flows(&mut world, 1_000..4_000);
            let (mut longest, mut full) = (0, 0);
            for _ in 0..600 {
                world.run(super::STEP);
                let lens = world.datagrams.iter().map(|datagram| datagram.4.len() + SEAL_LEN);
                longest = lens.clone().max().unwrap_or(0).max(longest);
                full += lens.filter(|len| *len == wanted).count();
            }
            assert_eq!(longest, wanted, "{mtu}");
            // What is full is padded to the same length (R6.3).
            assert!(full >= 3_000 * 12 / wanted / 4, "{mtu}: {full}");
            world.run(S(3));
            world.assert_equal("all came");
        }
    }
}

#[test]
fn a_path_that_shrinks_is_noticed_in_a_transfer_and_one_that_grows_in_ten_minutes() {
    for bulk in [400, 3_000] {
        let mut world = world(9_000);
        world.run(S(3));
        carry(&mut world, 1_500);
        send_flows(&mut world, 1_000..1_000 + bulk);
        world.run(S(15));
        world.assert_equal("it shrank");
        assert_eq!(known(&world)[0], 1_472, "{bulk}");
        let is_reported = |at| matches!(at, &(0, Event::PathLength { len: 1_472, .. }));
        assert!(world.heard.iter().any(is_reported), "{:?}", world.heard);
        carry(&mut world, 9_000);
        world.run(SEARCH_EVERY.checked_div(2).unwrap());
        assert_eq!(known(&world)[0], 1_472);
        world.run(SEARCH_EVERY);
        assert_eq!(known(&world), [8_972; 2]);
    }
}

/// A node whose interface reports a size does not wait for a loss.
#[test]
fn an_interface_that_takes_less_is_heeded_at_once() {
    let mut world = world(9_000);
    world.run(S(3));
    carry(&mut world, 1_400);
    let now = world.now;
    let peer = super::peer_of(0, 1);
    let limit = Input::PathLimit { peer, to: 0, tried: 8_972, most: 1_372 };
    world.at(0).engine.handle(now, limit);
    assert_eq!(known(&world), [SIZE_BASE, 8_972]);
    world.run(Duration::from_millis(100));
    assert_eq!(known(&world), [1_372, 8_972]);
}

/// Probes that do not pass slow nothing down: what the rate knows of the path stays, and no peer is asked again.
#[test]
fn probes_that_are_lost_are_no_congestion() {
    let mut world = world(1_280);
    send_flows(&mut world, 1_000..3_000);
    world.run(S(8));
    let counts = |world: &World| {
        let node = world.nodes[0].as_ref().unwrap();
        let peer = node.engine.peer_standings(world.now).next().unwrap();
        (peer.rate, peer.counts.records_sent_again)
    };
    let before = counts(&world);
    assert_eq!((known(&world)[0], before.1), (SIZE_BASE, 0), "each flow was told once");
    world.run(SEARCH_EVERY + S(8));
    assert_eq!(counts(&world), before, "another search");
}
