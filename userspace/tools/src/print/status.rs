//! All statistics, with types, for machines. The format is `docs/spec/status.md`.
//!
//! Names end in their unit where there is one. Fields are added without a new [`SCHEMA`]; one that goes or changes its
//! meaning makes a new one.

use crate::print::stats::Report;
use engine::QueueUsage;
use engine::counters::{PassCounters, TableCounters};
use host::link::LinkReport;
use host::source::Source;
use serde::{Deserialize, Serialize};

/// Version of the format.
pub const SCHEMA: u32 = 1;

/// Declares a group of fields: a struct that becomes a JSON object.
macro_rules! object {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $about:literal])+ $field:ident: $type:ty,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[doc = $about])+ pub $field: $type,)+
        }
    };
}

mod census;
mod failure;
mod feed;
mod helper;
mod peers;
mod readiness;
mod replication;
mod service;
mod turnover;

pub use census::{Cell, Census, Class};
pub use failure::Failure;
pub use feed::Feed;
pub use helper::Helper;
pub use peers::{Peer, Refused};
pub use readiness::{NotReady, readiness};
pub use replication::Replication;
pub use service::{Bucket, Http, Reload};
pub use turnover::{Lifetime, Lived, Turnover, Zone};

object! {
    /// The status of a daemon.
    Status {
        /// Version of the format, [`SCHEMA`].
        schema: u32,
        /// Version of the daemon.
        version: String,
        /// Its process id.
        pid: u32,
        /// How long it has run, seconds.
        uptime_s: u64,
        /// Whether the tables of this node are complete and exact.
        ready: bool,
        /// Why they are not.
        not_ready: Vec<String>,
        /// Flows of this node; `null` where no table is kept.
        local: Option<Table>,
        /// Flows of the peer; `null` where no table is kept.
        remote: Option<Table>,
        /// Events that went straight to the peer, because no local table is kept.
        bypass: Option<Passed>,
        /// Flows that went straight into the kernel, because no remote table is kept.
        inject: Option<Passed>,
        /// Traffic of flows that have ended, where the kernel counts it.
        traffic: Traffic,
        /// Links to the peer.
        links: Vec<Link>,
        /// Peers of replication, version 2, in the order of the configuration.
        peers: Vec<Peer>,
        /// What their port refused; `null` where there is none.
        refused: Option<Refused>,
        /// State of the replication.
        replication: Replication,
        /// Where events come from.
        events: Events,
        /// Queues to the peer.
        queues: Queues,
        /// What is being done to the kernel's tables.
        work: Work,
        /// The control socket.
        control: Control,
        /// Lines of its logs, those about ended flows included, that the disk did not take.
        log_lines_lost: u64,
        /// Helpers in user space that this daemon serves, in the order of the configuration.
        helpers: Vec<Helper>,
        /// Flows by zone, protocol and state; `null` where they are not counted, or not yet.
        census: Option<Census>,
        /// What came and went in the local table; `null` where no table is kept.
        turnover: Option<Turnover>,
        /// The last reload (SIGHUP); `null` if there was none.
        reload: Option<Reload>,
        /// Requests for metrics and readiness.
        http: Http,
        /// The feed; `null` where there is none.
        feed: Option<Feed>,
        /// What the kernel refused, dropped and evicted, by reason; `null` without `Failures`.
        failures: Option<Vec<Failure>>,
    }
}

object! {
    /// A table.
    Table {
        /// Flows in it.
        flows: u64,
        /// The most it takes.
        flows_max: u64,
        /// Flows added.
        created: u64,
        /// Flows that found no room.
        create_no_space: u64,
        /// Changes of flows.
        updated: u64,
        /// Changes of flows that are not there.
        update_failed: u64,
        /// Flows removed.
        destroyed: u64,
        /// Removals of flows that are not there.
        destroy_not_found: u64,
        /// News that came too late to be true.
        stale: u64,
    }
}

object! {
    /// What went past a table that is not kept.
    Passed {
        /// New flows.
        created: u64,
        /// Refused by the other side.
        create_failed: u64,
        /// Changes of flows.
        updated: u64,
        /// Changes that the table or the kernel refused.
        update_failed: u64,
        /// Ends of flows.
        destroyed: u64,
        /// Ends that the table or the kernel refused.
        destroy_failed: u64,
    }
}

object! {
    /// A volume of traffic.
    Traffic {
        /// Bytes, IP headers included.
        bytes: u64,
        /// How many packets.
        packets: u64,
    }
}

object! {
    /// A link.
    Link {
        /// `multicast`, `UDP` or `TCP`.
        kind: String,
        /// Its interface.
        interface: String,
        /// `RUNNING`, `NO-CARRIER` or `DOWN`.
        status: String,
        /// Whether it is the one that is sent on.
        active: bool,
        /// Largest packet that the interface takes; the last known while it is not there.
        mtu_bytes: u64,
        /// Bytes sent.
        sent_bytes: u64,
        /// Bytes received.
        received_bytes: u64,
        /// Datagrams sent.
        sent_packets: u64,
        /// Datagrams received.
        received_packets: u64,
        /// Datagrams that could not be sent.
        send_errors: u64,
        /// Failed receptions.
        receive_errors: u64,
        /// Datagrams and connections refused because they came from an address that is no link's destination address.
        refused: u64,
    }
}

object! {
    /// Packets that the hook looked at.
    Hook {
        /// Brought no news.
        settled: u64,
        /// Packets of no flow that is in the kernel's table.
        untracked: u64,
        /// Reports in the rings; a flow that changed during its report is reported twice.
        recorded: u64,
        /// News refused by the filter in the kernel.
        filtered: u64,
        /// News that found no room. If the flow goes on, its next packet reports it.
        lost: u64,
    }
}

object! {
    /// Events of the kernel.
    Events {
        /// `hook`, `tap` or `netlink`.
        source: String,
        /// The one that was asked for; `auto` asks for the tap.
        wanted: String,
        /// Whether this build carries the eBPF programs of tap and hook.
        has_programs: bool,
        /// Events handled.
        received: u64,
        /// Refused by the filter.
        filtered: u64,
        /// Events not understood.
        malformed: u64,
        /// Dropped by the kernel because the socket was full.
        lost: u64,
        /// Times that was seen.
        overruns: u64,
        /// Flows the kernel was asked about because news had no exact time.
        verified: u64,
        /// Times the kernel's table was read, the first time included.
        table_readings: u64,
        /// Receive buffer of the socket, bytes.
        receive_buffer_bytes: u64,
        /// From the kernel to the table: median, microseconds. Tap only.
        latency_p50_us: u64,
        /// 99th percentile, microseconds.
        latency_p99_us: u64,
        /// Largest, microseconds.
        latency_max_us: u64,
        /// Waits of the first event of each turn, from the kernel to the table, counted. Tap only.
        latency_count: u64,
        /// Their sum, microseconds.
        latency_sum_us: u64,
        /// The waits by their length; longer ones than the last bucket's are in none.
        latency: Vec<Bucket>,
        /// The tap's program saw.
        tap_seen: u64,
        /// Of these: through the rings.
        tap_ring: u64,
        /// Of these: refused by the filter in the kernel.
        tap_filtered: u64,
        /// Of these: left to the socket.
        tap_spilled: u64,
        /// How many shards share the flows.
        shards: u64,
        /// Times the reader of several shards waited for one that was behind.
        reader_waits: u64,
        /// Bytes of all rings that eBPF programs put news into; `null` where there are none, as with the next two.
        ring_bytes: Option<u64>,
        /// Bytes in them that wait to be read.
        ring_waiting_bytes: Option<u64>,
        /// How full the fullest of them was found whenever it was about to be read, since the start: thousandths of it.
        ring_fullest_permille: Option<u64>,
        /// What the hook made of packets; `null` where there is none.
        hook: Option<Hook>,
    }
}

object! {
    /// Queues to the peer.
    Queues {
        /// Messages that wait to be sent.
        outbox: Queue,
        /// Buffers that links refused.
        errors: Queue,
        /// Messages that may have to be sent again; `null` in a mode that sends none again.
        resend: Option<Queue>,
        /// All queues inside the daemon, those of all shards and peers added up.
        inside: Vec<Inside>,
    }
}

object! {
    /// A queue inside the daemon.
    Inside {
        /// Its name (`docs/spec/status.md`).
        name: String,
        /// Length and limit of the queue.
        queue: Queue,
    }
}

object! {
    /// A queue.
    Queue {
        /// Elements in it.
        len: u64,
        /// The most it takes.
        len_max: u64,
        /// Elements that found no room.
        no_space: u64,
    }
}

object! {
    /// What is being done to the kernel's tables.
    Work {
        /// The kernel's table has been read once.
        filled: bool,
        /// Events were lost and the table has not been read again since.
        inexact: bool,
        /// The local table is `loading`, `exact`, `degraded` or `repairing`.
        state: String,
        /// How much of the kernel's table has been read for the first time, percent; `null` if the kernel does not say.
        loaded_percent: Option<u64>,
        /// How long the local table has not been exact, seconds; `null` while it is.
        degraded_s: Option<u64>,
        /// Events whose loss has not been made good.
        missing_events: u64,
        /// A commit runs.
        committing: bool,
        /// Flows it has written; `null` while none are being written.
        committed: Option<u64>,
        /// Flows it has to write; `null` while none are being written.
        to_commit: Option<u64>,
        /// Commits that are over.
        commits: u64,
        /// Flows and expectations that the kernel took in them.
        commit_taken: u64,
        /// Flows and expectations that the kernel refused.
        commit_failed: u64,
        /// How long the last one took, microseconds; `null` before the first.
        last_commit_us: Option<u64>,
        /// Flows and expectations that the kernel refused to write, those of commits included.
        writes_failed: u64,
        /// The kernel's entries are being deleted.
        purging: bool,
        /// Times that was asked for.
        purges: u64,
        /// Requests to the kernel that found no room.
        kernel_no_space: u64,
        /// Lines that were not written, because too many things happened at once.
        events_untold: u64,
        /// Requests made again without a part of the flow that the kernel refuses: a helper, labels and such.
        written_without: u64,
    }
}

object! {
    /// The control socket.
    Control {
        /// Clients that went before they had named a request.
        requests_unread: u64,
        /// Clients that named a request that does not exist.
        requests_unknown: u64,
        /// Requests that were not carried out because too many waited for the engine.
        requests_refused: u64,
    }
}

impl Status {
    /// What a report says.
    #[must_use]
    pub fn of(s: &Report) -> Self {
        let not_ready = readiness(&s.snapshot).err().unwrap_or_default();
        let not_ready: Vec<_> = not_ready.iter().map(|why| why.text().to_owned()).collect();
        let c = &s.counters;
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: s.uptime.as_secs(),
            ready: not_ready.is_empty(),
            not_ready,
            local: s.keeps[0].then(|| table(&c.local, s.flows[0], s.flows_max)),
            remote: s.keeps[1].then(|| table(&c.remote, s.flows[1], s.flows_max)),
            bypass: (!s.keeps[0]).then(|| passed(&c.bypass)),
            inject: (!s.keeps[1]).then(|| passed(&c.inject)),
            traffic: Traffic { bytes: s.traffic.bytes, packets: s.traffic.packets },
            links: links(s),
            peers: s.peers.iter().map(Peer::of).collect(),
            refused: s.refused.as_ref().map(Refused::of),
            replication: Replication::of(s),
            events: events(s),
            queues: queues(s),
            work: Work {
                filled: s.filled,
                inexact: s.state.loss().is_some(),
                state: s.state.word().into(),
                loaded_percent: s.state.loaded_percent(),
                degraded_s: s.state.loss().map(|(ago, _)| ago.as_secs()),
                missing_events: s.state.loss().map_or(0, |(_, lost)| lost),
                committing: s.committing,
                committed: s.commit_progress.map(|(done, _)| done),
                to_commit: s.commit_progress.map(|(_, of)| of),
                commits: s.tally.commits,
                commit_taken: s.tally.committed,
                commit_failed: s.tally.commit_failed,
                last_commit_us: s.tally.last_commit.map(|took| took.as_micros() as u64),
                writes_failed: s.tally.writes_failed,
                purging: s.purging,
                purges: s.purges,
                kernel_no_space: c.kernel_no_space,
                events_untold: c.events_dropped,
                written_without: c.written_without,
            },
            control: Control {
                requests_unread: s.requests_unread,
                requests_unknown: s.requests_unknown,
                requests_refused: s.orders_refused,
            },
            log_lines_lost: s.log_lines_lost,
            helpers: s.helpers.iter().map(Helper::of).collect(),
            census: s.census.as_ref().map(|(age, taken)| Census::of(*age, taken, s.zones_max)),
            turnover: s.keeps[0].then(|| Turnover::of(&s.turnover, s.zones_max)),
            reload: s.reload.clone(),
            http: s.http.into(),
            feed: s.feed.as_deref().map(Feed::of),
            failures: s.failures.as_deref().map(Failure::all),
        }
    }

    /// The object on one line, and the line's end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers, texts and lists become JSON");
        json + "\n"
    }
}

fn table(c: &TableCounters, flows: usize, max: usize) -> Table {
    Table {
        flows: flows as u64,
        flows_max: max as u64,
        created: c.created,
        create_no_space: c.create_no_space,
        updated: c.updated,
        update_failed: c.update_failed,
        destroyed: c.destroyed,
        destroy_not_found: c.destroy_not_found,
        stale: c.stale,
    }
}

const fn passed(c: &PassCounters) -> Passed {
    Passed {
        created: c.created,
        create_failed: c.create_failed,
        updated: c.updated,
        update_failed: c.update_failed,
        destroyed: c.destroyed,
        destroy_failed: c.destroy_failed,
    }
}

fn links(s: &Report) -> Vec<Link> {
    let group = &s.links;
    let one = |(at, link): (usize, &LinkReport)| Link {
        kind: group.kind.into(),
        interface: link.interface.clone(),
        status: link.status.word().into(),
        active: at == group.active,
        mtu_bytes: link.mtu as u64,
        sent_bytes: link.counters.bytes_sent,
        received_bytes: link.counters.bytes_received,
        sent_packets: link.counters.packets_sent,
        received_packets: link.counters.packets_received,
        send_errors: link.counters.errors_sent,
        receive_errors: link.counters.errors_received,
        refused: link.counters.refused,
    };
    group.links.iter().enumerate().map(one).collect()
}

/// Whether events come through another source than the one asked for, which can do less: only `auto` takes the hook
/// unasked.
#[must_use]
pub fn fell_back(source: &str, wanted: &str) -> bool {
    source != wanted && source != "hook"
}

fn events(s: &Report) -> Events {
    Events {
        source: s.source.into(),
        wanted: s.wanted.into(),
        has_programs: Source::has_programs(),
        received: s.counters.events,
        filtered: s.counters.filtered + s.account.filtered,
        malformed: s.events_malformed,
        lost: s.account.lost,
        overruns: s.overruns,
        verified: s.counters.verified,
        table_readings: s.counters.resyncs,
        receive_buffer_bytes: s.receive_buffer as u64,
        latency_p50_us: s.latency.p50_us,
        latency_p99_us: s.latency.p99_us,
        latency_max_us: s.latency.max_us,
        latency_count: s.latency.samples,
        latency_sum_us: s.latency.sum_us,
        latency: Bucket::all(&s.latency),
        tap_seen: s.account.seen,
        tap_ring: s.account.ring,
        tap_filtered: s.account.filtered,
        tap_spilled: s.account.spilled_full + s.account.spilled_other,
        shards: s.shards as u64,
        reader_waits: s.account.waits,
        ring_bytes: s.account.rings.map(|rings| rings.bytes),
        ring_waiting_bytes: s.account.rings.map(|rings| rings.waiting),
        ring_fullest_permille: s.account.rings.map(|rings| rings.fullest_permille),
        hook: s.account.hook.map(|hook| Hook {
            settled: hook.settled,
            untracked: hook.untracked,
            recorded: hook.recorded + hook.repeated,
            filtered: hook.filtered,
            lost: hook.lost_full + hook.lost_other,
        }),
    }
}

fn queues(s: &Report) -> Queues {
    let queue =
        |q: &QueueUsage| Queue { len: q.len as u64, len_max: q.max as u64, no_space: q.no_space };
    Queues {
        outbox: queue(&s.outbox),
        errors: queue(&s.links.error_queue),
        resend: s.resend.as_ref().map(queue),
        inside: s
            .queues
            .iter()
            .map(|(name, q)| Inside { name: (*name).into(), queue: queue(q) })
            .collect(),
    }
}
