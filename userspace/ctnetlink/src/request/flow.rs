//! The attributes of flow requests.

use super::{put_labels, put_zone};
use crate::attribute::{put, put_be32, put_nest, put_text};
use crate::flow::{Extra, Flow, Known, ProtoState, SeqAdj, Status, Synproxy, TcpState};
use crate::tuple::FAMILY_IPV6;
use crate::uapi::{cta, help, nat, protoinfo, seqadj, synproxy};
use crate::{Tuple, Writer, direction};

/// Status bits that a writer decides. The kernel ignores all others of `IPS_UNCHANGEABLE_MASK`
/// (`include/uapi/linux/netfilter/nf_conntrack_common.h`), except for the three that `written_status` is about.
const WRITABLE: Status =
    Status::SEEN_REPLY.union(Status::ASSURED).union(Status::FIXED_TIMEOUT).union(Status::HELPER);

/// Writes the attributes of a new flow.
pub(super) fn create(w: &mut Writer<'_>, flow: &Flow) {
    let ends = [source_end(flow), destination_end(flow)];
    put_tuples(w, flow, ends != [None; 2]);
    put_timeout(w, flow);
    put_common(w, flow, written_status(flow, false));
    if let Some(end) = ends[0] {
        put_nat(w, cta::NAT_SRC, flow.orig.family, &end);
    }
    if let Some(end) = ends[1] {
        put_nat(w, cta::NAT_DST, flow.orig.family, &end);
    }
    let Some(extra) = flow.extra.as_deref() else { return };
    if let Some(master) = &extra.master {
        direction::encode(w, cta::TUPLE_MASTER, master, None);
    }
    if let Some(name) = &extra.helper {
        put_nest(w, cta::HELP, |w| put_text(w, help::NAME, name.as_bytes()));
    }
}

/// Writes the changes of a flow that exists. `fixed`: the kernel refuses another timeout.
pub(super) fn update(w: &mut Writer<'_>, flow: &Flow, fixed: bool) {
    let extra = flow.extra.as_deref();
    let own = extra.map_or([None; 2], |extra| extra.zones);
    direction::encode(w, cta::TUPLE_ORIG, &flow.orig, own[0]);
    if own == [None; 2] {
        put_zone(w, flow.zone);
    }
    // `EPERM`, and nothing of the update is applied (`__nf_ct_change_timeout`, kernel v6.12
    // `net/netfilter/nf_conntrack_core.c`).
    if !fixed {
        put_timeout(w, flow);
    }
    put_common(w, flow, written_status(flow, true));
}

/// With translation the reply is the mirrored original: the kernel works the real one out of the NAT nests. Given the
/// translated one it finds nothing left to do, so `SRC_NAT` or `DST_NAT` stays unset, packets are not translated, and
/// one of two translations is lost (`nf_nat_setup_info`, kernel v6.12 `net/netfilter/nf_nat_core.c`).
///
/// A zone goes into at most one of the tuples: the kernel answers `EINVAL` to two.
fn put_tuples(w: &mut Writer<'_>, flow: &Flow, translated: bool) {
    let own = flow.extra.as_deref().map_or([None; 2], |extra| extra.zones);
    let as_told = flow.reply.is_known() && !translated;
    let reply = if as_told { flow.reply } else { flow.orig.inverted() };
    direction::encode(w, cta::TUPLE_ORIG, &flow.orig, own[0]);
    direction::encode(w, cta::TUPLE_REPLY, &reply, own[1]);
    if own == [None; 2] {
        put_zone(w, flow.zone);
    }
}

fn put_timeout(w: &mut Writer<'_>, flow: &Flow) {
    if flow.has(Known::TIMEOUT) {
        put_be32(w, cta::TIMEOUT, flow.timeout_s);
    }
}

fn put_common(w: &mut Writer<'_>, flow: &Flow, status: Status) {
    if flow.has(Known::STATUS) {
        put_be32(w, cta::STATUS, status.bits());
    }
    if flow.has(Known::MARK) {
        put_be32(w, cta::MARK, flow.mark);
    }
    put_proto(w, &flow.proto);
    if let Some(extra) = flow.extra.as_deref() {
        put_rare(w, extra);
    }
}

/// The status as the kernel takes it.
///
/// `ctnetlink_change_status` (kernel v6.12, `net/netfilter/nf_conntrack_netlink.c`) answers `EBUSY` unless
/// `CONFIRMED`, `EXPECTED` and `DYING` are as they are. A flow being created counts as confirmed already, and as not
/// expected yet: that bit comes with the master. A flow that exists is expected if it was created with a master,
/// whatever its status says elsewhere.
fn written_status(flow: &Flow, exists: bool) -> Status {
    let mut status = flow.status.intersection(WRITABLE) | Status::CONFIRMED;
    status.set(Status::EXPECTED, exists && flow.master().is_some());
    status
}

/// A translated end: the address (translated or not) and the port or ICMP id it is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    addr: [u8; 16],
    port: Option<[u8; 2]>,
}

/// Where replies go instead of to the source.
fn source_end(flow: &Flow) -> Option<End> {
    let reply = &flow.reply;
    let icmp_id = flow.status.contains(Status::SRC_NAT) && reply.is_icmp();
    let renumbered = icmp_id && reply.is_known() && reply.l4[..2] != flow.orig.l4[..2];
    let translated = renumbered || flow.source_nat().is_some();
    let port = if reply.is_icmp() { pinned(reply, 0) } else { pinned(reply, 2) };
    translated.then_some(End { addr: reply.dst, port })
}

/// Where replies come from instead of from the destination.
fn destination_end(flow: &Flow) -> Option<End> {
    let reply = &flow.reply;
    // An ICMP id belongs to the source; the kernel has no other end to translate it at.
    let port = if reply.is_icmp() { None } else { pinned(reply, 0) };
    flow.destination_nat().map(|_| End { addr: reply.src, port })
}

/// The port is given even where it is not translated: left to itself the kernel would pick another one if this one
/// is taken, and the copy would silently differ from the flow. Pinned, the create fails with `EEXIST`.
fn pinned(reply: &Tuple, at: usize) -> Option<[u8; 2]> {
    let has_port = reply.has_ports() || reply.is_icmp();
    has_port.then(|| [reply.l4[at], reply.l4[at + 1]])
}

fn put_nat(w: &mut Writer<'_>, kind: u16, family: u8, end: &End) {
    put_nest(w, kind, |w| {
        if family == FAMILY_IPV6 {
            put(w, nat::V6_MINIP, &end.addr);
            put(w, nat::V6_MAXIP, &end.addr);
        } else {
            put(w, nat::V4_MINIP, &end.addr[..4]);
            put(w, nat::V4_MAXIP, &end.addr[..4]);
        }
        if let Some(port) = end.port {
            put_nest(w, nat::PROTO, |w| {
                put(w, nat::PORT_MIN, &port);
                put(w, nat::PORT_MAX, &port);
            });
        }
    });
}

fn put_proto(w: &mut Writer<'_>, proto: &ProtoState) {
    match proto {
        ProtoState::None => {}
        ProtoState::Tcp(tcp) => put_protoinfo(w, protoinfo::TCP, |w| put_tcp(w, tcp)),
        ProtoState::Dccp { state, role } => put_protoinfo(w, protoinfo::DCCP, |w| {
            put(w, protoinfo::DCCP_STATE, &[*state]);
            put(w, protoinfo::DCCP_ROLE, &[*role]);
        }),
        // The kernel wants all three or none (`nlattr_to_sctp`, kernel v6.12
        // `net/netfilter/nf_conntrack_proto_sctp.c`), and answers `ERANGE` to states beyond.
        ProtoState::Sctp { state, .. } if *state > protoinfo::SCTP_STATE_MAX => {}
        ProtoState::Sctp { state, vtag } => put_protoinfo(w, protoinfo::SCTP, |w| {
            put(w, protoinfo::SCTP_STATE, &[*state]);
            put_be32(w, protoinfo::SCTP_VTAG_ORIGINAL, vtag[0]);
            put_be32(w, protoinfo::SCTP_VTAG_REPLY, vtag[1]);
        }),
    }
}

fn put_protoinfo(w: &mut Writer<'_>, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
    put_nest(w, cta::PROTOINFO, |w| put_nest(w, kind, body));
}

fn put_tcp(w: &mut Writer<'_>, tcp: &TcpState) {
    // One past the table is `ERANGE` for the whole request; without state the flow is as if never seen.
    if tcp.state <= protoinfo::TCP_STATE_MAX {
        put(w, protoinfo::TCP_STATE, &[tcp.state]);
    }
    // The kernel takes them only along with flags whose mask and value have `IP_CT_TCP_FLAG_WINDOW_SCALE` in both
    // directions, and passes them over otherwise; more than `TCP_MAX_WSCALE` is `ERANGE`.
    let wscale = tcp.wscale.filter(|both| both.iter().all(|&one| one <= protoinfo::TCP_WSCALE_MAX));
    if let Some([orig, reply]) = wscale {
        put(w, protoinfo::TCP_WSCALE_ORIGINAL, &[orig]);
        put(w, protoinfo::TCP_WSCALE_REPLY, &[reply]);
    }
    if let Some([orig, reply]) = tcp.flags {
        put(w, protoinfo::TCP_FLAGS_ORIGINAL, &[orig.flags, orig.mask]);
        put(w, protoinfo::TCP_FLAGS_REPLY, &[reply.flags, reply.mask]);
    }
}

fn put_rare(w: &mut Writer<'_>, extra: &Extra) {
    if let Some([orig, reply]) = &extra.seq_adj {
        put_seq_adj(w, cta::SEQ_ADJ_ORIG, orig);
        put_seq_adj(w, cta::SEQ_ADJ_REPLY, reply);
    }
    if let Some(synproxy) = &extra.synproxy {
        put_synproxy(w, synproxy);
    }
    if let Some(labels) = &extra.labels {
        put_labels(w, cta::LABELS, labels);
    }
}

fn put_seq_adj(w: &mut Writer<'_>, kind: u16, adj: &SeqAdj) {
    put_nest(w, kind, |w| {
        put_be32(w, seqadj::CORRECTION_POS, adj.correction_pos);
        put_be32(w, seqadj::OFFSET_BEFORE, adj.offset_before);
        put_be32(w, seqadj::OFFSET_AFTER, adj.offset_after);
    });
}

fn put_synproxy(w: &mut Writer<'_>, given: &Synproxy) {
    put_nest(w, cta::SYNPROXY, |w| {
        put_be32(w, synproxy::ISN, given.isn);
        put_be32(w, synproxy::ITS, given.its);
        put_be32(w, synproxy::TSOFF, given.tsoff);
    });
}
