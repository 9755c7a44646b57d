//! What the daemon does, decided once from what was written ([`Conf`]).
//!
//! ```text
//!   text --conf--> Conf --Plan::from--> Plan --check--> refusals
//!                  what was written     |    --build--> sources, links, shards
//!                                       |    --serve, supervise, logs, helpers
//!                                       `--difference--> what a reload does
//! ```
//!
//! Every setting goes through [`Plan::from`], which takes [`Conf`] apart field by field: a new setting that reaches no
//! field of the plan does not compile, and a new field of the plan that a reload forgets does not either
//! ([`difference`]).

use super::helpers;
use crate::conf::{
    Conf, EventSource, ExpectationSync, Facility, FailuresConf, General, LinkConf, LinkKind,
    LogConf, LogFile, LogFormat, LogJournal, LogLevel, MetricsConf, ModeConf, NamedFile,
    ReplicationConf, Scheduler, SchedulerPolicy, StatsConf, SubscribeConf, SyncConf, SyncMode,
    SyncOptions, Unicast,
};
use crate::metrics::Limits;
use engine::Config;
use engine::config::{Helpers, Mode, Replication};
use export::http;
use host::confine::files::Use;
use host::link::{self, Ends, Transport};
use host::log::{Level, Places, Style};
use host::privilege::{User, Wish};
use host::source::{self, group};
use host::sys::Scheduling;
use host::tuning::{COALESCE, COALESCE_FOR_PEER, Tuning};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod difference;
mod filter;

pub use difference::Difference;
pub use filter::Filtering;

/// The most bytes of a ring; there is one for each CPU.
const RING_BYTES_MAX: usize = 16 << 20;
/// Flows that each index has room for from the start, for each of `HashSize`.
const FLOWS_PER_HASH_SIZE: usize = 2;

/// What the daemon is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Replication (`Sync`).
    #[default]
    Sync,
    /// Logging of ended flows (`Stats`).
    Stats,
    /// Serving helpers alone: there is no table of flows.
    Helper,
}

/// What the daemon does. A plain value: nothing in it is open, running or different at each start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the daemon is for.
    pub purpose: Purpose,
    /// The engine's settings, for one shard that has all flows. The settings that belong to one start
    /// ([`Config::first_seq`], [`Config::hash_seed`]), to one shard ([`Config::share`]) and to the source that could
    /// be opened ([`Config::hears_requests`]) have their defaults; `build` sets them.
    pub config: Config,
    /// `EventSource` as it was written; [`source::Settings::choice`] is what is opened.
    pub event_source: EventSource,
    /// How to open the event source.
    pub source: source::Settings,
    /// `Filter`, from which the filters in `config` and `source` are made.
    pub filter: Filtering,
    /// The links, if there is a peer.
    pub links: Option<link::GroupSettings>,
    /// How each shard treats its thread and its event source.
    pub tuning: Tuning,
    /// How often to read the kernel's table instead of listening to events.
    pub poll: Option<Duration>,
    /// Threads that share the flows; 1 where there is no table of flows.
    pub shards: usize,
    /// Where the daemon's own lines go. The terminal is not part of it: the command line decides that.
    pub log: Places,
    /// Whether the daemon's own lines go to journald; where they go is decided at the start.
    pub journal: LogJournal,
    /// Where lines about ended flows go; `None` where they are not recorded.
    pub records: Option<Places>,
    /// The file that keeps a second daemon from starting.
    pub lock_file: PathBuf,
    /// The control socket.
    pub control: Option<PathBuf>,
    /// Whether systemd receives notifications about readiness.
    pub systemd: bool,
    /// What is served over HTTP, if anything.
    pub metrics: Option<Metrics>,
    /// The helpers to serve, if any.
    pub helpers: Option<host::helpers::Settings>,
    /// Replication, version 2.
    pub replication: Option<Box<ReplicationConf>>,
    /// The feed, if it is configured.
    pub subscribe: Option<SubscribeConf>,
    /// The failures to report, if any.
    pub failures: Option<FailuresConf>,
    /// Seconds that `-t` waits before it empties the kernel's table; 0 without a peer, which could take over.
    pub purge_after_s: u64,
    /// The user and the group that the daemon becomes.
    pub wish: Wish,
    /// The files that it reads and writes, and where the configuration names them.
    pub files: Vec<NamedFile>,
}

impl From<&Conf> for Plan {
    fn from(conf: &Conf) -> Self {
        let Conf { general, mode, metrics, helper, log: lines, subscribe, failures, files } = conf;
        let General {
            event_source,
            hash_size,
            hash_limit,
            log_file,
            syslog,
            lock_file,
            unix_path,
            netlink_buffer_size,
            netlink_buffer_size_max_growth,
            netlink_overrun_resync_s,
            netlink_events_reliable,
            poll_s,
            event_iteration_limit,
            event_latency_us,
            shards,
            systemd,
            scheduler,
            user,
            group,
            filter,
        } = general;
        let role = Role::from(mode);
        let (keeps_tables, coalesce) = (role.purpose != Purpose::Helper, role.coalesce());
        let filter = Filtering::from(filter.as_ref());
        let poll = poll_s.filter(|_| keeps_tables).map(seconds);
        let hears_events = poll.is_none() && keeps_tables;
        Self {
            purpose: role.purpose,
            config: Config {
                flows_max: *hash_limit as usize,
                flows_expected: *hash_size as usize * FLOWS_PER_HASH_SIZE,
                filter: filter.in_user_space(),
                repair_after: netlink_overrun_resync_s.map(seconds),
                ..role.config()
            },
            event_source: *event_source,
            source: source(
                (*event_source, filter.in_kernel()),
                netlink_buffer_size.map(|n| n as usize),
                [hears_events, role.replication.keep_local, *netlink_events_reliable],
            ),
            filter,
            links: role.links,
            tuning: Tuning {
                buffer_max: *netlink_buffer_size_max_growth as usize,
                events_per_turn: *event_iteration_limit as usize,
                scheduling: scheduler.map(scheduling),
                coalesce: event_latency_us.map_or(coalesce, micros),
            },
            poll,
            shards: if keeps_tables { *shards as usize } else { 1 },
            journal: lines.journal,
            log: logging(lines, places(log_file, *syslog)),
            records: role.records,
            lock_file: lock_file.clone(),
            control: unix_path.clone(),
            systemd: *systemd,
            metrics: metrics.as_ref().map(Metrics::from),
            helpers: helper.as_ref().and_then(helpers::settings),
            replication: role.nodes,
            subscribe: subscribe.clone(),
            failures: *failures,
            purge_after_s: role.purge_after_s,
            wish: Wish { user: user.clone().map_or(User::Auto, User::Named), group: group.clone() },
            files: all_files(files, lock_file, subscribe.as_ref()),
        }
    }
}

impl Plan {
    /// `HashSize`, as it was written.
    #[must_use]
    pub const fn hash_size(&self) -> usize {
        self.config.flows_expected / FLOWS_PER_HASH_SIZE
    }

    /// Bytes that the indexes of all flow tables take before the first flow is there: about one line of
    /// the cache for each nine flows that `HashSize` makes room for. A table makes no room for more
    /// flows than it may hold.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        const LINE_LEN: u64 = 64;
        const FLOWS_PER_LINE: u64 = 9;
        let flows = self.config.flows_expected.min(self.config.flows_max) as u64;
        let tables = match self.purpose {
            Purpose::Sync => 2,
            Purpose::Stats => 1,
            Purpose::Helper => 0,
        };
        flows / FLOWS_PER_LINE * LINE_LEN * tables
    }

    /// Whether flows are of interest at all: not to a daemon that only serves helpers.
    #[must_use]
    pub fn keeps_tables(&self) -> bool {
        self.purpose != Purpose::Helper
    }

    /// Name of the configured event source; without one that receives events, of the one that is opened.
    #[must_use]
    pub const fn wanted_source(&self) -> &'static str {
        match self.source.choice {
            source::Choice::Hook => "hook",
            source::Choice::Tap | source::Choice::Auto => "tap",
            source::Choice::Netlink => "netlink",
        }
    }

    /// Whether the hook was asked for and the auto choice is taken instead: without a table of this node's flows the
    /// hook does not know which of the flows that it sees begin get into the kernel's table.
    #[must_use]
    pub fn declines_hook(&self) -> bool {
        self.event_source == EventSource::Hook && !self.config.replication.keep_local
    }
}

/// The files that are named, and those that are used where none is.
fn all_files(
    named: &[NamedFile],
    lock: &Path,
    subscribe: Option<&SubscribeConf>,
) -> Vec<NamedFile> {
    let feed = subscribe.map(|subscribe| ("Path", subscribe.path.as_path()));
    let standard = [Some(("LockFile", lock)), feed].into_iter().flatten();
    let is_named = |path: &Path| named.iter().any(|file| file.path == path);
    let missing = standard.filter(|(_, path)| !is_named(path)).map(|(keyword, path)| NamedFile {
        keyword,
        path: path.to_owned(),
        used: Use::Keep,
        place: None,
    });
    missing.chain(named.iter().cloned()).collect()
}

/// What is served over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The endpoints, and who may use them.
    pub http: http::Settings,
    /// What bounds the number of series.
    pub limits: Limits,
    /// How often the table is counted by zone, protocol and state, if at all.
    pub census: Option<Duration>,
    /// Names and filters of flows that are counted with it.
    pub classes: Vec<(String, String)>,
}

impl From<&MetricsConf> for Metrics {
    fn from(conf: &MetricsConf) -> Self {
        // `Limits` takes the others.
        let MetricsConf {
            listen,
            allow,
            census_s,
            classes,
            per_cpu: _,
            series_max: _,
            zones_max: _,
        } = conf;
        Self {
            http: http::Settings { listen: listen.clone(), allow: allow.clone() },
            limits: Limits::from(conf),
            census: Some(seconds(*census_s)).filter(|every| !every.is_zero()),
            classes: classes.clone(),
        }
    }
}

/// What `Sync`, `Stats` or neither decide.
struct Role {
    purpose: Purpose,
    replication: Replication,
    links: Option<link::GroupSettings>,
    commit_timeout_s: Option<u32>,
    purge_after_s: u64,
    window_tracking: bool,
    expectations: Helpers,
    records: Option<Places>,
    nodes: Option<Box<ReplicationConf>>,
}

impl From<&ModeConf> for Role {
    fn from(mode: &ModeConf) -> Self {
        match mode {
            ModeConf::Sync(sync) => Self::replicating(sync),
            ModeConf::Stats(StatsConf { log_file, syslog }) => {
                let records = Some(places(log_file, *syslog)).filter(Places::any);
                Self { records, ..Self::alone(Purpose::Stats) }
            }
            ModeConf::Helper => Self::alone(Purpose::Helper),
        }
    }
}

impl Role {
    fn replicating(conf: &SyncConf) -> Self {
        let SyncConf { mode, links, options, replication: nodes } = conf;
        let SyncOptions { tcp_window_tracking, expectation_sync } = options;
        Self {
            purpose: Purpose::Sync,
            // Version 2 keeps both tables, whatever `Mode` says.
            replication: match nodes {
                Some(_) => Replication::default(),
                None => replication(*mode),
            },
            links: (!links.is_empty()).then(|| group_settings(links)),
            commit_timeout_s: mode.commit_timeout_s(),
            purge_after_s: mode.purge_timeout_s().into(),
            window_tracking: *tcp_window_tracking,
            expectations: match expectation_sync {
                ExpectationSync::Off => Helpers::None,
                ExpectationSync::All => Helpers::All,
                ExpectationSync::Helpers(names) => Helpers::Named(names.clone()),
            },
            records: None,
            nodes: nodes.clone(),
        }
    }

    /// The engine's settings.
    fn config(&self) -> Config {
        Config {
            replication: self.replication,
            commit_timeout_s: self.commit_timeout_s,
            window_tracking: self.window_tracking,
            expectations: self.expectations.clone(),
            tell_vanished: self.records.is_some(),
            // No file records whether this is a restart, and a reload begins another life, too.
            earlier_life: true,
            ..Config::default()
        }
    }

    /// How long events may coalesce where no setting says so: it depends on whether a peer waits for them.
    const fn coalesce(&self) -> Duration {
        if self.links.is_some() || self.nodes.is_some() { COALESCE_FOR_PEER } else { COALESCE }
    }

    /// Without a peer.
    fn alone(purpose: Purpose) -> Self {
        let keeps_tables = purpose != Purpose::Helper;
        Self {
            purpose,
            replication: Replication {
                has_peer: false,
                keep_local: keeps_tables,
                keep_remote: keeps_tables,
                ..Replication::default()
            },
            links: None,
            commit_timeout_s: None,
            purge_after_s: 0,
            window_tracking: false,
            expectations: Helpers::None,
            records: None,
            nodes: None,
        }
    }
}

/// `Mode`, without its timeouts, which are in [`SyncMode::commit_timeout_s`] and [`SyncMode::purge_timeout_s`].
fn replication(mode: SyncMode) -> Replication {
    match mode {
        SyncMode::NoTrack {
            commit_timeout_s: _,
            purge_timeout_s: _,
            disable_internal_cache,
            disable_external_cache,
            startup_resync,
        } => Replication {
            mode: Mode::NoTrack,
            keep_local: !disable_internal_cache,
            keep_remote: !disable_external_cache,
            startup_resync,
            ..Replication::default()
        },
        SyncMode::Ftfw {
            resend_queue_size,
            ack_window_size,
            commit_timeout_s: _,
            purge_timeout_s: _,
            disable_external_cache,
            startup_resync,
        } => Replication {
            mode: Mode::Ftfw {
                resend_max: resend_queue_size as usize,
                ack_window: ack_window_size,
            },
            keep_remote: !disable_external_cache,
            startup_resync,
            ..Replication::default()
        },
        SyncMode::Alarm {
            refresh_time_s,
            cache_timeout_s,
            commit_timeout_s: _,
            purge_timeout_s: _,
        } => Replication {
            mode: Mode::Alarm { refresh_s: refresh_time_s, expire_s: cache_timeout_s },
            ..Replication::default()
        },
    }
}

fn group_settings(confs: &[LinkConf]) -> link::GroupSettings {
    link::GroupSettings {
        links: confs.iter().map(link_settings).collect(),
        active: confs.iter().position(|link| link.default).unwrap_or(0),
        error_queue_len: confs.iter().map(error_queue_len).max().unwrap_or(0),
    }
}

/// `ErrorQueueLength`, and what the original shows where there is none.
const fn error_queue_len(conf: &LinkConf) -> usize {
    match conf.kind {
        LinkKind::Tcp { error_queue_len, .. } => error_queue_len as usize,
        LinkKind::Multicast { .. } | LinkKind::Udp(_) => LinkConf::ERROR_QUEUE_LEN as usize,
    }
}

/// One link. Which of them is the first to be used (`default`) is a matter of the group.
fn link_settings(conf: &LinkConf) -> link::Settings {
    let LinkConf { kind, interface, default: _, checksum, snd_buffer, rcv_buffer } = conf;
    let ends =
        |unicast: Unicast| Ends { local: unicast.local, peer: unicast.remote, port: unicast.port };
    link::Settings {
        transport: match *kind {
            LinkKind::Multicast { group, port, local } => {
                Transport::Multicast { group, port, local }
            }
            LinkKind::Udp(unicast) => Transport::Udp(ends(unicast)),
            LinkKind::Tcp { unicast, error_queue_len: _ } => Transport::Tcp(ends(unicast)),
        },
        interface: interface.clone(),
        send_buffer: snd_buffer.map(|n| n as usize),
        receive_buffer: rcv_buffer.map(|n| n as usize),
        checksum: *checksum || kind.checksum_required().is_some(),
    }
}

/// The event source to open.
const fn choice(written: EventSource, hears_events: bool, keeps_flows: bool) -> source::Choice {
    match written {
        _ if !hears_events => source::Choice::Netlink,
        EventSource::Tap => source::Choice::Tap,
        EventSource::Netlink => source::Choice::Netlink,
        EventSource::Hook if keeps_flows => source::Choice::Hook,
        // See `Plan::declines_hook`.
        EventSource::Hook | EventSource::Auto => source::Choice::Auto,
    }
}

/// The event source, and whether it may change.
fn source(
    (wanted, filter): (EventSource, source::KernelFilter),
    buffer_bytes: Option<usize>,
    [hears_events, keep_local, reliable]: [bool; 3],
) -> source::Settings {
    source::Settings {
        choice: choice(wanted, hears_events, keep_local),
        buffer_bytes,
        ring_bytes: ring_bytes(buffer_bytes),
        groups: if hears_events { group::FLOWS } else { 0 },
        reliable,
        // What the hook has no room for, the kernel does not keep; and it needs this node's table.
        adapts: wanted == EventSource::Auto && keep_local && !reliable,
        filter,
    }
}

/// Each ring has as much room as the socket is given, within reason: it takes the socket's place.
fn ring_bytes(buffer_bytes: Option<usize>) -> usize {
    let least = source::Settings::default().ring_bytes;
    buffer_bytes.map_or(least, |bytes| bytes.clamp(least, RING_BYTES_MAX))
}

const fn scheduling(conf: Scheduler) -> Scheduling {
    let Scheduler { policy, priority } = conf;
    match policy {
        SchedulerPolicy::RoundRobin => Scheduling::RoundRobin(priority),
        SchedulerPolicy::Fifo => Scheduling::Fifo(priority),
    }
}

fn micros(us: u32) -> Duration {
    Duration::from_micros(us.into())
}

fn seconds(s: u32) -> Duration {
    Duration::from_secs(s.into())
}

/// The `LOG_*` number of a facility.
const fn facility_number(facility: Facility) -> i32 {
    // `include <syslog.h>`: daemon is 3, local0 to local7 are 16 to 23, all shifted by three bits.
    match facility {
        Facility::Daemon => 3 << 3,
        Facility::Local(n) => (16 + n as i32) << 3,
    }
}

fn places(file: &LogFile, syslog: Option<Facility>) -> Places {
    let file = match file {
        LogFile::Off => None,
        LogFile::To(path) => Some(path.clone()),
    };
    Places { file, syslog: syslog.map(facility_number), ..Places::default() }
}

fn logging(conf: &LogConf, places: Places) -> Places {
    Places { style: style(conf.format), least: least(conf.level), ..places }
}

const fn style(format: LogFormat) -> Style {
    match format {
        LogFormat::Plain => Style::Plain,
        LogFormat::Json => Style::Json,
    }
}

const fn least(level: LogLevel) -> Level {
    match level {
        LogLevel::Info => Level::Info,
        LogLevel::Notice => Level::Notice,
        LogLevel::Warning => Level::Warning,
        LogLevel::Error => Level::Error,
    }
}

#[cfg(test)]
mod tests;
