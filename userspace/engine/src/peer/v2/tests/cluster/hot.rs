//! Hot nodes: what they wrote into their kernels, and what is their own there.

use super::*;

/// An entry that traffic made, with an id that no other one has.
fn own(number: u16, state: u8) -> Flow {
    let flow = flow(number, state);
    Flow { id: 77, known: flow.known | Known::ID, ..flow }
}

#[test]
fn a_delete_names_the_entry_that_was_written_here() {
    let mut world = World::with(2, true);
    world.kernel(0, Change::New, flow(1_000, 3));
    world.run(S(2));
    assert_eq!(world.at(1).kernel[&1_000].id, 1_001);
    // The flow ended here, and traffic began another one. The news of both is on its way.
    world.at(1).kernel.insert(1_000, own(1_000, 1));
    world.kernel(0, Change::Update, flow(1_000, 7));
    world.kernel(0, Change::Destroy, flow(1_000, 7));
    world.run(S(1));
    assert_eq!(world.at(1).kernel[&1_000].id, 77);
    world.kernel(1, Change::New, own(1_000, 1));
    world.run(S(3));
    assert_eq!(world.at(1).engine.flows(Side::Local).count(), 1);
    assert!(all_equal(&world));
}

#[test]
fn what_traffic_began_is_not_deleted_for_what_a_peer_says() {
    let mut world = World::with(2, true);
    world.run(S(2));
    // The news of it is on its way.
    world.at(1).kernel.insert(1_000, own(1_000, 3));
    world.kernel(0, Change::New, flow(1_000, 1));
    world.run(S(1));
    assert_eq!(world.at(1).kernel[&1_000].id, 77);
    world.kernel(1, Change::New, own(1_000, 3));
    world.run(S(3));
    let claimed = world.at(1).engine.claimed(&own(1_000, 3).key());
    assert_eq!(claimed.map(|(owner, flow)| (owner, flow.id)), Some((Owner(1), 77)));
    assert!(all_equal(&world));
}

#[test]
fn an_entry_without_an_owner_is_not_taken_for_this_nodes_own_before_its_time_is_over() {
    let mut world = World::with(2, true);
    world.kernel(0, Change::New, flow(1_000, 3));
    world.run(S(2));
    // Its time was over there: here it goes by itself, unless traffic holds it.
    world.kernel(0, Change::Destroy, flow(1_000, 3));
    world.run(S(1));
    world.command(1, Command::ResyncKernelAll);
    world.run(S(30));
    let claimed = |world: &mut World| world.at(1).engine.flows(Side::Local).count();
    assert_eq!((world.at(1).kernel.len(), claimed(&mut world)), (1, 0));
    world.run(S(600));
    assert_eq!(claimed(&mut world), 1, "it has outlived all the time that it was given");
}

#[test]
fn news_of_an_earlier_entry_does_not_pass_for_traffic_of_the_one_that_was_written() {
    let mut world = World::with(2, true);
    world.kernel(1, Change::New, own(1_000, 3));
    world.run(S(2));
    world.kernel(0, Change::Update, flow(1_000, 7));
    world.run(S(1));
    // Another flow under the same identity begins at the other node, and takes the place of this one here.
    world.kernel(0, Change::Destroy, flow(1_000, 7));
    world.kernel(0, Change::New, flow(1_000, 1));
    world.run(S(2));
    let entry = world.at(1).kernel[&1_000].clone();
    assert_eq!(entry.id, 1_001);
    world.kernel(1, Change::Update, own(1_000, 3));
    world.at(1).kernel.insert(1_000, entry);
    world.run(S(3));
    let claimed = world.at(1).engine.claimed(&flow(1_000, 1).key());
    assert_eq!(claimed.map(|(owner, _)| owner), Some(Owner(0)));
    assert_eq!(world.at(1).engine.flows(Side::Local).count(), 0);
}

#[test]
fn a_flow_that_is_gone_here_is_written_again_while_its_owner_says_that_it_lives() {
    let mut world = World::with(2, true);
    world.kernel(1, Change::New, own(1_000, 3));
    world.run(S(2));
    world.kernel(0, Change::Update, flow(1_000, 3));
    world.run(S(2));
    // The flow was this node's own, and this node ceded it.
    world.kernel(1, Change::Destroy, own(1_000, 3));
    world.run(S(2));
    assert_eq!(world.at(1).kernel[&1_000].id, 1_001);
    assert!(all_equal(&world));
}

/// R10.6.
#[test]
fn a_write_to_an_entry_with_news_of_its_own_never_takes_its_state_back() {
    let mut world = World::with(2, true);
    world.kernel(1, Change::New, own(1_000, 3));
    world.run(S(2));
    world.kernel(0, Change::Update, Flow { mark: 1, ..flow(1_000, 2) });
    world.run(S(1));
    assert_eq!(states(&mut world, 1), [(1_000, 3)]);
}

#[test]
fn what_is_gone_without_a_word_is_written_again_after_a_reading() {
    let mut world = World::with(2, true);
    world.kernel(0, Change::New, flow(1_000, 3));
    world.run(S(2));
    // The news of that is lost.
    world.at(1).kernel.clear();
    world.command(1, Command::ResyncKernelAll);
    world.run(S(2));
    assert_eq!(world.at(1).kernel[&1_000].id, 1_002);
}
