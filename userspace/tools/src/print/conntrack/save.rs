//! A flow as the command line that makes it.
//!
//! ```text
//! -A -t 298 -u SEEN_REPLY,ASSURED -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p tcp --sport 10 --dport 20 \
//!     --reply-port-src 20 --reply-port-dst 10 --state ESTABLISHED
//! ```
//!
//! What the original leaves out, and would lose, stands at the end: mark, labels, helper.

use super::plain::{self, named};
use super::put::{self, Put as _};
use super::{Occasion, Style};
use crate::print::state;
use ctnetlink::flow::{ProtoState, Status, proto_name};
use ctnetlink::tuple::ipproto;
use ctnetlink::view::label_words;
use ctnetlink::{Change, FlowView, Tuple};

/// The bits that `-u` can set, in the order they are printed in.
const STATUS: [(Status, &str); 4] = [
    (Status::EXPECTED, "EXPECTED"),
    (Status::SEEN_REPLY, "SEEN_REPLY"),
    (Status::ASSURED, "ASSURED"),
    (Status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
];

/// Appends a flow and a line end.
pub(super) fn flow(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>, on: &Occasion<'_>) {
    out.text(match on.event {
        None if style.deleted => "-D",
        None | Some(Change::New) => "-A",
        Some(Change::Update) => "-U",
        Some(Change::Destroy) => "-D",
    });
    if let Some(timeout_s) = flow.timeout_s {
        named(out, " -t ", timeout_s);
    }
    if let Some(status) = flow.status {
        words(out, status);
    }
    zones(out, flow);
    addresses(out, flow);
    protocol(out, flow);
    beyond(out, style, flow);
    plain::origin(out, on);
    out.push(b'\n');
}

fn words(out: &mut Vec<u8>, status: Status) {
    out.text(" -u ");
    let set = STATUS.iter().filter(|(bit, _)| status.contains(*bit));
    let mut parted = false;
    for (_, name) in set {
        if parted {
            out.push(b',');
        }
        parted = true;
        out.text(name);
    }
    if !parted {
        out.text("UNSET");
    }
}

fn zones(out: &mut Vec<u8>, flow: &FlowView<'_>) {
    let zones = [(" -w ", flow.zone), (" --orig-zone ", flow.zones[0])];
    for (name, zone) in zones.into_iter().chain([(" --reply-zone ", flow.zones[1])]) {
        if let Some(zone) = zone {
            named(out, name, zone);
        }
    }
}

fn addresses(out: &mut Vec<u8>, flow: &FlowView<'_>) {
    out.text(" -s ");
    put::src(out, &flow.orig);
    out.text(" -d ");
    put::dst(out, &flow.orig);
    if !flow.reply.is_known() {
        return;
    }
    let (source, destination) = translated(flow);
    out.text(if destination { " -g " } else { " -r " });
    put::src(out, &flow.reply);
    out.text(if source { " -n " } else { " -q " });
    put::dst(out, &flow.reply);
}

/// Whether source and destination address are translated. Where only a port is, the options cannot say so.
fn translated(flow: &FlowView<'_>) -> (bool, bool) {
    let status = flow.status.unwrap_or_default();
    let source = flow.reply.is_known() && flow.reply.dst != flow.orig.src;
    let destination = flow.reply.is_known() && flow.reply.src != flow.orig.dst;
    (
        source && status.contains(Status::SRC_NAT_DONE),
        destination && status.contains(Status::DST_NAT_DONE),
    )
}

/// Protocol, and what only it has.
fn protocol(out: &mut Vec<u8>, flow: &FlowView<'_>) {
    let Tuple { proto, .. } = flow.orig;
    out.text(" -p ");
    match proto_name(proto) {
        Some(name) => out.text(name),
        None => out.number(proto),
    }
    let (src, dst) = flow.orig.ports();
    match proto {
        ipproto::GRE => {
            pair(out, [" --srckey ", " --dstkey "], (src, dst));
            pair(out, [" --reply-key-src ", " --reply-key-dst "], flow.reply.ports());
        }
        ipproto::ICMP | ipproto::ICMPV6 => icmp(out, flow),
        // Kernels without a tracker for the protocol send no ports.
        _ if flow.orig.has_ports() && (proto != ipproto::DCCP || flow.orig.l4 != [0; 4]) => {
            pair(out, [" --sport ", " --dport "], (src, dst));
            if flow.reply.is_known() {
                pair(out, [" --reply-port-src ", " --reply-port-dst "], flow.reply.ports());
            }
        }
        _ => {}
    }
    tracker(out, &flow.proto);
}

fn pair(out: &mut Vec<u8>, names: [&str; 2], (src, dst): (u16, u16)) {
    named(out, names[0], src);
    named(out, names[1], dst);
}

fn icmp(out: &mut Vec<u8>, flow: &FlowView<'_>) {
    let names = if flow.orig.proto == ipproto::ICMP {
        [" --icmp-type ", " --icmp-code ", " --icmp-id "]
    } else {
        [" --icmpv6-type ", " --icmpv6-code ", " --icmpv6-id "]
    };
    let (id, kind, code) = flow.orig.icmp();
    named(out, names[0], kind);
    named(out, names[1], code);
    named(out, names[2], id);
}

/// State, tags, role.
fn tracker(out: &mut Vec<u8>, proto: &ProtoState) {
    if let Some(state) = state::name(proto) {
        out.text(" --state ");
        out.text(state);
    }
    match proto {
        ProtoState::Sctp { vtag, .. } => {
            named(out, " --orig-vtag ", typed(vtag[0]));
            named(out, " --reply-vtag ", typed(vtag[1]));
        }
        ProtoState::Dccp { role, .. } => {
            out.text(if *role == 0 { " --role client" } else { " --role server" });
        }
        _ => {}
    }
}

/// A tag as `--orig-vtag` takes it: the original hands the number to the kernel as it lies in memory, and files that it
/// saved must make the same table.
const fn typed(vtag: u32) -> u32 {
    u32::from_ne_bytes(vtag.to_be_bytes())
}

/// What makes the loaded table the same table. A mark of 0 is what a flow has without one.
fn beyond(out: &mut Vec<u8>, style: &Style<'_>, flow: &FlowView<'_>) {
    if let Some(mark) = flow.mark.filter(|mark| *mark != 0) {
        named(out, " -m ", mark);
    }
    if let (Some(map), Some(labels)) = (style.labels, flow.labels) {
        for (i, name) in map.names_of(label_words(labels)).enumerate() {
            out.text(if i == 0 { " --label-add " } else { "," });
            out.name(name);
        }
    }
    if let Some(helper) = &flow.helper {
        out.text(" --helper ");
        out.name(helper.as_str());
    }
}
