//! The cluster in simulation: two or more engines, as many model kernels, links, and a seed that decides everything.
//!
//! ```text
//!   traffic -> kernel A -> source -> engine A -> link -> engine B <- source <- kernel B <- traffic
//!                 ^-------- requests ---'          '-------- requests --------^
//! ```
//!
//! Each test is a world: a profile of unkindness, and what must be true at the end of every run (`truths.rs`). It runs
//! once for each seed of a range that moves from commit to commit (`runs.rs`). A failing run names its seed, and the
//! command that replays it with all it did. One of the engines may be replaced by a model of the original.

mod prng;
mod trace;
mod kernel;
mod source;
mod model;
mod original;
mod speaker;
mod mirror;
mod network;
mod hostile;
mod workload;
mod profile;
mod node;
mod cluster;
mod checkers;
mod limits;
mod claims;
mod truths;
mod runs;
mod mesh;

use network::{Faults, Topology};
use profile::{Profile, Rules};
use runs::{ALL, FEW, MANY, Timed, World};

/// The worlds: each a test of its own, and all of them one list for `cargo xtask sim`. A line is the name, the share of
/// the seeds, what must be true, and what differs from the calm world.
macro_rules! worlds {
    ($($name:ident, $share:expr, $truth:expr $(, $field:ident: $value:expr)* $(,)?;)*) => {
        $(
            #[test]
            fn $name() {
                runs::test(&worlds::$name());
            }
        )*

        mod worlds {
            use super::*;
            $(
                pub(super) fn $name() -> World {
                    #[allow(unused_mut, reason = "the calm world is as it is")]
                    let mut profile = Profile::calm(stringify!($name));
                    $(profile.$field = $value;)*
                    World { profile, share: $share, check: $truth }
                }
            )*
        }

        fn all_worlds() -> Vec<World> {
            vec![$(worlds::$name()),*]
        }
    };
}

/// `cargo xtask sim`: all worlds, or those whose name contains CTFLOW_SIM_WORLD, for as long as CTFLOW_SIM_SECONDS says.
#[test]
#[ignore = "cargo xtask sim runs it, for as long as it is told to"]
fn for_a_time() {
    let worlds = all_worlds();
    let mut timed: Vec<_> = worlds.iter().map(Timed::of).collect();
    timed.push(Timed { name: mesh::NAME, run: Box::new(mesh::timed) });
    let wanted = std::env::var("CTFLOW_SIM_WORLD").unwrap_or_default();
    timed.retain(|world| world.name.contains(&wanted));
    assert!(!timed.is_empty(), "no world's name contains `{wanted}`");
    runs::for_a_time(&timed);
}

worlds! {
    calm, ALL, truths::exact, prefilled: false;
    events_out_of_order, ALL, truths::exact, tap: Some(true);
    tables_filled_at_start, ALL, truths::sure, prefilled: true;
    older_than_any_listener, ALL, truths::sure, prefilled: true, silent: true;
    seen_in_packets, ALL, truths::sure, hook: true, prefilled: true;
    seen_in_packets_and_silent, ALL, truths::sure, hook: true, prefilled: true, silent: true;
    seen_in_packets_and_lost, ALL, truths::sure, hook: true, prefilled: true, overruns: true, commands: 20,
        restarts: 5;
    ftfw_seen_in_packets, ALL, truths::sure, rules: Rules::Ftfw, hook: true, prefilled: true,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    tap_and_hook_take_turns, ALL, truths::sure, tap: Some(true), adapts: 30, prefilled: true;
    tap_and_hook_take_turns_at_all_times, ALL, truths::sure, tap: Some(true), adapts: 20, commands: 20, restarts: 5,
        prefilled: true, overruns: true;
    ftfw_tap_and_hook_take_turns, ALL, truths::sure, rules: Rules::Ftfw, tap: Some(true), adapts: 30, prefilled: true,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    tap_and_hook_take_turns_and_straight_into_the_kernel, ALL, truths::sure, tap: Some(true), adapts: 30,
        prefilled: true, shared: false, keep_remote: [false; 2];
    events_lost, ALL, truths::exact, overruns: true;
    messages_out_of_order, ALL, truths::sure,
        network: Faults { duplicate: 100, jitter_ns: 5_000_000, ..Faults::default() };
    messages_lost, ALL, truths::sure, parts: true, prefilled: true,
        network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    restarts, ALL, truths::sure, restarts: 15, prefilled: true;
    operators, ALL, truths::sure, commands: 40, prefilled: true;
    everything_at_once, ALL, truths::sure, commands: 20, restarts: 5, prefilled: true,
        overruns: true, parts: true,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    tight_tables, ALL, truths::sure, tight: true, commands: 20;
    garbage, ALL, truths::asked, commands: 20,
        network: Faults { corrupt: 300, lose: 20, duplicate: 20, jitter_ns: 1_000_000 };
    straight_into_the_kernel, ALL, truths::sure, keep_remote: [true, false], shared: false;
    both_into_the_kernel, ALL, truths::sure, shared: false, keep_remote: [false; 2], commands: 10;
    seen_in_packets_and_straight_into_the_kernel, ALL, truths::sure, hook: true, prefilled: true,
        keep_remote: [false; 2];
    seen_in_packets_and_mirrored, ALL, truths::sure, hook: true, keep_remote: [true, false], shared: false;
    no_local_table, ALL, truths::sure, keep_local: [false, true];
    ftfw_calm, ALL, truths::sure, rules: Rules::Ftfw;
    ftfw_messages_lost, ALL, truths::sure, rules: Rules::Ftfw, parts: true, prefilled: true,
        network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    ftfw_everything_at_once, MANY, truths::sure, rules: Rules::Ftfw, commands: 10,
        restarts: 5, prefilled: true, overruns: true, parts: true,
        network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    ftfw_garbage, ALL, truths::asked, rules: Rules::Ftfw, commands: 20,
        network: Faults { corrupt: 300, lose: 20, duplicate: 20, jitter_ns: 1_000_000 };
    ftfw_hostile, ALL, truths::reliable_after_garbage, rules: Rules::Ftfw, hostile: 200,
        prefilled: true, shared: false,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 1_000_000, ..Faults::default() };
    ftfw_straight_into_the_kernel, ALL, truths::sure, rules: Rules::Ftfw,
        keep_remote: [true, false], shared: false,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 1_000_000, ..Faults::default() };
    ftfw_many_flows, FEW, truths::sure, rules: Rules::Ftfw, prefilled: true, identities: Some(3000),
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 1_000_000, ..Faults::default() };
    alarm, ALL, truths::sure, rules: Rules::Alarm, prefilled: true, parts: true,
        network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    ftfw_ours_and_original, ALL, truths::reliable_with_original, rules: Rules::Ftfw,
        original: Some(1), prefilled: true, parts: true,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 500_000, ..Faults::default() };
    ftfw_original_and_ours, ALL, truths::healed_with_original, rules: Rules::Ftfw,
        original: Some(0), restarts: 10, prefilled: true, parts: true,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 500_000, ..Faults::default() };
    many_flows, FEW, truths::sure, prefilled: true, identities: Some(3000);
    three, ALL, truths::exact, nodes: 3;
    three_out_of_order, ALL, truths::sure, nodes: 3, tap: Some(true),
        network: Faults { duplicate: 100, jitter_ns: 5_000_000, ..Faults::default() };
    three_filled_at_start, ALL, truths::sure, nodes: 3, prefilled: true;
    three_and_messages_lost, ALL, truths::sure, nodes: 3, parts: true, prefilled: true,
        network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    three_and_restarts, ALL, truths::sure, nodes: 3, restarts: 15, prefilled: true;
    three_straight_into_the_kernel, ALL, truths::sure, nodes: 3, keep_remote: [true, false];
    three_without_a_local_table, ALL, truths::sure, nodes: 3, keep_local: [false, true];
    three_alarm, ALL, truths::sure, nodes: 3, rules: Rules::Alarm, prefilled: true, parts: true,
        network: Faults { lose: 100, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    three_ftfw, ALL, truths::sure, nodes: 3, rules: Rules::Ftfw;
    five_behind_a_hub, ALL, truths::sure, nodes: 5, topology: Topology::FanOut;
    five_behind_a_hub_filled, ALL, truths::sure, nodes: 5, topology: Topology::FanOut,
        prefilled: true;
    five_behind_a_hub_ftfw, ALL, truths::sure, nodes: 5, topology: Topology::FanOut,
        rules: Rules::Ftfw, prefilled: true,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    mixed, MANY, truths::sure, mixed: true;
    mixed_straight_into_the_kernel, ALL, truths::sure, mixed: true, keep_remote: [false; 2];
    mixed_without_a_local_table, ALL, truths::sure, mixed: true, keep_local: [false; 2];
    kernel_full, ALL, truths::sure, kernel_full: true, prefilled: true, commands: 10;
    ftfw_kernel_full, ALL, truths::sure, rules: Rules::Ftfw, kernel_full: true, prefilled: true,
        keep_remote: [true, false], shared: false;
    events_switched_off_and_on, ALL, truths::sure, switches: 20, prefilled: true;
    ftfw_events_switched_off_and_on, ALL, truths::sure, rules: Rules::Ftfw, switches: 20;
    clocks_differ, ALL, truths::sure, clocks_differ: true, prefilled: true, overruns: true;
    ftfw_clocks_differ, ALL, truths::sure, rules: Rules::Ftfw, clocks_differ: true, prefilled: true,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    tight_and_room_again, ALL, truths::sure, tight: true, room_again: true, prefilled: true;
    ftfw_tight_and_room_again, ALL, truths::sure, rules: Rules::Ftfw, tight: true, room_again: true,
        prefilled: true;
    alarm_tight_and_room_again, ALL, truths::sure, rules: Rules::Alarm, tight: true, room_again: true,
        prefilled: true;
    addresses_change, ALL, truths::sure, moves: 10, restarts: 10, prefilled: true,
        network: Faults { lose: 50, duplicate: 50, jitter_ns: 3_000_000, ..Faults::default() };
    ftfw_addresses_change, ALL, truths::sure, rules: Rules::Ftfw, moves: 10, prefilled: true,
        network: Faults { lose: 50, duplicate: 50, ..Faults::default() };
    ftfw_outages, ALL, truths::sure, rules: Rules::Ftfw, outages: true, prefilled: true;
    ftfw_disasters, ALL, truths::sure, rules: Rules::Ftfw, restarts: 15, disasters: true, prefilled: true;
    disasters, ALL, truths::sure, restarts: 15, disasters: true, prefilled: true, asks: true;
}
