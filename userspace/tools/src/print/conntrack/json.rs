//! A flow as a JSON object on a line; docs/spec/conntrack-json.md says what is in it.

use super::put::{self, Put as _};
use super::{Occasion, Style, time};
use crate::print::tame::is_tame;
use crate::print::{lifetime_s, state};
use ctnetlink::flow::{ProtoState, Status, Timestamps, proto_name};
use ctnetlink::tuple::{FAMILY_IPV6, ipproto};
use ctnetlink::view::label_words;
use ctnetlink::{Change, FlowView, Tuple};
use std::io::Write as _;

/// What the bits are called, `enum ip_conntrack_status` without `IPS_`.
pub(crate) const STATUS: [(Status, &str); 16] = [
    (Status::EXPECTED, "EXPECTED"),
    (Status::SEEN_REPLY, "SEEN_REPLY"),
    (Status::ASSURED, "ASSURED"),
    (Status::CONFIRMED, "CONFIRMED"),
    (Status::SRC_NAT, "SRC_NAT"),
    (Status::DST_NAT, "DST_NAT"),
    (Status::SEQ_ADJUST, "SEQ_ADJUST"),
    (Status::SRC_NAT_DONE, "SRC_NAT_DONE"),
    (Status::DST_NAT_DONE, "DST_NAT_DONE"),
    (Status::DYING, "DYING"),
    (Status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
    (Status::TEMPLATE, "TEMPLATE"),
    (Status::NAT_CLASH, "NAT_CLASH"),
    (Status::HELPER, "HELPER"),
    (Status::OFFLOAD, "OFFLOAD"),
    (Status::HW_OFFLOAD, "HW_OFFLOAD"),
];

/// Appends a flow, and in events a line end; entries of a list are parted by what is before them.
pub(super) fn flow(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, on: &Occasion<'_>) {
    open(out, style, on, flow.event_ns);
    body(out, style, flow, on);
    close(out, on);
}

/// What the object holds of the flow itself.
pub(super) fn body(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, on: &Occasion<'_>) {
    family(out, &flow.orig);
    out.text(",\"orig\":{");
    direction(out, flow, &flow.orig, 0);
    if flow.reply.is_known() {
        out.text("},\"reply\":{");
        direction(out, flow, &flow.reply, 1);
    }
    out.push(b'}');
    translation(out, flow);
    tracker(out, &flow.proto);
    both(out, style, flow, on.now_ns);
}

/// Address family and protocol.
pub(super) fn family(out: &mut Vec<u8>, tuple: &Tuple) {
    let v6 = tuple.family == FAMILY_IPV6;
    out.text(if v6 { ",\"family\":\"ipv6\"" } else { ",\"family\":\"ipv4\"" });
    out.text(",\"proto\":\"");
    out.text(proto_name(tuple.proto).unwrap_or("unknown"));
    number(out, "\",\"protonum\":", tuple.proto);
}

/// Version, event, time.
pub(super) fn open(out: &mut Vec<u8>, style: &Style<'_>, on: &Occasion<'_>, event_ns: Option<u64>) {
    let Some(event) = on.event else {
        out.text(if out.last() == Some(&b'[') { "\n{\"v\":1" } else { ",\n{\"v\":1" });
        return;
    };
    out.text("{\"v\":1");
    out.text(match event {
        Change::New => ",\"event\":\"new\"",
        Change::Update => ",\"event\":\"update\"",
        Change::Destroy => ",\"event\":\"destroy\"",
    });
    if style.timestamp {
        number(out, ",\"time_ns\":", time::of_event(event_ns, on));
    }
    if on.origin.portid != 0 {
        number(out, ",\"portid\":", on.origin.portid);
    }
    if let Some(program) = on.origin.program {
        string(out, ",\"progname\":", program.as_bytes());
    }
}

/// The end of the object, and of the line where lines are entries.
pub(super) fn close(out: &mut Vec<u8>, on: &Occasion<'_>) {
    out.text(if on.event.is_some() { "}\n" } else { "}" });
}

/// Addresses, and what identifies layer 4.
pub(super) fn tuple(out: &mut Vec<u8>, tuple: &Tuple) {
    out.text("\"src\":\"");
    put::src(out, tuple);
    out.text("\",\"dst\":\"");
    put::dst(out, tuple);
    out.push(b'"');
    let (src, dst) = tuple.ports();
    if tuple.has_ports() {
        number(out, ",\"sport\":", src);
        number(out, ",\"dport\":", dst);
    } else if tuple.proto == ipproto::GRE {
        number(out, ",\"srckey\":", src);
        number(out, ",\"dstkey\":", dst);
    } else if tuple.is_icmp() {
        let (id, kind, code) = tuple.icmp();
        number(out, ",\"type\":", kind);
        number(out, ",\"code\":", code);
        number(out, ",\"id\":", id);
    }
}

/// A member that is a number; `name` is everything before it.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, name: &str, number: impl Into<u64>) {
    out.text(name);
    out.number(number);
}

/// A string. Bytes that are no UTF-8 are replaced.
pub(super) fn string(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    out.text(name);
    out.push(b'"');
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' => out.text("\\\""),
            '\\' => out.text("\\\\"),
            // None of these has more than 16 bits. Writing to memory cannot fail.
            c if !is_tame(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.text(c.encode_utf8(&mut [0; 4])),
        }
    }
    out.push(b'"');
}

fn direction(out: &mut Vec<u8>, flow: &FlowView<'_>, given: &Tuple, at: usize) {
    tuple(out, given);
    if let Some(zone) = flow.zones[at] {
        number(out, ",\"zone\":", zone);
    }
    if let Some(counters) = flow.counters[at] {
        number(out, ",\"packets\":", counters.packets);
        number(out, ",\"bytes\":", counters.bytes);
    }
}

/// Where packets of the original direction really come from and go to, if that is another place or port.
fn translation(out: &mut Vec<u8>, flow: &FlowView<'_>) {
    let (status, ports) = (flow.status.unwrap_or_default(), flow.orig.has_ports());
    let ((sport, dport), (reply_sport, reply_dport)) = (flow.orig.ports(), flow.reply.ports());
    let source = flow.reply.dst != flow.orig.src || (ports && reply_dport != sport);
    let destination = flow.reply.src != flow.orig.dst || (ports && reply_sport != dport);
    let source = source && status.contains(Status::SRC_NAT_DONE);
    let destination = destination && status.contains(Status::DST_NAT_DONE);
    if !flow.reply.is_known() || !(source || destination) {
        return;
    }
    let ends = [
        (source, "\"src\":{\"addr\":\"", &flow.reply.dst, reply_dport),
        (destination, "\"dst\":{\"addr\":\"", &flow.reply.src, reply_sport),
    ];
    out.text(",\"nat\":{");
    for (_, name, address, port) in ends.into_iter().filter(|(set, ..)| *set) {
        out.text(if out.last() == Some(&b'}') { "," } else { "" });
        out.text(name);
        out.address(flow.reply.family, address);
        out.push(b'"');
        if ports {
            number(out, ",\"port\":", port);
        }
        out.push(b'}');
    }
    out.push(b'}');
}

fn tracker(out: &mut Vec<u8>, proto: &ProtoState) {
    if let Some(state) = state::name(proto) {
        out.text(",\"state\":\"");
        out.text(state);
        out.push(b'"');
    }
    match proto {
        ProtoState::Sctp { vtag, .. } => {
            number(out, ",\"vtag\":{\"orig\":", vtag[0]);
            number(out, ",\"reply\":", vtag[1]);
            out.push(b'}');
        }
        ProtoState::Dccp { role, .. } => out.text(match role {
            0 => ",\"role\":\"client\"",
            _ => ",\"role\":\"server\"",
        }),
        _ => {}
    }
}

/// What belongs to no direction.
fn both(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, now_ns: u64) {
    let numbers = [
        (",\"timeout\":", flow.timeout_s),
        (",\"mark\":", flow.mark),
        (",\"secmark\":", flow.secmark),
        (",\"zone\":", flow.zone.map(u32::from)),
        (",\"use\":", flow.use_count),
        (",\"id\":", flow.id),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            number(out, name, value);
        }
    }
    if let Some(status) = flow.status {
        list(out, ",\"status\":[", STATUS.iter().filter(|(bit, _)| status.contains(*bit)));
    }
    if let (Some(map), Some(labels)) = (style.labels, flow.labels) {
        let mut name = ",\"labels\":[";
        for label in map.names_of(label_words(labels)) {
            string(out, name, label.as_bytes());
            name = ",";
        }
        out.text(if name == "," { "]" } else { ",\"labels\":[]" });
    }
    if let Some(secctx) = flow.secctx {
        string(out, ",\"secctx\":", secctx);
    }
    if let Some(helper) = &flow.helper {
        string(out, ",\"helper\":", helper.as_str().as_bytes());
    }
    if let Some(times) = &flow.timestamps {
        lifetime(out, style, times, now_ns);
    }
}

fn list<'a>(out: &mut Vec<u8>, name: &str, words: impl Iterator<Item = &'a (Status, &'a str)>) {
    out.text(name);
    let mut parted = "\"";
    for (_, word) in words {
        out.text(parted);
        out.text(word);
        out.push(b'"');
        parted = ",\"";
    }
    out.push(b']');
}

fn lifetime(out: &mut Vec<u8>, style: &Style<'_>, times: &Timestamps, now_ns: u64) {
    if style.ktimestamp && times.start_ns != 0 {
        number(out, ",\"start_ns\":", times.start_ns);
        if times.stop_ns != 0 {
            number(out, ",\"stop_ns\":", times.stop_ns);
        }
    }
    if let Some(age) = lifetime_s(times, now_ns) {
        number(out, ",\"deltatime\":", age);
    }
}
