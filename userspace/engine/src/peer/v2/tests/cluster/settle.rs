//! `Settle`: a new flow is sent a little later, in its state then.

use super::{S, STEP, World, flow, peer_of};
use core::time::Duration;
use ctnetlink::Change;
use std::collections::BTreeMap;

/// Two nodes that leave new flows alone for 100 ms.
fn world() -> World {
    let mut world = World::new(2);
    world.settle = Duration::from_millis(100);
    for at in 0..2 {
        drop(world.stop(at));
        world.start(at, BTreeMap::new());
    }
    world.run(S(3));
    world
}

/// Records that node 0 sent node 1, and flows of it that node 1 holds.
fn sent_and_held(world: &World) -> (u64, u32) {
    let standing = |at: usize| {
        let engine = &world.nodes[at].as_ref().unwrap().engine;
        engine.peer_standings(world.now).nth(peer_of(at, 1 - at).index()).unwrap()
    };
    (standing(0).counts.records_sent, standing(1).rows)
}

#[test]
fn the_first_states_of_a_flow_are_told_as_one() {
    let mut world = world();
    let (before, _) = sent_and_held(&world);
    for state in [1, 2, 3] {
        let change = if state == 1 { Change::New } else { Change::Update };
        (1_000..1_020).for_each(|n| world.kernel(0, change, flow(n, state)));
        world.run(4 * STEP);
    }
    assert_eq!(sent_and_held(&world), (before, 0), "60 ms after the first");
    world.run(Duration::from_millis(100));
    assert_eq!(sent_and_held(&world), (before + 20, 20), "each is told once");
    // From then on changes are sent at once.
    world.kernel(0, Change::Update, flow(1_000, 4));
    world.run(4 * STEP);
    assert_eq!(sent_and_held(&world), (before + 21, 20));
    world.run(S(3));
    world.assert_equal("settled");
}

#[test]
fn of_a_flow_that_ends_before_nothing_is_told() {
    let mut world = world();
    let (before, _) = sent_and_held(&world);
    (1_000..1_020).for_each(|n| world.kernel(0, Change::New, flow(n, 1)));
    world.run(4 * STEP);
    (1_000..1_019).for_each(|n| world.kernel(0, Change::Destroy, flow(n, 1)));
    world.run(S(3));
    assert_eq!(sent_and_held(&world), (before + 1, 1), "one lives");
    // The slots are free, and what begins in them settles as well.
    (2_000..2_019).for_each(|n| world.kernel(0, Change::New, flow(n, 1)));
    world.run(S(3));
    world.assert_equal("others began");
    assert_eq!(sent_and_held(&world), (before + 20, 20));
}
