//! The subject of a measurement: a daemon of ours on one of its event sources, the original, or no listener.

use super::kernel_memory;
use super::machine::{self, number_after};
use super::product::{DaemonFigures, Product};
use crate::place::{Namespace, on_cpus};
use crate::sys::process::{cpu_ns, die_with_parent};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wire::control::Request;

/// The program that a figure is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// No listener.
    Nobody,
    /// conntrack-tools' daemon.
    Original,
    /// Our daemon with this `EventSource`.
    Ours(String),
    /// Our daemon as it is without an `EventSource`: it may change sides while it runs.
    Adapting,
    /// `conntrack -E`.
    Watcher(Brand),
}

/// The maker of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Brand {
    /// The original of conntrack-tools.
    Original,
    /// Our own program.
    Ours,
}

impl Subject {
    /// Every subject there is, ours with each of these sources.
    #[must_use]
    pub fn all(sources: &[&str]) -> Vec<Self> {
        let mut ours: Vec<Self> =
            sources.iter().map(|name| Self::Ours((*name).to_owned())).collect();
        ours.sort();
        let watchers = [Brand::Original, Brand::Ours].map(Self::Watcher);
        let adapting = sources.contains(&"hook").then_some(Self::Adapting);
        let first = [Self::Nobody, Self::Original].into_iter();
        first.chain(ours).chain(adapting).chain(watchers).collect()
    }

    /// Its name on command lines and in results.
    pub fn name(&self) -> &str {
        match self {
            Self::Nobody => "nobody",
            Self::Original => "original",
            Self::Ours(source) => source,
            Self::Adapting => "auto",
            Self::Watcher(Brand::Original) => "conntrack-E",
            Self::Watcher(Brand::Ours) => "our-E",
        }
    }

    /// Whether it is ours.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_) | Self::Adapting | Self::Watcher(Brand::Ours))
    }

    /// Whether it is a daemon that stays as it was started.
    pub const fn is_daemon(&self) -> bool {
        matches!(self, Self::Original | Self::Ours(_))
    }

    /// Whether it is such a daemon, or no listener.
    pub const fn is_no_watcher(&self) -> bool {
        self.is_daemon() || matches!(self, Self::Nobody)
    }

    /// The subject that ours is compared with.
    pub const fn rival(&self) -> Option<Self> {
        match self {
            Self::Ours(_) | Self::Adapting => Some(Self::Original),
            Self::Watcher(Brand::Ours) => Some(Self::Watcher(Brand::Original)),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Buffers of the event socket, and how far they may grow, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    start: u32,
    most: u32,
}

impl Buffers {
    /// As the original's documentation suggests.
    pub const DEFAULT: Self = Self { start: 2 << 20, most: 8 << 20 };
    /// Enough for everything that is no burst.
    pub const LARGE: Self = Self { start: 8 << 20, most: 64 << 20 };
}

/// What a daemon is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Statistics: no peer.
    Alone,
    /// Replicates; host 1 or 2 on the link.
    Replicates {
        /// The daemon's number on the link.
        host: u8,
        /// Whether the peer's flows go straight into the kernel.
        direct: bool,
    },
}

/// How to start a daemon.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Its program.
    pub program: PathBuf,
    /// Reads what only our daemon reports.
    pub product: &'a Product,
    /// The subject that it belongs to.
    pub subject: &'a Subject,
    /// Where it keeps its files.
    pub dir: &'a Path,
    /// A name for them.
    pub name: &'a str,
    /// The daemon's task.
    pub role: Role,
    /// Its event socket.
    pub buffers: Buffers,
    /// More lines for its `General`.
    pub settings: &'a str,
}

impl Setup<'_> {
    fn path(&self, ending: &str) -> PathBuf {
        self.dir.join(format!("{}.{ending}", self.name))
    }

    /// Its configuration.
    pub fn configuration(&self) -> String {
        let file = |ending: &str| self.path(ending).display().to_string();
        let source = match self.subject {
            Subject::Ours(source) => format!(" EventSource {source}\n{}", self.settings),
            Subject::Adapting => self.settings.to_owned(),
            _ => String::new(),
        };
        let Buffers { start, most } = self.buffers;
        let general = format!(
            "General {{\n HashSize 524288\n HashLimit 4194304\n LogFile {}\n LockFile {}\n \
             UNIX {{ Path {} }}\n NetlinkBufferSize {start}\n NetlinkBufferSizeMaxGrowth {most}\n{source}",
            file("log"),
            file("lock"),
            file("ctl")
        );
        match self.role {
            Role::Alone => format!("{general}}}\nStats {{ LogFile off }}\n"),
            Role::Replicates { host, direct } => {
                let direct = if direct { "  DisableExternalCache on\n" } else { "" };
                format!(
                    "{general} Filter From Userspace {{ Address Ignore {{\n  IPv4_address 127.0.0.1\n  \
                     IPv4_address 192.168.77.1\n  IPv4_address 192.168.77.2\n }} }}\n}}\n\
                     Sync {{\n Mode FTFW {{\n{direct} }}\n UDP {{\n  IPv4_address 192.168.77.{host}\n  \
                     IPv4_Destination_Address 192.168.77.{}\n  Port 3780\n  Interface sync0\n  \
                     SndSocketBuffer 4194304\n  RcvSocketBuffer 4194304\n  Checksum on\n }}\n}}\n",
                    3 - host
                )
            }
        }
    }

    /// Starts the daemon; it may not answer yet.
    pub(super) fn launch(&self, namespace: &Namespace, cpus: &[usize]) -> Result<Daemon> {
        for ending in ["lock", "ctl", "log"] {
            let _ = fs::remove_file(self.path(ending));
        }
        fs::write(self.path("conf"), self.configuration())?;
        let mut command = Command::new(&self.program);
        command.arg("-C").arg(self.path("conf")).stdin(Stdio::null());
        command.stdout(File::create(self.path("out"))?).stderr(File::create(self.path("err"))?);
        die_with_parent(&mut command);
        let started = Instant::now();
        let child = on_cpus(cpus, || namespace.within(|| command.spawn()))?
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let stem = self.dir.join(self.name);
        Ok(Daemon { child, stem, started, figures: self.product.figures })
    }
}

/// A running daemon; it is killed when this goes.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    stem: PathBuf,
    started: Instant,
    figures: fn(&str) -> Result<DaemonFigures>,
}

/// How long a daemon may take to become ready, to end, to become idle.
const PATIENCE: Duration = Duration::from_secs(60);

impl Daemon {
    /// Waits for its first answer.
    pub(super) fn wait_until_ready(&mut self) -> Result<()> {
        loop {
            if self.ask(Request::Stats).is_ok_and(|answer| answer.contains("cache")) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the daemon ended ({status}): {}", self.complaint());
            }
            if self.started.elapsed() > PATIENCE {
                bail!("the daemon does not answer: {}", self.complaint());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The daemon's complaint.
    pub(super) fn complaint(&self) -> String {
        let read = |ending| fs::read_to_string(self.stem.with_extension(ending));
        let (errors, log) = (read("err").unwrap_or_default(), read("log").unwrap_or_default());
        let serious = |line: &&str| line.contains("[warning]") || line.contains("[ERROR]");
        let mut lines: Vec<&str> = errors.lines().chain(log.lines().filter(serious)).collect();
        // In the foreground it says the same on both.
        lines.dedup();
        lines.truncate(4);
        lines.join("; ")
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration.
    pub(super) fn conf(&self) -> PathBuf {
        self.stem.with_extension("conf")
    }

    /// When it was started.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// Sends a request, and returns the answer.
    pub(super) fn ask(&self, request: Request) -> Result<String> {
        let mut answer = Vec::new();
        host::control::ask(&self.stem.with_extension("ctl"), request, &mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Flows in its table `cache` (`stats`, `internal`, `external`).
    pub(super) fn flows(&self, cache: &str) -> Result<u64> {
        let answer = self.ask(Request::Stats)?;
        flows_in(&answer, cache).with_context(|| format!("it does not tell of its {cache} cache"))
    }

    /// Events it has received.
    pub(super) fn events(&self) -> Result<u64> {
        let answer = self.ask(Request::StatsRuntime)?;
        number_after(&answer, "events received:").context("it does not tell of events")
    }

    /// The figures that only our daemon reports.
    pub(super) fn figures(&self) -> Result<DaemonFigures> {
        let answer = self.ask(Request::StatsJson)?;
        (self.figures)(&answer).context("its status is not understood")
    }

    /// CPU time it has used, seconds.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        Ok(cpu_ns(self.pid()).context("reading the daemon's CPU clock")? as f64 / 1e9)
    }

    /// Memory it has resident, bytes.
    pub(super) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        number_after(&status, "VmRSS:").unwrap_or(0) * 1024
    }

    /// Bytes of that in rings and cells that it shares with its eBPF programs, some of it counted twice.
    pub(super) fn shared(&self) -> u64 {
        let maps = fs::read_to_string(format!("/proc/{}/smaps", self.pid())).unwrap_or_default();
        let parts = maps.split("bpf-map").skip(1);
        parts.filter_map(|part| number_after(part, "Rss:")).sum::<u64>() * 1024
    }

    /// Memory of its eBPF maps and programs, bytes, which no process has as resident memory.
    pub(super) fn kernel_memory(&self) -> u64 {
        kernel_memory::of(self.pid())
    }

    /// Events the kernel could not hand to it.
    pub(super) fn drops(&self) -> u64 {
        machine::drops(self.pid())
    }

    /// Waits until it has nothing to do: less than three hundredths of a CPU over a while, and no event.
    pub(super) fn settle(&self) -> Result<()> {
        // Longer than the 250 ms that published statistics may be old.
        const WHILE: Duration = Duration::from_millis(300);
        let start = Instant::now();
        let mut last = (self.cpu_s()?, self.events().ok());
        while start.elapsed() < PATIENCE {
            std::thread::sleep(WHILE);
            let now = (self.cpu_s()?, self.events().ok());
            // A daemon that gets no CPU uses none either: its count must stand still, too.
            if now.0 - last.0 < 0.03 * WHILE.as_secs_f64() && now.1 == last.1 {
                return Ok(());
            }
            last = now;
        }
        bail!("the daemon does not come to rest")
    }

    /// Waits until it has nothing to do, and has made good what it lost, if it is one that does.
    pub(super) fn settle_for_good(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            self.settle()?;
            let exact = self.figures().map_or(true, |figures| figures.state == "exact");
            if exact || start.elapsed() > PATIENCE {
                return Ok(());
            }
        }
    }

    /// Stops it as its client would.
    pub(super) fn stop(mut self) -> Result<()> {
        let start = Instant::now();
        let _ = self.ask(Request::Kill);
        while self.child.try_wait()?.is_none() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `current active connections` in the block of a cache in what `-s` prints.
fn flows_in(answer: &str, cache: &str) -> Option<u64> {
    let block = answer.split_once(&format!("cache {cache}:"))?.1;
    number_after(block, "current active connections:")
}

#[cfg(test)]
mod tests {
    use super::{Subject, flows_in};

    #[test]
    fn every_source_is_a_subject_between_nobody_and_the_watchers() {
        let all = Subject::all(&["tap", "netlink"]);
        let names: Vec<&str> = all.iter().map(Subject::name).collect();
        assert_eq!(names, ["nobody", "original", "netlink", "tap", "conntrack-E", "our-E"]);
        let all = Subject::all(&["hook"]);
        assert!(all.contains(&Subject::Adapting), "where there are sides to change");
    }

    #[test]
    fn answers_are_read() {
        let answer = "cache internal:\ncurrent active connections:\t\t  12\n\
                      cache external:\ncurrent active connections:\t\t   7\n";
        assert_eq!(flows_in(answer, "internal"), Some(12));
        assert_eq!(flows_in(answer, "external"), Some(7));
        assert_eq!(flows_in(answer, "stats"), None);
    }
}
