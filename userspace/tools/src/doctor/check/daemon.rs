//! The daemon, according to itself.

use super::super::facts::{Answer, Facts, Known, Part};
use super::{Check, Finding, Status, config};
use crate::conf::{Conf, EventSource, ModeConf, SyncMode};
use crate::print::status::fell_back;

/// How long the local table may be inexact before that is more than a repair that runs, seconds.
const REPAIR_S: u64 = 60;

pub(super) static CHECKS: [Check; 6] = [
    Check {
        id: "daemon.running",
        title: "the daemon answers",
        looks_at: "the control socket that the configuration names",
        bad: &[(Status::Error, "silent, or another program answers")],
        why: "no flow is replicated or logged",
        fix: "start it; its log says why it ended",
        parts: &[Part::Daemon, Part::Conf],
        at_start: false,
        run: running,
    },
    Check {
        id: "daemon.ready",
        title: "the daemon is ready",
        looks_at: "its status",
        bad: &[(Status::Warning, "its tables are not complete or not exact")],
        why: "a node that takes over now lacks flows",
        fix: "wait while it loads; else -R reads the kernel's table again, -n asks the peer",
        parts: &[Part::Daemon, Part::Conf],
        at_start: false,
        run: ready,
    },
    Check {
        id: "daemon.source",
        title: "events come through the source that was asked for",
        looks_at: "its status and the configuration",
        bad: &[(Status::Warning, "it fell back to another one")],
        why: "from hook to tap to netlink an event costs more CPU, and netlink loses events in bursts",
        fix: "kernel.tap and kernel.hook say what is missing",
        parts: &[Part::Daemon, Part::Conf],
        at_start: false,
        run: source,
    },
    Check {
        id: "daemon.metrics",
        title: "metrics are served",
        looks_at: "the addresses of `Listen`",
        bad: &[(Status::Warning, "one of them does not answer")],
        why: "this node is not watched",
        fix: "free the address, or name another one",
        parts: &[Part::Daemon],
        at_start: false,
        run: metrics,
    },
    Check {
        id: "daemon.exact",
        title: "the local table is what the kernel holds",
        looks_at: "its status",
        bad: &[(Status::Error, "inexact for more than a minute")],
        why: "events were lost and the table has not been read again: a commit on the other node would be wrong",
        fix: "conntrackd -R reads the kernel's table again",
        parts: &[Part::Daemon, Part::Conf],
        at_start: false,
        run: exact,
    },
    Check {
        id: "daemon.log",
        title: "the log is written",
        looks_at: "its status",
        bad: &[(Status::Warning, "lines were lost")],
        why: "the disk is full or too slow, and what the log would have said is gone",
        fix: "room on the disk",
        parts: &[Part::Daemon],
        at_start: false,
        run: log,
    },
];

fn running(facts: &Facts) -> Known<Finding> {
    let answer = facts.daemon.answer.as_ref().map_err(Clone::clone)?;
    let start = "systemctl restart conntrackd";
    Ok(match answer {
        Answer::Status(status) => Finding::ok(format!(
            "version {}, pid {}, up {} s",
            status.version, status.pid, status.uptime_s
        )),
        Answer::Silent(why) => Finding::error(format!("the daemon does not answer: {why}"))
            .fix(start)
            .fix("journalctl -u conntrackd -n 50"),
        Answer::Foreign(why) => Finding::error(format!("what answers is not understood: {why}"))
            .fix("# stop the original, or the daemon of another version; then:")
            .fix(start),
    })
}

fn ready(facts: &Facts) -> Known<Finding> {
    let status = facts.status()?;
    if status.ready {
        return Ok(Finding::ok("its tables are complete and exact"));
    }
    let finding = Finding::warning(format!("not ready: {}", status.not_ready.join("; ")));
    let fixes = status.not_ready.iter().filter_map(|reason| remedy(facts, reason));
    Ok(fixes.fold(finding, Finding::fix).fix(format!("ctflow status {}", config(facts))))
}

/// What to do about a reason of [`crate::print::status::readiness`]; nothing where waiting is enough.
fn remedy(facts: &Facts, reason: &str) -> Option<String> {
    let says = |words: &str| reason.contains(words);
    if says("full (HashLimit)") {
        Some(format!("ctflow doctor {} --only conf.hashlimit", config(facts)))
    } else if says("nf_conntrack_events is 0") {
        Some("ctflow doctor --only sysctl.events".into())
    } else if says("asked for and received") || says("messages of the other node are missing") {
        Some(format!("conntrackd {} -n", config(facts)))
    } else if says("has not been read") && !says("read yet") {
        Some(format!("conntrackd {} -R", config(facts)))
    } else {
        None
    }
}

fn source(facts: &Facts) -> Known<Finding> {
    let status = facts.status()?;
    let conf = facts.conf.conf.as_ref().map_err(Clone::clone)?;
    let name = status.events.source.as_str();
    let wanted = match conf.general.event_source {
        _ if conf.general.poll_s.is_some() || matches!(conf.mode, ModeConf::Helper) => name,
        EventSource::Netlink => "netlink",
        EventSource::Hook if keeps_flows(conf) => "hook",
        EventSource::Hook | EventSource::Auto | EventSource::Tap => "tap",
    };
    let found = format!("events come through: {name}");
    if !fell_back(name, wanted) {
        return Ok(Finding::ok(found));
    }
    let finding = Finding::warning(found).wanted(wanted);
    Ok(finding.fix("ctflow doctor --only kernel"))
}

/// Whether a table of this node's flows is kept, which the hook cannot do without.
const fn keeps_flows(conf: &Conf) -> bool {
    match &conf.mode {
        ModeConf::Sync(sync) => {
            !matches!(sync.mode, SyncMode::NoTrack { disable_internal_cache: true, .. })
        }
        ModeConf::Stats(_) | ModeConf::Helper => true,
    }
}

fn metrics(facts: &Facts) -> Known<Finding> {
    let addresses = facts.daemon.metrics.clone()?;
    let silent = addresses.iter().filter_map(|(address, why)| Some((address, why.as_ref()?)));
    let silent = silent.map(|(address, why)| {
        let found = format!("metrics are not served at {address}: {why}");
        let log = "journalctl -u conntrackd | grep 'metrics are'";
        Finding::warning(found).fix("ss -ltnp").fix(log)
    });
    let all = Finding::of_all(silent.collect());
    Ok(all.unwrap_or_else(|| Finding::ok("metrics are served wherever they are asked for")))
}

fn exact(facts: &Facts) -> Known<Finding> {
    let work = &facts.status()?.work;
    Ok(match work.degraded_s {
        Some(seconds) if seconds > REPAIR_S => {
            let lost = work.missing_events;
            let found = format!("not exact for {seconds} s, {lost} events lost");
            Finding::error(found).fix(format!("conntrackd {} -R", config(facts)))
        }
        Some(seconds) => Finding::ok(format!("not exact for {seconds} s; that is being repaired")),
        None => Finding::ok("it is"),
    })
}

fn log(facts: &Facts) -> Known<Finding> {
    Ok(match facts.status()?.log_lines_lost {
        0 => Finding::ok("no line was lost"),
        lines => {
            Finding::warning(format!("{lines} lines of its logs were lost")).fix("df -h /var/log")
        }
    })
}
