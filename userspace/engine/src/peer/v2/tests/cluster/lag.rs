//! How long news takes, and who is ready while there is no time to compare (R15.1, R15.2).

use super::{S, STEP, World, flow};
use crate::peer::v2::session::PeerStanding;
use crate::{Input, Origin, Reach, Stamp};
use core::time::Duration;
use ctnetlink::Change;
use std::collections::BTreeMap;
use wire::sync::v2::{Frame, Frames};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn standing(world: &World, at: usize) -> PeerStanding {
    world.nodes[at].as_ref().unwrap().engine.peer_standings(world.now).next().unwrap()
}

/// The kernel of node 0 said something so long before it was heard.
fn event(world: &mut World, number: u16, before: Duration) {
    let (now, flow) = (world.now, flow(number, 3));
    world.at(0).kernel.insert(number, flow.clone());
    let at = common::Instant(now.0 - before.as_nanos() as u64);
    let (origin, stamp, event) = (Origin::Foreign, Stamp::At(at), Change::New);
    world.at(0).engine.handle(now, Input::Kernel { event, flow, origin, stamp });
}

#[test]
fn r15_2_lag_is_from_the_kernels_event_to_the_acknowledgement_at_both_ends() {
    let mut world = World::new(2);
    world.run(S(2));
    assert_eq!((standing(&world, 0).lag, standing(&world, 1).heard_lag), (None, None));
    for n in 0..200 {
        event(&mut world, 1_000 + n, MS(40));
        world.run(STEP * 4);
    }
    // 40 ms at home, and two ways of 5 ms, each of which a step may make longer.
    let to = standing(&world, 0).lag.unwrap();
    assert!(to.p50 >= MS(45) && to.max <= MS(80), "{to:?}");
    let from = standing(&world, 1).heard_lag.unwrap();
    assert!(from.p50 >= MS(40) && from.max <= MS(70), "{from:?}");
    assert_eq!(standing(&world, 1).lag, None, "node 1 has no news");
    // What is lost takes longer, and the median knows nothing of it.
    world.cut = true;
    event(&mut world, 2_000, MS(0));
    world.run(MS(500));
    assert!(standing(&world, 0).behind_for >= MS(400), "{:?}", standing(&world, 0));
    world.cut = false;
    world.run(S(2));
    let to = standing(&world, 0).lag.unwrap();
    assert!(to.max >= MS(500) && to.p50 <= MS(90), "{to:?}");
    assert_eq!(standing(&world, 0).behind_for, Duration::ZERO);
}

#[test]
fn a_transfer_is_no_lag_and_is_behind_since_it_began() {
    let mut world = World::new(2);
    let kernel = world.stop(1);
    for n in 0..2_000 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(100));
    world.start(1, kernel);
    world.cut = false;
    world.run(STEP * 4);
    let behind = standing(&world, 0).behind_for;
    assert!(behind < S(1), "{behind:?}");
    world.run(S(3));
    world.assert_equal("a transfer");
    assert_eq!((standing(&world, 0).lag, standing(&world, 1).heard_lag), (None, None));
    event(&mut world, 9_000, MS(0));
    world.run(S(1));
    assert!(standing(&world, 0).lag.unwrap().max < MS(100));
}

fn has_cut(bytes: &[u8]) -> bool {
    let (_, mut frames) = Frames::of(bytes).unwrap();
    frames.any(|frame| matches!(frame, Ok(Frame::Cut(_))))
}

#[test]
fn r15_1_who_is_behind_by_less_than_a_second_is_ready_without_a_comparison() {
    for (late, is_ready) in [(MS(20), true), (MS(1_500), false)] {
        let mut world = World::new(2);
        world.kernel(0, Change::New, flow(1, 3));
        world.run(S(3));
        world.assert_equal("before");
        // News all the time, and each datagram that could be compared is lost.
        for n in 0..1_200 {
            event(&mut world, 1_000 + n, late);
            world.turn(0);
            world.datagrams.retain(|(from, _, _, _, bytes)| *from != 0 || !has_cut(bytes));
            world.run(STEP);
        }
        assert!(!standing(&world, 1).equal, "no comparison for 3 s");
        let now = world.now;
        assert_eq!(world.at(1).engine.standing(now).remote_exact, is_ready, "{late:?}");
    }
    // What never was equal is not ready, however soon its news comes.
    let mut world = World::new(2);
    world.stop(1);
    (0..50).for_each(|n| world.kernel(0, Change::New, flow(1_000 + n, 3)));
    world.run(S(2));
    world.start(1, BTreeMap::new());
    for n in 0..400 {
        event(&mut world, 2_000 + n, MS(0));
        world.turn(0);
        world.datagrams.retain(|(from, _, _, _, bytes)| *from != 0 || !has_cut(bytes));
        world.run(STEP);
    }
    let now = world.now;
    assert!(!world.at(1).engine.standing(now).remote_exact);
}

/// How far the news of a flow has come from node 0 to node 1, and how long that has waited.
fn reach(world: &World, number: u16) -> (Reach, Option<Duration>) {
    let engine = &world.nodes[0].as_ref().unwrap().engine;
    let all = engine.reach(&flow(number, 3).key(), world.now);
    assert_eq!(all.len(), 1, "{all:?}");
    (all[0].reach, all[0].waits)
}

#[test]
fn how_far_a_flow_has_come_is_known_of_each_peer() {
    let mut world = World::new(2);
    world.kernel(0, Change::New, flow(1, 3));
    world.kernel(1, Change::New, flow(2, 3));
    world.run(S(3));
    assert_eq!(reach(&world, 1), (Reach::Acked, None));
    assert_eq!(reach(&world, 2).0, Reach::Theirs);
    assert_eq!(reach(&world, 3).0, Reach::Untold, "there is none");
    world.cut = true;
    event(&mut world, 4, MS(0));
    assert_eq!(reach(&world, 4), (Reach::Queued, Some(MS(0))));
    world.run(MS(300));
    let (sent, waits) = reach(&world, 4);
    assert_eq!(sent, Reach::Sent);
    assert!(waits.is_some_and(|waits| waits >= MS(250)), "{waits:?}");
    world.cut = false;
    world.run(S(2));
    assert_eq!(reach(&world, 4), (Reach::Acked, None));
}
