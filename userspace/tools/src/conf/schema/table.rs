//! The table. Rows stand in the order in which a block is best explained; error messages list them in this order.

use super::{Block, Body, Choice, Key, Keyword, Kind, Param, Standard, Value};
use crate::conf::model::{
    self, ExpectationSync, FilterSide, HelperConf, HelperPolicy, LOG_FILE_DEFAULT, LinkConf,
    OVERRUN_RESYNC_S_DEFAULT, STATS_LOG_FILE_DEFAULT, SYSLOG_DEFAULT, StatsConf, SyncMode,
    SyncOptions,
};
use Block::{
    Address, Alarm, File, Filter, Ftfw, General, Helper, HelperType, Log, Metrics, Multicast,
    NoTrack, Options, Policy, Scheduler, Stats, Subscribe, Sync, Tcp, Udp, Unix,
};

mod replication;
mod watching;

/// Every keyword of the language.
pub static KEYWORDS: &[Keyword] = &all();

/// Its parts, in the order of the table.
const PARTS: [&[Keyword]; 3] = [ROWS, watching::ROWS, replication::ROWS];
const COUNT: usize = PARTS[0].len() + PARTS[1].len() + PARTS[2].len();

const fn all() -> [Keyword; COUNT] {
    let mut all = [ROWS[0]; COUNT];
    let (mut part, mut row, mut at) = (0, 0, 0);
    while at < COUNT {
        if row == PARTS[part].len() {
            (part, row) = (part + 1, 0);
            continue;
        }
        all[at] = PARTS[part][row];
        (row, at) = (row + 1, at + 1);
    }
    all
}

const ROWS: &[Keyword] = &[
    // Top level
    keyword(Key::General, "General", &[File])
        .opens(Body::Block(General))
        .doc("Settings of the daemon as a whole."),
    keyword(Key::Sync, "Sync", &[File])
        .opens(Body::Block(Sync))
        .doc("Replicate flows to and from a peer."),
    keyword(Key::Stats, "Stats", &[File])
        .opens(Body::Block(Stats))
        .doc("Log flows that end. Cannot be combined with `Sync`."),
    keyword(Key::Log, "Log", &[File])
        .opens(Body::Block(Log))
        .doc("How lines are written, and which. Not in conntrack-tools."),
    keyword(Key::Helper, "Helper", &[File])
        .opens(Body::Block(Helper))
        .doc("Connection tracking helpers in user space."),
    keyword(Key::Metrics, "Metrics", &[File]).opens(Body::Block(Metrics)).doc(
        "Serve metrics and readiness over HTTP: `GET /metrics`, `/ready`, `/-/healthy` (docs/spec/metrics.md). \
             Not in conntrack-tools.",
    ),
    keyword(Key::Subscribe, "Subscribe", &[File]).opens(Body::Block(Subscribe)).doc(
        "Send every change of the tables to the readers of a socket: `ctflow subscribe` and other programs \
         (`docs/spec/feed.md`). It is read-only. Not in conntrack-tools.",
    ),
    // General
    watching::EVENT_SOURCE,
    keyword(Key::HashSize, "HashSize", &[General])
        .takes(Kind::Number { min: 1, max: HASH_SIZE_MAX })
        .default(|| model::General::default().hash_size.into())
        .doc(
            "Room made at the start in the index of each flow table: for twice as many flows, but no \
             more than `HashLimit`. A table that is full of flows grows by itself. On SIGHUP a change \
             of this alone takes effect with the next engine, which the log says.",
        ),
    keyword(Key::HashLimit, "HashLimit", &[General])
        .takes(POSITIVE)
        .default(|| model::General::default().hash_limit.into())
        .doc("Most flows that each flow table may hold."),
    keyword(Key::LogFile, "LogFile", &[General])
        .takes(SWITCH_OR_PATH)
        .default(|| model::General::default().log_file.into())
        .doc("Log to a file.")
        .on(|| Value::Path(LOG_FILE_DEFAULT.into())),
    keyword(Key::Syslog, "Syslog", &[General, Stats])
        .takes(SWITCH_OR_NAME)
        .default(|| model::General::default().syslog.into())
        .doc("Log to syslog, as a facility: `daemon`, or `local0` to `local7`.")
        .on(|| Some(SYSLOG_DEFAULT).into()),
    keyword(Key::LockFile, "LockFile", &[General])
        .takes(Kind::Path(256))
        .default(|| Value::Path(model::General::default().lock_file))
        .doc("File that keeps a second daemon from starting."),
    keyword(Key::Unix, "UNIX", &[General]).opens(Body::Block(Unix)).doc(
        "The control socket. Without it the daemon runs, and takes neither questions nor commands.",
    ),
    keyword(Key::NetlinkBufferSize, "NetlinkBufferSize", &[General])
        .takes(SIZE)
        .aliases(&["SocketBufferSize"])
        .default_or(|| model::General::default().netlink_buffer_size.map(Value::from), "the kernel's")
        .doc("Receive buffer of the event socket, in bytes."),
    keyword(Key::NetlinkBufferSizeMaxGrowth, "NetlinkBufferSizeMaxGrowth", &[General])
        .takes(SIZE)
        .aliases(&["SocketBufferSizeMaxGrowth", "SocketBufferSizeMaxGrown"])
        .default(|| model::General::default().netlink_buffer_size_max_growth.into())
        .doc("How far that buffer may grow by doubling when it overflows, in bytes."),
    keyword(Key::NetlinkOverrunResync, "NetlinkOverrunResync", &[General])
        .takes(SWITCH_OR_SECONDS)
        .default(|| { model::General::default().netlink_overrun_resync_s.map_or(false.into(), Value::from) })
        .doc(
            "After lost events, read the whole kernel table again this many seconds after the last \
             of them, and ten seconds later than that at most where losses go on.",
        )
        .on(|| OVERRUN_RESYNC_S_DEFAULT.into()),
    keyword(Key::NetlinkEventsReliable, "NetlinkEventsReliable", &[General])
        .takes(Kind::Bool)
        .default(|| model::General::default().netlink_events_reliable.into())
        .doc(EVENTS_RELIABLE),
    keyword(Key::PollSecs, "PollSecs", &[General])
        .takes(POSITIVE)
        .default_or(|| model::General::default().poll_s.map(Value::from), "event-driven")
        .doc("Read the kernel table every so many seconds instead of listening to events."),
    keyword(Key::EventIterationLimit, "EventIterationLimit", &[General])
        .takes(POSITIVE)
        .default(|| model::General::default().event_iteration_limit.into())
        .doc("About how many kernel events are handled before the network and control clients get a turn."),
    watching::EVENT_LATENCY,
    keyword(Key::Shards, "Shards", &[General])
        .takes(Kind::Number { min: 1, max: 64 })
        .default(|| model::General::default().shards.into())
        .doc(
            "Threads that share the flows. With more than one, a thread of its own reads the events \
             and hands each to the one whose flow it is about, and all are bound to CPUs. That pays \
             where one CPU cannot keep up and others are idle; otherwise one is faster. Each reads \
             the kernel's whole table, at the start and after losses, and may hold an eighth more \
             than its share of `HashLimit`, and of `RemoteLimit`. In `Sync` with `Replication` alone: each \
             then tells its flows in streams of its own, and peers may have other numbers. Not in \
             conntrack-tools.",
        ),
    keyword(Key::Systemd, "Systemd", &[General])
        .takes(Kind::Bool)
        .default(|| model::General::default().systemd.into())
        .doc("Tell systemd about readiness and feed its watchdog."),
    keyword(Key::Scheduler, "Scheduler", &[General])
        .opens(Body::Block(Scheduler))
        .doc(
            "Real-time scheduling of the threads that keep tables and serve helpers. Without it they \
             are scheduled as any other, while conntrack-tools' daemon runs in real time: on a machine \
             with no idle CPU, a packet then waits in a helper's queue until it is the thread's turn.",
        ),
    keyword(Key::User, "User", &[General])
        .takes(AUTO_OR_NAME)
        .default(|| Value::Choice("auto"))
        .doc(
            "The user that the daemon becomes when all is open, with no other capability left than \
             `CAP_NET_ADMIN`. `auto` is `ctflow`, the user of the package of that name, if there is such a user and \
             the daemon began as root or as that user; elsewhere nothing changes. `root` changes nothing. The log \
             file, the lock file and the control socket are opened before; what the user may not open again or \
             remove is named in the log. Taken at the start of the daemon, not on SIGHUP. Not in conntrack-tools.",
        ),
    keyword(Key::UserGroup, "Group", &[General])
        .takes(Kind::Name)
        .default_or(|| None, "the user's own")
        .doc(
            "The group that the daemon takes along with that user. It leaves all others. Not in conntrack-tools.",
        ),
    keyword(Key::Filter, "Filter", &[General])
        .may_take(Param { lead: Some("From"), ..param(FILTER_SIDE) })
        .opens(Body::Block(Filter))
        .default(|| Value::Choice(FilterSide::default().name()))
        .doc("Which flows to look at, and who sorts them out."),
    keyword(Key::Nice, "Nice", &[General])
        .takes(Kind::Signed)
        .deprecated("it has no effect; use nice(1) or renice(1)")
        .doc("Without effect."),
    // UNIX
    keyword(Key::Path, "Path", &[Unix]).takes(Kind::Path(107)).doc(
        "The socket's path. Beside it lies a file of that name with `.lock` behind it, which keeps a \
         second daemon away.",
    ),
    keyword(Key::Backlog, "Backlog", &[Unix])
        .takes(ANY)
        .deprecated("it has no effect")
        .doc("Without effect."),
    // Scheduler
    keyword(Key::SchedulerType, "Type", &[Scheduler])
        .takes(SCHEDULER)
        .default(|| Value::Choice(model::Scheduler::default().policy.name()))
        .doc("The policy, see sched(7)."),
    keyword(Key::Priority, "Priority", &[Scheduler])
        .takes(Kind::Number { min: 0, max: 99 })
        .default(|| Value::Number(model::Scheduler::default().priority.into()))
        .doc("The priority."),
    // Filter
    keyword(Key::Protocol, "Protocol", &[Filter])
        .takes(POLICY)
        .opens(Body::List { item: Kind::Name, trailer: &[] })
        .repeats()
        .doc("Layer-4 protocols, by name or number."),
    keyword(Key::Address, "Address", &[Filter])
        .takes(POLICY)
        .opens(Body::Block(Address))
        .repeats()
        .doc("Addresses, compared with the original source and the reply source of a flow."),
    keyword(Key::State, "State", &[Filter])
        .takes(POLICY)
        .opens(Body::List { item: TCP_STATE, trailer: &["for", "TCP"] })
        .repeats()
        .doc(
            "TCP states; flows of other protocols always pass. News in another state is not taken; \
             the end of a flow that was let in always is.",
        ),
    keyword(Key::SourcePort, "SourcePort", &[Filter])
        .takes(POLICY)
        .opens(Body::List { item: Kind::Interval(65535), trailer: &[] })
        .repeats()
        .doc(
            "Source ports of the original direction; flows of protocols without ports always pass.",
        ),
    keyword(Key::DestinationPort, "DestinationPort", &[Filter])
        .takes(POLICY)
        .opens(Body::List { item: Kind::Interval(65535), trailer: &[] })
        .repeats()
        .doc(
            "Destination ports of the original direction; flows of protocols without ports always \
             pass.",
        ),
    keyword(Key::Zone, "Zone", &[Filter])
        .takes(POLICY)
        .opens(Body::List { item: Kind::Interval(65535), trailer: &[] })
        .repeats()
        .doc("Conntrack zones; 0 is the default zone."),
    keyword(Key::Mark, "Mark", &[Filter])
        .takes(POLICY)
        .opens(Body::List { item: Kind::Mark, trailer: &[] })
        .repeats()
        .doc(
            "Marks of connections, at most 16. News of a flow that has another mark is not taken; a \
             flow comes in when its mark becomes one that passes, and its end always does once it \
             was let in.",
        ),
    keyword(Key::MinimumAge, "MinimumAge", &[Filter])
        .takes(Kind::Number { min: 0, max: 3_600_000 })
        .doc(
            "How old a flow must be to count, in milliseconds. One that ends before is never spoken \
             of; one that grows older comes in with its next event, or without one a quarter of that \
             time and a fifth of a second later at most. Reading the kernel's table (at start, \
             `-R`, after losses) takes in what it shows, however young. The event source judges it, wherever \
             the other filters run; a reload that adds it restarts the engine.",
        ),
    keyword(Key::Sample, "Sample", &[Filter])
        .takes(Kind::Share)
        .doc(
            "Look at one flow in N only. Which ones depends on addresses, ports and zone alone, so a \
             flow is in it from its beginning to its end, on every machine and with every event \
             source, and 1/16 is a part of 1/8.",
        ),
    // Address
    keyword(Key::Ipv4Address, "IPv4_address", &[Address])
        .takes(Kind::Ipv4Prefix)
        .repeats()
        .doc("An IPv4 address or network."),
    keyword(Key::Ipv6Address, "IPv6_address", &[Address])
        .takes(Kind::Ipv6Prefix)
        .repeats()
        .doc("An IPv6 address or network."),
    // Sync
    keyword(Key::Mode, "Mode", &[Sync])
        .takes(MODE)
        .opens(Body::ByChoice(&[("FTFW", Ftfw), ("ALARM", Alarm), ("NOTRACK", NoTrack)]))
        .default(|| Value::Choice(SyncMode::NAME))
        .doc(
            "The replication protocol: reliable (FTFW), repeating (ALARM) or best effort \
             (NOTRACK).",
        ),
    keyword(Key::Multicast, "Multicast", &[Sync])
        .may_take(param(DEFAULT))
        .opens(Body::Block(Multicast))
        .repeats()
        .doc("A dedicated link over UDP multicast."),
    keyword(Key::Udp, "UDP", &[Sync])
        .may_take(param(DEFAULT))
        .opens(Body::Block(Udp))
        .repeats()
        .doc("A dedicated link over UDP to one peer."),
    keyword(Key::Tcp, "TCP", &[Sync])
        .may_take(param(DEFAULT))
        .opens(Body::Block(Tcp))
        .repeats()
        .doc("A dedicated link over TCP to one peer."),
    keyword(Key::Options, "Options", &[Sync])
        .opens(Body::Block(Options))
        .doc("What else is replicated."),
    keyword(Key::Replication, "Replication", &[Sync]).opens(Body::Block(Block::Replication)).doc(
        "Replication, version 2: several nodes, authenticated and sealed, over any path. Beside `Mode` \
         and links for a migration, else alone. This build cannot start it yet. Not in conntrack-tools.",
    ),
    // Modes
    keyword(Key::ResendQueueSize, "ResendQueueSize", &[Ftfw])
        .takes(POSITIVE)
        .default(|| SyncMode::RESEND_QUEUE_SIZE.into())
        .doc("Most messages kept until the peer confirms them."),
    keyword(Key::AckWindowSize, "ACKWindowSize", &[Ftfw])
        .takes(POSITIVE)
        .default(|| SyncMode::ACK_WINDOW_SIZE.into())
        .doc("Messages per acknowledgement."),
    keyword(Key::RefreshTime, "RefreshTime", &[Alarm, Sync])
        .takes(POSITIVE)
        .default(|| SyncMode::REFRESH_TIME_S.into())
        .doc("Send a flow that did not change again after at most this many seconds. ALARM only."),
    keyword(Key::CacheTimeout, "CacheTimeout", &[Alarm, Sync])
        .takes(POSITIVE)
        .default(|| SyncMode::CACHE_TIMEOUT_S.into())
        .doc("Forget a flow of the peer that was not heard of for this many seconds. ALARM only."),
    keyword(Key::CommitTimeout, "CommitTimeout", &[Ftfw, Alarm, NoTrack, Sync])
        .takes(POSITIVE)
        .default_or(|| SyncMode::COMMIT_TIMEOUT_S.map(Value::from), "the peer's, less the time since")
        .doc(
            "Timeout in seconds of flows that this node takes over. A flow whose lifetime the peer \
             did not tell, because its configuration has this setting, gets 60 seconds where this \
             node's has not.",
        ),
    keyword(Key::PurgeTimeout, "PurgeTimeout", &[Ftfw, Alarm, NoTrack, Sync])
        .takes(ANY)
        .default(|| SyncMode::PURGE_TIMEOUT_S.into())
        .doc("Seconds between `conntrackd -t` and the flush of the kernel table."),
    keyword(Key::DisableInternalCache, "DisableInternalCache", &[NoTrack])
        .takes(Kind::Bool)
        .default(|| SyncMode::DISABLE_INTERNAL_CACHE.into())
        .doc("Keep no table of the own flows; events go straight to the peer."),
    keyword(Key::DisableExternalCache, "DisableExternalCache", &[Ftfw, NoTrack])
        .takes(Kind::Bool)
        .default(|| SyncMode::DISABLE_EXTERNAL_CACHE.into())
        .doc(
            "Keep no table of the peer's flows; they go straight into the kernel. What is remembered of them, about \
             100 bytes of each and no more flows than `HashLimit`, is which flows of the kernel are the peer's. \
             `conntrackd -f external` changes nothing about them.",
        ),
    keyword(Key::StartupResync, "StartupResync", &[Ftfw, NoTrack])
        .takes(Kind::Bool)
        .default(|| SyncMode::STARTUP_RESYNC.into())
        .doc("Ask the peer for its whole table at the start."),
    // Links
    keyword(Key::Interface, "Interface", &[Multicast, Udp, Tcp])
        .takes(Kind::Interface)
        .doc("The interface of the link; its MTU and state are watched. Required."),
    keyword(Key::Ipv4Address, "IPv4_address", &[Multicast])
        .takes(Kind::Ipv4)
        .doc("The IPv4 group to join and to send to."),
    keyword(Key::Ipv6Address, "IPv6_address", &[Multicast])
        .takes(Kind::Ipv6)
        .doc("The IPv6 group to join and to send to."),
    keyword(Key::Ipv4Address, "IPv4_address", &[Udp, Tcp])
        .takes(Kind::Ipv4)
        .doc("This node's IPv4 address on the link."),
    keyword(Key::Ipv6Address, "IPv6_address", &[Udp, Tcp])
        .takes(Kind::Ipv6)
        .doc("This node's IPv6 address on the link."),
    keyword(Key::Ipv4Destination, "IPv4_Destination_Address", &[Udp, Tcp])
        .takes(Kind::Ipv4)
        .doc("The peer's IPv4 address on the link."),
    keyword(Key::Ipv6Destination, "IPv6_Destination_Address", &[Udp, Tcp])
        .takes(Kind::Ipv6)
        .doc("The peer's IPv6 address on the link."),
    keyword(Key::Ipv4Interface, "IPv4_interface", &[Multicast])
        .takes(Kind::Ipv4)
        .doc("This node's IPv4 address on the link."),
    keyword(Key::Ipv6Interface, "IPv6_interface", &[Multicast])
        .takes(Kind::Ipv6)
        .deprecated("it has no effect; `Interface` says it all")
        .doc("Without effect."),
    keyword(Key::Group, "Group", &[Multicast]).takes(PORT).doc("The UDP port. Required."),
    keyword(Key::Port, "Port", &[Udp, Tcp])
        .takes(PORT)
        .doc("The port, the same on both nodes. Required."),
    keyword(Key::SndSocketBuffer, "SndSocketBuffer", &[Multicast, Udp, Tcp])
        .takes(SIZE)
        .default_or(|| LinkConf::SND_BUFFER.map(Value::from), "the kernel's")
        .doc("Send buffer, in bytes."),
    keyword(Key::RcvSocketBuffer, "RcvSocketBuffer", &[Multicast, Udp, Tcp])
        .takes(SIZE)
        .default_or(|| LinkConf::RCV_BUFFER.map(Value::from), "the kernel's")
        .doc("Receive buffer, in bytes."),
    keyword(Key::Checksum, "Checksum", &[Multicast, Udp, Tcp])
        .takes(Kind::Bool)
        .default(|| LinkConf::CHECKSUM.into())
        .doc(
            "Protect messages with the transport's checksum. Only UDP over IPv4 can do without; \
             elsewhere `off` has no effect, with a warning.",
        ),
    keyword(Key::ErrorQueueLength, "ErrorQueueLength", &[Tcp])
        .takes(POSITIVE)
        .default(|| LinkConf::ERROR_QUEUE_LEN.into())
        .doc("Most messages kept while the peer is not connected."),
    // Options
    keyword(Key::TcpWindowTracking, "TCPWindowTracking", &[Options])
        .takes(Kind::Bool)
        .default(|| SyncOptions::default().tcp_window_tracking.into())
        .doc(
            "Replicate TCP window scaling, so that the kernel checks sequence numbers of flows \
             taken over.",
        ),
    keyword(Key::ExpectationSync, "ExpectationSync", &[Options])
        .takes(Kind::Bool)
        .opens(Body::ListInstead(Kind::Name))
        .default(|| (SyncOptions::default().expectation_sync != ExpectationSync::Off).into())
        .doc(
            "Replicate expectations: all of them, or those of helpers whose names begin like one \
             in braces, in any case. Without it, those of the peer are taken, but not committed.",
        ),
    // Stats
    keyword(Key::LogFile, "LogFile", &[Stats])
        .takes(SWITCH_OR_PATH)
        .default(|| StatsConf::default().log_file.into())
        .doc("Log ended flows to a file.")
        .on(|| Value::Path(STATS_LOG_FILE_DEFAULT.into())),
    keyword(Key::NetlinkEventsReliable, "NetlinkEventsReliable", &[Stats])
        .takes(Kind::Bool)
        .default_or(|| None, "as in `General`")
        .doc(EVENTS_RELIABLE),
    // Helper
    keyword(Key::Setup, "Setup", &[Helper])
        .takes(Kind::Bool)
        .default(|| HelperConf::default().setup.into())
        .doc("Create the kernel's helper objects too, so that `nfct` is not needed."),
    keyword(Key::HelperDisableOnExit, "HelperDisableOnExit", &[Helper])
        .takes(Kind::Bool)
        .default(|| HelperConf::default().disable_on_exit.into())
        .doc(
            "Disable the kernel's helper objects when the daemon ends; its next start enables them. With `off` they \
             stay as they are, which is what conntrack-tools does: packets pass without help, but the kernel tracks no \
             new flow of these protocols meanwhile, so a firewall that accepts what is established refuses the answers \
             (seen on 6.1 and 6.12). The same holds after a daemon was killed; `nfct disable helper` ends it.",
        ),
    keyword(Key::HelperType, "Type", &[Helper])
        .takes(Kind::Name)
        .takes(HELPER_FAMILY)
        .takes(HELPER_PROTOCOL)
        .opens(Body::Block(HelperType))
        .repeats()
        .doc("One helper."),
    keyword(Key::QueueNum, "QueueNum", &[HelperType])
        .takes(Kind::Number { min: 0, max: 65535 })
        .doc("The NFQUEUE it listens to. Required."),
    keyword(Key::QueueLen, "QueueLen", &[HelperType])
        .takes(POSITIVE)
        .default(|| model::HelperType::QUEUE_LEN.into())
        .doc("Most packets that wait in that queue."),
    keyword(Key::Policy, "Policy", &[HelperType])
        .takes(Kind::Name)
        .opens(Body::Block(Policy))
        .doc("Limits of the expectations it makes."),
    keyword(Key::ExpectMax, "ExpectMax", &[Policy])
        .takes(Kind::Number { min: 0, max: 255 })
        .default_or(|| HelperPolicy::default().expect_max.map(Value::from), "the helper's own")
        .doc("Most expectations of one flow at a time; 0 is no limit."),
    keyword(Key::ExpectTimeout, "ExpectTimeout", &[Policy])
        .takes(ANY)
        .default_or(|| HelperPolicy::default().expect_timeout_s.map(Value::from), "the helper's own")
        .doc("Life of an expectation in seconds."),
];

const EVENTS_RELIABLE: &str =
    "Let the kernel keep events that do not fit into the buffer instead of dropping them.";
const ANY: Kind = Kind::Number { min: 0, max: u32::MAX };
const POSITIVE: Kind = Kind::Number { min: 1, max: u32::MAX };
/// A size that `setsockopt` takes.
const SIZE: Kind = Kind::Number { min: 0, max: i32::MAX as u32 };
/// An index for twice as many flows takes a gigabyte.
const HASH_SIZE_MAX: u32 = 1 << 26;
const PORT: Kind = Kind::Number { min: 1, max: 65535 };
const SWITCH_OR_PATH: Kind = Kind::OneOf(&[Kind::Bool, Kind::Path(256)]);
const SWITCH_OR_NAME: Kind = Kind::OneOf(&[Kind::Bool, Kind::Name]);
const LOG_FORMAT: Kind = Kind::Choice { words: &[word("plain"), word("json")], any_case: true };
const LOG_JOURNAL: Kind =
    Kind::Choice { words: &[word("auto"), word("on"), word("off")], any_case: true };
const LOG_LEVEL: Kind = Kind::Choice {
    words: &[word("info"), word("notice"), word("warning"), word("error")],
    any_case: true,
};
const AUTO_OR_NAME: Kind = Kind::OneOf(&[AUTO, Kind::Name]);
const AUTO: Kind = Kind::Choice { words: &[word("auto")], any_case: true };
const SWITCH_OR_SECONDS: Kind = Kind::OneOf(&[Kind::Bool, ANY]);
const POLICY: Kind = Kind::Choice { words: &[word("Accept"), word("Ignore")], any_case: false };
const FILTER_SIDE: Kind =
    Kind::Choice { words: &[word("Userspace"), word("Kernelspace")], any_case: false };
const SCHEDULER: Kind = Kind::Choice { words: &[word("RR"), word("FIFO")], any_case: true };
const EVENT_SOURCE: Kind = Kind::Choice {
    words: &[word("auto"), word("hook"), word("tap"), word("netlink")],
    any_case: true,
};
const NETWORK: Kind = Kind::OneOf(&[Kind::Ipv4Prefix, Kind::Ipv6Prefix]);
const PER_CPU: Kind =
    Kind::Choice { words: &[word("auto"), word("on"), word("off")], any_case: true };
const DEFAULT: Kind = Kind::Choice { words: &[word("Default")], any_case: false };
const HELPER_FAMILY: Kind = Kind::Choice { words: &[word("inet"), word("inet6")], any_case: false };
const HELPER_PROTOCOL: Kind = Kind::Choice { words: &[word("tcp"), word("udp")], any_case: false };
const MODE: Kind = Kind::Choice {
    words: &[
        Choice { name: "FTFW", aliases: &[("NACK", Some("this mode is called FTFW"))] },
        Choice { name: "ALARM", aliases: &[("PERSISTENT", Some("this mode is called ALARM"))] },
        word("NOTRACK"),
    ],
    any_case: true,
};
const TCP_STATE: Kind = Kind::Choice {
    words: &[
        word("SYN_SENT"),
        word("SYN_RECV"),
        word("ESTABLISHED"),
        word("FIN_WAIT"),
        word("CLOSE_WAIT"),
        word("LAST_ACK"),
        word("TIME_WAIT"),
        Choice { name: "CLOSED", aliases: &[("CLOSE", None)] },
        word("LISTEN"),
    ],
    any_case: false,
};

const fn word(name: &'static str) -> Choice {
    Choice { name, aliases: &[] }
}

const fn param(kind: Kind) -> Param {
    Param { lead: None, kind, optional: false }
}

const fn keyword(key: Key, name: &'static str, places: &'static [Block]) -> Keyword {
    Keyword {
        key,
        name,
        aliases: &[],
        places,
        params: [None; 3],
        body: Body::None,
        repeats: false,
        default: Standard::Unsaid,
        on: None,
        deprecated: None,
        doc: "",
    }
}

/// How rows are written: each says one more thing about the keyword.
impl Keyword {
    const fn takes(mut self, kind: Kind) -> Self {
        let free = match self.params {
            [None, ..] => 0,
            [_, None, _] => 1,
            _ => 2,
        };
        self.params[free] = Some(param(kind));
        self
    }

    const fn may_take(mut self, param: Param) -> Self {
        self.params[0] = Some(Param { optional: true, ..param });
        self
    }

    const fn opens(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn repeats(mut self) -> Self {
        self.repeats = true;
        self
    }

    const fn default(mut self, value: fn() -> Value) -> Self {
        self.default = Standard::Value(value);
        self
    }

    const fn default_or(mut self, value: fn() -> Option<Value>, rule: &'static str) -> Self {
        self.default = Standard::Rule(value, rule);
        self
    }

    const fn on(mut self, value: fn() -> Value) -> Self {
        self.on = Some(value);
        self
    }

    const fn deprecated(mut self, why: &'static str) -> Self {
        self.deprecated = Some(why);
        self
    }

    const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}
