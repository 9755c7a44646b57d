//! The report of a shard to the main thread.

use super::Tally;
use super::latency::Latency;
use crate::link::GroupReport;
use crate::nodes::{PeerReport, RefusedReport};
use crate::source::Account;
use crate::sys;
use common::Instant;
use ctnetlink::{Expectation, Flow};
use engine::counters::Counters;
use engine::expectations::ExpectKey;
use engine::filter::Filter;
use engine::flows::table::Slot;
use engine::peer::v1::Outbox;
use engine::turnover::Turnover;
use engine::{Cause, Engine, Exactness, QueueUsage, QueueUsages, Side, Standing};
use std::time::Duration;

/// The state of things.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What the engine counted.
    pub counters: Counters,
    /// Flows in the local and in the remote table.
    pub flows: [usize; 2],
    /// Expectations in the local and in the remote table; `None` if they are not replicated.
    pub expectations: Option<[usize; 2]>,
    /// How many shards share the flows.
    pub shards: usize,
    /// What became of the events.
    pub account: Account,
    /// Kernel messages that could not be understood.
    pub events_malformed: u64,
    /// Times events were found to have been lost.
    pub overruns: u64,
    /// Bytes and packets of flows that have ended, where the kernel counts them (`nf_conntrack_acct`).
    pub traffic: ctnetlink::flow::Counters,
    /// Name of the event source.
    pub source: &'static str,
    /// Receive buffer of the event socket, bytes.
    pub receive_buffer: usize,
    /// How this node stands with its peer.
    pub standing: Standing,
    /// The links.
    pub links: GroupReport,
    /// The peers of version 2.
    pub peers: Vec<PeerReport>,
    /// Datagrams on the port of version 2 that were refused, by kind, and those that could not be sent; `None` where
    /// there is no such port.
    pub refused: Option<RefusedReport>,
    /// Whether there is a peer at all.
    pub replicates: bool,
    /// Whether the engine keeps a local and a remote table.
    pub keeps: [bool; 2],
    /// Orders of the main thread that found no room.
    pub orders_refused: u64,
    /// How long the shard has run.
    pub uptime: Duration,
    /// From an event in the kernel to its handling, microseconds.
    pub latency: Latency,
    /// Commits, and writes that the kernel refused.
    pub tally: Tally,
    /// Whether the kernel's table has been read once since the start.
    pub filled: bool,
    /// How far the local table can be trusted.
    pub state: TableState,
    /// Why it can't, or could not the last time.
    pub because: Cause,
    /// Whether a commit is under way.
    pub committing: bool,
    /// How far the commit of flows is: flows written, and flows there are.
    pub commit_progress: Option<(u64, u64)>,
    /// Whether entries of the kernel are being deleted.
    pub purging: bool,
    /// Times the kernel's entries were deleted by request.
    pub purges: u64,
    /// The most flows a table takes.
    pub flows_max: usize,
    /// Messages that wait to be sent.
    pub outbox: QueueUsage,
    /// What came and went in the local table.
    pub turnover: Turnover,
    /// How long ago the oldest message was sent that the peer has not acknowledged, 0 if none waits; `None` in a mode
    /// without acknowledgements.
    pub lag: Option<Duration>,
    /// Messages that were sent and may have to be sent again; `None` in a mode that sends none again.
    pub resend: Option<QueueUsage>,
    /// Every other queue, by name.
    pub queues: QueueUsages,
}

impl Snapshot {
    /// So much time has passed since it was taken, and nothing has happened.
    pub(super) fn grow_older(&mut self, by: Duration) {
        self.uptime += by;
        self.state.grow_older(by);
        // Where nothing waits for the peer's word, it is not behind.
        let waits = self.resend.is_some_and(|resend| resend.len > 0);
        let lag = self.lag.iter_mut().filter(|_| waits);
        let peers = self.peers.iter_mut().flat_map(|peer| {
            [&mut peer.since, &mut peer.engine.heard, &mut peer.engine.equal_since]
        });
        let ages = peers.chain([&mut self.standing.peer_heard]).flatten();
        ages.chain(lag).for_each(|age| *age += by);
    }
}

/// How far the local table can be trusted to be what the kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// The kernel's table is being read for the first time.
    Loading {
        /// Flows read so far.
        read: u64,
        /// Flows the kernel holds; `None` where it does not say.
        of: Option<u64>,
    },
    /// No event is known to be missing.
    Exact,
    /// Events were lost.
    Degraded {
        /// How long ago that was first seen.
        ago: Duration,
        /// How many events were lost.
        lost: u64,
    },
    /// The kernel's table is being read to make that good.
    Repairing {
        /// How long ago the loss was first seen.
        ago: Duration,
        /// How many events were lost.
        lost: u64,
    },
}

impl TableState {
    /// What state an engine's local table is in.
    pub(super) fn of(engine: &Engine, now: Instant) -> Self {
        if let Some(read) = engine.loading() {
            return Self::Loading { read, of: sys::flow_count() };
        }
        match engine.exactness() {
            Exactness::Exact => Self::Exact,
            Exactness::Degraded { since, lost } => Self::Degraded { ago: now.since(since), lost },
            Exactness::Repairing { since, lost } => Self::Repairing { ago: now.since(since), lost },
        }
    }

    /// Whether it still is that of an engine, ages aside.
    pub(super) fn is_that_of(&self, engine: &Engine) -> bool {
        match (*self, engine.exactness()) {
            // Reading is something that turns do.
            (Self::Loading { .. }, _) => engine.loading().is_some(),
            (Self::Exact, Exactness::Exact) => true,
            (Self::Degraded { lost, .. }, Exactness::Degraded { lost: now, .. })
            | (Self::Repairing { lost, .. }, Exactness::Repairing { lost: now, .. }) => lost == now,
            _ => false,
        }
    }

    fn grow_older(&mut self, by: Duration) {
        if let Self::Degraded { ago, .. } | Self::Repairing { ago, .. } = self {
            *ago += by;
        }
    }

    /// Its word: `loading`, `exact`, `degraded` or `repairing`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Loading { .. } => "loading",
            Self::Exact => "exact",
            Self::Degraded { .. } => "degraded",
            Self::Repairing { .. } => "repairing",
        }
    }

    /// How much of the kernel's table has been read, never 100 before all is; `None` where that is not known.
    #[must_use]
    pub fn loaded_percent(&self) -> Option<u64> {
        match *self {
            Self::Loading { read, of } => of.map(|of| (read * 100 / of.max(1)).min(99)),
            _ => Some(100),
        }
    }

    /// Since when the table has not been exact, and how many events are missing.
    #[must_use]
    pub const fn loss(&self) -> Option<(Duration, u64)> {
        match *self {
            Self::Degraded { ago, lost } | Self::Repairing { ago, lost } => Some((ago, lost)),
            Self::Loading { .. } | Self::Exact => None,
        }
    }
}

impl Default for TableState {
    fn default() -> Self {
        Self::Loading { read: 0, of: None }
    }
}

/// How old an entry of a table is.
#[derive(Clone, Copy, Debug)]
pub struct EntryAge {
    /// Seconds since it was added.
    pub active_s: u32,
    /// Seconds until it is forgotten, where entries are.
    pub expires_s: Option<u64>,
}

/// A place in the tables of all shards, which are gone through one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the shard.
    pub shard: usize,
    /// The slot in its table.
    pub slot: Slot,
}

/// Some flows of a table.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The flows, each with its age.
    pub flows: Vec<(Flow, EntryAge)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Place>,
    /// The filter of the flows, if the engine keeps no such table but the kernel has one.
    pub kernel: Option<Filter>,
}

/// A place among the expectations of all shards, which are gone through one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectPlace {
    /// Which shard's.
    pub shard: usize,
    /// Behind which of them; `None`: at the first one.
    pub after: Option<ExpectKey>,
}

/// Some expectations of a table.
#[derive(Clone, Debug, Default)]
pub struct ExpectPage {
    /// The expectations, each with the seconds since it was added.
    pub expectations: Vec<(Expectation, u32)>,
    /// Where to go on; `None` at the end.
    pub next: Option<ExpectPlace>,
}

/// A message that was sent and may have to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resend {
    /// Its sequence number.
    pub seq: u32,
    /// Flags of the header of a control message; `None` if it carries a flow or an expectation.
    pub control_flags: Option<u8>,
}

/// How full the queue is of what waits to be acknowledged; `None` in a mode without acknowledgements.
pub(super) fn resend(outbox: &Outbox) -> Option<QueueUsage> {
    let queue = outbox.resend()?;
    Some(QueueUsage { len: queue.len(), max: queue.max(), no_space: queue.dropped_count() })
}

/// How far the peer is behind; `None` in a mode without acknowledgements.
pub(super) fn lag(outbox: &Outbox, now: Instant) -> Option<Duration> {
    Some(Duration::from_millis(outbox.lag_ms(now)?.into()))
}

/// What waits to be acknowledged, oldest first; `None` in a mode without acknowledgements.
pub(super) fn waiting(outbox: &Outbox) -> Option<Vec<Resend>> {
    let waiting = outbox.waiting()?;
    Some(waiting.map(|(seq, control_flags)| Resend { seq, control_flags }).collect())
}

/// Flows of a table, at most `max`, from a slot on.
pub(super) fn page(engine: &Engine, side: Side, from: Place, max: usize, now: Instant) -> Page {
    let config = engine.config();
    let elsewhere = side == Side::Local && !config.replication.keep_local;
    let kernel = elsewhere.then(|| config.filter.clone());
    let mut flows = Vec::new();
    let Place { shard, mut slot } = from;
    while flows.len() < max {
        let Some((at, entry)) = engine.table(side).next(slot) else {
            let next =
                (shard + 1 < config.share.count).then_some(Place { shard: shard + 1, slot: 0 });
            return Page { flows, next, kernel };
        };
        slot = at + 1;
        if !entry.has_ended() {
            let active_s = (now.as_secs() as u32).saturating_sub(entry.since_s);
            let expires_s = engine.expires_in(side, &entry, now).map(|left| left.as_secs());
            flows.push((entry.flow(), EntryAge { active_s, expires_s }));
        }
    }
    Page { flows, next: Some(Place { shard, slot }), kernel }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_grow_while_nothing_happens_and_only_ages_do() {
        let s = Duration::from_secs;
        let state = TableState::Degraded { ago: s(1), lost: 7 };
        let mut snapshot = Snapshot { uptime: s(9), state, lag: Some(s(2)), ..Snapshot::default() };
        snapshot.standing.peer_heard = Some(s(3));
        snapshot.resend = Some(QueueUsage { len: 1, max: 5, no_space: 0 });
        snapshot.tally.last_commit = Some(s(4));
        snapshot.grow_older(s(10));
        assert_eq!(snapshot.uptime, s(19));
        assert_eq!(snapshot.state, TableState::Degraded { ago: s(11), lost: 7 });
        assert_eq!((snapshot.lag, snapshot.standing.peer_heard), (Some(s(12)), Some(s(13))));
        assert_eq!(snapshot.tally.last_commit, Some(s(4)), "how long it took, not how long ago");
        // Nothing is owed, so nothing is late.
        snapshot.resend = Some(QueueUsage { len: 0, max: 5, no_space: 0 });
        (snapshot.lag, snapshot.state) = (Some(s(0)), TableState::Exact);
        snapshot.grow_older(s(1));
        assert_eq!((snapshot.lag, snapshot.state), (Some(s(0)), TableState::Exact));
    }
}
