//! Failures: what the kernel refuses, drops and evicts, reported to the feed, the log and the metrics.
//!
//! ```text
//!   ring of the programs --records--> Task --broadcast--> feed
//!   the kernel's counters --tick----->   |--Stats-------> status, metrics
//!                                        '--a line a reason and minute--> log
//! ```
//!
//! The programs do not see everything, and some kernels run none. What the kernel's own counters have beyond what was
//! seen is reported with a number and without a tuple, so that sums over reasons are those of `conntrack -S`.

mod balance;

use balance::Balance;
use common::failure::{FailureRecord, Reason};
use ctnetlink::{Flow, Tuple};
use host::clock;
use host::kstat;
use host::log::Log;
use host::log::record::Code;
use host::log::{Level, record::Fields};
use host::source::failure::{Counted, Probes};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};
use wire::feed::Failure;

/// How often the kernel's counters are compared.
const TICK: Duration = Duration::from_secs(1);
/// Records that wait for the feed; the programs report some hundreds a second at most.
const WAITING_MAX: usize = 4096;
/// Records taken from the ring before the thread does other work.
const RECORDS_PER_TURN: usize = 256;

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Failures that were seen, by [`Reason::index`].
    pub seen: [AtomicU64; Reason::COUNT],
    /// Of these: those reported with a tuple. The rest exceeded the rate limit.
    pub reported: [AtomicU64; Reason::COUNT],
    /// Failures that only the kernel's counters show.
    pub counted: [AtomicU64; Reason::COUNT],
}

/// Receives records for the feed.
pub type Receiver = broadcast::Receiver<Arc<[u8]>>;

/// What failures are made of.
#[derive(Debug)]
pub struct Parts {
    /// The programs, where the kernel takes them.
    pub probes: Option<Probes>,
    /// The log gets one line a reason in this time.
    pub log_every: Duration,
    /// The log of the daemon.
    pub log: Arc<Log>,
}

/// The task that looks after failures, on the runtime of who started it; it ends when this is dropped.
#[derive(Debug)]
pub struct Failures {
    stats: Arc<Stats>,
    sender: broadcast::Sender<Arc<[u8]>>,
    task: AbortHandle,
}

impl Drop for Failures {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Failures {
    /// Starts it.
    ///
    /// # Errors
    /// When the ring cannot be waited for.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let stats = Arc::<Stats>::default();
        let (sender, _) = broadcast::channel(WAITING_MAX);
        let ring = parts.probes.as_ref().map(Probes::descriptor).transpose()?;
        #[expect(
            deprecated,
            reason = "the other way is unsafe; an `OwnedFd` is what that asks for"
        )]
        let ring = ring.map(|fd| AsyncFd::with_interest(fd, Interest::READABLE)).transpose()?;
        let teller = Teller {
            probes: parts.probes,
            stats: Arc::clone(&stats),
            sender: sender.clone(),
            log: parts.log,
            log_every: parts.log_every,
            lines: Default::default(),
            balance: Balance::default(),
            seq: 0,
        };
        let task = tokio::spawn(run(teller, ring)).abort_handle();
        Ok(Self { stats, sender, task })
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// A receiver of all failures from here on.
    #[must_use]
    pub fn subscribe(&self) -> Receiver {
        self.sender.subscribe()
    }
}

/// The log line of one reason, and its rate limit.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    logged_at: Option<Instant>,
    unlogged: u64,
}

struct Teller {
    probes: Option<Probes>,
    stats: Arc<Stats>,
    sender: broadcast::Sender<Arc<[u8]>>,
    log: Arc<Log>,
    log_every: Duration,
    lines: [Line; Reason::COUNT],
    balance: Balance,
    seq: u64,
}

async fn run(mut teller: Teller, ring: Option<AsyncFd<std::os::fd::OwnedFd>>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                // The kernel first: what the programs see meanwhile is then not taken for unseen.
                if let Ok(Ok(cpus)) = spawn_blocking(kstat::cpus).await {
                    teller.on_tick(&cpus);
                }
            }
            () = readable(ring.as_ref()) => {}
        }
        while teller.drain() {
            tokio::task::yield_now().await;
        }
    }
}

async fn readable(ring: Option<&AsyncFd<std::os::fd::OwnedFd>>) {
    match ring {
        None => std::future::pending().await,
        Some(ring) => {
            if let Ok(mut ready) = ring.readable().await {
                ready.clear_ready();
            }
        }
    }
}

impl Teller {
    /// Reports a turn's share of what the programs saw. Returns whether there may be more.
    fn drain(&mut self) -> bool {
        let ahead = clock::wall_ns().wrapping_sub(clock::now().0);
        for _ in 0..RECORDS_PER_TURN {
            let Some(record) = self.probes.as_mut().and_then(Probes::take) else { return false };
            self.tell(&of_record(&record), record.ktime_ns.wrapping_add(ahead));
        }
        true
    }

    fn on_tick(&mut self, cpus: &[kstat::CpuCounters]) {
        let counted: [Counted; Reason::COUNT] =
            self.probes.as_ref().map(Probes::counted).unwrap_or_default();
        for (reason, Counted { seen, reported }) in Reason::ALL.into_iter().zip(counted) {
            self.stats.seen[reason.index()].store(seen, Relaxed);
            self.stats.reported[reason.index()].store(reported, Relaxed);
        }
        let unseen = self.balance.advance(cpus, counted.map(|counted| counted.seen));
        for (reason, count) in Reason::ALL.into_iter().zip(unseen).filter(|(_, count)| *count > 0) {
            self.stats.counted[reason.index()].fetch_add(count, Relaxed);
            let (tuple, by) = (Tuple::UNKNOWN, Tuple::UNKNOWN);
            let failure = Failure { reason, tuple, zone: None, by, text: b"", count };
            self.tell(&failure, clock::wall_ns());
        }
    }

    fn tell(&mut self, failure: &Failure<'_>, time_ns: u64) {
        self.seq += 1;
        // Without a receiver the send fails, which is no error.
        let _ = self.sender.send(failure.encode(self.seq, time_ns).into());
        let line = &mut self.lines[failure.reason.index()];
        line.unlogged += failure.count;
        let now = Instant::now();
        if line.logged_at.is_some_and(|at| now < at + self.log_every) {
            return;
        }
        let count = std::mem::take(&mut line.unlogged);
        line.logged_at = Some(now);
        let fields: Fields =
            vec![("reason", failure.reason.name().into()), ("count", count.into())];
        self.log.record(Level::Notice, Code::Failure, said(failure, count), fields);
    }
}

/// A record of the programs.
fn of_record(record: &FailureRecord) -> Failure<'_> {
    let reason = Reason::from_number(record.reason).unwrap_or(Reason::Invalid);
    Failure {
        reason,
        tuple: record.tuple(),
        zone: (reason != Reason::TableFull && reason != Reason::Invalid).then_some(record.zone),
        by: record.by(),
        text: record.words(),
        count: 1,
    }
}

/// What the log says: how many, and an example.
fn said(failure: &Failure<'_>, count: u64) -> String {
    let what = match failure.reason {
        Reason::TableFull => "packets were dropped because the kernel's flow table is full",
        Reason::Evicted => "flows were evicted to make room for others",
        Reason::InsertFailed => "packets were dropped because another flow has their identity",
        Reason::ClashResolved => "packets were given to another flow that has their identity",
        Reason::ChainTooLong => {
            "packets were dropped because a chain of the hash table is too long"
        }
        Reason::Invalid => "packets belong to no flow and may begin none",
    };
    let mut out = format!("{}: {count} {what}", failure.reason.name());
    if failure.tuple.is_known() {
        let flow = Flow { orig: failure.tuple, ..Flow::UNKNOWN };
        let Tuple { proto, .. } = flow.orig;
        let (src, dst) = (flow.orig.src_ip(), flow.orig.dst_ip());
        out += &format!("; the last one: protocol {proto} from {src} to {dst}");
        if flow.orig.has_ports() {
            let (sport, dport) = flow.orig.ports();
            out += &format!(", ports {sport} to {dport}");
        }
    }
    let words = String::from_utf8_lossy(failure.text);
    if !words.is_empty() {
        out += &format!(", the kernel says `{}`", words.escape_debug());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::tuple::ipproto;

    #[test]
    fn a_line_has_the_number_and_an_example() {
        let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::TCP).with_ports(4000, 80);
        let by = Tuple::UNKNOWN;
        let failure =
            Failure { reason: Reason::Invalid, tuple, zone: None, by, text: b"bad\x1b", count: 1 };
        assert_eq!(
            said(&failure, 7),
            "invalid: 7 packets belong to no flow and may begin none; the last one: protocol 6 from 10.0.0.1 to \
             10.0.0.2, ports 4000 to 80, the kernel says `bad\\u{1b}`"
        );
        let counted = Failure { tuple: Tuple::UNKNOWN, text: b"", count: 3, ..failure };
        assert_eq!(said(&counted, 3), "invalid: 3 packets belong to no flow and may begin none");
    }
}
