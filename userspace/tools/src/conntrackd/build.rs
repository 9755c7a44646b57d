//! From a configuration to what the engine's threads are made of: sources, links and kernel
//! sockets, opened.

use super::logs::Logs;
use super::{settings, statistics};
use crate::conf::{Conf, EventSource};
use anyhow::{Context, Result};
use engine::{Config, Share};
use host::ended::{self, Ends};
use host::expectations::ExpectEvents;
use host::fleet::{Consumer, FleetParts};
use host::kernel::KernelWriter;
use host::link::Group;
use host::log::Log;
use host::purge::Purger;
use host::reader::Reader;
use host::shard::Parts;
use host::source::{Choice, Source};
use std::io;
use std::sync::Arc;

/// Opens everything the engine of this configuration works with.
///
/// # Errors
/// When a link, the event source or a kernel socket cannot be opened.
pub fn parts(conf: &Conf, logs: &Logs) -> Result<FleetParts> {
    let log = &logs.log;
    let supported = settings::supported(conf)?;
    let links =
        supported.links.clone().map(|links| Group::open(links, Arc::clone(log))).transpose()?;
    let source = open_source(conf, log)?;
    let config = Config {
        hears_requests: source.hears_requests(),
        ..settings::engine_config(conf, &supported)
    };
    match conf.general.shards {
        shards if shards > 1 && settings::keeps_tables(conf) => {
            shared_out(conf, (&config, shards as usize), source, logs)
        }
        _ => {
            let (ends, consumers) = recorded(logs, 1)?;
            let parts = shard_parts(conf, config, source, (logs, ends.into_iter().next()))?;
            Ok(FleetParts { shards: vec![Parts { links, ..parts }], reader: None, consumers })
        }
    }
}

/// What one shard is made of that has no peer.
fn shard_parts(
    conf: &Conf,
    config: Config,
    source: Source,
    (logs, ends): (&Logs, Option<Ends>),
) -> Result<Parts> {
    Ok(Parts {
        config,
        expectations: open_expectations(conf)?,
        links: None,
        writer: KernelWriter::open().context("opening the kernel request sockets")?,
        purger: Purger::open().context("opening the kernel request sockets")?,
        log: Arc::clone(&logs.log),
        tuning: settings::tuning(conf),
        poll: settings::poll_interval(conf),
        reliable: is_reliable(conf, &source),
        source,
        ends,
    })
}

/// Shards that share the flows, and who feeds them.
fn shared_out(
    conf: &Conf,
    (config, shards): (&Config, usize),
    source: Source,
    logs: &Logs,
) -> Result<FleetParts> {
    let (seed, log) = (config.hash_seed, Arc::clone(&logs.log));
    let (tuning, reliable) = (settings::tuning(conf), is_reliable(conf, &source));
    let (reader, sources) = Reader::new(source, (shards, seed), tuning, reliable, log)
        .context("setting up the reader")?;
    logs.log.notice(format!("{shards} shards share the flows"));
    let (mut ends, consumers) = recorded(logs, shards)?;
    let shard = |(index, source)| {
        let share = Share { index, count: shards, seed };
        let config = Config {
            share,
            flows_max: settings::flows_max(conf, shards),
            flows_expected: config.flows_expected.div_ceil(shards),
            ..config.clone()
        };
        shard_parts(conf, config, source, (logs, ends.pop()))
    };
    let shards = sources.into_iter().enumerate().map(shard).collect::<Result<_>>()?;
    Ok(FleetParts { shards, reader: Some(reader), consumers })
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
const fn is_reliable(conf: &Conf, source: &Source) -> bool {
    conf.general.netlink_events_reliable && source.hears_requests()
}

fn open_source(conf: &Conf, log: &Log) -> Result<Source> {
    let wanted = settings::source_settings(conf);
    if let Some(side) = settings::filter_side(conf) {
        log.notice(format!("using {side} event filtering"));
    }
    let (source, why_not) = Source::open(&wanted)?;
    if !settings::keeps_tables(conf) {
        return Ok(source);
    }
    if conf.general.poll_s.is_some() {
        log.notice("running in polling mode");
        return Ok(source);
    }
    let wish = if wanted.choice == Choice::Hook { "hook" } else { "tap" };
    if conf.general.event_source == EventSource::Hook && !settings::keeps_flows(conf) {
        log.warning("the hook needs the internal cache: `EventSource` is taken as `auto`");
    }
    match why_not {
        None => log.notice(format!("conntrack events come through: {}", source.name())),
        Some(why) => log.warning(format!(
            "conntrack events come through: {} (not through the {wish}: {})",
            source.name(),
            why.on_one_line()
        )),
    }
    let size = source.receive_buffer();
    log.notice(format!("netlink event socket buffer size has been set to {size} bytes"));
    Ok(source)
}

fn open_expectations(conf: &Conf) -> Result<Option<ExpectEvents>> {
    if !settings::helpers(conf).any() {
        return Ok(None);
    }
    let buffer = conf.general.netlink_buffer_size.map(|n| n as usize);
    let events = ExpectEvents::open(buffer).context("listening to events about expectations")?;
    Ok(Some(events))
}
