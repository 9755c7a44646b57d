//! Modules of connection tracking, and whether it works at all.

use super::super::facts::{Facts, Known, Part};
use super::{Check, Finding, Status};

pub(super) static CHECKS: [Check; 3] = [
    Check {
        id: "module.conntrack",
        title: "connection tracking is there",
        looks_at: "/proc/sys/net/netfilter, /proc/modules",
        bad: &[(Status::Error, "nf_conntrack or nf_conntrack_netlink is absent")],
        why: "there are no events, or nothing sends them",
        fix: "modprobe nf_conntrack_netlink, which loads both",
        parts: &[Part::Modules],
        at_start: true,
        run: conntrack,
    },
    Check {
        id: "module.boot",
        title: "settings of conntrack outlive a boot",
        looks_at: "sysctl.conf and sysctl.d beside modules and modules-load.d",
        bad: &[(
            Status::Warning,
            "net.netfilter settings in sysctl.d, and nothing loads the module before them",
        )],
        why: "at boot the settings are made before the module exists, and are lost without a word",
        fix: "have the module loaded at boot, which comes before the settings",
        parts: &[Part::Modules],
        at_start: true,
        run: boot,
    },
    Check {
        id: "conntrack.active",
        title: "packets are tracked",
        looks_at: "functions at the netfilter hooks of this network namespace (Linux 5.14), else counters and flows",
        bad: &[(Status::Warning, "no packet of this network namespace meets conntrack")],
        why: "conntrack takes part only once a rule asks for it; until then there is no flow, and nothing to replicate",
        fix: "a rule that asks for the state of a flow",
        parts: &[Part::Tracking, Part::Counters, Part::Sysctl],
        at_start: false,
        run: active,
    },
];

fn conntrack(facts: &Facts) -> Known<Finding> {
    let fix = "modprobe nf_conntrack_netlink";
    if !facts.modules.conntrack.clone()? {
        return Ok(
            Finding::error("the kernel tracks no connections: nf_conntrack is absent").fix(fix)
        );
    }
    let loaded = facts.modules.loaded.clone()?;
    let has = |name: &str| loaded.iter().any(|module| module == name);
    Ok(match (has("nf_conntrack"), has("nf_conntrack_netlink")) {
        (true, true) => Finding::ok("nf_conntrack and nf_conntrack_netlink are loaded"),
        (true, false) => {
            Finding::error("nf_conntrack_netlink is not loaded: no program receives events")
                .fix(fix)
        }
        (false, _) => Finding::ok("conntrack is built into the kernel"),
    })
}

fn boot(facts: &Facts) -> Known<Finding> {
    let settings = facts.modules.boot_settings.clone()?;
    let Some(first) = settings.first() else {
        return Ok(Finding::ok("no setting of conntrack is made at boot"));
    };
    let is = |names: &[String]| names.iter().any(|name| name.starts_with("nf_conntrack"));
    if is(&facts.modules.boot_modules.clone()?) {
        return Ok(Finding::ok("the module is loaded at boot, before its settings are made"));
    }
    if facts.modules.conntrack.clone()? && !is(&facts.modules.loaded.clone()?) {
        return Ok(Finding::ok("conntrack is built into the kernel, so its settings are made"));
    }
    let (more, verb) = match settings.len() - 1 {
        0 => (String::new(), "is"),
        more => (format!(" and {more} more"), "are"),
    };
    Ok(Finding::warning(format!("{first}{more} {verb} set at boot before nf_conntrack is loaded"))
        .fix("echo nf_conntrack > /etc/modules-load.d/ctflow.conf"))
}

fn active(facts: &Facts) -> Known<Finding> {
    let tracked = match &facts.tracking {
        Ok(tracked) => *tracked,
        // A kernel that does not list its hooks. What has been looked up was tracked.
        Err(_) => {
            let [_, now] = facts.counters.clone()?;
            let seen = ["found", "insert", "invalid"]
                .iter()
                .any(|name| now.get(*name).is_some_and(|n| *n > 0));
            if !seen && facts.sysctl("nf_conntrack_count")? == 0 {
                let found = "no flow, and no packet that conntrack has counted since the boot";
                return Ok(without_tracking(found));
            }
            return Ok(Finding::ok("conntrack has seen packets"));
        }
    };
    Ok(match tracked {
        true => Finding::ok("packets meet conntrack"),
        false => without_tracking("no packet of this network namespace meets conntrack"),
    })
}

fn without_tracking(found: &str) -> Finding {
    Finding::warning(found)
        .fix("# with a table inet filter and its chain forward:")
        .fix("nft add rule inet filter forward ct state established accept")
}
