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
mod truths;

use cluster::{Cluster, Outcome, Violation};
use network::Faults;
use profile::{Profile, Rules};
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

/// All runs of a profile, or one in `share` of them. Every sixteenth is done twice: (g) the same seed does the same.
fn run(profile: &Profile, share: u64, check: Check) {
    let (seeds, verbose) = seeds();
    for seed in seeds.filter(|seed| verbose || seed % share == 0) {
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

/// A world like the calm one, but for what is said; one in `share` of the seeds; what must be true.
macro_rules! profile {
    ($name:ident, $share:expr, $truth:expr $(, $field:ident: $value:expr)* $(,)?) => {
        #[test]
        fn $name() {
            let mut profile = Profile::calm(stringify!($name));
            $(profile.$field = $value;)*
            run(&profile, $share, $truth);
        }
    };
}

profile!(calm, 1, truths::exact, prefilled: false);
profile!(events_out_of_order, 1, truths::exact, tap: Some(true));
profile!(tables_filled_at_start, 1, truths::exact_after_bulk, prefilled: true);
profile!(events_lost, 1, truths::exact, overruns: true);
profile!(messages_out_of_order, 1, truths::exact,
    network: Faults { duplicate: 100, jitter_ns: 5_000_000, ..Faults::default() });
profile!(messages_lost, 1, truths::mended, parts: true, prefilled: true,
    network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(restarts, 1, truths::healed, restarts: 15, prefilled: true);
profile!(operators, 1, truths::healed, commands: 40, prefilled: true);
profile!(everything_at_once, 1, truths::healed, commands: 20, restarts: 5, prefilled: true,
    overruns: true, parts: true,
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(tight_tables, 1, truths::local_only, tight: true, commands: 20);
profile!(garbage, 1, truths::local_only, commands: 20,
    network: Faults { corrupt: 300, lose: 20, duplicate: 20, jitter_ns: 1_000_000 });
profile!(straight_into_the_kernel, 1, truths::mirrored, keep_remote: [true, false], shared: false);
profile!(both_into_the_kernel, 1, truths::local_only, keep_remote: [false; 2], commands: 10);
profile!(no_local_table, 1, truths::passed_on, keep_local: [false, true]);
profile!(ftfw_calm, 1, truths::reliable, rules: Rules::Ftfw);
profile!(ftfw_messages_lost, 1, truths::reliable, rules: Rules::Ftfw, parts: true, prefilled: true,
    network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(ftfw_everything_at_once, 1, truths::reliable_across_lives, rules: Rules::Ftfw, commands: 10,
    restarts: 5, prefilled: true, overruns: true, parts: true,
    network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(ftfw_garbage, 1, truths::local_only, rules: Rules::Ftfw, commands: 20,
    network: Faults { corrupt: 300, lose: 20, duplicate: 20, jitter_ns: 1_000_000 });
profile!(ftfw_straight_into_the_kernel, 1, truths::mirrored, rules: Rules::Ftfw,
    keep_remote: [true, false], shared: false,
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 1_000_000, ..Faults::default() });
profile!(ftfw_many_flows, 20, truths::reliable, rules: Rules::Ftfw, prefilled: true, identities: Some(3000),
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 1_000_000, ..Faults::default() });
profile!(alarm, 1, truths::repeated, rules: Rules::Alarm, prefilled: true, parts: true,
    network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(many_flows, 20, truths::exact_after_bulk, prefilled: true, identities: Some(3000));
