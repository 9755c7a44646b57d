//! `-E` while flows begin as fast as they are said to in issue 5.

use super::measure::{self, cpu_ns};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Events a second that are asked for; what one processor can do decides.
const RATE: u32 = 110_000;
/// A program that runs for less than this between two looks has nothing left to do.
const IDLE_NS: u64 = 2_000_000;

/// What became of the events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// Events that there were.
    pub(super) sent: u32,
    /// So many a second.
    pub(super) rate: f64,
    /// Lines that were printed.
    pub(super) lines: u32,
    /// Processor time of a line, microseconds.
    pub(super) us_per_line: f64,
}

/// The command line.
pub(super) const LINE: &str = "-E -e NEW";

/// Lets a program print `count` events into a file.
pub(super) fn listen(program: &Path, probe: &Path, count: u32) -> Result<Heard> {
    let path = std::env::temp_dir().join(format!("ctflow-bench-{}.txt", std::process::id()));
    let errors = path.with_extension("err");
    let mut command = Command::new(program);
    command.args(LINE.split(' ')).stdout(File::create(&path)?).stderr(File::create(&errors)?);
    let cannot = || format!("cannot start {}", program.display());
    let mut child = command.spawn().with_context(cannot)?;
    let heard = send(&mut child, probe, count);
    let _ = kill_process(Pid::from_child(&child), Signal::INT);
    child.wait()?;
    let (sent, seconds, ran_ns) = heard?;
    let lines = BufReader::new(File::open(&path)?).lines().map_while(Result::ok);
    let lines = lines.filter(|line| line.contains(" dport=5000 ")).count() as u32;
    fs::remove_file(path)?;
    fs::remove_file(errors)?;
    let us_per_line = ran_ns as f64 / 1e3 / f64::from(lines.max(1));
    Ok(Heard { sent, rate: f64::from(sent) / seconds, lines, us_per_line })
}

/// How many were sent, in how many seconds, and how long the child ran for them.
fn send(child: &mut Child, probe: &Path, count: u32) -> Result<(u32, f64, u64)> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !is_heard()? {
        ensure!(Instant::now() < deadline && child.try_wait()?.is_none(), "nobody listens");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    let before = cpu_ns(child);
    let (sent, seconds) = measure::floor(probe, &format!("packets {count} {RATE}"))?;
    let mut ran = 0;
    loop {
        let now = cpu_ns(child) - before;
        if now - ran < IDLE_NS {
            break;
        }
        ran = now;
        std::thread::sleep(Duration::from_millis(200));
    }
    ensure!(child.try_wait()?.is_none(), "it has ended");
    Ok((sent, seconds, ran))
}

/// Whether a socket listens to netfilter's events in this namespace.
fn is_heard() -> Result<bool> {
    let text = fs::read_to_string("/proc/thread-self/net/netlink")?;
    let mut rows = text.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    Ok(rows.any(|row| row.get(1) == Some(&"12") && row.get(3) != Some(&"00000000")))
}
