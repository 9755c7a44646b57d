//! Records of the feed: the lines of `conntrack -E`, and its objects with what a stream adds to them.

use super::put::Put as _;
use super::{Occasion, Style, json, owned, plain};
use ctnetlink::Flow;
use ctnetlink::flow::{Known, proto_name};
use wire::feed::{Failure, Flags, Head, Op, Record};

/// Appends a record as a JSON object and a line end (`docs/spec/feed.md`).
pub fn json(out: &mut Vec<u8>, record: &Record<'_>, flow: &Flow, shard: u16) {
    let Head { seq, time_ns, op, flags, .. } = record.head;
    let name = Op::NAMED.iter().find(|(named, _)| *named == op).map_or("unknown", |(_, name)| name);
    if op == Op::Failure {
        return failure(out, record);
    }
    out.text("{\"v\":1,\"event\":\"");
    out.text(name);
    json::number(out, "\",\"seq\":", seq);
    json::number(out, ",\"shard\":", shard);
    json::number(out, ",\"time_ns\":", time_ns);
    for (flag, name) in
        [(Flags::UNREPORTED, ",\"unreported\":true"), (Flags::BY_PEER, ",\"by_peer\":true")]
    {
        out.text(if flags.contains(flag) { name } else { "" });
    }
    let style = Style { ktimestamp: true, ..Style::default() };
    let labels = owned::label_bytes(flow);
    let occasion = Occasion { now_ns: time_ns, ..Occasion::default() };
    json::body(out, &style, &owned::view(flow, labels.as_deref()), &occasion);
    out.text("}\n");
}

/// A failure. It belongs to no shard.
fn failure(out: &mut Vec<u8>, record: &Record<'_>) {
    let Some(failure) = record.failure() else { return };
    json::number(out, "{\"v\":1,\"event\":\"failure\",\"seq\":", record.head.seq);
    json::number(out, ",\"time_ns\":", record.head.time_ns);
    out.text(",\"reason\":\"");
    out.text(failure.reason.name());
    out.text("\",\"certainty\":\"");
    out.text(failure.certainty());
    json::number(out, "\",\"count\":", failure.count);
    if failure.tuple.is_known() {
        json::family(out, &failure.tuple);
        out.text(",\"orig\":{");
        json::tuple(out, &failure.tuple);
        out.push(b'}');
    }
    if let Some(zone) = failure.zone {
        json::number(out, ",\"zone\":", zone);
    }
    if failure.by.is_known() {
        out.text(",\"by\":{\"orig\":{");
        json::tuple(out, &failure.by);
        out.text("}}");
    }
    if !failure.text.is_empty() {
        json::string(out, ",\"text\":", failure.text);
    }
    out.text("}\n");
}

/// A failure for people: `[FAILURE] invalid tcp src=10.0.0.1 dst=10.0.0.2 sport=4000 dport=80 "invalid new"`.
fn failure_text(out: &mut Vec<u8>, failure: &Failure<'_>) {
    out.text("[FAILURE] ");
    out.text(failure.reason.name());
    if failure.tuple.is_known() {
        out.text(" ");
        out.text(proto_name(failure.tuple.proto).unwrap_or("unknown"));
        out.push(b' ');
        plain::tuple(out, &failure.tuple);
    } else {
        json::number(out, " count=", failure.count);
    }
    if let Some(zone) = failure.zone.filter(|zone| *zone != 0) {
        json::number(out, " zone=", zone);
    }
    if failure.by.is_known() {
        out.text(" by ");
        plain::tuple(out, &failure.by);
    }
    if !failure.text.is_empty() {
        json::string(out, " ", failure.text);
    }
    out.push(b'\n');
}

/// Appends a record as a line for people; `style` is that of lines for people.
pub fn text(out: &mut Vec<u8>, style: &Style<'_>, record: &Record<'_>) {
    if let Some(failure) = record.failure() {
        return failure_text(out, &failure);
    }
    let mut flow = record.flow();
    let tag = match record.head.op {
        Op::New => "    [NEW] ",
        Op::Update => " [UPDATE] ",
        Op::Destroy => "[DESTROY] ",
        Op::Have => "   [HAVE] ",
        _ => return,
    };
    if record.head.op == Op::Destroy {
        // A flow that has ended has no time left, and the kernel sends none.
        flow.known.remove(Known::TIMEOUT);
    }
    out.text(tag);
    let labels = owned::label_bytes(&flow);
    let occasion = Occasion { now_ns: record.head.time_ns, ..Occasion::default() };
    plain::flow(out, style, &owned::view(&flow, labels.as_deref()), &occasion);
}
