//! What `conntrackd -s` prints. Scripts parse it, so every column is where conntrackd puts it.

use crate::print::status::Reload;
use engine::QueueUsage;
use engine::census::Census;
use engine::counters::{PassCounters, TableCounters};
use export::feed::Stats;
use export::http::HttpCounts;
use host::helpers::HelperReport;
use host::link::{GroupReport, LinkCounters};
use host::shard::{Resend, Snapshot};
use std::fmt::Write;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// What was counted of the table now and then.
#[derive(Debug, Default)]
pub struct Taken {
    /// By zone, protocol and state.
    pub census: Census,
    /// By class: names, and flows.
    pub classes: Vec<(String, u64)>,
}

/// The input of the statistics.
#[derive(Clone, Debug)]
pub struct Report {
    /// The state of the engine and everything around it.
    pub snapshot: Box<Snapshot>,
    /// Control clients that went, or kept silent, before they had named a request.
    pub requests_unread: u64,
    /// Control clients that named a request that does not exist.
    pub requests_unknown: u64,
    /// Log lines that the disk did not take.
    pub log_lines_lost: u64,
    /// What became of the packets of each helper that is served.
    pub helpers: Vec<HelperReport>,
    /// The event source that was asked for.
    pub wanted: &'static str,
    /// The last reload.
    pub reload: Option<Reload>,
    /// Requests for metrics and readiness.
    pub http: HttpCounts,
    /// The last count of the table by zone, protocol and state, and how old it is.
    pub census: Option<(Duration, Arc<Taken>)>,
    /// Limit of its zones that are shown separately.
    pub zones_max: usize,
    /// What the feed counts, if there is one.
    pub feed: Option<Arc<Stats>>,
    /// What failures were counted, if they are.
    pub failures: Option<Arc<export::failures::Stats>>,
}

impl Deref for Report {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// `-s`: tables, traffic, link, message tracking.
#[must_use]
pub fn general(s: &Report) -> String {
    let mut out = String::new();
    let counters = &s.counters;
    if !s.replicates {
        table(&mut out, "cache stats:", s.flows[0], &counters.local);
        traffic(&mut out, s);
        out.push_str(&state(s));
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
    exchange(&mut out, s);
    out.push_str(&state(s));
    out
}

/// What the original has no words for: a line about a local table that is not what the kernel holds, one about a commit
/// under way, and nothing when all is as it should be.
fn state(s: &Report) -> String {
    let mut out = table_state(s);
    if let Some((done, of)) = s.commit_progress {
        line(&mut out, &format!("commit: {done} of {of} entries written"));
    }
    out
}

fn table_state(s: &Report) -> String {
    let word = s.state.word();
    match (s.state.loss(), s.state.loaded_percent()) {
        (Some((ago, lost)), _) => {
            format!("table state: {word}, since {} s, {lost} events lost\n", ago.as_secs())
        }
        (None, Some(100)) => String::new(),
        (None, Some(percent)) => format!("table state: {word} {percent} %\n"),
        (None, None) => format!("table state: {word}\n"),
    }
}

/// What the two nodes say to each other, whatever it is about.
fn exchange(out: &mut String, s: &Report) {
    traffic(out, s);
    link_block(out, &s.links);
    line(out, "message tracking:");
    let (malformed, lost) = (s.counters.replica.malformed(), s.counters.replica.lost);
    line(out, &format!("{malformed:>20} Malformed msgs {lost:>20} Lost msgs"));
    line(out, "");
}

/// `-s network`: what was refused, what was lost, and the link.
#[must_use]
pub fn network(s: &Report) -> String {
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
    let refused: u64 = s.links.links.iter().map(|link| link.counters.refused).sum();
    if refused > 0 {
        line(&mut out, &format!("\t\tUnknown senders:\t{refused:>20}"));
    }
    line(&mut out, "\tsend:");
    line(&mut out, &format!("\t\tMalformed messages:\t{:>20}\n", r.send_too_large));
    line(&mut out, "sequence tracking statistics:\n\trecv:");
    line(&mut out, &format!("\t\tPackets lost:\t\t{:>20}", r.lost));
    line(&mut out, &format!("\t\tPackets before:\t\t{:>20}\n", r.before));
    link_block(&mut out, &s.links);
    out
}

/// `-s cache`: each table in detail; what goes past a table that is not kept.
#[must_use]
pub fn tables(s: &Report) -> String {
    let mut out = String::new();
    if !s.replicates {
        table_in_detail(&mut out, "stats", s.flows[0], &s.counters.local);
        return out;
    }
    let counters = &s.counters;
    if s.keeps[0] {
        table_in_detail(&mut out, "internal", s.flows[0], &counters.local);
    } else {
        bypass(&mut out, &counters.bypass);
    }
    if s.keeps[1] {
        table_in_detail(&mut out, "external", s.flows[1], &counters.remote);
    } else {
        inject(&mut out, &counters.inject);
    }
    out
}

/// `-s runtime`: uptime and the event path.
#[must_use]
pub fn runtime(s: &Report) -> String {
    let mut out = format!("daemon uptime: {}\n\nnetlink stats:\n", uptime(s.uptime.as_secs()));
    let filtered = s.counters.filtered + s.account.filtered;
    line(&mut out, &format!("\tevents received:\t{:>20}", s.counters.events));
    line(&mut out, &format!("\tevents filtered:\t{filtered:>20}"));
    // The first reading of the kernel's table, at start, is no resync.
    let resyncs = s.counters.resyncs.saturating_sub(1);
    for (label, count) in [
        ("\tevents unknown type:\t\t", 0),
        ("\tcatch event failed:\t\t", s.events_malformed),
        ("\tdump unknown type:\t\t", 0),
        ("\tnetlink overrun:\t\t", s.overruns),
        ("\tflush kernel table:\t\t", s.purges),
        ("\tresync with kernel table:\t", resyncs),
        ("\tcurrent buffer size (in bytes):\t", s.receive_buffer as u64),
        ("\nruntime stats:\n\tchild process failed:\t\t", 0),
        ("\t\tchild process segfault:\t", 0),
        ("\t\tchild process termsig:\t", 0),
        ("\tselect failed:\t\t\t", 0),
        ("\twait failed:\t\t\t", 0),
        ("\tlocal read failed:\t\t", s.requests_unread),
        ("\tlocal unknown request:\t\t", s.requests_unknown),
    ] {
        line(&mut out, &format!("{label}{count:>12}"));
    }
    event_path(&mut out, s);
    out
}

fn event_path(out: &mut String, s: &Report) {
    line(out, &format!("\nevent source: {}", s.source));
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
        line(out, &format!("\t{label}\t{count:>20}"));
    }
    if s.shards > 1 {
        line(out, &format!("\tshards:\t{:>20}", s.shards));
        line(out, &format!("\treader waited for a shard:\t{:>20}", s.account.waits));
    }
    for (label, count) in s.account.hook.iter().flat_map(|hook| {
        [
            ("packets without news:", hook.settled),
            ("packets of no flow:", hook.untracked),
            ("news through the rings:", hook.recorded + hook.repeated),
            ("news filtered in the kernel:", hook.filtered),
            ("news lost to full rings:", hook.lost_full + hook.lost_other),
        ]
    }) {
        line(out, &format!("\thook: {label}\t{count:>20}"));
    }
    line(out, "");
}

/// `-s link`: each link with its state.
#[must_use]
pub fn links(s: &Report) -> String {
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

/// `-s process`: the original lists its child processes. Here one process does all; what would be a child there is
/// shown under its process id while it is at work.
#[must_use]
pub fn processes(s: &Report) -> String {
    let pid = std::process::id();
    let works = [(s.purging, "flush"), (s.committing, "commit")];
    let works = works.iter().filter(|(at_work, _)| *at_work);
    works.map(|(_, name)| format!("PID={pid} type={name}\n")).collect()
}

/// `-s queue`: how full the queues to the peer are.
#[must_use]
pub fn queues(s: &Report) -> String {
    let resend = s.resend;
    let errors = &s.links.error_queue;
    let nodes = s.outbox.len + errors.len + resend.map_or(0, |queue| queue.len);
    let mut out = format!("allocated queue nodes:\t\t{nodes:>12}\n\n");
    queue(&mut out, "txqueue", &s.outbox);
    queue(&mut out, "errorq", errors);
    if let Some(resend) = resend {
        queue(&mut out, "rsqueue", &resend);
    }
    out
}

fn queue(out: &mut String, name: &str, queue: &QueueUsage) {
    line(out, &format!("queue {name}:"));
    line(out, &format!("current elements:\t\t{:>12}", queue.len));
    line(out, &format!("maximum elements:\t\t{:>12}", queue.max));
    line(out, &format!("not enough space errors:\t{:>12}\n", queue.no_space));
}

/// `-s rsqueue`: the messages that wait for an acknowledgement.
#[must_use]
pub fn resend_queue(waiting: &[Resend]) -> String {
    let mut out = format!("resent queue (len={})\n", waiting.len());
    for message in waiting {
        let seq = message.seq;
        line(
            &mut out,
            &message.control_flags.map_or_else(
                || format!("object -> seq:{seq}"),
                |flags| format!("control -> seq:{seq} flags:{flags}"),
            ),
        );
    }
    out
}

/// `-s expect`: as [`general`], of expectations; nothing unless `ExpectationSync` is on.
#[must_use]
pub fn expectations(s: &Report) -> String {
    let mut out = String::new();
    let Some([local, remote]) = s.expectations else { return out };
    let counters = &s.counters;
    table(&mut out, "cache internal:", local, &counters.local_expectations);
    if s.keeps[1] {
        table(&mut out, "cache external:", remote, &counters.remote_expectations);
    } else {
        inject(&mut out, &counters.inject_expectations);
    }
    exchange(&mut out, s);
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
