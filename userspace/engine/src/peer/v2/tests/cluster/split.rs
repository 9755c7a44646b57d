//! Two nodes change roles, and the scripts of both run at the same time, each command at another moment.

use super::{S, STEP, World, flow};
use crate::{Command, Side};
use ctnetlink::Change;
use std::vec::Vec;

const FLOWS: u16 = 20;
/// From which step on the two do not hear each other, and for how many.
const CUTS: [(u32, u32); 4] = [(0, 0), (0, 10), (1, 5), (0, 60)];

/// Node 1 carries the flows of node 0, which begins with an empty kernel and takes over: its commands are so many steps
/// apart, and node 1 steps back so many steps after the first. How many flows each has in its local table that the other
/// one holds of it.
fn changes_roles(apart: u32, back: u32, (cut, late): ((u32, u32), u32)) -> [usize; 2] {
    let mut world = World::new(2);
    for n in 0..FLOWS {
        world.kernel(1, Change::New, flow(1_000 + n, 3));
    }
    world.command(1, Command::CommitAll);
    world.run(S(3));
    world.at(0).late = STEP * late;
    let script = [
        Command::CommitAll,
        Command::Flush { local: true, remote: true },
        Command::ResyncKernelAll,
        Command::Bulk,
    ];
    for step in 0..(4 * apart).max(back + 1) {
        if step == back {
            world.command(1, Command::StandBy);
        }
        if let Some(command) = script.get((step / apart) as usize).filter(|_| step % apart == 0) {
            world.command(0, *command);
        }
        world.cut = (cut.0..cut.0 + cut.1).contains(&step);
        world.run(STEP);
    }
    world.cut = false;
    world.run(S(8));
    [0, 1].map(|at| {
        let other = world.nodes[1 - at].as_ref().unwrap();
        other.engine.flows(Side::Remote).count()
    })
}

/// Found by a test of failover on a busy machine: a node forgot what it had just taken over before the other one heard of
/// it, and that stepped back: its kernel carried flows that were the other node's for good.
#[test]
fn who_takes_over_carries_all_whenever_the_other_one_steps_back() {
    let mut left = Vec::new();
    for apart in [1, 2, 3, 5, 10, 40] {
        for back in (0..12).chain((12..200).step_by(9)) {
            let unkind = CUTS.iter().flat_map(|cut| [0, 2, 7, 30].map(|late| (*cut, late)));
            for unkind in unkind {
                let held = changes_roles(apart, back, unkind);
                if held != [FLOWS.into(), 0] {
                    left.push((apart, back, unkind, held));
                }
            }
        }
    }
    assert!(left.is_empty(), "{left:?}");
}
