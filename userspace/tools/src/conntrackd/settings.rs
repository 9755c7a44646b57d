//! From a configuration to the settings of the floors below.

use crate::conf::{
    Conf, EventSource, ExpectationSync, Facility, FilterSide, LinkConf, LinkKind, LogFile,
    ModeConf, SchedulerPolicy, SyncConf, SyncMode, Unicast,
};
use anyhow::{Result, bail};
use engine::config::{Helpers, Mode, Replication};
use engine::{Config, Share};
use host::link::{self, Ends, Transport};
use host::log::Places;
use host::source::{self, group};
use host::sys::Scheduling;
use host::tuning::{Change, Tuning};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The most bytes of a ring; there is one for each CPU.
const RING_BYTES_MAX: usize = 16 << 20;

mod filter;

/// The parts of a configuration this version acts on.
#[derive(Debug)]
pub struct Supported<'a> {
    /// `Sync`; `None` in statistics mode.
    pub sync: Option<&'a SyncConf>,
    /// The links, if there is a peer.
    pub links: Option<link::GroupSettings>,
    /// How flows are replicated.
    pub replication: Replication,
}

/// Picks out what this version acts on.
///
/// # Errors
/// Says which setting asks for something that is not there yet.
pub fn supported(conf: &Conf) -> Result<Supported<'_>> {
    let ModeConf::Sync(sync) = &conf.mode else {
        let tables = keeps_tables(conf);
        let replication = Replication {
            has_peer: false,
            keep_local: tables,
            keep_remote: tables,
            ..Replication::default()
        };
        return Ok(Supported { sync: None, links: None, replication });
    };
    let replication = match sync.mode {
        SyncMode::NoTrack {
            disable_internal_cache,
            disable_external_cache,
            startup_resync,
            ..
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
            disable_external_cache,
            startup_resync,
            ..
        } => Replication {
            mode: Mode::Ftfw {
                resend_max: resend_queue_size as usize,
                ack_window: ack_window_size,
            },
            keep_remote: !disable_external_cache,
            startup_resync,
            ..Replication::default()
        },
        SyncMode::Alarm { refresh_time_s, cache_timeout_s, .. } => Replication {
            mode: Mode::Alarm { refresh_s: refresh_time_s, expire_s: cache_timeout_s },
            ..Replication::default()
        },
    };
    if conf.general.poll_s.is_some() && !replication.keep_local {
        bail!(
            "PollSecs compares the kernel's table with the internal cache: it cannot be disabled"
        );
    }
    Ok(Supported { sync: Some(sync), links: Some(links(&sync.links)), replication })
}

/// Whether flows are of interest at all: not to a daemon that only serves helpers.
#[must_use]
pub const fn keeps_tables(conf: &Conf) -> bool {
    !matches!(conf.mode, ModeConf::Helper)
}

fn links(confs: &[LinkConf]) -> link::GroupSettings {
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
        LinkKind::Multicast { .. } | LinkKind::Udp(_) => 128,
    }
}

fn link_settings(conf: &LinkConf) -> link::Settings {
    let ends =
        |unicast: Unicast| Ends { local: unicast.local, peer: unicast.remote, port: unicast.port };
    link::Settings {
        transport: match conf.kind {
            LinkKind::Multicast { group, port, local } => {
                Transport::Multicast { group, port, local }
            }
            LinkKind::Udp(unicast) => Transport::Udp(ends(unicast)),
            LinkKind::Tcp { unicast, .. } => Transport::Tcp(ends(unicast)),
        },
        interface: conf.interface.clone(),
        send_buffer: conf.snd_buffer.map(|n| n as usize),
        receive_buffer: conf.rcv_buffer.map(|n| n as usize),
        checksum: conf.checksum,
    }
}

/// The engine's settings.
#[must_use]
pub fn engine_config(conf: &Conf, supported: &Supported<'_>) -> Config {
    Config {
        flows_max: conf.general.hash_limit as usize,
        flows_expected: conf.general.hash_size as usize * 2,
        filter: filter::in_user_space(conf),
        share: Share::ALL,
        replication: supported.replication,
        commit_timeout_s: commit_timeout_s(conf),
        window_tracking: supported.sync.is_some_and(|sync| sync.options.tcp_window_tracking),
        expectations: helpers(conf),
        repair_after: repair_after(conf),
        tell_vanished: record_places(conf).is_some(),
        hears_requests: true,
        // Nobody knows: a reload begins another life, too.
        earlier_life: true,
        // conntrackd begins with the time too; a restart then looks like a step forward, not like old news.
        first_seq: host::clock::wall_s() as u32,
        hash_seed: RandomState::new().hash_one(0_u8),
    }
}

/// Bytes that the indexes of all flow tables take before the first flow is there: about one line of
/// the cache for each nine flows that `HashSize` makes room for. A table makes no room for more
/// flows than it may hold.
#[must_use]
pub fn index_bytes(conf: &Conf) -> u64 {
    const LINE_LEN: u64 = 64;
    const FLOWS_PER_LINE: u64 = 9;
    let flows = (u64::from(conf.general.hash_size) * 2).min(conf.general.hash_limit.into());
    let tables = match conf.mode {
        ModeConf::Sync(_) => 2,
        ModeConf::Stats(_) => 1,
        ModeConf::Helper => 0,
    };
    flows / FLOWS_PER_LINE * LINE_LEN * tables
}

/// Flows that each of several shards takes. Not all shards have the same number of flows, so each takes an eighth more
/// than its share.
#[must_use]
pub const fn flows_max(conf: &Conf, shards: usize) -> usize {
    let share = (conf.general.hash_limit as usize).div_ceil(shards);
    share + share.div_ceil(8)
}

/// Whose expectations are replicated.
#[must_use]
pub fn helpers(conf: &Conf) -> Helpers {
    match &conf.mode {
        ModeConf::Sync(sync) => match &sync.options.expectation_sync {
            ExpectationSync::Off => Helpers::None,
            ExpectationSync::All => Helpers::All,
            ExpectationSync::Helpers(names) => Helpers::Named(names.clone()),
        },
        ModeConf::Stats(_) | ModeConf::Helper => Helpers::None,
    }
}

/// The event source's settings.
#[must_use]
pub fn source_settings(conf: &Conf) -> source::Settings {
    let general = &conf.general;
    let events = poll_interval(conf).is_none() && keeps_tables(conf);
    source::Settings {
        choice: match general.event_source {
            _ if !events => source::Choice::Netlink,
            EventSource::Auto => source::Choice::Auto,
            EventSource::Tap => source::Choice::Tap,
            EventSource::Netlink => source::Choice::Netlink,
            EventSource::Hook if !keeps_flows(conf) => source::Choice::Auto,
            EventSource::Hook => source::Choice::Hook,
        },
        buffer_bytes: general.netlink_buffer_size.map(|n| n as usize),
        ring_bytes: ring_bytes(general.netlink_buffer_size),
        groups: if events { group::FLOWS } else { 0 },
        filter: filter::in_kernel(conf),
        reliable: general.netlink_events_reliable,
    }
}

/// Each ring has as much room as the socket is given, within reason: it takes the socket's place.
fn ring_bytes(buffer_size: Option<u32>) -> usize {
    let least = source::Settings::default().ring_bytes;
    buffer_size.map_or(least, |bytes| (bytes as usize).clamp(least, RING_BYTES_MAX))
}

/// Whether a table of this node's flows is kept. The hook needs one: not every flow that it sees begin comes to be.
#[must_use]
pub fn keeps_flows(conf: &Conf) -> bool {
    supported(conf).is_ok_and(|supported| supported.replication.keep_local)
}

/// How long after a loss of events the kernel's table is read again.
fn repair_after(conf: &Conf) -> Option<Duration> {
    conf.general.netlink_overrun_resync_s.map(seconds)
}

/// What of a shard's settings can change while it runs.
#[must_use]
pub fn tuning(conf: &Conf) -> Tuning {
    let general = &conf.general;
    Tuning {
        buffer_max: general.netlink_buffer_size_max_growth as usize,
        events_per_turn: general.event_iteration_limit as usize,
        scheduling: general.scheduler.map(|scheduler| match scheduler.policy {
            SchedulerPolicy::RoundRobin => Scheduling::RoundRobin(scheduler.priority),
            SchedulerPolicy::Fifo => Scheduling::Fifo(scheduler.priority),
        }),
    }
}

/// Who sorts out events, in conntrackd's words, if there is a filter.
#[must_use]
pub fn filter_side(conf: &Conf) -> Option<&'static str> {
    conf.general.filter.as_ref().map(|filter| match filter.side {
        FilterSide::Userspace => "user-space",
        FilterSide::Kernelspace => "kernel-space",
    })
}

/// How often to read the kernel's table instead of listening to events.
#[must_use]
pub fn poll_interval(conf: &Conf) -> Option<Duration> {
    conf.general.poll_s.filter(|_| keeps_tables(conf)).map(seconds)
}

/// From one configuration to another, for a running shard.
#[must_use]
pub fn change(from: &Conf, to: &Conf) -> Change {
    let filter = (from.general.filter != to.general.filter)
        .then(|| (filter::in_user_space(to), filter::in_kernel(to)));
    let (commit_timeout_s, repair_after) = (commit_timeout_s(to), repair_after(to));
    Change { tuning: tuning(to), filter, commit_timeout_s, repair_after }
}

fn seconds(s: u32) -> Duration {
    Duration::from_secs(s.into())
}

const fn commit_timeout_s(conf: &Conf) -> Option<u32> {
    match &conf.mode {
        ModeConf::Sync(sync) => sync.mode.commit_timeout_s(),
        ModeConf::Stats(_) | ModeConf::Helper => None,
    }
}

/// The `LOG_*` number of a facility.
#[must_use]
pub const fn facility_number(facility: Facility) -> i32 {
    // `include <syslog.h>`: daemon is 3, local0 to local7 are 16 to 23, all shifted by three bits.
    match facility {
        Facility::Daemon => 3 << 3,
        Facility::Local(n) => (16 + n as i32) << 3,
    }
}

/// Where the daemon's own lines go.
#[must_use]
pub fn log_places(conf: &Conf, console: bool) -> Places {
    places(&conf.general.log_file, conf.general.syslog, console)
}

/// Where lines about ended flows go, in statistics mode; `None` if they go nowhere.
#[must_use]
pub fn record_places(conf: &Conf) -> Option<Places> {
    match &conf.mode {
        ModeConf::Stats(stats) => {
            Some(places(&stats.log_file, stats.syslog, false)).filter(Places::any)
        }
        ModeConf::Sync(_) | ModeConf::Helper => None,
    }
}

fn places(file: &LogFile, syslog: Option<Facility>, console: bool) -> Places {
    let file = match file {
        LogFile::Off => None,
        LogFile::To(path) => Some(path.clone()),
    };
    Places { file, syslog: syslog.map(facility_number), console }
}

/// How long `-t` waits, in seconds, before it empties the kernel's table. Without a peer there is nobody to
/// hand over to.
#[must_use]
pub fn purge_after_s(conf: &Conf) -> u64 {
    match &conf.mode {
        ModeConf::Sync(sync) => sync.mode.purge_timeout_s().into(),
        ModeConf::Stats(_) | ModeConf::Helper => 0,
    }
}
