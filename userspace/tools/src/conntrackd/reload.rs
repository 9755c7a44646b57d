//! SIGHUP: log files are opened again, the configuration is read again, and all of it is applied.
//!
//! ```text
//!   SIGHUP -> begin: read, parse, plan, check  not valid: the log says why, nothing changes
//!                |
//!        Plan::difference
//!                |
//!                +-- settings that change live --> Order::Reconfigure
//!                |
//!                `-- any other --> wait until no request is under way
//!                                  rebuild: stop the engine's threads, start new ones
//!                                           they do not start: start the old ones again
//! ```
//!
//! Reading and building happen on threads of their own: the main thread goes on to serve clients
//! and systemd. While the engine is rebuilt, clients wait.

use super::build::{self, Left};
use super::check;
use super::keys::Keyring;
use super::logs::Logs;
use super::nodes;
use super::plan::Plan;
use super::privileges;
use super::serve::SharedHandle;
use crate::conf::{self, Conf};
use anyhow::{Context, Result, anyhow};
use host::confine::files::Allowed;
use host::fleet::{self, Handle, Stopped, Threads};
use host::lock::Locks;
use host::log::Level;
use host::log::record::{Code, Fields};
use host::nodes::Renewal;
use host::shard::Order;
use host::systemd::Systemd;
use host::tuning::Change;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedRwLockWriteGuard, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const NOT_VALID: &str = "the configuration is not valid: nothing was changed";
/// How long the engine may take to change its settings.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a reload waits for requests that are under way, a commit for one.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);

/// What a daemon runs with.
#[derive(Debug)]
pub struct Running {
    /// The plan in force.
    pub plan: Box<Plan>,
    /// Where the configuration was read from.
    pub path: PathBuf,
    /// The logs in use.
    pub logs: Logs,
    /// What keeps others from starting.
    pub locks: Locks,
    /// The notifications to systemd.
    pub systemd: Systemd,
    /// Keys that were read.
    pub keyring: Keyring,
    /// The files that it is confined to, if it is.
    pub allowed: Option<Arc<Allowed>>,
}

/// What became of the first part of a reload.
#[derive(Debug)]
pub enum Begun {
    /// The configuration is not used; the log says why.
    Refused,
    /// All of it is in force.
    Changed(Box<Plan>, Logs),
    /// The engine has to be rebuilt for it. No request is under way, and none begins while the
    /// guard lives.
    Rebuild(Box<Plan>, Logs, OwnedRwLockWriteGuard<Handle>),
}

/// Reads the configuration at `path` and applies what changes live.
pub async fn begin(
    path: PathBuf,
    running: Box<Plan>,
    (logs, keyring, allowed): (Logs, Keyring, Option<Arc<Allowed>>),
    engine: SharedHandle,
) -> Begun {
    let log = &logs.log;
    let (old, opened) = (running.clone(), logs.clone());
    let load = spawn_blocking(move || load(&path, (&old, allowed.as_deref()), &opened, &keyring));
    let Loaded { plan, logs: new_logs, warnings, peers, other_secret } = match load.await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(found)) => {
            found.iter().for_each(|line| log.error(line));
            log.record(Level::Error, Code::ConfigRefused, NOT_VALID, Fields::new());
            return Begun::Refused;
        }
        Err(error) => {
            log.error(format!("reading the configuration failed: {error}"));
            return Begun::Refused;
        }
    };
    warnings.iter().for_each(|line| log.warning(line));
    let mut difference = running.difference(&plan);
    if other_secret {
        difference.rebuilds.push("the key in PresharedKeyFile");
    }
    difference.lines().iter().for_each(|line| log.notice(line));
    if !difference.rebuilds.is_empty() {
        return match timeout(REQUEST_PATIENCE, engine.write_owned()).await {
            Ok(guard) => Begun::Rebuild(plan, new_logs, guard),
            Err(_) => {
                log.error("a request has been under way for a minute: nothing was changed");
                let _ = logs.reopened(&running);
                Begun::Refused
            }
        };
    }
    let handle = engine.read().await.clone();
    let change = Box::new(Change { peers, ..running.change(&plan) });
    let (reply, outcome) = oneshot::channel();
    handle.order(Order::Reconfigure(change, reply));
    match timeout(PATIENCE, outcome).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(why))) => log.error(format!("not all settings could be changed: {why}")),
        Ok(Err(_)) | Err(_) => log.error("the engine does not answer: its settings are unknown"),
    }
    Begun::Changed(plan, new_logs)
}

/// The engine after it was built again.
#[derive(Debug)]
pub struct Rebuilt {
    /// Its threads.
    pub threads: Threads,
    /// The plan in force.
    pub plan: Box<Plan>,
    /// The logs in use.
    pub logs: Logs,
    /// Why these are the old ones, if they are.
    pub refusal: Option<anyhow::Error>,
}

/// Ends the threads of `threads` and starts those of `to`, or, if that fails, those of `from` again.
///
/// # Errors
/// When neither start.
pub fn rebuild(
    threads: Threads,
    from: (Box<Plan>, Logs),
    to: (Box<Plan>, Logs),
    keyring: &Keyring,
) -> Result<Rebuilt> {
    let Stopped { is_sound, source } = threads.stop();
    if !is_sound {
        to.1.log.error("a thread of the engine panicked at its end");
    }
    let mut left = source.map(|source| Left { source, settings: from.0.source.clone() });
    let mut start = |(plan, logs): &(Box<Plan>, Logs)| -> Result<Threads> {
        let parts = build::parts(plan, logs, &mut left, keyring)?;
        fleet::start(parts, &logs.log).context("starting the engine's threads")
    };
    match start(&to) {
        Ok(threads) => Ok(Rebuilt { threads, plan: to.0, logs: to.1, refusal: None }),
        Err(why) => {
            let why = why.context("the engine does not start with the new configuration");
            let logs = from.1.reopened(&from.0)?;
            let threads =
                start(&from).map_err(|again| anyhow!("{why:#}; nor with the old: {again:#}"))?;
            Ok(Rebuilt { threads, plan: from.0, logs, refusal: Some(why) })
        }
    }
}

/// A configuration that was read.
struct Loaded {
    plan: Box<Plan>,
    logs: Logs,
    warnings: Vec<String>,
    /// Keys and peers of version 2.
    peers: Option<Renewal>,
    /// The secret of all nodes is another one, in the same file: flows are summed under it.
    other_secret: bool,
}

/// A plan the daemon can run with, its logs and warnings; lines that say what is wrong
/// with it otherwise. In either case the log files are opened again.
fn load(
    path: &Path,
    (running, allowed): (&Plan, Option<&Allowed>),
    logs: &Logs,
    keyring: &Keyring,
) -> Result<Loaded, Vec<String>> {
    let read = || {
        let (conf, warnings) = conf::read(path)?;
        if conf == Conf::default() {
            let why = "the configuration is empty: is it being written?";
            return Err(vec![format!("{}: {why}", path.display())]);
        }
        let plan = Box::new(Plan::from(&conf));
        let unreachable = privileges::out_of_reach(allowed, &plan.files);
        if !unreachable.is_empty() {
            return Err(unreachable);
        }
        let secret = plan.replication.as_ref().and_then(|conf| conf.preshared_key_file.as_ref());
        let other_secret = secret.is_some_and(|file| keyring.has_changed(file));
        let explained = |e: anyhow::Error| vec![format!("{e:#}")];
        check::start(&plan, keyring).and_then(|()| check::links(&plan)).map_err(explained)?;
        let peers = nodes::renewal(&plan, &logs.log, keyring).map_err(explained)?;
        let logs = logs.reopened(&plan).map_err(explained)?;
        Ok(Loaded { plan, logs, warnings, peers, other_secret })
    };
    read().inspect_err(|_| {
        // The running plan's logs were open before, so this does not fail.
        let _ = logs.reopened(running);
    })
}
