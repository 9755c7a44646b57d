//! `cargo xtask bench nfct`: from start to exit, `nfct` beside Debian's.
//!
//! ```text
//!  outside: builds, makes a namespace --> itself once more, inside of the namespace
//!  inside:  for each command line, N times: ours, Debian's; then both once under valgrind
//! ```
//!
//! What else the machine does falls on both, because they take turns. It disturbs the quickest of many runs least, by
//! which the goal is judged, and what valgrind counts not at all.

use super::{count, versus};
use crate::{build, repo, shell};
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const NAMESPACE: &str = "ctflow-bench-nfct";
const RECORD: &str = "benches/versus/nfct.txt";
/// Policies that are there.
const POLICIES: usize = 100;
/// What is run, in this order: one line takes away what the one before it adds.
const LINES: [&str; 6] = [
    "list version",
    "list timeout",
    "get timeout p50",
    "default-get timeout inet tcp",
    "add timeout new inet tcp established 100",
    "delete timeout new",
];
/// At most so many times the original's.
const GOAL: f64 = 1.1;

/// Measure `nfct` beside Debian's, from start to exit, and record it in benches/versus/nfct.txt.
///
/// Needs root, Debian's nfct and valgrind.
#[derive(clap::Parser)]
#[command(name = "cargo xtask bench nfct", bin_name = "cargo xtask bench nfct")]
pub(super) struct Options {
    /// Runs of each program with each command line
    #[arg(long, default_value_t = 500)]
    reps: usize,
    /// The other program
    #[arg(long, default_value = "/usr/sbin/nfct")]
    beside: PathBuf,
    /// Where ours is; set for the run inside of the namespace
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

/// A program and a command line: the quickest run and the median, in milliseconds; instructions in user space.
struct Cost {
    quick_ms: f64,
    median_ms: f64,
    instructions: u64,
}

pub(super) fn run(options: &Options) -> Result<()> {
    if let Some(program) = &options.inside {
        return inside(options, program);
    }
    ensure!(repo::is_root(), "`cargo xtask bench nfct` makes a namespace, which needs root");
    ensure!(options.beside.is_file(), "{} is not there", options.beside.display());
    ensure!(shell::find("valgrind").is_some(), "valgrind is missing: apt-get install valgrind");
    let program = build::some(true, &["nfct"])?.programs.join("nfct");
    // One that a killed run left behind is no use.
    let _ = Command::new("ip").args(["netns", "delete", NAMESPACE]).output();
    shell::run(Command::new("ip").args(["netns", "add", NAMESPACE]))?;
    let mut ip = Command::new("ip");
    ip.args(["netns", "exec", NAMESPACE, "nice", "-n", "-10"]);
    ip.arg(shell::own_program()).args(["bench", "nfct", "--reps", &options.reps.to_string()]);
    let outcome = shell::run(ip.arg("--inside").arg(program).arg("--beside").arg(&options.beside));
    shell::run(Command::new("ip").args(["netns", "delete", NAMESPACE]))?;
    outcome
}

fn inside(options: &Options, program: &Path) -> Result<()> {
    let both = [program, options.beside.as_path()];
    for policy in 0..POLICIES {
        once(program, &format!("add timeout p{policy} inet tcp established 1000"))?;
    }
    let mut times = LINES.map(|_| [Vec::new(), Vec::new()]);
    for rep in 0..options.reps {
        // Each goes first as often as the other.
        for side in [rep % 2, 1 - rep % 2] {
            for (line, times) in LINES.iter().zip(&mut times) {
                times[side].push(once(both[side], line)?);
            }
        }
    }
    let mut text = format!(
        "nfct beside {}, {} runs each, in turn; {POLICIES} policies are there; cargo xtask bench nfct\n\
         {:42} {:>24} {:>24} {:>24}\n{:42} {:>24} {:>24} {:>24}\n",
        options.beside.display(),
        options.reps,
        "",
        "quickest run, ms",
        "median, ms",
        "instructions, user",
        "",
        "ours theirs ratio",
        "ours theirs ratio",
        "ours theirs ratio",
    );
    let mut counts = Vec::new();
    for program in both {
        let counted = LINES.map(|line| instructions(program, line));
        counts.push(counted.into_iter().collect::<Result<Vec<_>>>()?);
    }
    for (at, (line, mut times)) in LINES.into_iter().zip(times).enumerate() {
        let mut cost = |side: usize| {
            let times: &mut Vec<f64> = &mut times[side];
            times.sort_by(f64::total_cmp);
            let (quick_ms, median_ms) = (times[0], times[times.len() / 2]);
            Cost { quick_ms, median_ms, instructions: counts[side][at] }
        };
        let (ours, theirs) = (cost(0), cost(1));
        text += &row(line, &ours, &theirs);
    }
    print!("{text}");
    fs::write(repo::root().join(RECORD), text).with_context(|| format!("writing {RECORD}"))?;
    versus::write_results()
}

fn row(line: &str, ours: &Cost, theirs: &Cost) -> String {
    let mut text = format!("{line:42}");
    let times = [(ours.quick_ms, theirs.quick_ms), (ours.median_ms, theirs.median_ms)];
    for (ours, theirs) in times {
        let _ = write!(text, " {ours:>10.3} {theirs:>6.3} {:>6.2}", ours / theirs);
    }
    let (mine, other) = (ours.instructions, theirs.instructions);
    let _ = write!(text, " {mine:>9} {other:>7} {:>6.2}", mine as f64 / other as f64);
    let is_met = ours.quick_ms <= GOAL * theirs.quick_ms;
    text + if is_met { "\n" } else { "  goal missed\n" }
}

fn command(program: &Path, line: &str) -> Command {
    let mut command = Command::new(program);
    command.args(line.split(' ')).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs it; milliseconds from start to exit.
fn once(program: &Path, line: &str) -> Result<f64> {
    let mut command = command(program, line);
    let start = Instant::now();
    let status = command.status().with_context(|| program.display().to_string())?;
    let taken = start.elapsed();
    ensure!(status.success(), "{} {line}: {status}", program.display());
    Ok(taken.as_secs_f64() * 1e3)
}

/// Instructions in user space, from the first of the dynamic linker to the last.
fn instructions(program: &Path, line: &str) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    valgrind.args(line.split(' ')).stdin(Stdio::null());
    let output = valgrind.output().context("valgrind does not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {line}: {said}", program.display());
    let [instructions, ..] = count::collected(&said).context("valgrind counted nothing")?;
    Ok(instructions)
}
