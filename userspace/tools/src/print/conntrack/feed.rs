//! Records of the feed: the lines of `conntrack -E`, and its objects with what a stream adds to them.

use super::put::Put as _;
use super::{Occasion, Style, json, owned, plain};
use ctnetlink::Flow;
use ctnetlink::flow::Known;
use wire::feed::{Flags, Head, Op, Record};

/// Appends a record as a JSON object and a line end (`docs/spec/feed.md`).
pub fn json(out: &mut Vec<u8>, record: &Record<'_>, flow: &Flow, shard: u16) {
    let Head { seq, time_ns, op, flags, .. } = record.head;
    let name = Op::NAMED.iter().find(|(named, _)| *named == op).map_or("unknown", |(_, name)| name);
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

/// Appends a record as a line for people; `style` is that of lines for people.
pub fn text(out: &mut Vec<u8>, style: &Style<'_>, record: &Record<'_>) {
    let mut flow = record.flow();
    let tag = match record.head.op {
        Op::New => "    [NEW] ",
        Op::Update => " [UPDATE] ",
        Op::Destroy => "[DESTROY] ",
        Op::Have => "   [HAVE] ",
        _ => return,
    };
    if record.head.op == Op::Destroy {
        // What has ended has no time left, and the kernel tells none.
        flow.known.remove(Known::TIMEOUT);
    }
    out.text(tag);
    let labels = owned::label_bytes(&flow);
    let occasion = Occasion { now_ns: record.head.time_ns, ..Occasion::default() };
    plain::flow(out, style, &owned::view(&flow, labels.as_deref()), &occasion);
}
