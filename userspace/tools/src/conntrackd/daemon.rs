//! The daemon: puts the floors together and runs them.
//!
//! Everything that can fail for a reason the operator can mend happens before the process goes into the background.

use super::serve::Service;
use super::settings;
use crate::conf::Conf;
use anyhow::{Context, Result, bail};
use host::control::{Bound, Server};
use host::kernel::KernelWriter;
use host::link::Group;
use host::log::Log;
use host::process::{self, Fork, LockFile};
use host::purge::Purger;
use host::shard::{Order, Parts, Shard};
use host::source::{Source, SourceError};
use host::sys;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// `CAP_NET_ADMIN` (`include/uapi/linux/capability.h`).
const CAP_NET_ADMIN: u32 = 12;

/// Runs until told to end.
///
/// # Errors
/// What the operator has to mend, or what broke.
pub fn run(conf: &Conf, detach: bool) -> Result<()> {
    let log = Arc::new(open_log(conf, !detach)?);
    let outcome = start(conf, detach, &log);
    if let Err(error) = &outcome
        && detach
    {
        log.error(format!("{error:#}"));
    }
    outcome
}

fn start(conf: &Conf, detach: bool, log: &Arc<Log>) -> Result<()> {
    let supported = settings::supported(conf)?;
    if !sys::has_capability(CAP_NET_ADMIN) {
        bail!("reading conntrack needs CAP_NET_ADMIN: run as root, or grant the capability");
    }
    let control = settings::control_path(conf)?;
    let mut lock = LockFile::take(&conf.general.lock_file, Some(control))?;
    for keyword in settings::ignored(conf) {
        log.warning(format!("{keyword} is not implemented yet and ignored"));
    }
    let parts = Parts {
        config: settings::engine_config(conf, &supported),
        source: open_source(conf, log)?,
        links: Group::open(supported.links, Arc::clone(log))?,
        writer: KernelWriter::open().context("opening the kernel request sockets")?,
        purger: Purger::open().context("opening the kernel request sockets")?,
        log: Arc::clone(log),
        overrun_resync: conf
            .general
            .netlink_overrun_resync_s
            .map(|s| Duration::from_secs(s.into())),
        buffer_max: conf.general.netlink_buffer_size_max_growth as usize,
    };
    let bound = Bound::bind(control)
        .with_context(|| format!("cannot bind the control socket {}", control.display()))?;
    if detach && process::daemonize().context("going into the background")? == Fork::Parent {
        // Leaves without running destructors: lock and socket are the child's.
        std::process::exit(0);
    }
    lock.sign().context("writing the lock file")?;
    let way = if detach { "daemon" } else { "console" };
    log.notice(format!("-- starting in {way} mode --"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let purge_after = Duration::from_secs(supported.sync.mode.purge_timeout_s().into());
    let outcome = runtime.block_on(supervise(parts, bound, log, purge_after));
    log.notice("---- shutdown received ----");
    outcome
}

fn open_log(conf: &Conf, console: bool) -> Result<Log> {
    let path = settings::log_path(conf);
    let facility = conf.general.syslog.map(settings::facility_number);
    Log::open(path, facility, console).with_context(|| {
        format!("cannot open the log file {}", path.map_or("".into(), |p| p.display().to_string()))
    })
}

fn open_source(conf: &Conf, log: &Log) -> Result<Source> {
    let wanted = settings::source_settings(conf);
    let (source, why_not_tap) = Source::open(&wanted)?;
    match why_not_tap {
        None => log.notice(format!("conntrack events come through: {}", source.name())),
        Some(why) => log.warning(format!(
            "conntrack events come through: {} (not through the tap: {})",
            source.name(),
            chain(&why)
        )),
    }
    let size = source.receive_buffer();
    log.notice(format!("netlink event socket buffer size has been set to {size} bytes"));
    Ok(source)
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

/// Runs the shard in its thread, and the control socket and signals here.
async fn supervise(
    parts: Parts,
    bound: Bound,
    log: &Arc<Log>,
    purge_after: Duration,
) -> Result<()> {
    let server = bound.serve().context("serving the control socket")?;
    let filter = parts.config.filter.clone();
    let (shard, handle) = Shard::new(parts).context("setting up the engine's thread")?;
    let (ended, shard_ended) = oneshot::channel::<io::Result<()>>();
    let thread = thread::Builder::new().name("shard-0".into()).spawn(move || {
        // If nobody listens any more, the daemon is ending anyway.
        let _ = ended.send(shard.run());
    })?;
    log.notice("initialization completed");
    let service = Service {
        shard: handle.clone(),
        log: Arc::clone(log),
        faults: server.faults(),
        filter,
        purge_after,
        scheduled: Mutex::default(),
    };
    let outcome = serve_until_end(&server, Arc::new(service), shard_ended).await;
    handle.order(Order::Stop);
    if thread.join().is_err() {
        bail!("the engine's thread panicked");
    }
    outcome
}

async fn serve_until_end(
    server: &Server,
    service: Arc<Service>,
    mut shard_ended: oneshot::Receiver<io::Result<()>>,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (kill, mut killed) = mpsc::channel::<()>(1);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = killed.recv() => return Ok(()),
            ended = &mut shard_ended => {
                return match ended {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(e)) => Err(e).context("the engine's thread failed"),
                    Err(_) => bail!("the engine's thread ended unexpectedly"),
                };
            }
            client = server.accept() => match client {
                Ok(client) => {
                    let (service, kill) = (Arc::clone(&service), kill.clone());
                    tokio::spawn(async move {
                        if service.serve(client).await {
                            let _ = kill.send(()).await;
                        }
                    });
                }
                Err(error) => {
                    service.log.warning(format!("control socket: {error}"));
                    // Out of descriptors, most likely: they come back.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}
