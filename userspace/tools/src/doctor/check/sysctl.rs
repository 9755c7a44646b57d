//! Settings of the kernel's connection tracking.

use super::super::facts::{Facts, Known, Part};
use super::{Check, Finding, Status, sysctl_command};
use crate::conf::{Conf, ModeConf, SyncMode};

/// How full the table may be, percent.
const FULL: u64 = 95;
const FILLING: u64 = 80;
/// Flows that may share a bucket before chains are long.
const FLOWS_A_BUCKET: u64 = 8;
/// A day, seconds.
const DAY_S: u64 = 86_400;

pub(super) static CHECKS: [Check; 7] = [
    Check {
        id: "sysctl.max",
        title: "room in the kernel's table",
        looks_at: "nf_conntrack_count and nf_conntrack_max",
        bad: &[(Status::Error, "more than 95 % full"), (Status::Warning, "more than 80 % full")],
        why: "when the table is full, the kernel drops the packets of new connections",
        fix: "raise the limit to twice what is needed now",
        parts: &[Part::Sysctl],
        at_start: true,
        run: max,
    },
    Check {
        id: "sysctl.buckets",
        title: "buckets of the kernel's table",
        looks_at: "nf_conntrack_max and nf_conntrack_buckets",
        bad: &[(Status::Warning, "more than 8 flows a bucket when the table is full")],
        why: "long chains cost CPU for every packet, and past a length the kernel refuses new flows (chaintoolong)",
        fix: "more buckets",
        parts: &[Part::Sysctl],
        at_start: true,
        run: buckets,
    },
    Check {
        id: "sysctl.events",
        title: "the kernel sends events",
        looks_at: "nf_conntrack_events; for 2, whether there is a listener",
        bad: &[
            (Status::Error, "0: it sends no events"),
            (Status::Info, "2, and flows that began without a listener"),
        ],
        why: "with 0 no flow is ever heard of; with 2 flows older than the first listener end in silence, and the \
              daemon has to look after them",
        fix: "1: every flow has events from its beginning",
        parts: &[Part::Sysctl, Part::Listeners],
        at_start: true,
        run: events,
    },
    Check {
        id: "sysctl.acct",
        title: "packets and bytes are counted",
        looks_at: "nf_conntrack_acct",
        bad: &[(Status::Info, "0: they are not")],
        why: "logs of ended flows, and lists of who sends how much, then have no numbers",
        fix: "1; it is true of flows that begin after that",
        parts: &[Part::Sysctl],
        at_start: true,
        run: acct,
    },
    Check {
        id: "sysctl.timestamp",
        title: "flows have times",
        looks_at: "nf_conntrack_timestamp",
        bad: &[(Status::Info, "0: they have none")],
        why: "logs of ended flows then do not say when a flow began",
        fix: "1; it is true of flows that begin after that",
        parts: &[Part::Sysctl],
        at_start: true,
        run: timestamp,
    },
    Check {
        id: "sysctl.tcp",
        title: "connections in the middle, on a node that takes over",
        looks_at: "nf_conntrack_tcp_loose, the configuration, the gate",
        bad: &[(Status::Info, "1 with an external cache and without a gate")],
        why: "a packet that comes before the commit begins a flow of its own, without translation, which then \
              stands in the way of the one that is committed",
        fix: "a gate (contrib/gate.nft), or tcp_loose=0",
        parts: &[Part::Sysctl, Part::Conf, Part::Keepalived],
        at_start: true,
        run: tcp,
    },
    Check {
        id: "sysctl.timeouts",
        title: "how long idle connections stay",
        looks_at: "nf_conntrack_tcp_timeout_established, count and max",
        bad: &[(Status::Info, "more than a day, and the table is more than half full")],
        why: "connections whose ends are long gone fill the table for days",
        fix: "a day",
        parts: &[Part::Sysctl],
        at_start: true,
        run: timeouts,
    },
];

/// Flows in the table, and the most there may be.
fn fill(facts: &Facts) -> Known<(u64, u64)> {
    let (count, max) = (facts.sysctl("nf_conntrack_count")?, facts.sysctl("nf_conntrack_max")?);
    if max == 0 { Err("nf_conntrack_max is 0: there is no limit".into()) } else { Ok((count, max)) }
}

fn max(facts: &Facts) -> Known<Finding> {
    let (count, max) = fill(facts)?;
    let percent = count.saturating_mul(100) / max;
    let found = format!("the kernel's table is {percent} % full: {count} of {max} flows");
    let status = match count.saturating_mul(100) {
        parts if parts > max.saturating_mul(FULL) => Finding::error(found),
        parts if parts > max.saturating_mul(FILLING) => Finding::warning(found),
        _ => return Ok(Finding::ok(found)),
    };
    let wanted = count.saturating_mul(2).checked_next_power_of_two().unwrap_or(u64::MAX);
    let finding = status.wanted(format!("at most {FILLING} %"));
    Ok(finding.fix(sysctl_command("nf_conntrack_max", wanted)))
}

fn buckets(facts: &Facts) -> Known<Finding> {
    let (max, buckets) = (facts.sysctl("nf_conntrack_max")?, facts.sysctl("nf_conntrack_buckets")?);
    let found = format!("{max} flows at most in {buckets} buckets");
    if max <= buckets.saturating_mul(FLOWS_A_BUCKET) {
        return Ok(Finding::ok(found));
    }
    let wanted = max.div_ceil(4).checked_next_power_of_two().unwrap_or(u64::MAX);
    let finding =
        Finding::warning(found).wanted(format!("at most {FLOWS_A_BUCKET} flows a bucket"));
    Ok(finding.fix(sysctl_command("nf_conntrack_buckets", wanted)))
}

fn events(facts: &Facts) -> Known<Finding> {
    let fix = sysctl_command("nf_conntrack_events", 1);
    match facts.sysctl("nf_conntrack_events")? {
        0 => {
            let found = "the kernel sends no events: nf_conntrack_events is 0";
            return Ok(Finding::error(found).wanted("1, or 2").fix(fix));
        }
        2 => {}
        value => return Ok(Finding::ok(format!("nf_conntrack_events is {value}"))),
    }
    let flows = facts.sysctl("nf_conntrack_count")?;
    if flows == 0 || !facts.listeners.clone()?.is_empty() {
        return Ok(Finding::ok(
            "nf_conntrack_events is 2: the kernel sends events while there is a listener",
        ));
    }
    let found = format!("there is no listener, so the ends of {flows} flows will cause no event");
    Ok(Finding::info(found).wanted("nf_conntrack_events=1").fix(fix))
}

fn acct(facts: &Facts) -> Known<Finding> {
    switch(facts, "nf_conntrack_acct", "packets and bytes of flows are")
}

fn timestamp(facts: &Facts) -> Known<Finding> {
    switch(facts, "nf_conntrack_timestamp", "times of flows are")
}

/// A setting that is better on.
fn switch(facts: &Facts, name: &str, what: &str) -> Known<Finding> {
    Ok(match facts.sysctl(name)? {
        0 => Finding::info(format!("{what} not kept: {name} is 0")).fix(sysctl_command(name, 1)),
        _ => Finding::ok(format!("{what} kept")),
    })
}

/// Whether the peer's flows are kept beside the kernel until a commit.
pub(super) fn commits(conf: &Conf) -> bool {
    match &conf.mode {
        ModeConf::Sync(sync) => match sync.mode {
            SyncMode::Ftfw { disable_external_cache, .. }
            | SyncMode::NoTrack { disable_external_cache, .. } => !disable_external_cache,
            SyncMode::Alarm { .. } => true,
        },
        ModeConf::Stats(_) | ModeConf::Helper => false,
    }
}

fn tcp(facts: &Facts) -> Known<Finding> {
    let conf = facts.conf.conf.as_ref().map_err(Clone::clone)?;
    if !commits(conf) {
        return Ok(Finding::ok("no flows are committed on this node"));
    }
    if facts.sysctl("nf_conntrack_tcp_loose")? == 0 {
        return Ok(Finding::ok("the middle of an unknown connection begins no flow"));
    }
    let keepalived = &facts.keepalived;
    if keepalived.gate_shut == Ok(true) || keepalived.knows_gate.clone()? {
        return Ok(Finding::ok("a gate keeps packets out until the commit"));
    }
    let found = "without a gate, packets that come before a commit begin flows of their own";
    Ok(Finding::info(found)
        .wanted("a gate (contrib/README.md), or nf_conntrack_tcp_loose=0")
        .fix(sysctl_command("nf_conntrack_tcp_loose", 0)))
}

fn timeouts(facts: &Facts) -> Known<Finding> {
    let name = "nf_conntrack_tcp_timeout_established";
    let (established, (count, max)) = (facts.sysctl(name)?, fill(facts)?);
    let found = format!("an idle connection stays for {established} s");
    if established <= DAY_S || count.saturating_mul(2) <= max {
        return Ok(Finding::ok(found));
    }
    let finding = Finding::info(format!("{found}, and the table is more than half full"));
    Ok(finding.wanted("a day").fix(sysctl_command(name, DAY_S)))
}
