//! SIGHUP: log files are opened again, the configuration is read again, and what can change while the daemon runs
//! changes. For the rest a warning says that it needs a restart.

use super::daemon::Logs;
use super::settings;
use crate::conf::{self, Conf, ModeConf, SyncMode};
use anyhow::{Result, anyhow};
use host::fleet::Handle;
use host::shard::Order;
use host::systemd::Systemd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the shard may take to change its settings.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it takes to read the configuration again.
#[derive(Debug)]
pub struct Reload {
    /// Where lines go.
    pub logs: Logs,
    /// Who is told.
    pub systemd: Systemd,
    path: PathBuf,
    /// What the daemon runs with.
    running: Conf,
    console: bool,
}

impl Reload {
    /// For a daemon that runs with `running`, which was read from `path`.
    #[must_use]
    pub fn new(path: &Path, running: Conf, logs: Logs, console: bool, systemd: Systemd) -> Self {
        Self { logs, systemd, path: path.to_owned(), running, console }
    }

    /// How long `-t` waits, seconds.
    #[must_use]
    pub fn purge_after_s(&self) -> u64 {
        settings::purge_after_s(&self.running)
    }

    /// Reads the configuration again. When it is not valid, the log files are opened again, and all else stays.
    pub async fn reload(&mut self, shard: &Handle) {
        self.systemd.reloading();
        let log = &self.logs.log;
        log.notice("SIGHUP: reading the configuration again");
        match read(&self.path) {
            Ok((conf, warnings)) => {
                warnings.iter().for_each(|line| log.warning(line));
                self.change(conf, shard).await;
            }
            Err(found) => {
                found.iter().for_each(|line| log.error(line));
                log.error("the configuration is not valid: nothing was changed");
                self.reopen(&self.running.clone());
            }
        }
        self.systemd.ready(std::process::id(), "serving");
    }

    async fn change(&mut self, conf: Conf, shard: &Handle) {
        let log = &self.logs.log;
        for name in needs_restart(&self.running, &conf) {
            log.warning(format!("{name} changed: needs a restart"));
        }
        let mut next = self.running.clone();
        adopt(&mut next, conf);
        self.reopen(&next);
        let change = Box::new(settings::change(&self.running, &next));
        let (reply, outcome) = oneshot::channel();
        shard.order(Order::Reconfigure(change, reply));
        match timeout(PATIENCE, outcome).await {
            Ok(Ok(Ok(()))) => log.notice("the configuration was read again"),
            Ok(Ok(Err(why))) => log.error(format!("not all settings could be changed: {why}")),
            Ok(Err(_)) | Err(_) => {
                log.error("the engine does not answer: its settings are unknown");
            }
        }
        self.running = next;
    }

    fn reopen(&self, conf: &Conf) {
        let Logs { log, records } = &self.logs;
        let own = settings::log_places(conf, self.console);
        if let Err(error) = log.reopen(&own) {
            log.error(format!("the log file stays as it is: {error}"));
        }
        if let (Some(records), Some(places)) = (records, settings::record_places(conf))
            && let Err(error) = records.reopen(&places)
        {
            log.error(format!("the statistics log file stays as it is: {error}"));
        }
    }
}

/// Reads a configuration this version can run with; lines that say what is wrong with it otherwise.
fn read(path: &Path) -> Result<(Conf, Vec<String>), Vec<String>> {
    let lines = |found: &[conf::Diagnostic], text: &str| -> Vec<String> {
        let rendered = found.iter().map(|d| d.render(text, false));
        rendered.flat_map(|d| d.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let text = std::fs::read_to_string(path)
        .map_err(|e| vec![format!("cannot read the configuration {}: {e}", path.display())])?;
    let (conf, warnings) =
        conf::parse(&text, &path.display().to_string()).map_err(|found| lines(&found, &text))?;
    runnable(&conf).map_err(|e| vec![format!("{e:#}")])?;
    Ok((conf, lines(&warnings, &text)))
}

fn runnable(conf: &Conf) -> Result<()> {
    settings::supported(conf)?;
    settings::control_path(conf).map(drop).map_err(|e| anyhow!(e))
}

/// Settings that differ and cannot change while the daemon runs.
#[must_use]
pub fn needs_restart(running: &Conf, wanted: &Conf) -> Vec<&'static str> {
    let (a, b) = (&running.general, &wanted.general);
    let mut out = Vec::new();
    let mut note = |differs: bool, name| {
        if differs {
            out.push(name);
        }
    };
    note(a.event_source != b.event_source, "EventSource");
    note(a.hash_limit != b.hash_limit, "HashLimit");
    note(a.lock_file != b.lock_file, "LockFile");
    note(a.unix_path != b.unix_path, "UNIX");
    note(a.netlink_buffer_size != b.netlink_buffer_size, "NetlinkBufferSize");
    note(a.netlink_events_reliable != b.netlink_events_reliable, "NetlinkEventsReliable");
    note(a.poll_s != b.poll_s, "PollSecs");
    note(a.shards != b.shards, "Shards");
    note(a.systemd != b.systemd, "Systemd");
    note(running.helper != wanted.helper, "Helper");
    match (&running.mode, &wanted.mode) {
        (ModeConf::Sync(a), ModeConf::Sync(b)) => {
            note(fixed(a.mode) != fixed(b.mode), "Mode");
            note(a.links != b.links, "the dedicated link");
            note(a.options != b.options, "Options");
        }
        (ModeConf::Stats(_), ModeConf::Stats(_)) => {}
        _ => note(true, "Mode"),
    }
    out
}

/// Takes over what can change while the daemon runs.
pub fn adopt(running: &mut Conf, wanted: Conf) {
    let (a, b) = (&mut running.general, wanted.general);
    a.log_file = b.log_file;
    a.syslog = b.syslog;
    a.netlink_buffer_size_max_growth = b.netlink_buffer_size_max_growth;
    a.netlink_overrun_resync_s = b.netlink_overrun_resync_s;
    a.event_iteration_limit = b.event_iteration_limit;
    a.scheduler = b.scheduler;
    a.filter = b.filter;
    // Without effect on us.
    a.hash_size = b.hash_size;
    match (&mut running.mode, wanted.mode) {
        (ModeConf::Stats(a), ModeConf::Stats(b)) => *a = b,
        (ModeConf::Sync(a), ModeConf::Sync(b)) => {
            let (commit, purge) = timeouts_mut(&mut a.mode);
            *commit = b.mode.commit_timeout_s();
            *purge = b.mode.purge_timeout_s();
        }
        _ => {}
    }
}

/// A mode without what can change while it runs.
fn fixed(mut mode: SyncMode) -> SyncMode {
    let (commit, purge) = timeouts_mut(&mut mode);
    (*commit, *purge) = (None, 0);
    mode
}

const fn timeouts_mut(mode: &mut SyncMode) -> (&mut Option<u32>, &mut u32) {
    match mode {
        SyncMode::Ftfw { commit_timeout_s, purge_timeout_s, .. }
        | SyncMode::Alarm { commit_timeout_s, purge_timeout_s, .. }
        | SyncMode::NoTrack { commit_timeout_s, purge_timeout_s, .. } => {
            (commit_timeout_s, purge_timeout_s)
        }
    }
}

#[cfg(test)]
mod tests;
