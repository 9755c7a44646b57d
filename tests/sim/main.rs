//! The cluster in simulation: two engines, two model kernels, a link, and a seed that decides everything.
//!
//! ```text
//!   traffic -> kernel A -> source -> engine A -> link -> engine B <- source <- kernel B <- traffic
//!                 ^-------- requests ---'          '-------- requests --------^
//! ```
//!
//! Each test is a profile: a world with its own unkindness. It runs [`seeds`] times; every run ends with the truths
//! of `checkers.rs`. A failing run names its seed, and the command that replays it with all it did. One of the engines
//! may be replaced by a model of the original.

mod prng;
mod trace;
mod kernel;
mod source;
mod model;
mod original;
mod speaker;
mod network;
mod hostile;
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

/// Which share of the seeds a profile runs: so many times as many, and of those one in so many.
type Share = (u64, u64);
const ALL: Share = (1, 1);
/// For worlds that take long.
const FEW: Share = (1, 20);
/// For the world that has everything.
const MANY: Share = (10, 1);

/// The runs of a profile. Every sixteenth is done twice: (g) the same seed does the same.
fn run(profile: &Profile, (times, one_in): Share, check: Check) {
    let (mut seeds, verbose) = seeds();
    if !verbose {
        seeds.end *= times;
    }
    for seed in seeds.filter(|seed| verbose || seed % one_in == 0) {
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

/// A world like the calm one, but for what is said; the share of the seeds; what must be true.
macro_rules! profile {
    ($(#[$attribute:meta])* $name:ident, $share:expr, $truth:expr $(, $field:ident: $value:expr)* $(,)?) => {
        #[test]
        $(#[$attribute])*
        fn $name() {
            let mut profile = Profile::calm(stringify!($name));
            $(profile.$field = $value;)*
            run(&profile, $share, $truth);
        }
    };
}

profile!(calm, ALL, truths::exact, prefilled: false);
profile!(events_out_of_order, ALL, truths::exact, tap: Some(true));
profile!(tables_filled_at_start, ALL, truths::exact_after_bulk, prefilled: true);
profile!(older_than_any_listener, ALL, truths::exact_after_bulk, prefilled: true, silent: true);
profile!(seen_in_packets, ALL, truths::exact_after_bulk, hook: true, prefilled: true);
profile!(seen_in_packets_and_silent, ALL, truths::exact_after_bulk, hook: true, prefilled: true, silent: true);
profile!(seen_in_packets_and_lost, ALL, truths::healed, hook: true, prefilled: true, overruns: true, commands: 20,
    restarts: 5);
profile!(ftfw_seen_in_packets, ALL, truths::reliable, rules: Rules::Ftfw, hook: true, prefilled: true,
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(events_lost, ALL, truths::exact, overruns: true);
profile!(messages_out_of_order, ALL, truths::exact,
    network: Faults { duplicate: 100, jitter_ns: 5_000_000, ..Faults::default() });
profile!(messages_lost, ALL, truths::mended, parts: true, prefilled: true,
    network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(restarts, ALL, truths::healed, restarts: 15, prefilled: true);
profile!(operators, ALL, truths::healed, commands: 40, prefilled: true);
profile!(everything_at_once, ALL, truths::healed, commands: 20, restarts: 5, prefilled: true,
    overruns: true, parts: true,
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(tight_tables, ALL, truths::local_only, tight: true, commands: 20);
profile!(garbage, ALL, truths::local_only, commands: 20,
    network: Faults { corrupt: 300, lose: 20, duplicate: 20, jitter_ns: 1_000_000 });
profile!(straight_into_the_kernel, ALL, truths::mirrored, keep_remote: [true, false], shared: false);
profile!(both_into_the_kernel, ALL, truths::local_only, keep_remote: [false; 2], commands: 10);
profile!(seen_in_packets_and_straight_into_the_kernel, ALL, truths::local_only, hook: true, prefilled: true,
    keep_remote: [false; 2]);
profile!(seen_in_packets_and_mirrored, ALL, truths::mirrored, hook: true, keep_remote: [true, false], shared: false);
profile!(no_local_table, ALL, truths::passed_on, keep_local: [false, true]);
profile!(ftfw_calm, ALL, truths::reliable, rules: Rules::Ftfw);
profile!(ftfw_messages_lost, ALL, truths::reliable, rules: Rules::Ftfw, parts: true, prefilled: true,
    network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(ftfw_everything_at_once, MANY, truths::reliable_across_lives, rules: Rules::Ftfw, commands: 10,
    restarts: 5, prefilled: true, overruns: true, parts: true,
    network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(ftfw_garbage, ALL, truths::local_only, rules: Rules::Ftfw, commands: 20,
    network: Faults { corrupt: 300, lose: 20, duplicate: 20, jitter_ns: 1_000_000 });
profile!(ftfw_hostile, ALL, truths::reliable_after_garbage, rules: Rules::Ftfw, hostile: 200,
    prefilled: true, shared: false,
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 1_000_000, ..Faults::default() });
profile!(ftfw_straight_into_the_kernel, ALL, truths::mirrored, rules: Rules::Ftfw,
    keep_remote: [true, false], shared: false,
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 1_000_000, ..Faults::default() });
profile!(ftfw_many_flows, FEW, truths::reliable, rules: Rules::Ftfw, prefilled: true, identities: Some(3000),
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 1_000_000, ..Faults::default() });
profile!(alarm, ALL, truths::repeated, rules: Rules::Alarm, prefilled: true, parts: true,
    network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() });
profile!(ftfw_ours_and_original, ALL, truths::reliable_with_original, rules: Rules::Ftfw,
    original: Some(1), prefilled: true, parts: true,
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 500_000, ..Faults::default() });
profile!(ftfw_original_and_ours, ALL, truths::healed_with_original, rules: Rules::Ftfw,
    original: Some(0), restarts: 10, prefilled: true, parts: true,
    network: Faults { lose: 50, duplicate: 50, jitter_ns: 500_000, ..Faults::default() });
profile!(many_flows, FEW, truths::exact_after_bulk, prefilled: true, identities: Some(3000));
