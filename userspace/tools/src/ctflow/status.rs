//! The status as text for people.

use crate::print::status::{Helper, Link, Passed, Status, Table, Work};
use std::fmt::Write;

/// The text.
pub(super) fn text(s: &Status) -> String {
    let mut out = String::new();
    let verdict = if s.ready { "yes".into() } else { format!("no: {}", s.not_ready.join("; ")) };
    row(&mut out, "ready", verdict);
    row(&mut out, "daemon", format!("version {}, pid {}, up {} s", s.version, s.pid, s.uptime_s));
    row(&mut out, "table", state(&s.work));
    side(&mut out, "local flows", s.local.as_ref(), s.bypass.as_ref());
    side(&mut out, "remote flows", s.remote.as_ref(), s.inject.as_ref());
    s.links.iter().for_each(|l| link(&mut out, l));
    let r = &s.replication;
    row(
        &mut out,
        "messages",
        format!(
            "{} sent, {} received, {} lost, {} late, {} malformed",
            r.sent, r.received, r.lost, r.before, r.malformed
        ),
    );
    let q = &s.queues.outbox;
    row(&mut out, "queue", format!("{} of {} waiting, {} dropped", q.len, q.len_max, q.no_space));
    let e = &s.events;
    row(
        &mut out,
        "events",
        format!(
            "{} through {}, {} filtered, {} lost, latency {}/{}/{} us (p50/p99/max)",
            e.received,
            e.source,
            e.filtered,
            e.lost,
            e.latency_p50_us,
            e.latency_p99_us,
            e.latency_max_us
        ),
    );
    s.helpers.iter().for_each(|h| helper(&mut out, h));
    out
}

/// The text on one line: whether it is ready, and what that stands on.
pub(super) fn brief(s: &Status) -> String {
    let verdict =
        if s.ready { "ready".into() } else { format!("not ready ({})", s.not_ready.join("; ")) };
    let flows = s.local.as_ref().map(|local| format!("{} flows", local.flows));
    let remote = s.remote.as_ref().filter(|_| !s.links.is_empty());
    let remote = remote.map(|remote| format!("{} of the peer", remote.flows));
    let peer = (!s.links.is_empty()).then(|| match s.replication.peer_heard_s {
        Some(ago) => format!("peer heard {ago} s ago"),
        None => "peer never heard".into(),
    });
    let source = format!("events through {}, {} lost", s.events.source, s.events.lost);
    let parts = [Some(verdict), Some(s.work.state.clone()), flows, remote, peer, Some(source)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ") + "\n"
}

fn helper(out: &mut String, h: &Helper) {
    let broken = if h.broken { ", out of service: it panicked" } else { "" };
    row(
        out,
        "helper",
        format!(
            "{} {} {} on queue {}: {} packets, {} mangled, {} expectations, {} refused, {} without a free port, \
             {} not understood, {} dropped{broken}",
            h.name,
            h.family,
            h.protocol,
            h.queue,
            h.packets,
            h.mangled,
            h.expectations,
            h.expectations_refused + h.verdicts_refused,
            h.refused_ports,
            h.not_understood,
            h.queue_dropped
        ),
    );
}

/// How far the local table can be trusted.
fn state(w: &Work) -> String {
    match (w.degraded_s, w.loaded_percent) {
        (Some(s), _) => format!("{} since {s} s, {} events lost", w.state, w.missing_events),
        (None, Some(percent)) if percent < 100 => format!("{} {percent} %", w.state),
        _ => w.state.clone(),
    }
}

fn side(out: &mut String, name: &str, table: Option<&Table>, passed: Option<&Passed>) {
    if let Some(t) = table {
        let lost = t.create_no_space;
        row(out, name, format!("{} of {}, {lost} found no room", t.flows, t.flows_max));
    }
    if let Some(p) = passed {
        let failed = p.create_failed + p.update_failed + p.destroy_failed;
        let (new, changed, ended) = (p.created, p.updated, p.destroyed);
        let text =
            format!("passed on: {new} new, {changed} changed, {ended} ended, {failed} failed");
        row(out, name, text);
    }
}

fn link(out: &mut String, l: &Link) {
    let Link { kind, interface, status, sent_bytes, received_bytes, .. } = l;
    let errors = l.send_errors + l.receive_errors;
    let refused = match l.refused {
        0 => String::new(),
        n => format!(", {n} refused from unknown senders"),
    };
    row(
        out,
        "link",
        format!(
            "{kind} on {interface} {status}, {sent_bytes} bytes sent, {received_bytes} bytes \
             received, {errors} errors{refused}"
        ),
    );
}

/// Name in fourteen columns, and text.
fn row(out: &mut String, name: &str, text: impl AsRef<str>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name:<14}{}", text.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::status::Replication;

    #[test]
    fn a_health_check_gets_one_line() {
        let mut s = Status { ready: true, ..Status::default() };
        s.work.state = "exact".into();
        s.events.source = "tap".into();
        s.local = Some(Table { flows: 7, ..Table::default() });
        assert_eq!(brief(&s), "ready, exact, 7 flows, events through tap, 0 lost\n");
        s.ready = false;
        s.not_ready = vec!["a commit is running".into(), "entries are deleted".into()];
        s.links = vec![Link::default()];
        s.remote = Some(Table { flows: 5, ..Table::default() });
        s.replication = Replication { peer_heard_s: Some(3), ..Replication::default() };
        let line = "not ready (a commit is running; entries are deleted), exact, 7 flows, 5 of the peer, peer \
                    heard 3 s ago, events through tap, 0 lost\n";
        assert_eq!(brief(&s), line);
        s.replication.peer_heard_s = None;
        assert!(brief(&s).contains("peer never heard"));
    }

    #[test]
    fn a_helper_has_a_line() {
        let helper = |name: &str, queue| Helper {
            name: name.into(),
            family: "inet".into(),
            protocol: "udp".into(),
            queue,
            packets: 10,
            accepted: 10,
            mangled: 2,
            expectations: 3,
            expectations_refused: 1,
            refused_ports: 4,
            not_understood: 5,
            verdicts_refused: 1,
            queue_dropped: 6,
            ..Helper::default()
        };
        let broken = Helper { broken: true, ..helper("mdns", 2) };
        let s = Status { helpers: vec![helper("tftp", 1), broken], ..Status::default() };
        let text = text(&s);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("helper ")).collect();
        let counts = "10 packets, 2 mangled, 3 expectations, 2 refused, 4 without a free port, 5 not understood, \
                      6 dropped";
        let [first, second] = ["tftp inet udp on queue 1", "mdns inet udp on queue 2"]
            .map(|s| format!("helper        {s}: {counts}"));
        assert_eq!(lines, [first, second + ", out of service: it panicked"]);
    }
}
