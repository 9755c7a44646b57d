//! The keywords of what watches the daemon: `Metrics`, `Log`, `Subscribe`, `Failures`; and how soon events are
//! reported.

use super::Block::{Failures, File, General, Log, Metrics, Subscribe};
use super::{
    Body, Key, Keyword, Kind, LOG_FORMAT, LOG_JOURNAL, LOG_LEVEL, NETWORK, PER_CPU, Value, keyword,
};
use crate::conf::model::{self, FailuresConf, LogConf, MetricsConf, SubscribeConf};

/// A tenth of a second: longer ones would be taken for a daemon that hangs.
const EVENT_LATENCY_MAX_US: u32 = 100_000;

pub(super) const EVENT_LATENCY: Keyword = keyword(Key::EventLatency, "EventLatency", &[General])
    .takes(Kind::Number { min: 0, max: EVENT_LATENCY_MAX_US })
    .default_or(|| None, "50 with a peer, 1600 without")
    .doc(
        "How many microseconds events may gather while they stream in, some thousand of them in a second \
         or more. Events that come one by one never wait. A longer time costs less CPU, because the \
         daemon runs less often, and states of one flow that follow each other are sent as one; a shorter one \
         tells the peer sooner. With 0 each event wakes the daemon. `ctflow bench growth-latency` \
         shows both on the machine at hand. Not in conntrack-tools.",
    );

pub(super) const EVENT_SOURCE: Keyword = keyword(Key::EventSource, "EventSource", &[General])
        .takes(super::EVENT_SOURCE)
        .default(|| Value::Choice(model::General::default().event_source.name()))
        .doc(
        "Where flow events are heard: `netlink` is the kernel's event socket, `tap` the eBPF tap on it, `auto` the \
             tap where the kernel has what it needs and the socket elsewhere. `hook` looks at packets where the \
             kernel is about to confirm their flows and receives ends alone as events, which spares the kernel most \
             of the work; where it cannot run it falls back as `auto` does. It learns what other programs do to \
             flows (`conntrack -I`, `conntrack -U`) with the flow's next packet, or when the table is read to see that \
             both are alike: once a minute, or so seldom that it takes 0.5 percent of the time. `auto` changes to the \
             hook while flows begin or change more than 1,000 times a second and there are fewer than 5 packets for \
             each time, and back to the tap while there are more than 8, or it happens less than 500 times a second; \
             the log says so. It stays with the tap if there is `DisableInternalCache` or `NetlinkEventsReliable`. \
             Not in conntrack-tools.",
    );

pub(super) const ROWS: &[Keyword] = &[
    // Metrics
    keyword(Key::Listen, "Listen", &[Metrics]).takes(Kind::Endpoint).repeats().doc(
        "Where to listen, at most four times; nothing listens unless asked. A path is a socket that the owner and \
             the group of the daemon may use. An address that cannot be had is warned of and tried again every ten \
             seconds; the daemon runs all the same.",
    ),
    keyword(Key::Allow, "Allow", &[Metrics])
        .opens(Body::List { item: NETWORK, trailer: &[] })
        .repeats()
        .doc("Addresses and networks that may ask over TCP; without it, everybody who reaches the address."),
    keyword(Key::PerCpu, "PerCpu", &[Metrics])
        .takes(PER_CPU)
        .default(|| Value::Choice(MetricsConf::default().per_cpu.name()))
        .doc("Whether the kernel's counters are exported for each CPU; `auto`: on machines with at most 32."),
    keyword(Key::SeriesMax, "SeriesMax", &[Metrics])
        .takes(Kind::Number { min: 100, max: 1_000_000 })
        .default(|| MetricsConf::default().series_max.into())
        .doc("Most time series of an answer; what is beyond is left out, whole metrics, and counted."),
    keyword(Key::Census, "Census", &[Metrics])
        .takes(Kind::Number { min: 0, max: 3600 })
        .default(|| MetricsConf::default().census_s.into())
        .doc("Seconds between two counts of the table by zone, protocol and state, in slices between events; 0: none."),
    keyword(Key::ZonesMax, "ZonesMax", &[Metrics])
        .takes(Kind::Number { min: 0, max: 256 })
        .default(|| MetricsConf::default().zones_max.into())
        .doc("Most zones that have numbers of their own, those with the most flows; the others are `zone=\"other\"`."),
    keyword(Key::Class, "Class", &[Metrics])
        .takes(Kind::Name)
        .opens(Body::List { item: Kind::Name, trailer: &[] })
        .repeats()
        .doc(
            "Flows to count under a name of their own (`ctflow_class_flows`), with each census: a filter \
             (docs/spec/filter.md) over what a flow keeps, in quotes where it has braces or commas. At most 32.",
        ),
    // Log
    keyword(Key::LogFormat, "Format", &[Log])
        .takes(LOG_FORMAT)
        .default(|| Value::Choice(LogConf::default().format.name()))
        .doc(
            "How lines look in the file and on the terminal: `plain`, or `json` with one object a line, with a \
             code that stays and fields (docs/spec/log.md). The log of ended flows stays as it is.",
        ),
    keyword(Key::LogJournal, "Journal", &[Log])
        .takes(LOG_JOURNAL)
        .default(|| Value::Choice(LogConf::default().journal.name()))
        .doc(
            "Whether lines go to journald with code and fields. `auto`: where standard error is connected to it; they \
             do not go to the terminal then.",
        ),
    keyword(Key::LogLevel, "Level", &[Log])
        .takes(LOG_LEVEL)
        .default(|| Value::Choice(LogConf::default().level.name()))
        .doc("Lines that matter less are not written."),
    // Subscribe
    keyword(Key::Path, "Path", &[Subscribe])
        .takes(Kind::Path(107))
        .default(|| Value::Path(SubscribeConf::default().path))
        .doc("The socket's path."),
    keyword(Key::SocketGroup, "Group", &[Subscribe])
        .takes(Kind::Name)
        .default(|| Value::Name(SubscribeConf::default().group))
        .doc("The group that the socket belongs to. Without a group `ctflow` it stays with the daemon's own."),
    keyword(Key::SocketMode, "Mode", &[Subscribe])
        .takes(Kind::Name)
        .default(|| Value::Name(format!("{:04o}", SubscribeConf::default().mode)))
        .doc("Who may connect: permissions of the socket, octal."),
    keyword(Key::ClientsMax, "ClientsMax", &[Subscribe])
        .takes(Kind::Number { min: 1, max: 256 })
        .default(|| SubscribeConf::default().clients_max.into())
        .doc("Most clients at once. One more is refused, and counted."),
    keyword(Key::QueueSize, "QueueSize", &[Subscribe])
        .takes(Kind::Number { min: 65_536, max: i32::MAX as u32 })
        .default(|| SubscribeConf::default().queue_size.into())
        .doc(
            "Most bytes that wait for a client that reads too slowly. What does not fit is lost for it \
             alone, and it receives the number of lost records of each kind.",
        ),
    keyword(Key::MemoryMax, "MemoryMax", &[Subscribe])
        .takes(Kind::Number { min: 1 << 20, max: i32::MAX as u32 })
        .default(|| SubscribeConf::default().memory_max.into())
        .doc("Most bytes that wait for all clients: with many, each has a smaller queue."),
    // Failures
    keyword(Key::Failures, "Failures", &[File]).opens(Body::Block(Failures)).doc(
        "Tell what the kernel refuses, drops and evicts, and why: in the feed (`ctflow subscribe --events \
             failure`), in metrics, and in the log. Nothing of it runs for a packet that fares well. Taken at the \
             start of the daemon. Not in conntrack-tools.",
    ),
    keyword(Key::Report, "Report", &[Failures])
        .takes(PER_CPU)
        .default(|| Value::Choice(FailuresConf::default().report.name()))
        .doc(
            "Whether eBPF programs look at what fails, so that it is reported with addresses and ports. `auto`: as far \
             as the kernel and the rights of the daemon allow it; `on`: the same, with a warning where they do not; \
             `off`: the kernel's counters alone. What no program sees is reported as a number.",
        ),
    keyword(Key::EventsPerSecond, "EventsPerSecond", &[Failures])
        .takes(Kind::Number { min: 1, max: 10_000 })
        .default(|| FailuresConf::default().events_per_second.into())
        .doc("Most failures of one reason that each CPU tells with addresses; those beyond are counted."),
    keyword(Key::LogEvery, "LogEvery", &[Failures])
        .takes(Kind::Number { min: 1, max: 86_400 })
        .default(|| FailuresConf::default().log_every_s.into())
        .doc("Seconds between two lines of the log about one reason."),
];
