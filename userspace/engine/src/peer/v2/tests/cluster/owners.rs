//! The owner of a flow after nodes forgot, and the entry of a kernel that goes with it. The simulation found each of
//! these (`tests/sim/mesh.rs`).
//! (`tests/sim/mesh.rs`).

use super::*;

fn owner(world: &World, at: usize, number: u16) -> Option<Owner> {
    let key = flow(number, 3).key();
    world.nodes[at].as_ref().unwrap().engine.claimed(&key).map(|(owner, _)| owner)
}

/// Node 0 has a flow, and ceded it to node 1, through which it goes on.
fn ceded() -> World {
    let mut world = World::new(2);
    world.run(S(1));
    let first = Flow { id: 7, known: flow(1_000, 3).known | Known::ID, ..flow(1_000, 3) };
    world.kernel(0, Change::New, first);
    world.run(S(1));
    world.kernel(1, Change::New, flow(1_000, 3));
    world.run(S(1));
    assert_eq!([owner(&world, 0, 1_000), owner(&world, 1, 1_000)], [Some(Owner(1)); 2]);
    world
}

#[test]
fn what_was_ceded_is_claimed_again_when_its_owner_and_the_memory_of_it_are_gone() {
    let mut world = ceded();
    world.stop(1);
    world.command(0, Command::Flush { local: false, remote: true });
    world.run(S(1));
    assert_eq!(owner(&world, 0, 1_000), None, "whoever owns it may be about to say so");
    world.run(S(14));
    assert_eq!(owner(&world, 0, 1_000), Some(Owner(0)));
}

#[test]
fn a_flow_that_a_reading_shows_is_claimed_over_the_end_of_an_earlier_one() {
    let mut world = World::new(2);
    world.kernel(0, Change::New, flow(1_000, 3));
    world.run(S(2));
    let mut kernel = world.stop(1);
    world.kernel(0, Change::Destroy, flow(1_000, 3));
    // The flow begins there without an event.
    kernel.insert(1_000, flow(1_000, 3));
    world.start(1, kernel);
    world.run(S(15));
    assert_eq!([owner(&world, 0, 1_000), owner(&world, 1, 1_000)], [Some(Owner(1)); 2]);
    world.assert_equal("the flow has an owner");
}

#[test]
fn a_close_deletes_the_entry_that_was_meant_and_none_that_began_since() {
    for began in [false, true] {
        let mut world = ceded();
        if began {
            // Its event is on the way.
            let since = Flow { id: 8, known: flow(1_000, 3).known | Known::ID, ..flow(1_000, 1) };
            world.at(0).kernel.insert(1_000, since);
        }
        world.kernel(1, Change::Destroy, flow(1_000, 7));
        world.run(S(1));
        assert_eq!(world.at(0).kernel.contains_key(&1_000), began);
    }
}

/// The kernel of node 1 says this of its flow 1,000, after whatever it says in between.
fn late(world: &mut World, event: Change, state: u8) {
    let (flow, origin) = (flow(1_000, state), Origin::Foreign);
    let (now, stamp) = (world.now, Stamp::After(Instant(0)));
    world.at(1).engine.handle(now, Input::Kernel { event, flow, origin, stamp });
}

/// An end may be of this flow or of an earlier one, so the kernel is queried, and has none.
#[test]
fn an_end_whose_age_only_the_kernel_knows_is_told_as_the_close_that_it_was() {
    let mut world = ceded();
    world.at(1).kernel.clear();
    late(&mut world, Change::Destroy, 7);
    world.run(S(3));
    assert!(
        world.at(0).kernel.is_empty(),
        "a peer objects to what expired, and deletes what was closed"
    );
    assert_eq!([owner(&world, 0, 1_000), owner(&world, 1, 1_000)], [None; 2]);
}

#[test]
fn an_answer_that_comes_before_the_end_waits_for_it() {
    let mut world = ceded();
    world.at(1).kernel.clear();
    // The kernel is asked because of this one, and has none by then.
    late(&mut world, Change::Update, 3);
    world.run(S(1));
    late(&mut world, Change::Update, 7);
    late(&mut world, Change::Destroy, 7);
    world.run(S(3));
    assert!(world.at(0).kernel.is_empty());
    assert_eq!([owner(&world, 0, 1_000), owner(&world, 1, 1_000)], [None; 2]);
}

/// A loss has the kernel's table read while the close of a connection is on its way (seed 95,100,769 of the mesh).
#[test]
fn a_reading_that_comes_before_the_end_waits_for_it() {
    let mut world = ceded();
    // However long it was silent.
    world.run(S(5));
    world.at(1).kernel.clear();
    let now = world.now;
    world.at(1).engine.handle(now, Input::EventsLost { count: 1 });
    world.run(S(1));
    for (event, state) in [(Change::Update, 7), (Change::Destroy, 7)] {
        let (flow, origin, stamp) = (flow(1_000, state), Origin::Foreign, Stamp::At(now));
        let late = world.now;
        world.at(1).engine.handle(late, Input::Kernel { event, flow, origin, stamp });
    }
    world.run(S(3));
    assert!(world.at(0).kernel.is_empty());
    assert_eq!([owner(&world, 0, 1_000), owner(&world, 1, 1_000)], [None; 2]);
}

#[test]
fn what_a_reading_does_not_show_ends_all_the_same() {
    let mut world = ceded();
    world.at(1).kernel.clear();
    let now = world.now;
    world.at(1).engine.handle(now, Input::EventsLost { count: 1 });
    world.run(S(8));
    assert_eq!(owner(&world, 1, 1_000), Some(Owner(0)), "node 0 has it, and it expired at node 1");
}

#[test]
fn what_is_gone_without_a_word_ends_all_the_same() {
    let mut world = ceded();
    world.at(1).kernel.clear();
    late(&mut world, Change::Update, 2);
    world.run(S(8));
    assert_eq!(owner(&world, 1, 1_000), Some(Owner(0)), "node 0 has it, and it expired at node 1");
}
