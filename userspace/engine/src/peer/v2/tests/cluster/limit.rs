//! `RemoteLimit`: what is beyond is refused, and comes when there is room (section 16).

use super::{S, World, flow, peer_of};
use crate::peer::v2::session::PeerStanding;
use crate::{Command, CommandId, Input};
use ctnetlink::Change;

/// Nodes of which the last one may hold 100 flows of the others.
fn world(nodes: usize) -> World {
    let mut world = World::new(nodes);
    let kernel = world.stop(nodes - 1);
    world.remote_max = 100;
    world.start(nodes - 1, kernel);
    world.run(S(2));
    world
}

fn begin(world: &mut World, at: usize, numbers: core::ops::Range<u16>) {
    numbers.for_each(|n| world.kernel(at, Change::New, flow(n, 3)));
}

fn standing(world: &World, at: usize, other: usize) -> PeerStanding {
    let engine = &world.nodes[at].as_ref().unwrap().engine;
    engine.peer_standings(world.now).nth(peer_of(at, other).index()).unwrap()
}

fn is_ready(world: &World, at: usize) -> bool {
    world.nodes[at].as_ref().unwrap().engine.standing(world.now).remote_exact
}

#[test]
fn what_is_beyond_the_limit_is_refused_and_nothing_is_located_until_there_is_room() {
    let mut world = world(2);
    begin(&mut world, 0, 1_000..1_150);
    world.run(S(4));
    let before = standing(&world, 1, 0);
    assert_eq!((before.rows, before.full, before.equal), (100, true, false));
    assert!(!is_ready(&world, 1), "it lacks fifty");
    world.run(S(20));
    let later = standing(&world, 1, 0);
    assert_eq!(later.counts.unequal, before.counts.unequal, "it is known what is lacking: room");
    assert_eq!((later.rows, later.full), (100, true));
    // What changes is refused again, and what is held follows.
    (1_000..1_150).for_each(|n| world.kernel(0, Change::Update, flow(n, 4)));
    world.run(S(2));
    assert_eq!(standing(&world, 1, 0).rows, 100);

    (1_000..1_049).for_each(|n| world.kernel(0, Change::Destroy, flow(n, 4)));
    world.run(S(4));
    assert!(standing(&world, 1, 0).full, "101 are one too many");
    world.kernel(0, Change::Destroy, flow(1_049, 4));
    world.run(S(4));
    let healed = standing(&world, 1, 0);
    assert_eq!((healed.rows, healed.full, healed.equal), (100, false, true));
    assert!(is_ready(&world, 1));
    world.assert_equal("there is room");
}

#[test]
fn each_peer_is_sure_of_its_share() {
    let mut world = world(3);
    begin(&mut world, 0, 1_000..1_200);
    world.run(S(4));
    let lent = standing(&world, 2, 0);
    assert_eq!((lent.rows, lent.full), (100, true), "nobody else needs the room");
    begin(&mut world, 1, 2_000..2_040);
    world.run(S(4));
    let [first, second] = [0, 1].map(|other| standing(&world, 2, other));
    assert_eq!((first.rows, first.full), (60, true), "what it had of the other one's goes");
    assert_eq!((second.rows, second.full, second.equal), (40, false, true));
    assert!(!is_ready(&world, 2));
    // The peer takes at most its share.
    begin(&mut world, 1, 2_040..2_100);
    world.run(S(4));
    let [first, second] = [0, 1].map(|other| standing(&world, 2, other));
    assert_eq!([(first.rows, first.full), (second.rows, second.full)], [(50, true); 2]);
    (1_050..1_200).for_each(|n| world.kernel(0, Change::Destroy, flow(n, 3)));
    (2_050..2_100).for_each(|n| world.kernel(1, Change::Destroy, flow(n, 3)));
    world.run(S(6));
    world.assert_equal("there is room for all");
    assert!(is_ready(&world, 2));
}

#[test]
fn a_limit_that_is_never_reached_changes_nothing() {
    let mut world = world(3);
    begin(&mut world, 0, 1_000..1_050);
    begin(&mut world, 1, 2_000..2_050);
    world.run(S(4));
    world.assert_equal("all shares are used");
    assert!([0, 1].iter().all(|other| !standing(&world, 2, *other).full));
    let now = world.now;
    let commit = Input::Command(CommandId(9), Command::Commit);
    world.at(2).engine.handle(now, commit);
    world.run(S(2));
    assert!(is_ready(&world, 2));
}
