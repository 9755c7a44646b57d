//! `cargo xtask sim`: the simulated worlds for a time instead of for a number of seeds.

use crate::shell::{self, step};
use crate::{repo, tally};
use anyhow::{Context as _, Result, bail};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// Simulate clusters for a time, which all worlds share evenly, at nearly the speed of a release.
///
/// Goes on when something fails; the table at the end says how often each world ran and how many runs violated what
/// must be true, and each failing seed comes with the command that replays it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// For how long
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,

    /// The first seed of every world [default: one that no earlier run began with]
    #[arg(long, value_name = "SEED")]
    base: Option<u64>,

    /// Only worlds whose name contains this: `mesh` is the one of version 2 [default: all]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    world: String,

    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: u32,

    /// Append the table to benches/RESULTS.md
    #[arg(long)]
    record: bool,
}

/// Ranges of seeds begin at multiples of this.
const RANGE: u64 = 1_000_000;

/// The first seed for the commit that is checked out, so that every commit is tried with seeds of its own.
pub(crate) fn base_of_commit() -> u64 {
    commit().and_then(|commit| base(&commit)).unwrap_or(0)
}

fn base(commit: &str) -> Option<u64> {
    u64::from_str_radix(commit.get(..8)?, 16).ok().map(|number| number * RANGE)
}

fn commit() -> Option<String> {
    let mut git = Command::new("git");
    shell::output(git.args(["rev-parse", "HEAD"]).current_dir(repo::root())).ok()
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_secs();
    let base = options.base.unwrap_or(now * RANGE);
    step(&format!("sim: {} minutes, seeds from {base} on", options.minutes));
    let mut cargo = shell::cargo("test");
    cargo.args(["--package", "tests", "--test", "sim", "--profile", "fuzz", "--"]);
    cargo.args(["--ignored", "--exact", "for_a_time", "--nocapture"]);
    cargo.env("CTFLOW_SIM_SECONDS", (options.minutes * 60).to_string());
    cargo.env("CTFLOW_SIM_JOBS", options.jobs.to_string());
    cargo.env("CTFLOW_SIM_BASE", base.to_string());
    cargo.env("CTFLOW_SIM_WORLD", &options.world);
    let mut table = String::new();
    let tally = tally::run_seeing(&mut cargo, |line| {
        if line.starts_with('|') {
            table.push_str(line);
            table.push('\n');
        }
    })?;
    if options.record {
        record(options, base, &table)?;
    }
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Appends the table to what was measured.
fn record(options: &Options, base: u64, table: &str) -> Result<()> {
    if table.is_empty() {
        bail!("no table to record: the simulation did not end");
    }
    let date = shell::output(Command::new("date").arg("+%F"))?;
    let commit = commit().unwrap_or_default();
    let path = repo::root().join("benches/RESULTS.md");
    let mut file = OpenOptions::new().append(true).open(&path)?;
    let (date, commit) = (date.trim(), commit.get(..12).unwrap_or("no commit"));
    write!(
        file,
        "\n## Simulation, {date}\n\nCommit {commit}, {} minutes, seeds from {base} on:\n\n{table}",
        options.minutes
    )
    .with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn each_commit_has_seeds_of_its_own() {
        assert_eq!(base("9ed0f59a2b"), Some(0x9ed0_f59a * super::RANGE));
        assert_eq!(base("ffffffff00"), Some(u64::from(u32::MAX) * super::RANGE));
        assert_eq!((base("short"), base("not a hash")), (None, None));
    }
}
