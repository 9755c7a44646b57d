//! What an independent decoder, the crate `netlink-packet-netfilter`, makes of a flow message, next to what ours does.
//!
//! It uses nothing but public items, so that tests of other packages can include it by path and feed it messages they
//! captured themselves.
#![expect(clippy::unwrap_used, reason = "it is part of tests")]

use ctnetlink::flow::ProtoState;
use ctnetlink::{FlowView, RawMessage};
use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple,
    Tuple as ReferenceTuple,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use std::net::IpAddr;

/// The fields that both decoders return.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Common {
    orig: Direction,
    reply: Direction,
    status: Option<u32>,
    timeout_s: Option<u32>,
    mark: Option<u32>,
    /// State, window scale factors, flags and masks.
    tcp: Option<(u8, [u8; 2], [[u8; 2]; 2])>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Direction {
    addrs: [Option<IpAddr>; 2],
    proto: u8,
    /// Zero where the protocol has none.
    ports: [u16; 2],
}

/// What both make of one flow message: theirs, ours. They shall be equal.
///
/// # Panics
/// When either refuses the message.
pub(crate) fn compare(raw: &RawMessage<'_>) -> (Common, Common) {
    (theirs(raw), ours(&FlowView::parse(raw.payload).unwrap()))
}

fn theirs(raw: &RawMessage<'_>) -> Common {
    let mut header = NetlinkHeader::default();
    header.message_type = raw.header.kind;
    let message = NetfilterMessage::deserialize(&header, raw.payload).unwrap();
    let NetfilterMessageInner::Conntrack(
        ConntrackMessage::New(attributes) | ConntrackMessage::Delete(attributes),
    ) = message.inner
    else {
        panic!("not a flow: {message:?}")
    };
    let mut out = Common::default();
    for attribute in &attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => out.orig = direction(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => out.reply = direction(tuple),
            ConntrackAttribute::CtaStatus(status) => out.status = Some(status.bits()),
            ConntrackAttribute::CtaTimeout(timeout_s) => out.timeout_s = Some(*timeout_s),
            ConntrackAttribute::CtaMark(mark) => out.mark = Some(*mark),
            ConntrackAttribute::CtaProtoInfo(infos) => out.tcp = infos.iter().find_map(tcp),
            _ => {}
        }
    }
    out
}

fn direction(parts: &[ReferenceTuple]) -> Direction {
    let mut out = Direction::default();
    for part in parts {
        match part {
            ReferenceTuple::Ip(parts) => parts.iter().for_each(|part| match part {
                IPTuple::SourceAddress(addr) => out.addrs[0] = Some(*addr),
                IPTuple::DestinationAddress(addr) => out.addrs[1] = Some(*addr),
                _ => {}
            }),
            ReferenceTuple::Proto(parts) => parts.iter().for_each(|part| match part {
                ProtoTuple::Protocol(proto) => out.proto = (*proto).into(),
                ProtoTuple::SourcePort(port) => out.ports[0] = *port,
                ProtoTuple::DestinationPort(port) => out.ports[1] = *port,
                _ => {}
            }),
            _ => {}
        }
    }
    out
}

fn tcp(info: &ProtoInfo) -> Option<(u8, [u8; 2], [[u8; 2]; 2])> {
    let ProtoInfo::TCP(parts) = info else { return None };
    let mut out = <(u8, [u8; 2], [[u8; 2]; 2])>::default();
    for part in parts {
        match part {
            ProtoInfoTCP::State(state) => out.0 = *state,
            ProtoInfoTCP::OriginalWindowScale(scale) => out.1[0] = *scale,
            ProtoInfoTCP::ReplyWindowScale(scale) => out.1[1] = *scale,
            ProtoInfoTCP::OriginalFlags(tcp) => out.2[0] = [tcp.flags, tcp.mask],
            ProtoInfoTCP::ReplyFlags(tcp) => out.2[1] = [tcp.flags, tcp.mask],
            _ => {}
        }
    }
    Some(out)
}

fn ours(view: &FlowView<'_>) -> Common {
    Common {
        orig: our_direction(&view.orig),
        reply: our_direction(&view.reply),
        status: view.status.map(|status| status.bits()),
        timeout_s: view.timeout_s,
        mark: view.mark,
        tcp: match &view.proto {
            ProtoState::Tcp(tcp) => Some((
                tcp.state,
                tcp.wscale.unwrap_or_default(),
                tcp.flags.unwrap_or_default().map(|flags| [flags.flags, flags.mask]),
            )),
            _ => None,
        },
    }
}

fn our_direction(tuple: &ctnetlink::Tuple) -> Direction {
    let (src, dst) = tuple.ports();
    let addrs = || [Some(tuple.src_ip()), Some(tuple.dst_ip())];
    Direction {
        addrs: tuple.is_known().then(addrs).unwrap_or_default(),
        proto: tuple.proto,
        // The other decoder does not know ICMP identities.
        ports: if tuple.is_icmp() { [0; 2] } else { [src, dst] },
    }
}
