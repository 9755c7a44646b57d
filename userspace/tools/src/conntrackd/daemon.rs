//! The daemon: puts the floors together and runs them.
//!
//! Everything that can fail for a reason the operator can mend happens while the terminal is still there: a daemon that
//! goes into the background leaves its parent, which exits when it is told that the daemon serves.

use super::reload::Reload;
use super::supervise::{self, Readiness};
use super::{settings, statistics};
use crate::conf::{Conf, EventSource};
use anyhow::{Context, Result, bail};
use engine::{Config, Share};
use host::control::Bound;
use host::expectations::ExpectEvents;
use host::fleet::FleetParts;
use host::kernel::KernelWriter;
use host::link::Group;
use host::log::{Form, Log, Places};
use host::process::{self, Fork, LockFile};
use host::purge::Purger;
use host::reader::Reader;
use host::shard::Parts;
use host::source::{Choice, Source, SourceError};
use host::sys;
use host::systemd::Systemd;
use std::path::Path;
use std::process::exit;
use std::sync::Arc;

/// `CAP_NET_ADMIN` (`include/uapi/linux/capability.h`).
const CAP_NET_ADMIN: u32 = 12;
/// What systemd shows beside the name.
const STATUS: &str = "serving";

/// Runs until told to end. `path` is where the configuration came from, and where it is read again.
///
/// # Errors
/// What the operator has to mend, or what broke.
pub fn run(conf: Conf, path: &Path, detach: bool) -> Result<()> {
    // The daemon leaves the directory it was started in.
    let path = std::path::absolute(path)?;
    let log = open_log(Form::Daemon, &settings::log_places(&conf, !detach))?;
    let records = settings::record_places(&conf).map(|places| open_log(Form::Record, &places));
    let records = records.transpose()?;
    let logs = Logs { log, records };
    let outcome = start(conf, &path, detach, &logs);
    if let Err(error) = &outcome
        && detach
    {
        logs.log.error(format!("{error:#}"));
    }
    logs.finish();
    outcome
}

/// Where lines go.
#[derive(Clone, Debug)]
pub struct Logs {
    /// The daemon's own.
    pub log: Arc<Log>,
    /// Ended flows, in statistics mode.
    pub records: Option<Arc<Log>>,
}

impl Logs {
    fn all(&self) -> impl Iterator<Item = &Arc<Log>> {
        self.records.iter().chain([&self.log])
    }

    fn finish(&self) {
        self.all().for_each(|log| log.finish());
    }

    /// Says how many lines the disk did not take.
    pub fn tell_losses(&self) {
        for log in self.all() {
            let lines = log.take_regained();
            if lines > 0 {
                let which = if Arc::ptr_eq(log, &self.log) { "log" } else { "statistics log" };
                self.log.warning(format!("{lines} lines of the {which} were lost"));
            }
        }
    }
}

fn start(conf: Conf, path: &Path, detach: bool, logs: &Logs) -> Result<()> {
    let log = &logs.log;
    let supported = settings::supported(&conf)?;
    if !sys::has_capability(CAP_NET_ADMIN) {
        bail!("reading conntrack needs CAP_NET_ADMIN: run as root, or grant the capability");
    }
    let control = settings::control_path(&conf)?;
    let mut lock = LockFile::take(&conf.general.lock_file, Some(control))?;
    for keyword in settings::ignored(&conf) {
        log.warning(format!("{keyword} is not implemented yet and ignored"));
    }
    let links =
        supported.links.clone().map(|links| Group::open(links, Arc::clone(log))).transpose()?;
    let source = open_source(&conf, log)?;
    let config = Config {
        hears_requests: source.hears_requests(),
        ..settings::engine_config(&conf, &supported)
    };
    let parts = match conf.general.shards {
        0 | 1 => FleetParts {
            shards: vec![Parts { links, ..shard_parts(&conf, config, source, logs)? }],
            reader: None,
        },
        shards => shared_out(&conf, (&config, shards as usize), source, logs)?,
    };
    let bound = Bound::bind(control)
        .with_context(|| format!("cannot bind the control socket {}", control.display()))?;
    let systemd = Systemd::new(conf.general.systemd);
    let readiness = go(detach, systemd)?;
    lock.sign().context("writing the lock file")?;
    logs.all().try_for_each(|log| log.run_behind()).context("starting the log's thread")?;
    let reload = Reload::new(path, conf, logs.clone(), !detach, systemd);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(supervise::run(parts, bound, reload, readiness));
    log.notice("---- shutdown received ----");
    outcome
}

/// What one shard is made of that has no peer.
fn shard_parts(conf: &Conf, config: Config, source: Source, logs: &Logs) -> Result<Parts> {
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
        ended: logs.records.clone().map(statistics::recorder),
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
    let shard = |(index, source)| {
        let share = Share { index, count: shards, seed };
        let config = Config {
            share,
            flows_max: settings::flows_max(conf, shards),
            flows_expected: config.flows_expected.div_ceil(shards),
            ..config.clone()
        };
        shard_parts(conf, config, source, logs)
    };
    let shards = sources.into_iter().enumerate().map(shard).collect::<Result<_>>()?;
    Ok(FleetParts { shards, reader: Some(reader) })
}

/// Whether the kernel holds back what it has no room for. It does not for the hook.
const fn is_reliable(conf: &Conf, source: &Source) -> bool {
    conf.general.netlink_events_reliable && source.hears_requests()
}

/// Goes into the background, if it is to. The parent does not come back from here.
fn go(detach: bool, systemd: Systemd) -> Result<Readiness> {
    if !detach {
        return Ok(Readiness::Console(systemd));
    }
    match process::daemonize().context("going into the background")? {
        Fork::Child(child) => Ok(Readiness::Daemon(child)),
        Fork::Parent(parent) => {
            let pid = parent.daemon;
            let ready = parent.is_daemon_ready();
            if ready {
                systemd.ready(pid, STATUS);
            }
            // Leaves without running destructors: lock and socket are the child's. It has said what went wrong.
            exit(i32::from(!ready));
        }
    }
}

fn open_log(form: Form, places: &Places) -> Result<Arc<Log>> {
    let log = Log::open(form, places).with_context(|| {
        let path = places.file.as_deref().unwrap_or(Path::new(""));
        format!("cannot open the log file {}", path.display())
    });
    Ok(Arc::new(log?))
}

fn open_source(conf: &Conf, log: &Log) -> Result<Source> {
    let wanted = settings::source_settings(conf);
    if let Some(side) = settings::filter_side(conf) {
        log.notice(format!("using {side} event filtering"));
    }
    let (source, why_not) = Source::open(&wanted)?;
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
            chain(&why)
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

/// An error and its causes on one line.
fn chain(error: &SourceError) -> String {
    let mut out = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        out = format!("{out}: {inner}");
        cause = inner.source();
    }
    // A verifier log runs over many lines; its first one says enough here.
    out.lines().next().unwrap_or_default().to_owned()
}
