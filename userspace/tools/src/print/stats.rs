//! What `conntrackd -s` prints. Scripts parse it, so every column is where conntrackd puts it.

use engine::counters::{PassCounters, TableCounters};
use host::link::{GroupReport, LinkCounters};
use host::shard::Snapshot;
use std::fmt::Write;

/// `-s`: tables, traffic, link, message tracking.
#[must_use]
pub fn general(s: &Snapshot) -> String {
    let mut out = String::new();
    let counters = &s.counters;
    if !s.replicates {
        table(&mut out, "cache stats:", s.flows[0], &counters.local);
        traffic(&mut out, s);
        return out;
    }
    if s.keeps[0] {
        table(&mut out, "cache internal:", s.flows[0], &counters.local);
    } else {
        bypass(&mut out, &counters.bypass);
    }
    if s.keeps[1] {
        table(&mut out, "cache external:", s.flows[1], &counters.remote);
    } else {
        inject(&mut out, &counters.inject);
    }
    traffic(&mut out, s);
    link_block(&mut out, &s.links);
    line(&mut out, "message tracking:");
    let (malformed, lost) = (counters.replica.malformed(), counters.replica.lost);
    line(&mut out, &format!("{malformed:>20} Malformed msgs {lost:>20} Lost msgs"));
    line(&mut out, "");
    out
}

/// `-s network`: what was refused, what was lost, and the link.
#[must_use]
pub fn network(s: &Snapshot) -> String {
    let r = &s.counters.replica;
    let mut out = String::from("network statistics:\n\trecv:\n");
    for (label, count) in [
        ("Malformed messages:", r.malformed()),
        ("Wrong protocol version:", r.bad_version),
        ("Malformed header:", r.bad_header),
        ("Malformed payload:", r.bad_payload),
        ("Bad message type:", r.bad_type),
        ("Truncated message:", r.truncated),
        ("Bad message size:", r.bad_size),
    ] {
        line(&mut out, &format!("\t\t{label}\t{count:>20}"));
    }
    line(&mut out, "\tsend:");
    line(&mut out, &format!("\t\tMalformed messages:\t{:>20}\n", r.send_too_large));
    line(&mut out, "sequence tracking statistics:\n\trecv:");
    line(&mut out, &format!("\t\tPackets lost:\t\t{:>20}", r.lost));
    line(&mut out, &format!("\t\tPackets before:\t\t{:>20}\n", r.before));
    link_block(&mut out, &s.links);
    out
}

/// `-s cache`: each table in detail.
#[must_use]
pub fn tables(s: &Snapshot) -> String {
    let mut out = String::new();
    if !s.replicates {
        table_in_detail(&mut out, "stats", s.flows[0], &s.counters.local);
        return out;
    }
    let sides = [("internal", &s.counters.local), ("external", &s.counters.remote)];
    for ((name, c), (flows, keeps)) in sides.into_iter().zip(s.flows.into_iter().zip(s.keeps)) {
        if keeps {
            table_in_detail(&mut out, name, flows, c);
        }
    }
    out
}

/// `-s runtime`: uptime and the event path.
#[must_use]
pub fn runtime(s: &Snapshot) -> String {
    let mut out = format!("daemon uptime: {}\n\nnetlink stats:\n", uptime(s.uptime.as_secs()));
    let filtered = s.counters.filtered + s.account.filtered;
    for (label, count) in [
        ("events received:", s.counters.events),
        ("events filtered:", filtered),
        ("events unknown type:", 0),
        ("catch event failed:", s.events_malformed),
        ("dump unknown type:", 0),
        ("netlink overrun:", s.overruns),
        ("flush kernel table:", 0),
        ("resync with kernel table:", s.counters.resyncs),
        ("current buffer size (in bytes):", s.receive_buffer as u64),
    ] {
        line(&mut out, &format!("\t{label}\t{count:>20}"));
    }
    line(&mut out, &format!("\nevent source: {}", s.source));
    for (label, count) in [
        ("events seen by the tap:", s.account.seen),
        ("through the rings:", s.account.ring),
        ("filtered in the kernel:", s.account.filtered),
        ("left to the socket:", s.account.spilled_full + s.account.spilled_other),
        ("delivered:", s.account.delivered),
        ("lost:", s.account.lost),
        ("verified with the kernel:", s.counters.verified),
        ("latency p50 (us):", s.latency.p50_us),
        ("latency p99 (us):", s.latency.p99_us),
        ("latency max (us):", s.latency.max_us),
    ] {
        line(&mut out, &format!("\t{label}\t{count:>20}"));
    }
    out
}

/// `-s link`: each link with its state.
#[must_use]
pub fn links(s: &Snapshot) -> String {
    let mut out = String::new();
    let group = &s.links;
    for (at, link) in group.links.iter().enumerate() {
        let role = if at == group.active { "ACTIVE" } else { "BACKUP" };
        let (kind, device, status) = (group.kind, &link.interface, link.status.word());
        line(&mut out, &format!("{kind} traffic device={device} status={status} role={role}:"));
        link_numbers(&mut out, &link.counters);
    }
    out
}

fn table(out: &mut String, title: &str, flows: usize, c: &TableCounters) {
    line(out, title);
    line(out, &format!("current active connections:\t{flows:>12}"));
    let row = |out: &mut String, label: &str, ok: u64, failed: u64| {
        line(out, &format!("connections {label}:\t\t{ok:>12}\tfailed:\t{failed:>12}"));
    };
    row(out, "created", c.created, c.create_no_space);
    row(out, "updated", c.updated, c.update_failed);
    row(out, "destroyed", c.destroyed, c.destroy_not_found);
    line(out, "");
}

fn traffic(out: &mut String, s: &Snapshot) {
    let (bytes, packets) = (s.traffic.bytes, s.traffic.packets);
    line(out, "traffic processed:");
    line(out, &format!("{bytes:>20} Bytes      {packets:>20} Pckts\n"));
}

fn bypass(out: &mut String, c: &PassCounters) {
    line(out, "internal bypass:");
    line(out, &format!("connections new:\t\t{:>12}", c.created));
    line(out, &format!("connections updated:\t\t{:>12}", c.updated));
    line(out, &format!("connections destroyed:\t\t{:>12}", c.destroyed));
    line(out, "");
}

fn inject(out: &mut String, c: &PassCounters) {
    line(out, "external inject:");
    for (label, ok, failed) in [
        ("created", c.created, c.create_failed),
        ("updated", c.updated, c.update_failed),
        ("destroyed", c.destroyed, c.destroy_failed),
    ] {
        line(out, &format!("connections {label}:\t\t{ok:>12}\tfailed:\t{failed:>12}"));
    }
    line(out, "");
}

fn table_in_detail(out: &mut String, name: &str, flows: usize, c: &TableCounters) {
    let created_failed = c.create_no_space;
    line(out, &format!("cache:{name}\tactive objects:\t\t{flows:>12}"));
    line(out, &format!("\tactive/total entries:\t\t{flows:>12}/{flows:>12}"));
    line(out, &format!("\tcreation OK/failed:\t\t{:>12}/{created_failed:>12}", c.created));
    line(out, &format!("\t\tno memory available:\t{:>12}", 0));
    line(out, &format!("\t\tno space left in cache:\t{created_failed:>12}"));
    line(out, &format!("\tupdate OK/failed:\t\t{:>12}/{:>12}", c.updated, c.update_failed));
    line(out, &format!("\t\tentry not found:\t{:>12}", c.update_failed));
    line(
        out,
        &format!("\tdeletion created/failed:\t{:>12}/{:>12}", c.destroyed, c.destroy_not_found),
    );
    line(out, &format!("\t\tentry not found:\t{:>12}\n", c.destroy_not_found));
}

fn link_block(out: &mut String, group: &GroupReport) {
    let Some(link) = group.links.get(group.active) else { return };
    let _ = write!(out, "{} traffic (active device={})", group.kind, link.interface);
    if let Some(connected) = link.connected {
        let [server, client] = connected.map(|is| if is { "connected" } else { "disconnected" });
        let _ = write!(out, " server={server} client={client}");
    }
    line(out, ":");
    link_numbers(out, &link.counters);
}

fn link_numbers(out: &mut String, c: &LinkCounters) {
    for (unit, sent, received) in
        [("Bytes", c.bytes_sent, c.bytes_received), ("Pckts", c.packets_sent, c.packets_received)]
    {
        line(out, &format!("{sent:>20} {unit} sent {received:>20} {unit} recv"));
    }
    let (sent, received) = (c.errors_sent, c.errors_received);
    line(out, &format!("{sent:>20} Error send {received:>20} Error recv\n"));
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let mut out = String::new();
    if days > 0 {
        let _ = write!(out, "{days} day{} ", if days == 1 { "" } else { "s" });
    }
    if hours > 0 {
        let _ = write!(out, "{hours} h ");
    }
    let _ = write!(out, "{minutes} min");
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}
