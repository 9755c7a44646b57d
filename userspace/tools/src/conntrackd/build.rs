//! From a plan to what the engine's threads are made of: sources, links and kernel sockets, opened.

use super::keys::Keyring;
use super::logs::Logs;
use super::nodes;
use super::plan::Plan;
use super::statistics;
use anyhow::{Context, Result, bail};
use engine::config::Cluster;
use engine::{Config, Share, ShareBy};
use host::ended::{self, Ends};
use host::expectations::ExpectEvents;
use host::fleet::{Consumer, FleetParts};
use host::kernel::KernelWriter;
use host::link::Group;
use host::log::record::Code;
use host::log::{Level, Log};
use host::nodes::Nodes;
use host::purge::Purger;
use host::reader::SourceReader;
use host::shard::Parts;
use host::source::{Choice, Settings, Source};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

/// An event source that an earlier engine has left, and the settings that it was opened with.
#[derive(Debug)]
pub struct Left {
    /// The source.
    pub source: Source,
    /// The settings.
    pub settings: Settings,
}

/// Opens everything the engine of this plan works with. A daemon that has given up the right to load eBPF programs
/// takes `left` instead of an event source that needs some.
///
/// # Errors
/// When a link, the event source or a kernel socket cannot be opened.
pub fn parts(
    plan: &Plan,
    logs: &Logs,
    left: &mut Option<Left>,
    keyring: &Keyring,
) -> Result<FleetParts> {
    let log = &logs.log;
    let links = plan.links.clone().map(|links| Group::open(links, Arc::clone(log))).transpose()?;
    let source = open_source(plan, log, left)?;
    let mut config = of_this_start(&plan.config, &source);
    let nodes = nodes::open(plan, &mut config, log, keyring)?;
    if plan.shards > 1 {
        return shared_out(plan, &config, source, (logs, nodes));
    }
    let (ends, consumers) = recorded(logs, 1)?;
    let parts = shard_parts(plan, config, source, (logs, ends.into_iter().next()))?;
    let nodes = nodes.into_iter().next();
    Ok(FleetParts { shards: vec![Parts { links, nodes, ..parts }], reader: None, consumers })
}

/// The engine's settings with what the plan leaves to each start.
fn of_this_start(config: &Config, source: &Source) -> Config {
    Config {
        hears_requests: source.hears_requests(),
        // conntrackd begins with the time too; a restart then looks like a step forward, not like old news.
        first_seq: host::clock::wall_s() as u32,
        hash_seed: RandomState::new().hash_one(0_u8),
        ..config.clone()
    }
}

/// What one shard is made of, without its way to peers.
fn shard_parts(
    plan: &Plan,
    config: Config,
    source: Source,
    (logs, ends): (&Logs, Option<Ends>),
) -> Result<Parts> {
    Ok(Parts {
        config,
        expectations: open_expectations(plan)?,
        links: None,
        nodes: None,
        writer: KernelWriter::open().context("opening the kernel request sockets")?,
        purger: Purger::open().context("opening the kernel request sockets")?,
        log: Arc::clone(&logs.log),
        tuning: plan.tuning,
        poll: plan.poll,
        reliable: is_reliable(plan, &source),
        source,
        ends,
    })
}

/// Shards that share the flows, and who feeds them; with peers, each has `nodes` of its own.
fn shared_out(
    plan: &Plan,
    config: &Config,
    source: Source,
    (logs, nodes): (&Logs, Vec<Nodes>),
) -> Result<FleetParts> {
    let (shards, log) = (plan.shards, Arc::clone(&logs.log));
    let by = match &config.cluster {
        Some(cluster) => ShareBy::Slices(cluster.digest_key),
        None => ShareBy::Seed(config.hash_seed),
    };
    let reliable = is_reliable(plan, &source);
    let (reader, sources) = SourceReader::new(source, (shards, by), plan.tuning, reliable, log)
        .context("setting up the reader")?;
    logs.log.notice(format!("{shards} shards share the flows"));
    let (mut ends, consumers) = recorded(logs, shards)?;
    let mut nodes = nodes.into_iter();
    let shard = |(index, source)| {
        let config = of_shard(config, Share { index, count: shards, by });
        let parts = shard_parts(plan, config, source, (logs, ends.pop()))?;
        Ok(Parts { nodes: nodes.next(), ..parts })
    };
    let shards = sources.into_iter().enumerate().map(shard).collect::<Result<_>>()?;
    Ok(FleetParts { shards, reader: Some(reader), consumers })
}

/// The settings of one of several shards. Not all shards have the same number of flows, so each takes an eighth more
/// than its share.
fn of_shard(config: &Config, share: Share) -> Config {
    let part = |flows: usize| {
        let flows = flows.div_ceil(share.count);
        flows + flows.div_ceil(8)
    };
    let of_peers = |cluster: &Arc<Cluster>| {
        Arc::new(Cluster { remote_max: part(cluster.remote_max), ..Cluster::clone(cluster) })
    };
    Config {
        share,
        flows_max: part(config.flows_max),
        cluster: config.cluster.as_ref().map(of_peers),
        flows_expected: config.flows_expected.div_ceil(share.count),
        ..config.clone()
    }
}

/// For each shard the end of a lane to the thread that records ended flows, and that thread; nothing where they are
/// not recorded.
fn recorded(logs: &Logs, shards: usize) -> Result<(Vec<Ends>, Vec<Consumer>)> {
    let Some(records) = logs.records.clone() else { return Ok((Vec::new(), Vec::new())) };
    let lanes = (0..shards).map(|_| ended::ends()).collect::<io::Result<Vec<_>>>();
    let (ends, readers) = lanes.context("making room for ended flows")?.into_iter().unzip();
    let mut sink = statistics::Recorder { records, log: Arc::clone(&logs.log) };
    let run = Box::new(move || export::records::run(readers, &mut sink));
    Ok((ends, vec![Consumer { name: "records", run }]))
}

/// Whether the kernel holds back what it has no room for. It does not for the hook.
fn is_reliable(plan: &Plan, source: &Source) -> bool {
    plan.source.reliable && source.hears_requests()
}

fn open_source(plan: &Plan, log: &Log, left: &mut Option<Left>) -> Result<Source> {
    let wanted = &plan.source;
    if let Some(side) = plan.filter.side_name() {
        log.notice(format!("using {side} event filtering"));
    }
    let (source, why_not) = match taken_over(wanted, left)? {
        Some(source) => (source, None),
        None => Source::open(wanted)?,
    };
    if !plan.keeps_tables() {
        return Ok(source);
    }
    if plan.poll.is_some() {
        log.notice("running in polling mode");
        return Ok(source);
    }
    let wish = if wanted.choice == Choice::Hook { "hook" } else { "tap" };
    if plan.declines_hook() {
        log.warning("the hook needs the internal cache: `EventSource` is taken as `auto`");
    }
    match why_not {
        None => come_through(log, Level::Notice, &source, ""),
        Some(why) => {
            let why = format!(" (not through the {wish}: {})", why.on_one_line());
            come_through(log, Level::Warning, &source, &why);
        }
    }
    let size = source.receive_buffer();
    log.notice(format!("netlink event socket buffer size has been set to {size} bytes"));
    Ok(source)
}

fn come_through(log: &Log, level: Level, source: &Source, why_not: &str) {
    let name = source.name();
    let text = format!("conntrack events come through: {name}{why_not}");
    log.record(level, Code::EventSource, text, vec![("source", name.into())]);
}

/// The source that is left, where this process may not open one like it.
fn taken_over(wanted: &Settings, left: &mut Option<Left>) -> Result<Option<Source>> {
    let of_programs = |left: &Left| left.source.has_tap();
    if wanted.choice == Choice::Netlink
        || Source::may_load()
        || !left.as_ref().is_some_and(of_programs)
    {
        return Ok(None);
    }
    let Some(Left { mut source, settings }) = left.take() else { return Ok(None) };
    // A filter that differs is written into its maps, but a source that opened without a minimum age has none for it.
    let others = Settings { filter: wanted.filter.clone(), ..settings.clone() };
    if others != *wanted || !settings.has_room_for(&wanted.filter) {
        *left = Some(Left { source, settings });
        bail!(
            "the event source cannot change: the daemon has given up the right to load eBPF programs (`User`), \
             this needs a restart"
        );
    }
    source.open_filter()?;
    source.set_filter(&wanted.filter)?;
    Ok(Some(source))
}

fn open_expectations(plan: &Plan) -> Result<Option<ExpectEvents>> {
    if !plan.config.expectations.any() {
        return Ok(None);
    }
    let events = ExpectEvents::open(plan.source.buffer_bytes)
        .context("listening to events about expectations")?;
    Ok(Some(events))
}
