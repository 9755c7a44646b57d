//! A flow as a line for people.
//!
//! ```text
//! tcp      6 299 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 packets=9 bytes=999 \
//!     src=2.2.2.2 dst=1.1.1.1 sport=20 dport=10 packets=9 bytes=999 [ASSURED] mark=0 use=1
//! ```

use super::put::{self, Put as _};
use super::{Occasion, Style, time};
use crate::print::{age_s, state};
use ctnetlink::flow::{Counters, Status, Timestamps, proto_name};
use ctnetlink::tuple::{FAMILY_IPV6, ipproto};
use ctnetlink::view::label_words;
use ctnetlink::{Change, FlowView, Tuple};

/// Appends a flow and a line end.
pub(super) fn flow(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, on: &Occasion<'_>) {
    if let Some(event) = on.event {
        time::stamp(out, style, time::of_event(flow.event_ns, on));
        tag(out, style, event);
    }
    if style.extended {
        let v6 = flow.orig.family == FAMILY_IPV6;
        out.text(if v6 { "ipv6     10 " } else { "ipv4     2 " });
    }
    protocol(out, flow.orig.proto);
    if let Some(timeout_s) = flow.timeout_s {
        out.push(b' ');
        out.number(timeout_s);
    }
    if let Some(state) = state::name(&flow.proto) {
        out.push(b' ');
        out.text(state);
    }
    direction(out, flow, &flow.orig, 0);
    if flow.status.is_some_and(|status| !status.contains(Status::SEEN_REPLY)) {
        coloured(out, style, YELLOW, " [UNREPLIED]");
    }
    if flow.reply.is_known() {
        direction(out, flow, &flow.reply, 1);
    }
    both(out, style, flow, on.now_ns);
    origin(out, on);
    out.push(b'\n');
}

/// What happened, in nine columns.
pub(super) fn tag(out: &mut Vec<u8>, style: &Style<'_>, event: Change) {
    let (colour, text) = match event {
        Change::New => (GREEN, "    [NEW] "),
        Change::Update => (YELLOW, " [UPDATE] "),
        Change::Destroy => (RED, "[DESTROY] "),
    };
    coloured(out, style, colour, text);
}

/// Colours of terminals (ECMA-48, SGR).
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const NO_COLOUR: &str = "\x1b[m";

fn coloured(out: &mut Vec<u8>, style: &Style<'_>, colour: &str, text: &str) {
    if !style.colour || text.is_empty() {
        return out.text(text);
    }
    out.text(colour);
    out.text(text);
    out.text(NO_COLOUR);
}

/// The cause of the event, if it was not the kernel.
pub(super) fn origin(out: &mut Vec<u8>, on: &Occasion<'_>) {
    if on.event.is_none() || on.origin.portid == 0 {
        return;
    }
    named(out, " [USERSPACE] portid=", on.origin.portid);
    if let Some(program) = on.origin.program {
        out.text(" progname=");
        out.tame(program.as_bytes());
    }
}

/// Addresses, and what identifies layer 4.
pub(super) fn tuple(out: &mut Vec<u8>, tuple: &Tuple) {
    out.text("src=");
    put::src(out, tuple);
    out.text(" dst=");
    put::dst(out, tuple);
    layer4(out, tuple);
}

/// What identifies layer 4 in a tuple, each with a blank in front.
pub(super) fn layer4(out: &mut Vec<u8>, tuple: &Tuple) {
    let (src, dst) = tuple.ports();
    if tuple.has_ports() {
        named(out, " sport=", src);
        named(out, " dport=", dst);
    } else if tuple.proto == ipproto::GRE {
        out.text(" srckey=");
        out.hex(src);
        out.text(" dstkey=");
        out.hex(dst);
    } else if tuple.is_icmp() {
        let (id, kind, code) = tuple.icmp();
        named(out, " type=", kind);
        named(out, " code=", code);
        named(out, " id=", id);
    }
}

/// A name and a number.
#[inline]
pub(super) fn named(out: &mut Vec<u8>, name: &str, number: impl Into<u64>) {
    out.text(name);
    out.number(number);
}

/// Name in eight columns, and number.
fn protocol(out: &mut Vec<u8>, proto: u8) {
    let name = proto_name(proto).unwrap_or("unknown");
    out.text(name);
    out.text(&"         "[name.len()..]);
    out.number(proto);
}

/// One direction: tuple, zone, counters.
fn direction(out: &mut Vec<u8>, flow: &FlowView<'_>, tuple: &Tuple, at: usize) {
    out.text(" src=");
    put::src(out, tuple);
    out.text(" dst=");
    put::dst(out, tuple);
    layer4(out, tuple);
    if let Some(zone) = flow.zones[at] {
        named(out, [" zone-orig=", " zone-reply="][at], zone);
    }
    if let Some(Counters { packets, bytes }) = flow.counters[at] {
        named(out, " packets=", packets);
        named(out, " bytes=", bytes);
    }
}

/// What belongs to no direction.
fn both(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, now_ns: u64) {
    coloured(out, style, GREEN, fate(flow.status.unwrap_or_default()));
    if let Some(mark) = flow.mark {
        named(out, " mark=", mark);
    }
    if let Some(secmark) = flow.secmark {
        named(out, " secmark=", secmark);
    }
    if let Some(secctx) = flow.secctx {
        out.text(" secctx=");
        out.tame(secctx);
    }
    if let Some(zone) = flow.zone {
        named(out, " zone=", zone);
    }
    if let Some(times) = &flow.timestamps {
        lifetime(out, style, times, now_ns);
    }
    if let Some(helper) = &flow.helper {
        out.text(" helper=");
        out.name(helper.as_str());
    }
    if let Some(count) = flow.use_count {
        named(out, " use=", count);
    }
    if let Some(id) = flow.id.filter(|_| style.id) {
        named(out, " id=", id);
    }
    if let (Some(map), Some(labels)) = (style.labels, flow.labels) {
        for (i, name) in map.names_of(label_words(labels)).enumerate() {
            out.text(if i == 0 { " labels=" } else { "," });
            out.name(name);
        }
    }
}

/// The strongest of the bits that say how the kernel treats the flow.
fn fate(status: Status) -> &'static str {
    if status.contains(Status::HW_OFFLOAD) {
        " [HW_OFFLOAD]"
    } else if status.contains(Status::OFFLOAD) {
        " [OFFLOAD]"
    } else if status.contains(Status::ASSURED) {
        " [ASSURED]"
    } else {
        ""
    }
}

fn lifetime(out: &mut Vec<u8>, style: &Style<'_>, times: &Timestamps, now_ns: u64) {
    if let Some(age) = age_s(times, now_ns) {
        named(out, " delta-time=", age);
    }
    if !style.ktimestamp {
        return;
    }
    for (name, at_ns) in [(" [start=", times.start_ns), (" [stop=", times.stop_ns)] {
        if at_ns != 0 {
            out.text(name);
            time::date(out, at_ns);
            out.push(b']');
        }
    }
}
