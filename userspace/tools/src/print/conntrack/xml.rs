//! A flow as an XML element on a line.

use super::put::{self, Put};
use super::{Occasion, Style, time};
use crate::print::tame;
use crate::print::xml::When;
use crate::print::{lifetime_s, state};
use ctnetlink::flow::{Status, Timestamps, proto_name};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use ctnetlink::view::label_words;
use ctnetlink::{Change, FlowView, Tuple};
use std::io::Write as _;

/// Appends a flow and a line end.
pub(super) fn flow(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, on: &Occasion<'_>) {
    out.text(match on.event {
        None => "<flow>",
        Some(Change::New) => "<flow type=\"new\">",
        Some(Change::Update) => "<flow type=\"update\">",
        Some(Change::Destroy) => "<flow type=\"destroy\">",
    });
    out.text("<meta direction=\"original\">");
    direction(out, flow, &flow.orig, 0);
    out.text("</meta><meta direction=\"reply\">");
    direction(out, flow, &flow.reply, 1);
    out.text("</meta><meta direction=\"independent\">");
    independent(out, style, flow, on.now_ns);
    out.text("</meta>");
    if on.event.is_some() && style.timestamp {
        when(out, &time::when(time::of_event(flow.event_ns, on)));
    }
    if let Some(helper) = &flow.helper {
        escaped(out, "<helper>", helper.as_str().as_bytes(), "</helper>");
    }
    out.text("</flow>\n");
}

/// One direction: tuple, zone, counters.
fn direction(out: &mut Vec<u8>, flow: &FlowView<'_>, tuple: &Tuple, at: usize) {
    out.text(match tuple.family {
        FAMILY_IPV4 => "<layer3 protonum=\"2\" protoname=\"ipv4\"><src>",
        FAMILY_IPV6 => "<layer3 protonum=\"10\" protoname=\"ipv6\"><src>",
        _ => "<layer3 protonum=\"0\" protoname=\"unknown\"><src>",
    });
    if tuple.is_known() {
        put::src(out, tuple);
        out.text("</src><dst>");
        put::dst(out, tuple);
    } else {
        out.text("</src><dst>");
    }
    out.text("</dst></layer3>");
    element(out, "<layer4 protonum=\"", tuple.proto, "\" protoname=\"");
    out.text(proto_name(tuple.proto).unwrap_or("unknown"));
    out.text("\">");
    layer4(out, tuple);
    out.text("</layer4>");
    if let Some(zone) = flow.zones[at] {
        element(out, "<zone>", zone, "</zone>");
    }
    if let Some(counters) = flow.counters[at] {
        element(out, "<counters><packets>", counters.packets, "</packets>");
        element(out, "<bytes>", counters.bytes, "</bytes></counters>");
    }
}

fn layer4(out: &mut Vec<u8>, tuple: &Tuple) {
    let (src, dst) = tuple.ports();
    if tuple.has_ports() {
        element(out, "<sport>", src, "</sport>");
        element(out, "<dport>", dst, "</dport>");
    } else if tuple.proto == ipproto::GRE {
        out.text("<srckey>");
        out.hex(src);
        out.text("</srckey><dstkey>");
        out.hex(dst);
        out.text("</dstkey>");
    }
}

/// What belongs to no direction.
fn independent(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, now_ns: u64) {
    if let Some(state) = state::name(&flow.proto) {
        out.text("<state>");
        out.text(state);
        out.text("</state>");
    }
    if let Some(timeout_s) = flow.timeout_s {
        element(out, "<timeout>", timeout_s, "</timeout>");
    }
    if let Some(mark) = flow.mark {
        element(out, "<mark>", mark, "</mark>");
    }
    labels(out, style, flow);
    if let Some(secmark) = flow.secmark {
        element(out, "<secmark>", secmark, "</secmark>");
    }
    if let Some(secctx) = flow.secctx {
        escaped(out, "<secctx>", secctx, "</secctx>");
    }
    if let Some(zone) = flow.zone {
        element(out, "<zone>", zone, "</zone>");
    }
    if let Some(count) = flow.use_count {
        element(out, "<use>", count, "</use>");
    }
    if let Some(id) = flow.id {
        element(out, "<id>", id, "</id>");
    }
    if let Some(status) = flow.status {
        out.text(if status.contains(Status::ASSURED) { "<assured/>" } else { "" });
        out.text(if status.contains(Status::SEEN_REPLY) { "" } else { "<unreplied/>" });
    }
    if let Some(times) = &flow.timestamps {
        lifetime(out, style, times, now_ns);
    }
}

fn labels(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>) {
    let (Some(map), Some(labels)) = (style.labels, flow.labels) else { return };
    let mut begun = false;
    for name in map.names_of(label_words(labels)) {
        out.text(if begun { "" } else { "<labels>" });
        begun = true;
        escaped(out, "<label>", name.as_bytes(), "</label>");
    }
    out.text(if begun { "</labels>" } else { "" });
}

fn lifetime(out: &mut Vec<u8>, style: &Style<'_>, times: &Timestamps, now_ns: u64) {
    if style.ktimestamp && times.start_ns != 0 {
        element(out, "<timestamp><start>", times.start_ns, "</start>");
        if times.stop_ns != 0 {
            element(out, "<stop>", times.stop_ns, "</stop>");
        }
        out.text("</timestamp>");
    }
    if let Some(age) = lifetime_s(times, now_ns) {
        element(out, "<deltatime>", age, "</deltatime>");
    }
}

fn when(out: &mut Vec<u8>, when: &When) {
    element(out, "<when><hour>", when.hour, "</hour><min>");
    for (number, end) in [(when.min, "</min><sec>"), (when.sec, "</sec>")] {
        out.text(if number < 10 { "0" } else { "" });
        out.number(number);
        out.text(end);
    }
    element(out, "<wday>", when.wday, "</wday>");
    element(out, "<day>", when.day, "</day>");
    element(out, "<month>", when.month, "</month><year>");
    element(out, "", u64::try_from(when.year).unwrap_or(0), "</year></when>");
}

#[inline]
fn element(out: &mut Vec<u8>, begin: &str, number: impl Into<u64>, end: &str) {
    out.text(begin);
    out.number(number);
    out.text(end);
}

/// Bytes of foreign origin.
fn escaped(out: &mut Vec<u8>, begin: &str, bytes: &[u8], end: &str) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{begin}{}{end}", tame::Xml(&String::from_utf8_lossy(bytes)));
}
