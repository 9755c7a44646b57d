//! keepalived, which decides who carries the traffic.

use super::super::facts::{Facts, Fault, Known, Part};
use super::sysctl::commits;
use super::{Check, Finding, Status, word};

/// The lines of contrib that a notify section is made of.
const NOTIFY: [&str; 4] = [
    r#"notify_master "/etc/conntrackd/primary-backup.sh primary""#,
    r#"notify_backup "/etc/conntrackd/primary-backup.sh backup""#,
    r#"notify_fault "/etc/conntrackd/primary-backup.sh fault""#,
    r#"notify_stop "/etc/conntrackd/primary-backup.sh fault""#,
];

pub(super) static CHECKS: [Check; 3] = [
    Check {
        id: "keepalived.script",
        title: "conntrackd learns of each change of roles",
        looks_at: "notify lines of keepalived.conf, and whose the scripts are",
        bad: &[
            (
                Status::Error,
                "a script is absent or not executable; it or a folder above it is not root's, or others may write it",
            ),
            (Status::Warning, "no notify line calls primary-backup.sh, or not for every role"),
        ],
        why: "the commit never happens: the new primary has none of the other node's flows",
        fix: "the lines of contrib/keepalived.conf; a script that root alone may change, or keepalived does not run it",
        parts: &[Part::Keepalived],
        at_start: false,
        run: script,
    },
    Check {
        id: "keepalived.track",
        title: "a node without flows does not take over",
        looks_at: "vrrp_script and track_script of keepalived.conf",
        bad: &[(Status::Warning, "no track script asks whether this node is ready")],
        why: "a node that comes back empty takes over at once, and breaks every connection",
        fix: "the vrrp_script of contrib/keepalived.conf, tracked by the group",
        parts: &[Part::Keepalived],
        at_start: false,
        run: track,
    },
    Check {
        id: "keepalived.gate",
        title: "no packet comes before the commit",
        looks_at: "the nftables table ctflow_gate, CTFLOW_GATE of keepalived, the configuration",
        bad: &[(
            Status::Warning,
            "flows are kept beside the kernel until a commit, and there is no gate",
        )],
        why: "the addresses move before the commit has run: packets of connections that are not known yet are answered \
              with a reset",
        fix: "contrib/gate.nft, as contrib/README.md tells",
        parts: &[Part::Keepalived, Part::Conf],
        at_start: false,
        run: gate,
    },
];

/// The words of the configuration.
fn text(facts: &Facts) -> Known<&str> {
    facts.keepalived.text.as_deref().map_err(Clone::clone)
}

fn script(facts: &Facts) -> Known<Finding> {
    let text = text(facts)?;
    // `notify` alone calls a script with other words than these.
    let is_missing = |line: &&&str| {
        let role = line.split(' ').next().unwrap_or_default();
        let mut lines = text.lines().filter(|line| line.trim_start().starts_with(role));
        !lines.any(|line| line.contains("primary-backup.sh"))
    };
    let missing: Vec<_> = NOTIFY[..3].iter().filter(is_missing).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().filter_map(|line| line.split(' ').next()).collect();
        let found = format!("keepalived does not call primary-backup.sh by {}", names.join(", "));
        let lines = NOTIFY.iter().map(|line| format!("#   {line}"));
        let finding = Finding::warning(found).fix("# in the vrrp_sync_group of keepalived.conf:");
        return Ok(lines.fold(finding, Finding::fix));
    }
    let scripts = facts.keepalived.scripts.clone()?.into_iter();
    let bad = scripts.filter_map(|(path, fault)| Some(not_run(&path, &fault?)));
    let bad = Finding::of_all(bad.collect());
    Ok(bad.unwrap_or_else(|| Finding::ok("every role is passed to primary-backup.sh")))
}

/// A script that keepalived does not run.
fn not_run(path: &str, fault: &Fault) -> Finding {
    let (why, fix) = match fault {
        Fault::Absent => (
            "it is absent".to_owned(),
            format!("install -m 755 contrib/primary-backup.sh {}", word(path)),
        ),
        Fault::NotExecutable => {
            ("it is not executable".to_owned(), format!("chmod 755 {}", word(path)))
        }
        Fault::Owner(name) => {
            (format!("{name} is not root's"), format!("chown root:root {}", word(name)))
        }
        Fault::Writable(name) => {
            (format!("others than root may write {name}"), format!("chmod go-w {}", word(name)))
        }
    };
    Finding::error(format!("keepalived will not run {path}: {why}")).fix(fix)
}

fn track(facts: &Facts) -> Known<Finding> {
    let text = text(facts)?;
    let asks = text.lines().any(|line| {
        let is_ours = line.contains("primary-backup.sh check") || line.contains("ctflow ready");
        line.trim_start().starts_with("script") && is_ours
    });
    if asks && text.contains("track_script") {
        return Ok(Finding::ok("a track script asks whether this node is ready"));
    }
    let finding = Finding::warning("keepalived does not ask whether this node is ready");
    Ok(finding
        .fix("# take vrrp_script may_be_primary and track_script from contrib/keepalived.conf"))
}

fn gate(facts: &Facts) -> Known<Finding> {
    let conf = facts.conf.conf.as_ref().map_err(Clone::clone)?;
    text(facts)?;
    if !commits(conf) {
        return Ok(Finding::ok("flows go straight into the kernel: no gate is needed"));
    }
    let keepalived = &facts.keepalived;
    if keepalived.gate_shut == Ok(true) {
        return Ok(Finding::ok("the gate is shut: this node does not carry the traffic"));
    }
    if keepalived.knows_gate.clone()? {
        return Ok(Finding::ok("keepalived's scripts know of the gate"));
    }
    Ok(Finding::warning("there is no gate")
        .fix("# with your addresses in it:")
        .fix("install -m 644 contrib/gate.nft /etc/conntrackd/gate.nft")
        .fix("echo CTFLOW_GATE=/etc/conntrackd/gate.nft >> /etc/default/keepalived"))
}
