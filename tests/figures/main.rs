//! `cargo xtask bench nodes`: what replication of version 2 costs and how long it takes, beside its goals (section
//! 20 of its specification) and, where it has the same, version 1 in the same run. Each scenario has namespaces and
//! daemons of its own; figures move with whatever else the machine does.
//!
//! Events are those that requests by ctnetlink cause, which the source `netlink` receives; opens have three:
//! SYN_SENT, SYN_RECV, ESTABLISHED.

mod latency;
mod repair;
mod scenario;
mod shards;

use std::fs;
use std::process::ExitCode;

/// How many flows a kernel holds, in all its namespaces each; only the first of these may change it.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const FLOWS_MAX: &str = "4000000";

/// A figure: what, its goal, what was measured.
pub(crate) type Figure = (String, &'static str, String);

/// A scenario: its name, and what it measures.
type Scenario = (&'static str, fn() -> Vec<Figure>);

const SCENARIOS: [Scenario; 7] = [
    ("wan", scenario::wan),
    ("bulk", scenario::bulk),
    ("sync-paced", scenario::paced),
    ("mesh", scenario::mesh),
    ("latency", latency::latency),
    ("repair", repair::repair),
    ("shards", shards::shards),
];

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let known = |name: &String| SCENARIOS.iter().any(|(known, _)| known == name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        eprintln!("there is no scenario {name}; there are {:?}", SCENARIOS.map(|(name, _)| name));
        return ExitCode::FAILURE;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load when it begins: {}", load.trim());
    let before = fs::read_to_string(LIMIT).expect("this kernel tracks connections");
    fs::write(LIMIT, FLOWS_MAX).expect("root in the first network namespace");
    let measured = std::panic::catch_unwind(|| measure(&names));
    fs::write(LIMIT, before.trim()).expect("it was written before");
    measured.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn measure(names: &[String]) {
    println!("{:<64} {:<26} measured", "figure", "goal");
    for (name, measure) in SCENARIOS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            for (what, goal, measured) in measure() {
                println!("{:<64} {goal:<26} {measured}", format!("{name}: {what}"));
            }
        }
    }
}
