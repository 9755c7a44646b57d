//! How the daemon is started, and the original beside it.

use super::super::facts::{Facts, Known, Part};
use super::{Check, Finding, Status, word};

/// What a unit that takes rights away has at the least, and a value that this daemon can live with.
const HARDENING: [(&str, &str); 5] = [
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "full"),
    (
        "CapabilityBoundingSet",
        "CAP_NET_ADMIN CAP_BPF CAP_PERFMON CAP_SYS_ADMIN CAP_SYS_NICE CAP_NET_RAW CAP_SETUID CAP_SETGID CAP_SETPCAP \
         CAP_CHOWN",
    ),
    ("RestrictAddressFamilies", "AF_UNIX AF_NETLINK AF_INET AF_INET6"),
    // The daemon confines itself, with what systemd before 254 does not count among a service's system calls.
    (
        "SystemCallFilter",
        "@system-service bpf perf_event_open landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp",
    ),
];
/// Where systemd looks for what is added to the unit.
const DROP_INS: &str = "/etc/systemd/system/conntrackd.service.d";

pub(super) static CHECKS: [Check; 2] = [
    Check {
        id: "service.unit",
        title: "the unit takes away what the daemon does not need",
        looks_at: "conntrackd.service, with what is added to it",
        bad: &[(Status::Info, "rights are left that it never uses")],
        why: "an attacker who takes over the daemon by a fault in it has these rights, too",
        fix: "the lines that are missing, as a file beside the unit",
        parts: &[Part::Service],
        at_start: false,
        run: unit,
    },
    Check {
        id: "service.package",
        title: "the original does not run beside",
        looks_at: "Debian's package conntrackd, the unit, processes of this network namespace",
        bad: &[
            (Status::Error, "the original runs, or is started at boot"),
            (Status::Info, "it is installed, and nothing starts it"),
        ],
        why: "two daemons share one port and one peer, and each takes what is meant for the other",
        fix: "stop it, and do not start it at boot",
        parts: &[Part::Service],
        at_start: false,
        run: package,
    },
];

fn unit(facts: &Facts) -> Known<Finding> {
    let Some((path, text)) = facts.service.unit.clone()? else {
        return Err("there is no conntrackd.service".into());
    };
    let has = |key: &str| {
        text.lines().any(|line| {
            line.trim_start().strip_prefix(key).is_some_and(|rest| rest.starts_with('='))
        })
    };
    let missing: Vec<_> = HARDENING.iter().filter(|(key, _)| !has(key)).collect();
    if missing.is_empty() {
        return Ok(Finding::ok(format!("{path} takes rights away")));
    }
    let names: Vec<_> = missing.iter().map(|(key, _)| *key).collect();
    let lines: String = missing.iter().map(|(key, value)| format!("{key}={value}\\n")).collect();
    let lines = word(&format!("[Service]\\n{lines}"));
    Ok(Finding::info(format!("{path} lacks {}", names.join(", ")))
        .fix(format!("mkdir -p {DROP_INS}"))
        .fix(format!("printf {lines} > {DROP_INS}/hardening.conf"))
        .fix("systemctl daemon-reload"))
}

/// The program that a unit starts.
fn program(unit: &str) -> Option<&str> {
    let line = unit.lines().find_map(|line| line.trim().strip_prefix("ExecStart="))?;
    line.split_whitespace().next()
}

fn package(facts: &Facts) -> Known<Finding> {
    let service = &facts.service;
    let originals = service.originals.clone()?;
    if originals.is_empty() {
        return Ok(Finding::ok("the package conntrackd is not installed"));
    }
    let disable = "systemctl disable --now conntrackd.service";
    let unit = service.unit.clone()?;
    let starts =
        |text: &str| program(text).is_some_and(|name| originals.iter().any(|own| own == name));
    let is_started = service.enabled.clone()? && unit.is_some_and(|(_, text)| starts(&text));
    let running = service.running.clone()?;
    if let [first, ..] = running[..] {
        let finding = Finding::error(format!("the original conntrackd runs here (pid {first})"));
        if !is_started {
            return Ok(running.iter().fold(finding, |all, pid| all.fix(format!("kill {pid}"))));
        }
        // The unit's own process goes with the unit.
        let kill = |pid: &u32| format!("test ! -d /proc/{pid} || kill {pid}");
        return Ok(running.iter().fold(finding.fix(disable), |all, pid| all.fix(kill(pid))));
    }
    if is_started {
        let found = "systemd starts the original conntrackd at boot";
        return Ok(Finding::error(found).fix(disable));
    }
    Ok(Finding::info("the original conntrackd is installed; nothing starts it"))
}
