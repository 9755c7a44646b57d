//! Version 2 in simulation: two to five nodes of one to four engines, each node with a model kernel, the paths and sessions between each two of
//! them, and a seed that decides everything (section 18 of `docs/spec/replication-v2.md`).
//!
//! ```text
//!   traffic -> kernel A -> source -> engine A -> session -> path -> session -> engine B <- source <- kernel B
//!                 ^------- requests ----'                                          '--- requests ---^
//! ```
//!
//! A run is 15 seconds of traffic and faults; then the last fault is over, and within `HEAL` all nodes must hold the
//! same, know that, and fall silent. `truths.rs` has what must hold at the end, and what must hold always.

mod links;
mod member;
mod traffic;
mod crowd;
mod truths;
mod world;
mod words;

use crate::cluster::{Outcome, Violation};
use crate::prng::Rng;
use crate::runs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// JOIN_WAIT of a process that starts as the last fault ends, PEER_SILENCE, the time after which a kernel is looked at
/// again for flows that lost their owner, and HEAL.
const HEAL_S: u64 = 40;
/// Seeds that once failed, and whether nodes were hot: what each of them found is mended.
const FAILED_ONCE: [(u64, bool); 21] = [
    // A close sent as expired.
    (101_807, false),
    (1_146, true),
    (4_210, true),
    // A delete that names no entry.
    (1_002, true),
    // What an injection wrote, claimed as this node's own; and the other way round.
    (1_003, true),
    (1_049, true),
    (1_052, true),
    (1_448, true),
    (1_493, true),
    (1_765, true),
    (1_874, true),
    (1_963, true),
    (2_104, true),
    // A flow that a hot kernel lacks, because the news of its entry was lost; a flow that is being closed at its owner.
    (30_191, true),
    (30_256, true),
    // A commit that waited took over what a node closed meanwhile that it did not hear.
    (7_000_796, false),
    // Two differences with the same prints, two seconds apart, taken for one.
    (2_000_494, true),
    // A close sent as expired: a reading came before its last events.
    (95_100_769, false),
    // A restarted node waited for ever for an OPEN that it had acknowledged before.
    (96_001_224, true),
    // Unneeded shares were kept free, and a table with room for all refused.
    (5_215, false),
    (5_215, true),
];

/// Seeds that once failed with up to three shards: a bulk, again and again, for a peer that held too much.
const FAILED_WITH_SHARDS: [u64; 3] = [40_301_203, 40_303_269, 40_303_824];

/// Whether some nodes of a world write flows of peers into their kernels at once: half of the seeds, or as
/// `CTFLOW_SIM_HOT` says (0, 1).
fn is_hot(seed: u64) -> bool {
    let drawn = || Rng::new(!seed).chance(500);
    runs::number("CTFLOW_SIM_HOT").map_or_else(drawn, |hot| hot != 0)
}

/// Whether paths carry datagrams of different lengths, and change: half of the seeds.
fn paths_differ(seed: u64) -> bool {
    Rng::new(seed.rotate_left(32)).chance(500)
}

/// How many shards each process of a world has at most: one in half of the seeds, or as `CTFLOW_SIM_SHARDS` says.
fn shards_max(seed: u64) -> u64 {
    let drawn = || *Rng::new(seed.rotate_left(16)).pick(&[1, 1, 1, 2, 3, 4]);
    runs::number("CTFLOW_SIM_SHARDS").map_or_else(drawn, |most| most.clamp(1, 8))
}

/// What kind of world a seed makes, beside what the world draws itself.
#[derive(Clone, Copy, Debug)]
struct Kind {
    hot: bool,
    paths_differ: bool,
    shards_max: u64,
}

impl Kind {
    fn of(seed: u64) -> Self {
        let (hot, paths_differ) = (is_hot(seed), paths_differ(seed));
        Self { hot, paths_differ, shards_max: shards_max(seed) }
    }
}

/// One run: a number for all that the engines did, how long it took until all was well, and datagrams that were too long
/// for a path, and long ones that passed.
fn simulate((seed, kind): (u64, Kind), verbose: bool) -> Outcome<Run> {
    let mut world = World::new(seed, kind, verbose);
    let seconds = until_calm(&mut world)?;
    let long = world.paths.as_ref().map_or([0, 0], |paths| [paths.dropped, paths.passed]);
    Ok(Run { hash: world.trace.hash(), seconds, long })
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    hash: u64,
    seconds: u64,
    long: [u64; 2],
}

fn until_calm(world: &mut World) -> Outcome<u64> {
    world.trouble()?;
    world.heal()?;
    if world.tight {
        // A flow that found no room is missing, and every node says so: only the limits are checked.
        world.wait(10)?;
        return Ok(0);
    }
    for second in 0.. {
        world.wait(1)?;
        // A kernel may be about to be looked at again, and a closed connection about to go.
        let mut calm = || world.agree().and_then(|()| world.quiet()).and_then(|()| world.agree());
        match calm() {
            Ok(()) => return Ok(second),
            Err(violation) if second >= HEAL_S => return Err(violation),
            Err(_) => {}
        }
    }
    Ok(HEAL_S)
}

fn run((seed, kind): (u64, Kind), verbose: bool) -> Outcome<Run> {
    let once = || {
        let run = catch_unwind(AssertUnwindSafe(|| simulate((seed, kind), verbose)));
        run.unwrap_or_else(|_| Err(Violation::new("I9 no panic", "it panicked, see above")))
    };
    let done = once()?;
    let again = if seed.is_multiple_of(16) && !verbose { once()? } else { done };
    let same = again == done;
    same.then_some(done).ok_or_else(|| Violation::new("I9 determinism", "two runs differ"))
}

/// For `cargo xtask sim`: one run.
pub(crate) fn timed(seed: u64) -> Outcome {
    run((seed, Kind::of(seed)), false).map(|_| ())
}

pub(crate) const NAME: &str = "mesh::nodes_of_version_2_hold_the_same_after_the_last_fault";

#[test]
fn seeds_that_failed_once_hold() {
    for (seed, hot) in FAILED_ONCE {
        // What they found has nothing to do with paths or shards.
        let kind = Kind { hot, paths_differ: false, shards_max: 1 };
        let outcome = run((seed, kind), false);
        assert!(outcome.is_ok(), "{seed}, hot: {hot}: {outcome:?}");
    }
}

#[test]
fn seeds_that_failed_once_with_shards_hold() {
    for seed in FAILED_WITH_SHARDS {
        let outcome = run((seed, Kind { shards_max: 3, ..Kind::of(seed) }), false);
        assert!(outcome.is_ok(), "{seed}: {outcome:?}");
    }
}

#[test]
fn nodes_of_version_2_hold_the_same_after_the_last_fault() {
    let verbose = runs::replayed().is_some();
    let (mut count, mut failures, mut slowest) = (0, Vec::new(), [0_u64; HEAL_S as usize + 1]);
    let mut long = [0, 0];
    for seed in runs::seeds(runs::ALL) {
        count += 1;
        match run((seed, Kind::of(seed)), verbose) {
            Ok(run) => {
                slowest[run.seconds as usize] += 1;
                long = [long[0] + run.long[0], long[1] + run.long[1]];
            }
            Err(violation) => failures.push((seed, violation)),
        }
    }
    println!("runs by the seconds until all was well: {slowest:?}");
    println!("datagrams too long for a path, and long ones that passed: {long:?}");
    let text = runs::told(NAME, count, &failures);
    println!("{text}");
    assert!(failures.is_empty(), "{text}");
}
