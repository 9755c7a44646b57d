//! What people are shown of a difference (R11.7).

use super::{S, World, flow, number};
use crate::message_id::PeerId;
use crate::output::Compared;
use crate::{Command, CommandId, Event, Input};
use core::time::Duration;
use ctnetlink::{Change, Flow};
use std::vec::Vec;

const ID: CommandId = CommandId(77);

/// Node 1 holds 500 flows of node 0.
fn world() -> World {
    let mut world = World::new(2);
    for n in 0..500 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(3));
    world.assert_equal("before");
    world
}

/// A node forgets what is claimed of flows, behind its engine's back.
fn forget(world: &mut World, at: usize, numbers: impl IntoIterator<Item = u16>) {
    for number in numbers {
        world.at(at).engine.spoil(&flow(number, 3).key());
    }
}

/// Node 1 compares what it holds of node 0, for at most so many seconds, while `each` happens every 5 ms.
fn compare(world: &mut World, most: u64, mut each: impl FnMut(&mut World)) -> Event {
    let now = world.now;
    let order = Input::Command(ID, Command::Compare(PeerId::at(0)));
    world.at(1).engine.handle(now, order);
    world.heard.clear();
    for _ in 0..most * 200 {
        each(world);
        world.run(super::STEP);
        let is_answer =
            |event: &Event| matches!(event, Event::Compared(ID, _) | Event::CommandRefused(ID, _));
        if let Some(at) = world.heard.iter().position(|(node, e)| *node == 1 && is_answer(e)) {
            return world.heard.remove(at).1;
        }
    }
    panic!("no answer in {most} s");
}

fn compared(world: &mut World, most: u64) -> Compared {
    match compare(world, most, |_| {}) {
        Event::Compared(_, compared) => *compared,
        other => panic!("{other:?}"),
    }
}

/// Numbers of the flows as they are here, and as they are there.
fn sides(compared: &Compared) -> [Vec<u16>; 2] {
    let numbers = |side: fn(&crate::output::Differing) -> Option<&Flow>| {
        let flows = compared.differing.iter().filter_map(side);
        let mut numbers: Vec<_> = flows.map(|flow| number(&flow.key())).collect();
        numbers.sort_unstable();
        numbers
    };
    [numbers(|d| d.here.as_ref()), numbers(|d| d.there.as_ref())]
}

#[test]
fn equal_tables_are_said_to_be_equal_and_nothing_is_mended() {
    let mut world = world();
    let compared = compared(&mut world, 2);
    assert_eq!((compared.counts, compared.rows), (Some([0; 3]), [500, 500]));
    assert!(compared.differing.is_empty() && compared.peer_is_exact);
}

/// Each kind of difference, made behind the engines' backs: all of them are shown, with both sides, and none is mended
/// meanwhile; afterwards all are.
#[test]
fn each_kind_of_difference_is_shown_and_mended_afterwards() {
    for loses in [0, 9, 20] {
        let mut world = world();
        world.loses = loses;
        let now = world.now;
        let (lost, kept) = ([1_000, 1_001, 1_002], [1_100, 1_101]);
        forget(&mut world, 1, lost);
        // The owner forgets that it claims them.
        forget(&mut world, 0, kept);
        world.at(1).engine.alter_held(now, Flow { mark: 9, ..flow(1_200, 3) });
        let compared = compared(&mut world, 21);
        assert_eq!(compared.counts, Some([3, 2, 1]), "loses {loses}");
        let [here, there] = sides(&compared);
        let with = |numbers: &[u16]| {
            let mut all = [numbers, &[1_200]].concat();
            all.sort_unstable();
            all
        };
        assert_eq!((here, there), (with(&kept), with(&lost)), "loses {loses}");
        let marks: Vec<_> = compared
            .differing
            .iter()
            .filter_map(|d| Some([d.here.as_ref()?.mark, d.there.as_ref()?.mark]))
            .collect();
        assert_eq!(marks, [[9, 0]]);
        world.loses = 0;
        world.run(S(20));
        assert_eq!(compared_counts(&mut world), Some([0; 3]), "what differed is mended");
    }
}

fn compared_counts(world: &mut World) -> Option<[u64; 3]> {
    compared(world, 3).counts
}

/// While every flow changes again and again, what differs for good is found, and what is merely on its way is not.
#[test]
fn traffic_does_not_look_like_a_difference() {
    let mut world = world();
    forget(&mut world, 1, [1_450, 1_451]);
    let mut count = 0;
    let event = compare(&mut world, 21, |world| {
        count += 1;
        let mark = Flow { mark: count, ..flow(1_000 + (count % 400) as u16, 3) };
        world.kernel(0, Change::Update, mark);
    });
    let Event::Compared(_, compared) = event else { panic!("{event:?}") };
    assert_eq!(compared.counts, Some([2, 0, 0]));
}

#[test]
fn without_a_session_or_an_answer_there_is_none() {
    let mut world = world();
    world.cut = true;
    let began = world.now;
    let event = compare(&mut world, 7, |_| {});
    assert!(matches!(event, Event::CommandRefused(_, "the peer gives no answer")), "{event:?}");
    assert!(world.now.since(began) >= Duration::from_secs(5));
    world.stop(0);
    let event = compare(&mut world, 1, |_| {});
    assert!(
        matches!(event, Event::CommandRefused(_, "there is no session with the peer")),
        "{event:?}"
    );
}

#[test]
fn more_than_is_shown_is_counted() {
    let mut world = World::new(2);
    for n in 0..12_000 {
        world.kernel(0, Change::New, flow(1_000 + n, 3));
    }
    world.run(S(5));
    forget(&mut world, 1, 1_000..12_000);
    let compared = compared(&mut world, 20);
    assert_eq!(compared.counts, Some([11_000, 0, 0]));
    assert_eq!(compared.differing.len(), super::super::super::compare::ROWS_MAX);
}
