//! How the daemon gives up its rights: what is open goes along, and the log says what the user may not do later.

use super::logs::Logs;
use super::plan::Plan;
use crate::conf::NamedFile;
use anyhow::{Context, Result};
use host::confine;
use host::confine::files::{Allowed, Enforced, Use as FileUse};
use host::control::Bound;
use host::fleet::FleetParts;
use host::lock::{self, Locks};
use host::log::record::Code;
use host::log::{Level, Log};
use host::privilege::{self, Identity, Kept, Use, may};
use host::sys::{self, Scheduling};
use std::path::Path;
use std::sync::Arc;

/// What is open when the rights go.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The sources.
    pub parts: &'a mut FleetParts,
    /// The lock files.
    pub locks: &'a Locks,
    /// The control socket.
    pub bound: Option<&'a Bound>,
}

/// Has the daemon become `identity` with `CAP_NET_ADMIN` alone. No thread may run yet. `path` is where the
/// configuration came from.
///
/// # Errors
/// The step that the kernel refused.
pub fn give_up(
    identity: &Identity,
    (plan, path): (&Plan, &Path),
    opened: Opened<'_>,
    logs: &Logs,
) -> Result<()> {
    let Opened { parts, locks, bound } = opened;
    parts.reserve().context("making room for CPUs that come online later")?;
    if let Some(scheduling) = plan.tuning.scheduling {
        // The engine's threads inherit it, and say so where it does not hold.
        privilege::allow_real_time(scheduling);
        let _ = sys::set_scheduling(scheduling);
    }
    let uid = identity.uid;
    let give = || -> std::io::Result<()> {
        logs.give_to(uid)?;
        locks.give_to(uid)?;
        bound.map_or(Ok(()), |bound| bound.give_to(uid))
    };
    if let Err(error) = give() {
        logs.log.warning(format!("cannot give files to user {}: {error}", identity.name));
    }
    let kept = identity.become_it()?;
    let what = match kept {
        Kept::NetAdmin => "CAP_NET_ADMIN alone",
        Kept::NetAdminAndBpf => "CAP_NET_ADMIN and CAP_BPF, which this kernel wants for eBPF maps",
    };
    let text = format!("runs as user {} with {what}", identity.name);
    let fields = vec![("user", identity.name.as_str().into())];
    logs.log.record(Level::Notice, Code::User, text, fields);
    obstacles(&identity.name, plan, path, &logs.log);
    Ok(())
}

/// Keeps the daemon to the directories of the files that the configuration, and the one at `path`, name; no thread may
/// run yet. `may_run`: it may run the system's programs, as `Helper` in a reload of a daemon that has all rights does.
/// What it may reach from here on; `None` where the kernel does not confine it: then the log says so.
pub fn confine_files(
    (plan, path): (&Plan, &Path),
    may_run: bool,
    log: &Log,
) -> Option<Arc<Allowed>> {
    let mut allowed = Allowed::default();
    allowed.add(path, FileUse::Read);
    plan.files.iter().for_each(|file| allowed.add(&file.path, file.used));
    let why = match allowed.restrict_self(may_run) {
        Ok(Enforced::Yes) => {
            log.info(format!("files: {} (landlock)", listed(&allowed)));
            return Some(Arc::new(allowed));
        }
        Ok(Enforced::No) => "this kernel has no landlock".to_owned(),
        Err(error) => error.to_string(),
    };
    log.notice(format!("cannot refuse itself files that the configuration does not name: {why}"));
    None
}

/// Where the daemon reads and writes.
fn listed(allowed: &Allowed) -> String {
    let uses =
        [(FileUse::Read, "reads"), (FileUse::Log, "logs"), (FileUse::Keep, "locks, sockets")];
    let below = |(wanted, what): (FileUse, &str)| {
        let places: Vec<_> = allowed.of(wanted).map(|place| place.display().to_string()).collect();
        (!places.is_empty()).then(|| format!("{what} below {}", places.join(", ")))
    };
    uses.into_iter().filter_map(below).collect::<Vec<_>>().join("; ")
}

/// A line for each file that a daemon confined so could not use.
pub fn out_of_reach(allowed: Option<&Allowed>, files: &[NamedFile]) -> Vec<String> {
    let is_out = |file: &&NamedFile| allowed.is_some_and(|a| !a.allows(&file.path, file.used));
    let line = |file: &NamedFile| {
        format!(
            "{file}: it lies in none of the directories that the daemon began with, and landlock keeps it to those: \
             restart it"
        )
    };
    files.iter().filter(is_out).map(line).collect()
}

/// Refuses the daemon system calls that it never makes once it serves. No thread may run yet. `may_load_nothing`: it
/// has given up the rights to load eBPF programs. Where the kernel cannot, the log says so and the daemon goes on.
pub fn confine(may_load_nothing: bool, log: &Log) {
    if let Err(error) = confine::confine(may_load_nothing) {
        log.notice(format!("cannot refuse itself system calls: {error}"));
    }
}

/// Has the main thread scheduled as any other, once the engine's threads have inherited what [`give_up`] gave it.
pub fn rest(plan: &Plan) {
    if plan.tuning.scheduling.is_some() {
        let _ = sys::set_scheduling(Scheduling::Ordinary);
    }
}

/// Logs what a reload or the end of the daemon needs and the user may not do.
fn obstacles(user: &str, plan: &Plan, path: &Path, log: &Log) {
    let logs = [plan.log.file.as_deref(), plan.records.as_ref().and_then(|r| r.file.as_deref())];
    for file in logs.into_iter().flatten().filter(|file| !may(Use::Write, file)) {
        log.warning(format!(
            "user {user} may not open {} again: SIGHUP leaves the log where it is \
             (logrotate: `create 0640 {user} adm`)",
            file.display()
        ));
    }
    if !may(Use::Read, path) {
        log.warning(format!(
            "user {user} may not read {}: a reload will change nothing",
            path.display()
        ));
    }
    let control = plan.control.as_deref();
    let beside = control.map(lock::beside);
    let ours = [Some(plan.lock_file.as_path()), control, beside.as_deref()];
    for file in ours.into_iter().flatten().filter(|file| !may(Use::Remove, file)) {
        log.notice(format!(
            "user {user} may not remove {}: it stays at the end, and the next start takes it over",
            file.display()
        ));
    }
}
