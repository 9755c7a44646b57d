//! `cargo xtask bench cli`: `conntrack` beside Debian's, and beside what the kernel alone costs.
//!
//! ```text
//!  outside: builds, makes a namespace, raises nf_conntrack_max --> itself once more, inside of the namespace
//!  inside:  for each row of the table, N times: the floor, ours, Debian's, one after the other
//! ```
//!
//! Rows are in `cli/rows.rs`, what a run costs in `cli/measure.rs`, events in `cli/events.rs`.

mod measure;
mod events;
mod rows;
mod report;

use crate::{build, repo, shell};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAMESPACE: &str = "ctflow-bench-cli";
/// How many flows a kernel takes; only the machine's own namespace may change it.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// New flows are followed, and packets end where they would be answered.
const RULES: &str = "table inet t {
    chain o { type filter hook output priority 0; ct state new accept; }
    chain p { type filter hook prerouting priority 0; udp dport 5000 drop; }
}";

/// Hold `conntrack` against Debian's, and against what the kernel alone costs.
///
/// Prints the table of issue 5, and writes every run into benches/versus/cli.json. Needs root and Debian's conntrack.
#[derive(clap::Parser)]
#[command(name = "cargo xtask bench cli", bin_name = "cargo xtask bench cli")]
pub(super) struct Options {
    /// Flows in the table for lists; a tenth of it for changes, three tenths for events
    #[arg(long, default_value_t = 1_000_000)]
    entries: u32,
    /// Runs of each program
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// A tenth of the flows, three runs; nothing is recorded
    #[arg(long)]
    quick: bool,
    /// Only rows whose name contains this; nothing is recorded
    #[arg(long)]
    only: Option<String>,
    /// The other program
    #[arg(long, default_value = "/usr/sbin/conntrack")]
    beside: PathBuf,
    /// Where the programs are; set for the run inside of the namespace
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

impl Options {
    fn entries(&self) -> u32 {
        if self.quick { self.entries / 10 } else { self.entries }
    }

    fn reps(&self) -> usize {
        if self.quick { self.reps.min(3) } else { self.reps }
    }

    fn records(&self) -> bool {
        !self.quick && self.only.is_none()
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    if let Some(programs) = &options.inside {
        return inside(options, programs);
    }
    ensure!(repo::is_root(), "`cargo xtask bench cli` fills conntrack tables, which needs root");
    ensure!(options.beside.is_file(), "{} is not there", options.beside.display());
    let built = build::some(true, &["conntrack"])?;
    let mut cargo = shell::cargo("build");
    shell::run(cargo.args(["--release", "--package", "benches", "--example", "floor"]))?;
    let limit = Limit::raise(options.entries().saturating_mul(2))?;
    let namespace = Namespace::make()?;
    let mut ip = Command::new("ip");
    // Compilers and the like on the same machine then disturb less.
    ip.args(["netns", "exec", NAMESPACE, "nice", "-n", "-10"]);
    ip.arg(shell::own_program()).args(["bench", "cli"]);
    ip.arg("--inside").arg(built.programs).arg("--beside").arg(&options.beside);
    ip.args(["--entries", &options.entries.to_string(), "--reps", &options.reps.to_string()]);
    ip.args(options.quick.then_some("--quick"));
    if let Some(only) = &options.only {
        // The value may begin with a dash.
        ip.arg(format!("--only={only}"));
    }
    let outcome = shell::run(&mut ip);
    drop((namespace, limit));
    outcome
}

fn inside(options: &Options, programs: &Path) -> Result<()> {
    shell::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    shell::run(Command::new("nft").arg(RULES))?;
    let bench = rows::Bench {
        ours: programs.join("conntrack"),
        floor: programs.join("examples/floor"),
        beside: options.beside.clone(),
        entries: options.entries(),
        reps: options.reps(),
    };
    let rows = bench.run(options.only.as_deref().unwrap_or_default())?;
    if options.records() {
        let path = repo::root().join("benches/versus/cli.json");
        let text = serde_json::to_string_pretty(&report::json(&bench, &rows)?)?;
        fs::write(&path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("every run is in {}", path.display());
    }
    Ok(())
}

/// The kernel's limit, raised while this lives.
struct Limit(Option<String>);

impl Limit {
    fn raise(wanted: u32) -> Result<Self> {
        let before = fs::read_to_string(LIMIT).with_context(|| format!("cannot read {LIMIT}"))?;
        if before.trim().parse::<u32>().is_ok_and(|limit| limit >= wanted) {
            return Ok(Self(None));
        }
        fs::write(LIMIT, wanted.to_string()).with_context(|| format!("cannot write {LIMIT}"))?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = fs::write(LIMIT, before);
        }
    }
}

/// The namespace, until this is dropped.
struct Namespace;

impl Namespace {
    fn make() -> Result<Self> {
        // One that a killed run left behind is no use.
        let _ = Command::new("ip").args(["netns", "delete", NAMESPACE]).output();
        shell::run(Command::new("ip").args(["netns", "add", NAMESPACE]))?;
        Ok(Self)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", NAMESPACE]).status();
    }
}
