//! The cluster in simulation: two engines, two model kernels, a link, and a seed that decides everything.
//!
//! ```text
//!   traffic -> kernel A -> source -> engine A -> link -> engine B <- source <- kernel B <- traffic
//!                 ^-------- requests ---'          '-------- requests --------^
//! ```
//!
//! Each test is a profile: a world with its own unkindness. It runs [`seeds`] times; every run ends with the truths
//! of `checkers.rs`. A failing run names its seed, and the command that replays it with all it did.

mod prng;
mod trace;
mod kernel;
mod source;
mod model;
mod network;
mod workload;
mod profile;
mod node;
mod cluster;
mod checkers;

use cluster::{Cluster, Outcome, Violation};
use engine::{Command, Side};
use network::Faults;
use profile::Profile;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run checks when traffic is over.
type Check = fn(&mut Cluster) -> Outcome;

/// The seeds to run, and whether to print what they do.
fn seeds() -> (std::ops::Range<u64>, bool) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("CTFLOW_SIM_SEED") {
        Some(seed) => (seed..seed + 1, true),
        None => (0..number("CTFLOW_SIM_SEEDS").unwrap_or(200), false),
    }
}

/// One run; its hash.
fn simulate(profile: &Profile, seed: u64, verbose: bool, check: Check) -> Outcome<u64> {
    let mut cluster = Cluster::new(profile, seed, verbose);
    cluster.settle()?;
    checkers::nothing_is_left_over(&cluster)?;
    check(&mut cluster)?;
    checkers::nothing_is_left_over(&cluster)?;
    Ok(cluster.trace.hash())
}

/// All runs of a profile. Every sixteenth is done twice: (g) the same seed does the same.
fn run(profile: &Profile, check: Check) {
    let (seeds, verbose) = seeds();
    for seed in seeds {
        let once = || {
            let run = catch_unwind(AssertUnwindSafe(|| simulate(profile, seed, verbose, check)));
            run.unwrap_or_else(|_| Err(Violation::new("(f) no panic", "it panicked, see above")))
        };
        let outcome = once().and_then(|hash| {
            let again = if seed % 16 == 0 && !verbose { once()? } else { hash };
            let same = again == hash;
            same.then_some(()).ok_or_else(|| Violation::new("(g) determinism", "two runs differ"))
        });
        if let Err(Violation { truth, text }) = outcome {
            let name = profile.name;
            panic!(
                "seed {seed} of {name} violates {truth}\n  {text}\n  replay: CTFLOW_SIM_SEED={seed} \
                 cargo test -p tests --test sim {name} -- --exact --nocapture"
            );
        }
    }
}

/// Both nodes ask the other for everything.
fn resync(cluster: &mut Cluster) -> Outcome {
    cluster.heal();
    for node in 0..2 {
        cluster.command(node, Command::RequestResync)?;
    }
    cluster.settle()
}

/// The peer's flows become flows of `node`.
fn commit(cluster: &mut Cluster, node: usize) -> Outcome {
    cluster.heal();
    let before: Vec<_> = cluster.nodes[node].engine.flows(Side::Remote).cloned().collect();
    cluster.command(node, Command::Commit)?;
    cluster.settle()?;
    checkers::commit_is_whole(&cluster.nodes[node], &before)?;
    checkers::local_is_kernel(cluster)
}

#[test]
fn calm() {
    run(&Profile::calm("calm"), |cluster| {
        checkers::local_is_kernel(cluster)?;
        checkers::remote_is_local(cluster)?;
        checkers::remote_is_what_arrived(cluster)?;
        commit(cluster, 1)
    });
}

#[test]
fn events_out_of_order() {
    let profile = Profile { tap: true, ..Profile::calm("events_out_of_order") };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        checkers::remote_is_local(cluster)?;
        checkers::remote_is_what_arrived(cluster)
    });
}

#[test]
fn tables_filled_at_start() {
    let profile = Profile { prefilled: true, ..Profile::calm("tables_filled_at_start") };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        resync(cluster)?;
        checkers::remote_is_local(cluster)?;
        commit(cluster, 0)
    });
}

#[test]
fn messages_out_of_order() {
    let network = Faults { duplicate: 100, jitter_ns: 5_000_000, ..Faults::default() };
    let profile = Profile { network, ..Profile::calm("messages_out_of_order") };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        checkers::remote_is_what_arrived(cluster)?;
        checkers::remote_is_local(cluster)
    });
}

#[test]
fn lossy_link() {
    let network = Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    let profile = Profile { network, parts: true, prefilled: true, ..Profile::calm("lossy_link") };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        checkers::remote_is_what_arrived(cluster)?;
        resync(cluster)?;
        checkers::remote_covers_local(cluster)?;
        commit(cluster, 1)
    });
}

#[test]
fn restarts() {
    let profile = Profile { restarts: 15, prefilled: true, ..Profile::calm("restarts") };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        resync(cluster)?;
        checkers::remote_covers_local(cluster)?;
        commit(cluster, 0)
    });
}

#[test]
fn operators() {
    let profile =
        Profile { commands: 40, overruns: false, prefilled: true, ..Profile::calm("operators") };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        resync(cluster)?;
        checkers::remote_covers_local(cluster)
    });
}

#[test]
fn overruns() {
    let profile = Profile { overruns: true, ..Profile::calm("overruns") };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        checkers::remote_is_local(cluster)
    });
}

#[test]
fn tight_tables() {
    let profile = Profile { tight: true, commands: 20, ..Profile::calm("tight_tables") };
    run(&profile, checkers_local);
}

#[test]
fn garbage() {
    let network = Faults { corrupt: 300, lose: 20, duplicate: 20, jitter_ns: 1_000_000 };
    let profile = Profile { network, commands: 20, ..Profile::calm("garbage") };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        resync(cluster)
    });
}

#[test]
fn straight_into_the_kernel() {
    let profile = Profile {
        keep_remote: [true, false],
        shared: false,
        ..Profile::calm("straight_into_the_kernel")
    };
    run(&profile, |cluster| {
        checkers::local_is_kernel(cluster)?;
        checkers::kernel_mirrors_peer(cluster, 0)
    });
}

fn checkers_local(cluster: &mut Cluster) -> Outcome {
    checkers::local_is_kernel(cluster)
}
