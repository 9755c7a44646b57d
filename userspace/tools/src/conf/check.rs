//! The tree to a [`Conf`]: what the settings mean together. Whatever the grammar can say is known to be right here.

mod files;
mod filter;
mod helper;
mod metrics;
mod replication;
mod sync;

use crate::conf::diagnostic::{Findings, Source, Span, quoted};
use crate::conf::model::{
    Conf, EventSource, Facility, FailuresConf, General, LOG_FILE_DEFAULT, LogConf, LogFile,
    LogFormat, LogJournal, LogLevel, ModeConf, OVERRUN_RESYNC_S_DEFAULT, Report,
    STATS_LOG_FILE_DEFAULT, SYSLOG_DEFAULT, Scheduler, SchedulerPolicy, StatsConf, SubscribeConf,
};
use crate::conf::parser::Node;
use crate::conf::schema::{Key, Value};
use std::path::PathBuf;

/// The configuration that the keywords of the top level describe. It is of use only if there is no
/// error.
#[must_use]
pub fn check(source: &Source<'_>, nodes: &[Node], found: &mut Findings) -> Conf {
    Checker { source, found }.conf(nodes)
}

struct Checker<'a> {
    source: &'a Source<'a>,
    found: &'a mut Findings,
}

impl Checker<'_> {
    fn conf(&mut self, nodes: &[Node]) -> Conf {
        let mut conf = Conf::default();
        let block = |key| nodes.iter().find(|node| node.keyword.key == key);
        if let Some(node) = block(Key::General) {
            conf.general = self.general(&node.block);
        }
        if conf.general.unix_path.is_none() {
            let message = "there is no control socket: the daemon cannot be asked or told anything";
            let at = block(Key::General).map_or_else(Span::default, |node| node.span);
            self.warn(at, message, "expected `UNIX { Path /run/conntrackd.sock }`, for example");
        }
        conf.mode = self.mode(block(Key::Sync), block(Key::Stats), block(Key::Helper).is_some());
        let general = block(Key::General).map(|node| node.block.as_slice());
        if let (Some(sync), Some(node)) =
            (block(Key::Sync), general.and_then(|nodes| last(nodes, Key::Shards)))
            && node.number() > 1
            && speaks_version1(sync)
        {
            let source = self.source;
            self.found.error(|| {
                let error = source.error(node.span, "`Sync` works with one shard only".to_owned());
                let label = "expected 1: the replication protocol knows one speaker with one \
                             sequence of numbers";
                error.label(label).context(sync.span, "replication is asked for here")
            });
        }
        let of_stats = block(Key::Stats).into_iter().flat_map(|node| &node.block);
        for node in of_stats.filter(|node| node.keyword.key == Key::NetlinkEventsReliable) {
            conf.general.netlink_events_reliable = node.flag();
        }
        conf.metrics = block(Key::Metrics).map(|node| self.metrics(node));
        conf.log = block(Key::Log).map(|node| log(&node.block)).unwrap_or_default();
        conf.helper = block(Key::Helper).map(|node| self.helper(&node.block));
        conf.failures = block(Key::Failures).map(|node| failures(&node.block));
        conf.subscribe = block(Key::Subscribe).map(|node| self.subscribe(&node.block));
        conf.files = files::named(self.source, nodes);
        conf
    }

    fn mode(&mut self, sync: Option<&Node>, stats: Option<&Node>, helps: bool) -> ModeConf {
        match (sync, stats) {
            (Some(sync), None) => ModeConf::Sync(self.sync(sync)),
            (None, Some(stats)) => ModeConf::Stats(self.stats(&stats.block)),
            (Some(sync), Some(stats)) => {
                let source = self.source;
                self.found.error(|| {
                    let message = "`Sync` and `Stats` cannot be used together".to_owned();
                    let error = source.error(stats.span, message).label("keep one of them");
                    error.context(sync.span, "the other one")
                });
                ModeConf::default()
            }
            (None, None) if helps => ModeConf::Helper,
            (None, None) => {
                let message = "neither `Sync` nor `Stats` is given";
                self.warn(Span::default(), message, "running as if `Stats { }` were");
                ModeConf::default()
            }
        }
    }

    fn general(&mut self, nodes: &[Node]) -> General {
        let mut general = General::default();
        for node in nodes {
            match node.keyword.key {
                Key::EventSource => general.event_source = event_source(node),
                Key::HashSize => general.hash_size = node.number(),
                Key::HashLimit => general.hash_limit = node.number(),
                Key::LogFile => general.log_file = log_file(node, LOG_FILE_DEFAULT),
                Key::Syslog => general.syslog = self.syslog(node),
                Key::LockFile => general.lock_file = node.path().unwrap_or_default(),
                Key::Unix => general.unix_path = last(&node.block, Key::Path).and_then(Node::path),
                Key::NetlinkBufferSize => general.netlink_buffer_size = Some(node.number()),
                Key::NetlinkBufferSizeMaxGrowth => {
                    general.netlink_buffer_size_max_growth = node.number();
                }
                Key::NetlinkOverrunResync => {
                    general.netlink_overrun_resync_s = overrun_resync(node);
                }
                Key::NetlinkEventsReliable => general.netlink_events_reliable = node.flag(),
                Key::PollSecs => general.poll_s = Some(node.number()),
                Key::EventIterationLimit => {
                    general.event_iteration_limit = node.number();
                }
                Key::EventLatency => general.event_latency_us = Some(node.number()),
                Key::Shards => general.shards = node.number(),
                Key::Systemd => general.systemd = node.flag(),
                Key::User => general.user = name(node),
                Key::UserGroup => general.group = name(node),
                Key::Scheduler => general.scheduler = Some(scheduler(&node.block)),
                Key::Filter => general.filter = Some(self.filter(node)),
                _ => {}
            }
        }
        general
    }

    fn stats(&mut self, nodes: &[Node]) -> StatsConf {
        let mut stats = StatsConf::default();
        for node in nodes {
            match node.keyword.key {
                Key::LogFile => stats.log_file = log_file(node, STATS_LOG_FILE_DEFAULT),
                Key::Syslog => stats.syslog = self.syslog(node),
                _ => {}
            }
        }
        stats
    }

    fn subscribe(&mut self, nodes: &[Node]) -> SubscribeConf {
        let mut subscribe = SubscribeConf::default();
        for node in nodes {
            match node.keyword.key {
                Key::Path => subscribe.path = node.path().unwrap_or_default(),
                Key::SocketGroup => subscribe.group = node.name().to_owned(),
                Key::SocketMode => subscribe.mode = self.socket_mode(node),
                Key::ClientsMax => subscribe.clients_max = node.number(),
                Key::QueueSize => subscribe.queue_size = node.number(),
                Key::MemoryMax => subscribe.memory_max = node.number(),
                _ => {}
            }
        }
        subscribe
    }

    /// Three octal digits, perhaps with zeros in front.
    fn socket_mode(&mut self, node: &Node) -> u32 {
        let mode = u32::from_str_radix(node.name(), 8).ok().filter(|mode| *mode <= 0o777);
        mode.unwrap_or_else(|| {
            let message = format!("`{}` is no permissions of a socket", quoted(node.name()));
            self.error(node.args[0].span, message, "expected octal digits up to 777, as 0660");
            SubscribeConf::default().mode
        })
    }

    fn syslog(&mut self, node: &Node) -> Option<Facility> {
        let Some(Value::Name(name)) = node.value() else {
            return node.flag().then_some(SYSLOG_DEFAULT);
        };
        let facility = match (name.as_str(), name.strip_prefix("local").map(str::as_bytes)) {
            ("daemon", _) => Some(Facility::Daemon),
            (_, Some([digit @ b'0'..=b'7'])) => Some(Facility::Local(digit - b'0')),
            _ => None,
        };
        if facility.is_none() {
            let message =
                format!("`{}` is not a syslog facility; this line is ignored", quoted(name));
            self.warn(node.args[0].span, message, "expected on, off, daemon, or local0 to local7");
        }
        facility
    }

    fn warn(&mut self, span: Span, message: impl Into<String>, label: impl Into<String>) {
        let source = self.source;
        self.found.warning(|| source.warning(span, message.into()).label(label));
    }

    fn error(&mut self, span: Span, message: impl Into<String>, label: impl Into<String>) {
        let source = self.source;
        self.found.error(|| source.error(span, message.into()).label(label));
    }
}

/// What the schema promises about arguments, taken at its word.
impl Node {
    fn value(&self) -> Option<&Value> {
        self.args.first().map(|arg| &arg.value)
    }

    fn number(&self) -> u32 {
        if let Some(Value::Number(number)) = self.value() { *number } else { 0 }
    }

    fn flag(&self) -> bool {
        matches!(self.value(), Some(Value::Bool(true)))
    }

    fn choice(&self) -> &'static str {
        if let Some(Value::Choice(name)) = self.value() { name } else { "" }
    }

    fn path(&self) -> Option<PathBuf> {
        if let Some(Value::Path(path)) = self.value() { Some(path.clone()) } else { None }
    }

    fn name(&self) -> &str {
        if let Some(Value::Name(name)) = self.value() { name } else { "" }
    }
}

/// Whether a `Sync` block asks for version 1: it does unless `Replication` stands there alone.
fn speaks_version1(sync: &Node) -> bool {
    let asks = |key| matches!(key, Key::Mode | Key::Multicast | Key::Udp | Key::Tcp);
    last(&sync.block, Key::Replication).is_none()
        || sync.block.iter().any(|node| asks(node.keyword.key))
}

fn last(nodes: &[Node], key: Key) -> Option<&Node> {
    nodes.iter().rev().find(|node| node.keyword.key == key)
}

fn log_file(node: &Node, default: &str) -> LogFile {
    match node.value() {
        Some(Value::Path(path)) => LogFile::To(path.clone()),
        Some(Value::Bool(true)) => LogFile::To(default.into()),
        _ => LogFile::Off,
    }
}

/// The name that is written; none is where a word with a meaning stands in its place.
fn name(node: &Node) -> Option<String> {
    matches!(node.value(), Some(Value::Name(_))).then(|| node.name().to_owned())
}

fn failures(nodes: &[Node]) -> FailuresConf {
    let mut failures = FailuresConf::default();
    for node in nodes {
        match node.keyword.key {
            Key::Report => failures.report = Report::named(node.choice()).unwrap_or_default(),
            Key::EventsPerSecond => failures.events_per_second = node.number(),
            Key::LogEvery => failures.log_every_s = node.number(),
            _ => {}
        }
    }
    failures
}

fn log(nodes: &[Node]) -> LogConf {
    let mut log = LogConf::default();
    for node in nodes {
        let word = node.choice();
        match node.keyword.key {
            Key::LogFormat => log.format = LogFormat::named(word).unwrap_or_default(),
            Key::LogJournal => log.journal = LogJournal::named(word).unwrap_or_default(),
            Key::LogLevel => log.level = LogLevel::named(word).unwrap_or_default(),
            _ => {}
        }
    }
    log
}

fn overrun_resync(node: &Node) -> Option<u32> {
    match node.value() {
        Some(Value::Number(seconds)) => Some(*seconds),
        _ => node.flag().then_some(OVERRUN_RESYNC_S_DEFAULT),
    }
}

fn event_source(node: &Node) -> EventSource {
    let named = |source: &EventSource| source.name() == node.choice();
    EventSource::ALL.into_iter().find(named).unwrap_or_default()
}

fn scheduler(nodes: &[Node]) -> Scheduler {
    let standard = Scheduler::default();
    let policy = |node: &Node| match node.choice() {
        "FIFO" => SchedulerPolicy::Fifo,
        _ => SchedulerPolicy::RoundRobin,
    };
    Scheduler {
        policy: last(nodes, Key::SchedulerType).map_or(standard.policy, policy),
        priority: last(nodes, Key::Priority).map_or(standard.priority, |node| node.number() as u8),
    }
}
