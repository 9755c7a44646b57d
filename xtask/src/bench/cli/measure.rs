//! What one run of a program costs.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A run.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// From start to end.
    pub(super) seconds: f64,
    /// Exit code; -1 for a signal.
    pub(super) exit: i32,
    /// Largest resident memory seen; 0 when it was not measured.
    pub(super) memory_kib: u64,
    /// The last line of standard error.
    pub(super) said: String,
}

/// Runs a program to its end, its output thrown away. `watched`: looks at its memory meanwhile.
pub(super) fn run(program: &Path, line: &str, watched: bool) -> Result<Run> {
    let mut command = Command::new(program);
    command.args(line.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let cannot = || format!("cannot start {}", program.display());
    let mut child = command.spawn().with_context(cannot)?;
    let mut memory_kib = 0;
    while watched && child.try_wait()?.is_none() {
        memory_kib = memory_kib.max(resident_kib(&child));
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output()?;
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default().to_owned();
    Ok(Run { seconds, exit: output.status.code().unwrap_or(-1), memory_kib, said })
}

/// Many in a row; the mean of one.
pub(super) fn run_many(program: &Path, lines: &[String]) -> Result<Run> {
    let start = Instant::now();
    let mut last = Run::default();
    for line in lines {
        last = run(program, line, false)?;
    }
    last.seconds = start.elapsed().as_secs_f64() / lines.len() as f64;
    Ok(last)
}

/// What a floor says of itself: how many, and the seconds.
pub(super) fn floor(program: &Path, line: &str) -> Result<(u32, f64)> {
    let output = Command::new(program).args(line.split_whitespace()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "floor {line} failed");
    let (met, seconds) = text.trim().split_once(' ').context("floor said something else")?;
    Ok((met.parse()?, seconds.parse()?))
}

/// Highest resident memory of a child so far.
fn resident_kib(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Nanoseconds that all threads of a child have run.
pub(super) fn cpu_ns(child: &Child) -> u64 {
    let folder = format!("/proc/{}/task", child.id());
    let tasks = fs::read_dir(folder).into_iter().flatten().flatten();
    let ran = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    ran.sum()
}

/// Smallest, middle, largest.
pub(super) fn spread(values: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = *sorted.get(sorted.len() / 2)?;
    Some([*sorted.first()?, middle, *sorted.last()?])
}
