//! The daemon: puts the floors together and runs them.
//!
//! Everything that can fail for a reason the operator can mend happens while the terminal is still there: a daemon
//! that goes into the background leaves its parent, which exits when the child reports that it serves.

use super::keys::Keyring;
use super::logs::Logs;
use super::plan::Plan;
use super::reload::Running;
use super::supervise::{self, Readiness};
use super::{build, check, failures, feed, helpers, privileges};
use crate::conf::Conf;
use crate::doctor;
use anyhow::{Context, Result, bail};
use host::control::Bound;
use host::fleet;
use host::lock::Locks;
use host::log::record::{Code, Fields};
use host::log::{Level, Log};
use host::privilege::Identity;
use host::process::{self, Fork};
use host::sys;
use host::systemd::Systemd;
use std::path::Path;
use std::process::exit;

/// `CAP_NET_ADMIN` (`include/uapi/linux/capability.h`).
const CAP_NET_ADMIN: u32 = 12;
/// What systemd shows beside the name.
pub(super) const STATUS: &str = "serving";

/// Runs until a signal or a request ends it. `path` is where the configuration came from, and where a reload reads
/// it; `warnings` are those of its check.
///
/// # Errors
/// What the operator has to mend, or what broke.
pub fn run((conf, warnings): (Conf, Vec<String>), path: &Path, detach: bool) -> Result<()> {
    process::hold_signals().context("holding back signals")?;
    // The daemon leaves the directory it was started in.
    let path = std::path::absolute(path)?;
    let plan = Plan::from(&conf);
    let logs = Logs::open(&plan, !detach)?;
    logs.log.report_panics();
    warnings.iter().for_each(|line| logs.log.warning(line));
    let outcome = start((&conf, plan), &path, detach, &logs);
    if let Err(error) = &outcome
        && detach
    {
        logs.log.error(format!("{error:#}"));
    }
    logs.finish();
    outcome
}

fn start((conf, plan): (&Conf, Plan), path: &Path, detach: bool, logs: &Logs) -> Result<()> {
    let log = &logs.log;
    let keyring = Keyring::default();
    check::settings(&plan, &keyring)?;
    if !sys::has_capability(CAP_NET_ADMIN) {
        bail!("reading conntrack needs CAP_NET_ADMIN: run as root, or grant the capability");
    }
    let control = plan.control.as_deref();
    let identity = becomes(&plan, log)?;
    let mut locks = Locks::take(&plan.lock_file, control, plan.wish.owner())?;
    let mut parts = build::parts(&plan, logs, &mut None, &keyring)?;
    let helpers = helpers::open(&plan, log)
        .context("conntrackd cannot start, please review your configuration")?;
    let bound = control.map(bind).transpose()?;
    let socket = feed::open(&plan, log)?;
    let failures = failures::open(&plan, log);
    let systemd = Systemd::new(plan.systemd);
    doctor::at_start(conf, path, log);
    let readiness = go(detach, systemd)?;
    locks.sign().context("writing the lock file")?;
    let becomes_another = identity.is_some();
    // While directories can be looked at as root.
    let allowed = privileges::confine_files((&plan, path), !becomes_another, log);
    if let Some(identity) = identity {
        let opened = privileges::Opened { parts: &mut parts, locks: &locks, bound: bound.as_ref() };
        privileges::give_up(&identity, (&plan, path), opened, logs)?;
    }
    privileges::confine(becomes_another, log);
    let threads = fleet::start(parts, log).context("starting the engine's threads")?;
    if becomes_another {
        privileges::rest(&plan);
    }
    logs.run_behind().context("starting the log's thread")?;
    let (plan, path, logs) = (Box::new(plan), path.to_owned(), logs.clone());
    let running = Running { plan, path, logs, locks, systemd, keyring, allowed };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let parts = (threads, helpers, (socket, failures));
    let outcome = runtime.block_on(supervise::run(parts, bound, running, readiness));
    log.record(Level::Notice, Code::Shutdown, "---- shutdown received ----", Fields::new());
    outcome
}

/// The user to become, if there is one that this process may become.
fn becomes(plan: &Plan, log: &Log) -> Result<Option<Identity>> {
    let Some(identity) = plan.wish.resolve()? else { return Ok(None) };
    if identity.is_possible()? {
        return Ok(Some(identity));
    }
    log.warning(format!("may not become user {}: goes on as root", identity.name));
    Ok(None)
}

/// Listens on the control socket.
pub(super) fn bind(path: &Path) -> Result<Bound> {
    Bound::bind(path).with_context(|| format!("cannot bind the control socket {}", path.display()))
}

/// Goes into the background, if it is to. The parent does not come back from here.
fn go(detach: bool, systemd: Systemd) -> Result<Readiness> {
    if !detach {
        return Ok(Readiness::Console);
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
