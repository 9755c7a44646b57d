//! The peer, and time.

use super::super::facts::{Answer, Facts, Known, Part};
use super::{Check, Finding, Status};
use crate::conf::{LinkConf, LinkKind, ModeConf, SyncConf, SyncMode};
use crate::print::status::Status as DaemonStatus;

/// Silence of a peer that says each second that it lives.
const SILENCE_S: u64 = 10;
/// How far two clocks may be apart before logs of both cannot be matched.
const APART_S: i64 = 2;

pub(super) static CHECKS: [Check; 5] = [
    Check {
        id: "peer.heard",
        title: "the peer lives",
        looks_at: "status of the daemon",
        bad: &[(Status::Error, "never heard, or silent for more than 10 s")],
        why: "this node does not learn the peer's flows: a failover breaks them",
        fix: "run doctor on the peer; look at the link and at rules on it",
        parts: &[Part::Daemon, Part::Conf],
        at_start: false,
        run: heard,
    },
    Check {
        id: "peer.oneway",
        title: "messages go both ways",
        looks_at: "status of the daemon",
        bad: &[(Status::Error, "some were sent, and none came")],
        why: "a rule, or a wrong address on one node, lets one direction alone through",
        fix: "let the port of the link in",
        parts: &[Part::Daemon, Part::Conf],
        at_start: false,
        run: one_way,
    },
    Check {
        id: "peer.loss",
        title: "no message is lost",
        looks_at: "status of the daemon, twice, a second apart",
        bad: &[(Status::Warning, "lost messages grow")],
        why: "the peer's flows are known late, or in best-effort mode not at all",
        fix: "larger receive buffer (RcvSocketBuffer), the cable, the MTU",
        parts: &[Part::Daemon, Part::Later, Part::Conf],
        at_start: false,
        run: loss,
    },
    Check {
        id: "peer.clock",
        title: "both nodes have one time",
        looks_at: "what the peer says of its clock (version 2 of the protocol)",
        bad: &[(Status::Info, "more than 2 s apart")],
        why: "logs of both nodes, and records of translations, cannot be matched",
        fix: "timedatectl set-ntp true, on both",
        parts: &[Part::Daemon],
        at_start: false,
        run: clock,
    },
    Check {
        id: "clock.sync",
        title: "the clock is kept in step",
        looks_at: "adjtimex(2)",
        bad: &[(Status::Warning, "nothing does")],
        why: "logs, and records of translations, cannot be matched with those of other machines",
        fix: "timedatectl set-ntp true",
        parts: &[Part::Clock],
        at_start: false,
        run: sync,
    },
];

/// The part of the configuration about the peer.
fn sync_conf(facts: &Facts) -> Known<&SyncConf> {
    match &facts.conf.conf.as_ref().map_err(Clone::clone)?.mode {
        ModeConf::Sync(sync) => Ok(sync),
        ModeConf::Stats(_) | ModeConf::Helper => Err("the configuration names no peer".into()),
    }
}

fn heard(facts: &Facts) -> Known<Finding> {
    let sync = sync_conf(facts)?;
    let status = facts.status()?;
    if matches!(sync.mode, SyncMode::Alarm { .. }) {
        return Err("in ALARM mode a peer without flows has nothing to say".into());
    }
    let found = match status.replication.peer_heard_s {
        Some(ago) if ago <= SILENCE_S => return Ok(Finding::ok(format!("heard {ago} s ago"))),
        Some(ago) => format!("the peer has been silent for {ago} s"),
        None if status.uptime_s <= SILENCE_S => {
            return Err(format!("the daemon began only {} s ago", status.uptime_s));
        }
        None => format!("the peer was never heard in {} s", status.uptime_s),
    };
    let finding =
        Finding::error(found).fix("# on the peer:").fix("ctflow doctor --only daemon,link");
    Ok(finding.fix("# here:").fix("nft list ruleset"))
}

/// Protocol and port of a link, as a rule names them.
fn port(link: &LinkConf) -> String {
    match link.kind {
        LinkKind::Multicast { port, .. } => format!("udp dport {port}"),
        LinkKind::Udp(ends) => format!("udp dport {}", ends.port),
        LinkKind::Tcp { unicast, .. } => format!("tcp dport {}", unicast.port),
    }
}

fn one_way(facts: &Facts) -> Known<Finding> {
    let sync = sync_conf(facts)?;
    let links = &facts.status()?.links;
    let sum = |of: fn(&crate::print::status::Link) -> u64| links.iter().map(of).sum::<u64>();
    let (sent, received) = (sum(|link| link.sent_packets), sum(|link| link.received_packets));
    if sent == 0 || received > 0 {
        return Ok(Finding::ok(format!("{sent} datagrams sent, {received} received")));
    }
    let finding = Finding::error(format!("{sent} datagrams sent, none received"));
    let finding =
        finding.fix("# here and on the peer, with a table inet filter and its chain input:");
    Ok(sync.links.iter().fold(finding, |finding, link| {
        let rule = port(link);
        let interface = &link.interface;
        finding.fix(format!("nft insert rule inet filter input iifname {interface} {rule} accept"))
    }))
}

fn loss(facts: &Facts) -> Known<Finding> {
    sync_conf(facts)?;
    let before = facts.status()?.replication.lost;
    let now = match facts.daemon.later.as_ref().map_err(Clone::clone)? {
        Answer::Status(status) => status_lost(status),
        Answer::Silent(why) | Answer::Foreign(why) => return Err(why.clone()),
    };
    Ok(match now.saturating_sub(before) {
        0 => Finding::ok(format!("none now, {now} since the daemon's start")),
        lost => Finding::warning(format!("{lost} messages of the peer lost within a second"))
            .wanted("none")
            .fix("ctflow doctor --only link")
            .fix("ip -s link"),
    })
}

const fn status_lost(status: &DaemonStatus) -> u64 {
    status.replication.lost
}

fn clock(facts: &Facts) -> Known<Finding> {
    let ahead = facts.daemon.peer_ahead_s.clone()?;
    Ok(match ahead.abs() <= APART_S {
        true => Finding::ok("both clocks agree"),
        false => Finding::info(format!("the clocks of both nodes are {} s apart", ahead.abs()))
            .fix("timedatectl set-ntp true"),
    })
}

fn sync(facts: &Facts) -> Known<Finding> {
    Ok(match facts.clock_in_step.clone()? {
        true => Finding::ok("something keeps it in step"),
        false => {
            Finding::warning("nothing keeps the clock in step").fix("timedatectl set-ntp true")
        }
    })
}
