//! What the main thread is told of a shard.

use crate::link::GroupReport;
use crate::source::Account;
use engine::Standing;
use engine::counters::Counters;
use engine::filter::Filter;
use engine::table::Slot;
use std::time::Duration;
use wire::Flow;
use wire::sync::v1::Control;

/// The state of things.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the engine counted.
    pub counters: Counters,
    /// Flows in the local and in the remote table.
    pub flows: [usize; 2],
    /// What became of the events.
    pub account: Account,
    /// Kernel messages that could not be understood.
    pub events_malformed: u64,
    /// Times events were found to have been lost.
    pub overruns: u64,
    /// Bytes and packets of flows that have ended, where the kernel counts them (`nf_conntrack_acct`).
    pub traffic: wire::flow::Counters,
    /// Name of the event source.
    pub source: &'static str,
    /// Receive buffer of the event socket, bytes.
    pub receive_buffer: usize,
    /// How this node stands with its peer.
    pub standing: Standing,
    /// The links.
    pub links: GroupReport,
    /// Whether there is a peer at all.
    pub replicates: bool,
    /// Whether the engine keeps a local and a remote table.
    pub keeps: [bool; 2],
    /// How long the shard has run.
    pub uptime: Duration,
    /// From an event in the kernel to its handling, microseconds.
    pub latency: Latency,
    /// Whether the kernel's table has been read once since the start.
    pub filled: bool,
    /// Whether events were lost that no reading of the kernel's table has made good yet.
    pub inexact: bool,
    /// Whether a commit is under way.
    pub committing: bool,
    /// Whether entries of the kernel are being deleted.
    pub purging: bool,
    /// Times the kernel's entries were deleted by request.
    pub purges: u64,
    /// The most flows a table takes.
    pub flows_max: usize,
    /// Messages that wait to be sent.
    pub outbox: Queue,
    /// Messages that were sent and may have to be sent again; `None` in a mode that sends none again.
    pub resend: Option<ResendReport>,
}

/// Quantiles of what events waited. Only the tap knows when an event happened; without it there are no samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Samples: the oldest event of each turn, so that the figures err to the slow side.
    pub samples: u64,
    /// Median, microseconds.
    pub p50_us: u64,
    /// 99th percentile, microseconds.
    pub p99_us: u64,
    /// Largest, microseconds.
    pub max_us: u64,
}

/// Some flows of a table.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The flows, each with the seconds since it was added.
    pub flows: Vec<(Flow, u32)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Slot>,
    /// Which flows count, if the engine keeps no such table but the kernel has one.
    pub kernel: Option<Filter>,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Elements in it.
    pub len: usize,
    /// The most it takes.
    pub max: usize,
    /// Elements that found no room.
    pub no_space: u64,
}

/// A message that was sent and may have to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resend {
    /// Its sequence number.
    pub seq: u32,
    /// Flags of the header of a control message; `None` if it carries a flow or an expectation.
    pub control_flags: Option<u8>,
}

/// What was sent and may have to be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResendReport {
    /// How full the queue is.
    pub queue: Queue,
    /// What is in it, oldest first.
    pub waiting: Vec<Resend>,
}

pub(super) const fn resend((seq, control): (u32, Option<Control>)) -> Resend {
    // Bits of the header's flags (`docs/spec/sync.md`).
    let control_flags = match control {
        None => None,
        Some(Control::Resync) => Some(0x02),
        Some(Control::Nack { .. }) => Some(0x04),
        Some(Control::Ack { .. }) => Some(0x08),
        Some(Control::Alive | Control::Settled) => Some(0x10),
    };
    Resend { seq, control_flags }
}
