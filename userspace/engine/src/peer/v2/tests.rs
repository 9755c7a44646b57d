//! Two to four nodes whose kernels are models, and whose claims, ledgers, streams and comparisons are the product's:
//! after the last fault they hold the same (R18.1: the model of section 10 beside the simulation; R18.2: I1, I2, I3,
//! I4).
//!
//! Virtual time, one seed for each run: the same seed, the same run. `CTFLOW_MODEL_SEEDS` and `CTFLOW_MODEL_BASE` take
//! others than the fixed range.

mod node;
mod world;
mod cluster;

use std::string::String;
use std::vec::Vec;
use world::World;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A run: what it violates, with its seed.
fn run(seed: u64, events: &mut [u64; 3]) -> Option<String> {
    let mut world = World::new(seed);
    world.trouble();
    world.heal();
    let found = world.violations();
    for (sum, one) in events.iter_mut().zip(world.counts()) {
        *sum += one;
    }
    (!found.is_empty())
        .then(|| std::format!("CTFLOW_MODEL_BASE={seed} CTFLOW_MODEL_SEEDS=1: {found:#?}"))
}

#[test]
fn nodes_hold_the_same_after_the_last_fault() {
    let base = number("CTFLOW_MODEL_BASE", 1);
    let seeds = number("CTFLOW_MODEL_SEEDS", 1_000);
    let mut events = [0; 3];
    let failed: Vec<_> = (base..base + seeds).filter_map(|seed| run(seed, &mut events)).collect();
    let [kernel, claims, exempt] = events;
    // A flow that closed at one node while another, cut off, had it open lives on there. The world distinguishes most
    // of these from others, and counts them; of the rest, which it takes for violations, there may be few.
    let (revived, failed): (Vec<_>, Vec<_>) = failed
        .into_iter()
        .partition(|found| !["I1", "I2", "I3"].iter().any(|nr| found.contains(nr)));
    std::println!(
        "{seeds} seeds: {kernel} events, {claims} claims, {exempt} closes beside a claim that was not known"
    );
    std::println!("{} seeds revive a flow: {revived:#?}", revived.len());
    let first = failed.iter().take(8).fold(String::new(), |all, one| all + one + "\n");
    assert!(failed.is_empty(), "{} of {seeds} seeds fail:\n{first}", failed.len());
    assert!(revived.len() as u64 <= seeds / 250, "{revived:#?}");
    // R10.5, over all of them.
    assert!(claims < 2 * kernel);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let mut world = World::new(seed);
        world.trouble();
        world.heal();
        (world.counts(), world.bytes)
    };
    for seed in [3, 4, 5] {
        assert_eq!(trace(seed), trace(seed));
    }
}
