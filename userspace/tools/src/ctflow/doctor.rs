//! `ctflow doctor`: its command line, and what it does.

use super::{Daemon, print};
use crate::conf::{self, Conf};
use crate::conntrackd::check as start;
use crate::conntrackd::keys::Keyring;
use crate::conntrackd::plan::Plan;
use crate::doctor::check::{Check, all};
use crate::doctor::facts::{Answer, Facts, Known};
use crate::doctor::report::{Totals, json, text};
use crate::doctor::{examine, gather, parts, reference};
use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use host::sys;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;
use wire::control::Request;

/// How long the daemon may take to answer. One that is busy takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Number of the capability to look at every file (`include/uapi/linux/capability.h`).
const CAP_DAC_OVERRIDE: u32 = 1;

/// What to look at, and how to show it.
#[derive(Args, Clone, Debug)]
#[command(after_help = reference::help())]
pub(super) struct Options {
    #[command(flatten)]
    daemon: Daemon,
    /// Only these checks, by name or by family (sysctl.max, peer)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Not these, likewise
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    skip: Vec<String>,
    /// As text for people, or as one JSON object (docs/spec/doctor.md)
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Take a warning for an error
    #[arg(long)]
    strict: bool,
    /// Show what is ok, and why a check was skipped, too
    #[arg(short, long)]
    verbose: bool,
    /// List the checks, and end
    #[arg(long)]
    list: bool,
    /// Tell all about one check, and end
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text
    #[default]
    Text,
    /// JSON
    Json,
}

/// Runs the checks, and prints their findings.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        print(&reference::list())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(id) = &options.explain {
        let check = all().find(|check| check.id == id);
        let check = check.with_context(|| unknown(id))?;
        print(&reference::explain(check))?;
        return Ok(ExitCode::SUCCESS);
    }
    let checks = choose(&options.only, &options.skip)?;
    ensure!(Path::new("/proc/self").exists(), "there is no /proc");
    let facts = facts(&options.daemon, &checks)?;
    let outcomes = examine(&facts, checks);
    print(&match options.output {
        Output::Text => text(&outcomes, options.verbose),
        Output::Json => json(&outcomes),
    })?;
    let totals = Totals::of(&outcomes);
    let failed = totals.errors > 0 || options.strict && totals.warnings > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The checks that are wanted.
fn choose(only: &[String], skip: &[String]) -> Result<Vec<&'static Check>> {
    let is = |check: &Check, name: &String| check.id == name || check.family() == name;
    for name in only.iter().chain(skip) {
        ensure!(all().any(|check| is(check, name)), "{}", unknown(name));
    }
    let wanted = |check: &&Check| {
        let chosen = only.is_empty() || only.iter().any(|name| is(check, name));
        chosen && !skip.iter().any(|name| is(check, name))
    };
    let chosen: Vec<_> = all().filter(wanted).collect();
    ensure!(!chosen.is_empty(), "no check is left");
    Ok(chosen)
}

fn unknown(name: &str) -> String {
    format!("there is no check or family of checks {name:?} (ctflow doctor --list)")
}

/// Looks at this machine.
fn facts(daemon: &Daemon, checks: &[&'static Check]) -> Result<Facts> {
    let parts = parts(checks.iter().copied());
    let root = Path::new("/");
    let mut facts = gather::files(root, &parts);
    let path = std::path::absolute(&daemon.config)?;
    let text = conf::text(&path).map_err(|error| format!("{error:#}"));
    gather::configuration(&mut facts, root, &path, text);
    if let Ok(conf) = &facts.conf.conf {
        facts.conf.refused = refused(conf);
    }
    let ask = |facts: &Facts| ask(facts, daemon);
    gather::system(&mut facts, &parts, &ask);
    Ok(facts)
}

/// Why the daemon would not start with a configuration, if so. What lies at the paths that it names, root alone sees.
fn refused(conf: &Conf) -> Known<Option<String>> {
    let sees_all = sys::has_capability(CAP_DAC_OVERRIDE);
    let (plan, keyring) = (Plan::from(conf), Keyring::default());
    let tried = match sees_all {
        true => start::start(&plan, &keyring).and_then(|()| start::links(&plan)),
        false => start::settings(&plan, &keyring),
    };
    match tried {
        Err(error) => Ok(Some(format!("{error:#}"))),
        Ok(()) if sees_all => Ok(None),
        Ok(()) => Err("what lies at the paths it names cannot be seen: needs root".into()),
    }
}

/// Asks the daemon for its state. One that does not answer in time is silent.
fn ask(facts: &Facts, daemon: &Daemon) -> Known<Answer> {
    let conf = facts.conf.conf.as_ref().map_err(Clone::clone)?;
    if conf.general.unix_path.is_none() {
        return Err("the configuration names no control socket".into());
    }
    let (answered, answer) = sync_channel(1);
    let daemon = daemon.clone();
    // A thread that waits for a daemon that hangs ends with this program.
    thread::spawn(move || {
        // The receiver may be gone.
        let _ = answered.send(daemon.ask(Request::StatsJson).map_err(|error| format!("{error:#}")));
    });
    Ok(match answer.recv_timeout(PATIENCE) {
        Ok(Ok(text)) => understood(&text),
        Ok(Err(why)) if why.contains("Permission denied") => {
            return Err("the daemon's control socket is its owner's: needs root".into());
        }
        Ok(Err(why)) => Answer::Silent(why),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Answer::Silent(format!("nothing within {} s", PATIENCE.as_secs()))
        }
    })
}

fn understood(text: &str) -> Answer {
    match serde_json::from_str(text) {
        Ok(status) => Answer::Status(Box::new(status)),
        Err(_) if text.is_empty() => Answer::Foreign("it does not know the question".into()),
        Err(error) => Answer::Foreign(error.to_string()),
    }
}
