//! SIGHUP: log files are opened again, the configuration is read again, and all of it is applied.
//!
//! ```text
//!   SIGHUP -> begin: read, parse, check        not valid: the log says why, nothing changes
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

use super::logs::Logs;
use super::serve::SharedHandle;
use super::{build, check, settings};
use crate::conf::{self, Conf, ModeConf, SyncMode};
use anyhow::{Context, Result, anyhow};
use host::fleet::{self, Crew, Handle};
use host::lock::Locks;
use host::shard::Order;
use host::systemd::Systemd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{OwnedRwLockWriteGuard, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long the engine may take to change its settings.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a reload waits for requests that are under way, a commit for one.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);

/// What a daemon runs with.
#[derive(Debug)]
pub struct Running {
    /// The configuration.
    pub conf: Conf,
    /// Where it was read from.
    pub path: PathBuf,
    /// Where lines go.
    pub logs: Logs,
    /// What keeps others from starting.
    pub locks: Locks,
    /// Who is told.
    pub systemd: Systemd,
}

/// What became of the first part of a reload.
#[derive(Debug)]
pub enum Begun {
    /// The configuration is not used; the log says why.
    Refused,
    /// All of it is in force.
    Changed(Conf, Logs),
    /// The engine has to be rebuilt for it. No request is under way, and none begins while the
    /// guard lives.
    Rebuild(Conf, Logs, OwnedRwLockWriteGuard<Handle>),
}

/// Reads the configuration at `path` and applies what changes live.
pub async fn begin(path: PathBuf, running: Conf, logs: Logs, engine: SharedHandle) -> Begun {
    let log = &logs.log;
    let (old, opened) = (running.clone(), logs.clone());
    let load = spawn_blocking(move || load(&path, &old, &opened));
    let (conf, new_logs, warnings) = match load.await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(found)) => {
            found.iter().for_each(|line| log.error(line));
            log.error("the configuration is not valid: nothing was changed");
            return Begun::Refused;
        }
        Err(error) => {
            log.error(format!("reading the configuration failed: {error}"));
            return Begun::Refused;
        }
    };
    warnings.iter().for_each(|line| log.warning(line));
    for remark in remarks(&running, &conf) {
        log.notice(remark);
    }
    let rebuilds = rebuilds(&running, &conf);
    if !rebuilds.is_empty() {
        log.notice(format!("{} changed: the engine is started again", rebuilds.join(", ")));
        return match timeout(REQUEST_PATIENCE, engine.write_owned()).await {
            Ok(guard) => Begun::Rebuild(conf, new_logs, guard),
            Err(_) => {
                log.error("a request has been under way for a minute: nothing was changed");
                let _ = logs.reopened(&running);
                Begun::Refused
            }
        };
    }
    let handle = engine.read().await.clone();
    let change = Box::new(settings::change(&running, &conf));
    let (reply, outcome) = oneshot::channel();
    handle.order(Order::Reconfigure(change, reply));
    match timeout(PATIENCE, outcome).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(why))) => log.error(format!("not all settings could be changed: {why}")),
        Ok(Err(_)) | Err(_) => log.error("the engine does not answer: its settings are unknown"),
    }
    Begun::Changed(conf, new_logs)
}

/// What the engine came to be.
#[derive(Debug)]
pub struct Rebuilt {
    /// Its threads.
    pub crew: Crew,
    /// What it runs with.
    pub conf: Conf,
    /// Where its lines go.
    pub logs: Logs,
    /// Why these are the old ones, if they are.
    pub refusal: Option<anyhow::Error>,
}

/// Ends the threads of `crew` and starts those of `to`, or, if that fails, those of `from` again.
///
/// # Errors
/// When neither start.
pub fn rebuild(crew: Crew, from: (Conf, Logs), to: (Conf, Logs)) -> Result<Rebuilt> {
    if !crew.stop() {
        to.1.log.error("a thread of the engine panicked at its end");
    }
    let start = |(conf, logs): &(Conf, Logs)| -> Result<Crew> {
        let parts = build::parts(conf, logs)?;
        fleet::start(parts, &logs.log).context("starting the engine's threads")
    };
    match start(&to) {
        Ok(crew) => Ok(Rebuilt { crew, conf: to.0, logs: to.1, refusal: None }),
        Err(why) => {
            let why = why.context("the engine does not start with the new configuration");
            let logs = from.1.reopened(&from.0)?;
            let crew =
                start(&from).map_err(|again| anyhow!("{why:#}; nor with the old: {again:#}"))?;
            Ok(Rebuilt { crew, conf: from.0, logs, refusal: Some(why) })
        }
    }
}

type Loaded = (Conf, Logs, Vec<String>);

/// A configuration the daemon can run with, its logs and warnings; lines that say what is wrong
/// with it otherwise. In either case the log files are opened again.
fn load(path: &Path, running: &Conf, logs: &Logs) -> Result<Loaded, Vec<String>> {
    let read = || {
        let (conf, warnings) = conf::read(path)?;
        if conf == Conf::default() {
            let why = "the configuration is empty: is it being written?";
            return Err(vec![format!("{}: {why}", path.display())]);
        }
        let fine = check::start(&conf).and_then(|()| check::links(&conf));
        fine.map_err(|e| vec![format!("{e:#}")])?;
        let logs = logs.reopened(&conf).map_err(|e| vec![format!("{e:#}")])?;
        Ok((conf, logs, warnings))
    };
    read().inspect_err(|_| {
        // There was a log of ended flows if there is to be one: this does not fail.
        let _ = logs.reopened(running);
    })
}

/// Settings that differ and that only an engine started anew takes.
#[must_use]
pub fn rebuilds(running: &Conf, wanted: &Conf) -> Vec<&'static str> {
    let (a, b) = (&running.general, &wanted.general);
    let mut out = Vec::new();
    let mut note = |differs: bool, name| {
        if differs {
            out.push(name);
        }
    };
    note(a.event_source != b.event_source, "EventSource");
    note(a.hash_limit != b.hash_limit, "HashLimit");
    note(a.netlink_buffer_size != b.netlink_buffer_size, "NetlinkBufferSize");
    note(a.netlink_events_reliable != b.netlink_events_reliable, "NetlinkEventsReliable");
    note(a.poll_s != b.poll_s, "PollSecs");
    note(a.shards != b.shards, "Shards");
    match (&running.mode, &wanted.mode) {
        (ModeConf::Sync(a), ModeConf::Sync(b)) => {
            note(fixed(a.mode) != fixed(b.mode), "Mode");
            note(a.links != b.links, "the dedicated link");
            note(a.options != b.options, "Options");
        }
        (ModeConf::Stats(_), ModeConf::Stats(_)) => {
            let records = |conf| settings::record_places(conf).is_some();
            note(records(running) != records(wanted), "whether ended flows are recorded");
        }
        (ModeConf::Helper, ModeConf::Helper) => {}
        _ => note(true, "Mode"),
    }
    out
}

/// Settings that differ and that change nothing now.
#[must_use]
pub fn remarks(running: &Conf, wanted: &Conf) -> Vec<&'static str> {
    let mut out = Vec::new();
    if running.general.hash_size != wanted.general.hash_size && rebuilds(running, wanted).is_empty()
    {
        out.push("HashSize is room made at the start; a running table grows by itself");
    }
    out
}

/// A mode without what changes live.
fn fixed(mut mode: SyncMode) -> SyncMode {
    match &mut mode {
        SyncMode::Ftfw { commit_timeout_s, purge_timeout_s, .. }
        | SyncMode::Alarm { commit_timeout_s, purge_timeout_s, .. }
        | SyncMode::NoTrack { commit_timeout_s, purge_timeout_s, .. } => {
            (*commit_timeout_s, *purge_timeout_s) = (None, 0);
        }
    }
    mode
}

#[cfg(test)]
mod tests;
