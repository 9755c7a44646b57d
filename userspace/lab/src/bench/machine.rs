//! The machine: what it is, who else listens on it, and the one setting that is changed for a while.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// Flows that the largest scenario makes, and room for what garbage collection has not removed yet.
const MAX_WANTED: u64 = 4_000_000;
/// `NETLINK_NETFILTER`, as `/proc/net/netlink` shows it.
const NETFILTER: &str = "12";

/// The machine on which the figures were measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    kernel: String,
    cpu: String,
    cpus: usize,
    memory_mb: u64,
    conntrack_buckets: u64,
    /// Load of the last minute before it began: what else the machine was doing.
    load: String,
}

impl Machine {
    /// This machine.
    pub(super) fn this() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let info = text("/proc/cpuinfo");
        let named = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = named(&text("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory = memory.split(' ').next().and_then(|kb| kb.parse().ok()).unwrap_or(0_u64);
        Self {
            kernel: text("/proc/sys/kernel/osrelease"),
            cpu: named(&info, "model name").unwrap_or_else(|| "unknown".into()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: memory / 1024,
            conntrack_buckets: number("/proc/sys/net/netfilter/nf_conntrack_buckets"),
            load: text("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let Self { kernel, cpu, cpus, memory_mb, conntrack_buckets, load } = self;
        format!(
            "Linux {kernel}, {cpus} x {cpu}, {} GiB, {conntrack_buckets} conntrack buckets, load {load} before",
            memory_mb.div_ceil(1024)
        )
    }
}

/// Whether a process in the network namespace of `pid` receives conntrack events, where `hears` decides it for a line
/// of `/proc/net/netlink`.
pub(super) fn listens(pid: u32, hears: fn(&str) -> bool) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/netlink")).unwrap_or_default();
    table.lines().any(hears)
}

/// Drops of all conntrack sockets in the network namespace of a process: the kernel's own count of lost events.
pub(super) fn drops(pid: u32) -> u64 {
    let table = fs::read_to_string(format!("/proc/{pid}/net/netlink")).unwrap_or_default();
    let drops = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&NETFILTER)).then(|| fields.get(8)?.parse::<u64>().ok()).flatten()
    };
    table.lines().filter_map(drops).sum()
}

/// The limit of conntrack's table, put back when this goes.
#[derive(Debug)]
pub(super) struct Limit {
    before: u64,
}

impl Limit {
    /// Raises the limit if it is too small. That works only in the namespace that the machine began with, and may fail
    /// where at most `flows` are wanted and there is room for them anyway.
    pub(super) fn raise(flows: Option<u32>) -> Result<Self> {
        let before = number(MAX);
        if before < MAX_WANTED {
            let enough = flows.is_some_and(|flows| u64::from(flows) * 4 < before);
            let raised = fs::write(MAX, MAX_WANTED.to_string()).with_context(|| {
                format!("cannot raise {MAX} to {MAX_WANTED} (is conntrack there, is this root?)")
            });
            raised.or_else(|error| if enough { Ok(()) } else { Err(error) })?;
        }
        Ok(Self { before })
    }

    /// Puts it back, unless another program has changed it meanwhile.
    pub(super) fn restore(&self) {
        if self.before < MAX_WANTED && number(MAX) == MAX_WANTED {
            let _ = fs::write(MAX, self.before.to_string());
        }
    }
}

fn number(path: &str) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
/// The number behind a label in a text of the kernel or of a daemon.
pub(super) fn number_after(text: &str, label: &str) -> Option<u64> {
    text.split_once(label)?.1.split_whitespace().next()?.parse().ok()
}
