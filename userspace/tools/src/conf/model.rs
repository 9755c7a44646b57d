//! The configuration as values: every setting of the language with its default, whether or not the daemon acts on it.

mod files;
mod log;
mod metrics;
mod replication;
mod failures;
mod subscribe;

pub use failures::{FailuresConf, Report};
pub use files::NamedFile;
pub use log::{LogConf, LogFormat, LogJournal, LogLevel};
pub use metrics::{CLASSES_MAX, LISTEN_MAX, MetricsConf, PerCpu};
pub use replication::{KeyFile, PeerAddress, PeerConf, PeerKey, ReplicationConf};
pub use subscribe::SubscribeConf;

use crate::conf::schema::IpPrefix;
use common::filter::MarkTest;
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use host::nfnetlink::helper::HelperKey;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// `General`
    pub general: General,
    /// `Sync` or `Stats`
    pub mode: ModeConf,
    /// `Metrics`
    pub metrics: Option<MetricsConf>,
    /// `Helper`
    pub helper: Option<HelperConf>,
    /// `Log`
    pub log: LogConf,
    /// `Subscribe`
    pub subscribe: Option<SubscribeConf>,
    /// `Failures`
    pub failures: Option<FailuresConf>,
    /// Every file that is named above, and where.
    pub files: Vec<NamedFile>,
}

/// `General`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct General {
    /// `EventSource`
    pub event_source: EventSource,
    /// `HashSize`
    pub hash_size: u32,
    /// `HashLimit`
    pub hash_limit: u32,
    /// `LogFile`
    pub log_file: LogFile,
    /// `Syslog`
    pub syslog: Option<Facility>,
    /// `LockFile`
    pub lock_file: PathBuf,
    /// `UNIX { Path }`
    pub unix_path: Option<PathBuf>,
    /// `NetlinkBufferSize`; `None` is the kernel's default.
    pub netlink_buffer_size: Option<u32>,
    /// `NetlinkBufferSizeMaxGrowth`
    pub netlink_buffer_size_max_growth: u32,
    /// `NetlinkOverrunResync`: seconds until the resync; `None` for no resync.
    pub netlink_overrun_resync_s: Option<u32>,
    /// `NetlinkEventsReliable`
    pub netlink_events_reliable: bool,
    /// `PollSecs`: `None` means to listen to events.
    pub poll_s: Option<u32>,
    /// `EventIterationLimit`
    pub event_iteration_limit: u32,
    /// `EventLatency`, microseconds; `None` follows from whether a peer waits.
    pub event_latency_us: Option<u32>,
    /// `Shards`
    pub shards: u32,
    /// `Systemd`
    pub systemd: bool,
    /// `Scheduler`
    pub scheduler: Option<Scheduler>,
    /// `User`: `None` is `auto`.
    pub user: Option<String>,
    /// `Group`: `None` is the user's own.
    pub group: Option<String>,
    /// `Filter`
    pub filter: Option<Filter>,
}

/// `EventSource`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventSource {
    /// The tap where the kernel can do it, the socket elsewhere.
    #[default]
    Auto,
    /// The eBPF tap.
    Tap,
    /// The event socket.
    Netlink,
    /// Programs at the netfilter hooks; where the kernel cannot do that, as [`EventSource::Auto`].
    Hook,
}

impl EventSource {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Hook, Self::Tap, Self::Netlink];

    /// How it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tap => "tap",
            Self::Netlink => "netlink",
            Self::Hook => "hook",
        }
    }
}

/// `LogFile`
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogFile {
    /// No file.
    #[default]
    Off,
    /// The daemon writes to this file.
    To(PathBuf),
}

/// `Syslog`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Facility {
    /// `daemon`
    Daemon,
    /// `local0` to `local7`
    Local(u8),
}

/// `Scheduler`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheduler {
    /// `Type`
    pub policy: SchedulerPolicy,
    /// `Priority`
    pub priority: u8,
}

/// `Type` of a scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SchedulerPolicy {
    /// Round robin.
    #[default]
    RoundRobin,
    /// First in, first out.
    Fifo,
}

impl SchedulerPolicy {
    /// How it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "RR",
            Self::Fifo => "FIFO",
        }
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self { policy: SchedulerPolicy::default(), priority: 99 }
    }
}

/// `Filter`. A flow is looked at if every set that exists lets it pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `From`
    pub side: FilterSide,
    /// `Protocol`: protocol numbers.
    pub protocols: Option<FilterSet<u8>>,
    /// `Address`: IPv4 networks.
    pub ipv4: Option<FilterSet<IpPrefix<Ipv4Addr>>>,
    /// `Address`: IPv6 networks.
    pub ipv6: Option<FilterSet<IpPrefix<Ipv6Addr>>>,
    /// `State`: TCP states as the kernel numbers them.
    pub tcp_states: Option<FilterSet<u8>>,
    /// `SourcePort`: first and last port of each interval.
    pub source_ports: Option<FilterSet<(u16, u16)>>,
    /// `DestinationPort`, likewise.
    pub destination_ports: Option<FilterSet<(u16, u16)>>,
    /// `Zone`, likewise.
    pub zones: Option<FilterSet<(u16, u16)>>,
    /// `Mark`
    pub marks: Option<FilterSet<MarkTest>>,
    /// `MinimumAge`, milliseconds; 0 without it.
    pub min_age_ms: u32,
    /// `Sample`: one flow in so many; 0 without it.
    pub sample: u32,
}

/// Where the filter discards events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FilterSide {
    /// The daemon.
    #[default]
    Userspace,
    /// The kernel.
    Kernelspace,
}

impl FilterSide {
    /// How it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Userspace => "Userspace",
            Self::Kernelspace => "Kernelspace",
        }
    }
}

/// What happens to the members of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Only members pass.
    Accept,
    /// Members do not pass.
    Ignore,
}

/// One set of a filter. An empty `Accept` set lets nothing pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSet<T> {
    /// What happens to its members.
    pub policy: Policy,
    /// Its members, in the order of the file, without repetitions.
    pub members: Vec<T>,
}

/// What the daemon is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeConf {
    /// Replication of flows.
    Sync(SyncConf),
    /// Logging of ended flows.
    Stats(StatsConf),
    /// Neither: there is only `Helper`, and no table of flows.
    Helper,
}

/// `Sync`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncConf {
    /// `Mode`
    pub mode: SyncMode,
    /// The dedicated links, all of one kind, in the order of the file.
    pub links: Vec<LinkConf>,
    /// `Options`
    pub options: SyncOptions,
    /// `Replication`; without links, version 1 is not spoken, and `mode` means nothing.
    pub replication: Option<Box<ReplicationConf>>,
}

/// `Mode`. Times are in seconds. A `commit_timeout_s` of `None` means the lifetime that the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncMode {
    /// Messages are acknowledged, and lost ones sent again.
    Ftfw {
        /// `ResendQueueSize`
        resend_queue_size: u32,
        /// `ACKWindowSize`
        ack_window_size: u32,
        /// `CommitTimeout`
        commit_timeout_s: Option<u32>,
        /// `PurgeTimeout`
        purge_timeout_s: u32,
        /// `DisableExternalCache`
        disable_external_cache: bool,
        /// `StartupResync`
        startup_resync: bool,
    },
    /// Messages are repeated.
    Alarm {
        /// `RefreshTime`
        refresh_time_s: u32,
        /// `CacheTimeout`
        cache_timeout_s: u32,
        /// `CommitTimeout`
        commit_timeout_s: Option<u32>,
        /// `PurgeTimeout`
        purge_timeout_s: u32,
    },
    /// Best effort.
    NoTrack {
        /// `CommitTimeout`
        commit_timeout_s: Option<u32>,
        /// `PurgeTimeout`
        purge_timeout_s: u32,
        /// `DisableInternalCache`
        disable_internal_cache: bool,
        /// `DisableExternalCache`
        disable_external_cache: bool,
        /// `StartupResync`
        startup_resync: bool,
    },
}

/// A dedicated link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConf {
    /// The transport.
    pub kind: LinkKind,
    /// `Interface`
    pub interface: String,
    /// Whether it is the link to begin with. Exactly one is.
    pub default: bool,
    /// `Checksum`
    pub checksum: bool,
    /// `SndSocketBuffer`; `None` is the kernel's default.
    pub snd_buffer: Option<u32>,
    /// `RcvSocketBuffer`; `None` is the kernel's default.
    pub rcv_buffer: Option<u32>,
}

impl LinkConf {
    /// `Checksum` where it is not given.
    pub const CHECKSUM: bool = true;
    /// `ErrorQueueLength` where it is not given.
    pub const ERROR_QUEUE_LEN: u32 = 128;
    /// `SndSocketBuffer` where it is not given.
    pub const SND_BUFFER: Option<u32> = None;
    /// `RcvSocketBuffer` where it is not given.
    pub const RCV_BUFFER: Option<u32> = None;
}

/// The transport of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// `Multicast`
    Multicast {
        /// `IPv4_address` or `IPv6_address`
        group: IpAddr,
        /// `Group`
        port: u16,
        /// `IPv4_interface`
        local: Option<Ipv4Addr>,
    },
    /// `UDP`
    Udp(Unicast),
    /// `TCP`
    Tcp {
        /// The addresses of both ends.
        unicast: Unicast,
        /// `ErrorQueueLength`
        error_queue_len: u32,
    },
}

impl LinkKind {
    /// Why messages on such a link cannot do without checksums (`Checksum off`); `None` where they can.
    #[must_use]
    pub const fn checksum_required(&self) -> Option<&'static str> {
        let far = match self {
            Self::Tcp { .. } => return Some("TCP always has checksums"),
            Self::Udp(unicast) => unicast.remote,
            Self::Multicast { group, .. } => *group,
        };
        if far.is_ipv6() { Some("IPv6 wants checksums") } else { None }
    }
}

/// The ends of a link to one peer; both are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unicast {
    /// `IPv4_address` or `IPv6_address`; unspecified to listen on every address.
    pub local: IpAddr,
    /// `IPv4_Destination_Address` or `IPv6_Destination_Address`
    pub remote: IpAddr,
    /// `Port`, on both ends.
    pub port: u16,
}

/// `Options`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncOptions {
    /// `TCPWindowTracking`
    pub tcp_window_tracking: bool,
    /// `ExpectationSync`
    pub expectation_sync: ExpectationSync,
}

/// `ExpectationSync`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExpectationSync {
    /// No expectation is replicated.
    #[default]
    Off,
    /// All expectations are replicated.
    All,
    /// Expectations of helpers whose names begin like one of these, in any case.
    Helpers(Vec<String>),
}

/// `Stats`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsConf {
    /// `LogFile`
    pub log_file: LogFile,
    /// `Syslog`
    pub syslog: Option<Facility>,
}

/// `Helper`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperConf {
    /// `Setup`
    pub setup: bool,
    /// `HelperDisableOnExit`
    pub disable_on_exit: bool,
    /// `Type`
    pub types: Vec<HelperType>,
}

impl Default for HelperConf {
    fn default() -> Self {
        Self { setup: false, disable_on_exit: true, types: Vec::new() }
    }
}

/// `Type` of `Helper`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperType {
    /// Name of the helper.
    pub name: String,
    /// Whether it is for IPv6.
    pub ipv6: bool,
    /// IP protocol number.
    pub protocol: u8,
    /// `QueueNum`
    pub queue_num: u16,
    /// `QueueLen`
    pub queue_len: u32,
    /// `Policy`
    pub policy: Option<HelperPolicy>,
}

/// `Policy` of a helper. What is not given is the helper's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelperPolicy {
    /// `ExpectMax`
    pub expect_max: Option<u32>,
    /// `ExpectTimeout`, seconds.
    pub expect_timeout_s: Option<u32>,
}

/// Where the daemon logs to when `LogFile` is just on.
pub const LOG_FILE_DEFAULT: &str = "/var/log/conntrackd.log";
/// Where `Stats` logs to when its `LogFile` is just on.
pub const STATS_LOG_FILE_DEFAULT: &str = "/var/log/conntrackd-stats.log";
/// The facility when `Syslog` is just on.
pub const SYSLOG_DEFAULT: Facility = Facility::Daemon;
/// Seconds until the resync when `NetlinkOverrunResync` is just on.
pub const OVERRUN_RESYNC_S_DEFAULT: u32 = 1;
/// Most dedicated links.
pub const LINKS_MAX: usize = 4;

impl Default for General {
    fn default() -> Self {
        Self {
            event_source: EventSource::Auto,
            hash_size: 65_536,
            hash_limit: 262_144,
            log_file: LogFile::Off,
            syslog: None,
            lock_file: PathBuf::from("/var/lock/conntrackd.lock"),
            unix_path: None,
            netlink_buffer_size: None,
            netlink_buffer_size_max_growth: 0,
            netlink_overrun_resync_s: Some(OVERRUN_RESYNC_S_DEFAULT),
            netlink_events_reliable: false,
            poll_s: None,
            event_iteration_limit: 4096,
            event_latency_us: None,
            shards: 1,
            systemd: true,
            scheduler: None,
            user: None,
            group: None,
            filter: None,
        }
    }
}

impl HelperType {
    /// Default of `QueueLen`: the kernel's own default length of an NFQUEUE.
    pub const QUEUE_LEN: u32 = 1024;

    /// Whether both are about the same object of the kernel.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.protocol, self.ipv6, &self.name) == (other.protocol, other.ipv6, &other.name)
    }

    /// The kernel's object.
    #[must_use]
    pub fn key(&self) -> HelperKey {
        let family = if self.ipv6 { FAMILY_IPV6 } else { FAMILY_IPV4 };
        HelperKey {
            name: self.name.clone(),
            l3_protocol: family.into(),
            l4_protocol: self.protocol,
        }
    }
}

impl Default for ModeConf {
    fn default() -> Self {
        Self::Stats(StatsConf::default())
    }
}

/// What holds in a `Mode` where nothing is given.
impl SyncMode {
    /// The name of the default `Mode`.
    pub const NAME: &'static str = "FTFW";
    /// `ResendQueueSize`
    pub const RESEND_QUEUE_SIZE: u32 = 131_072;
    /// `ACKWindowSize`
    pub const ACK_WINDOW_SIZE: u32 = 300;
    /// `RefreshTime`
    pub const REFRESH_TIME_S: u32 = 60;
    /// `CacheTimeout`
    pub const CACHE_TIMEOUT_S: u32 = 180;
    /// `CommitTimeout`
    pub const COMMIT_TIMEOUT_S: Option<u32> = None;
    /// `PurgeTimeout`
    pub const PURGE_TIMEOUT_S: u32 = 60;
    /// `DisableInternalCache`
    pub const DISABLE_INTERNAL_CACHE: bool = false;
    /// `DisableExternalCache`
    pub const DISABLE_EXTERNAL_CACHE: bool = false;
    /// `StartupResync`
    pub const STARTUP_RESYNC: bool = false;
}

impl SyncMode {
    /// `CommitTimeout`
    #[must_use]
    pub const fn commit_timeout_s(&self) -> Option<u32> {
        match *self {
            Self::Ftfw { commit_timeout_s, .. }
            | Self::Alarm { commit_timeout_s, .. }
            | Self::NoTrack { commit_timeout_s, .. } => commit_timeout_s,
        }
    }

    /// `PurgeTimeout`
    #[must_use]
    pub const fn purge_timeout_s(&self) -> u32 {
        match *self {
            Self::Ftfw { purge_timeout_s, .. }
            | Self::Alarm { purge_timeout_s, .. }
            | Self::NoTrack { purge_timeout_s, .. } => purge_timeout_s,
        }
    }
}
