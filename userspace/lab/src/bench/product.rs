//! What a measurement has to know of the daemon that it measures and of who else listens. It learns that from `tools`,
//! which owns the configuration language, the format of the statistics and the doctor's readers.

use anyhow::Result;
use host::source::Settings;

/// The daemon, and who listens beside it: what only `tools` knows of them.
#[derive(Clone, Debug)]
pub struct Product {
    /// Its event sources, by the words of the configuration language; without `auto`, which is one of them.
    pub sources: Vec<&'static str>,
    /// How it would open its event source, given the text of its configuration.
    pub source_settings: fn(&str) -> Result<Settings>,
    /// Reads its answer to [`StatsJson`](wire::control::Request::StatsJson).
    pub figures: fn(&str) -> Result<DaemonFigures>,
    /// Sockets of processes that receive conntrack events, in every network namespace that has a process: a word for
    /// each.
    pub listeners: fn() -> Vec<String>,
    /// Whether a line of `/proc/net/netlink` is a socket that receives conntrack events.
    pub hears: fn(&str) -> bool,
}

/// What the daemon's statistics contain that the original's do not, as far as a scenario uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonFigures {
    /// The event source it has.
    pub source: String,
    /// How its table stands to the kernel's: `loading`, `exact` and others (`docs/spec/status.md`).
    pub state: String,
    /// From the kernel to the table, the median of all events, microseconds.
    pub heard_p50_us: u64,
    /// Their 99th percentile, microseconds.
    pub heard_p99_us: u64,
    /// The greatest, microseconds; 0 where the kernel does not say when an event happened.
    pub heard_max_us: u64,
}
