//! Selects the flows that a command means: what the kernel can pick by itself, and what is left to compare here.

use super::command::Command;
use super::definition::{Opt, Verb};
use super::protocol::Which;
use super::values::{Addr, Address, Nat};
use ctnetlink::flow::{ProtoState, Status};
use ctnetlink::request::Selection;
use ctnetlink::tuple::{FAMILY_IPV4, ipproto};
use ctnetlink::uapi::filter::flag;
use ctnetlink::view::label_words;
use ctnetlink::{FlowView, Tuple};

/// Selects the flows that a command is about.
#[derive(Debug)]
pub struct Filter<'a> {
    command: &'a Command,
    everything: bool,
}

impl<'a> Filter<'a> {
    /// What a command line selects.
    #[must_use]
    pub fn new(command: &'a Command) -> Self {
        let bare = command.orig == [None; 2]
            && command.reply == [None; 2]
            && command.proto.is_none()
            && (command.verb != Verb::Delete || command.timeout_s.is_none())
            && command.ports.is_empty()
            && command.icmp == (None, None, None)
            && (command.verb == Verb::Update || command.state.is_none())
            && command.id.is_none()
            && command.secmark.is_none()
            && command.zones == [None; 3]
            && command.nat == [None; 3]
            && command.labels.wanted.is_empty()
            && (command.verb == Verb::Update || command.mark.is_none())
            && (command.verb == Verb::Update || command.status.is_none())
            && command.family == 0;
        Self { command, everything: bare }
    }

    /// What the kernel picks. Whatever it passes over is compared here again, so a kernel that knows less only costs
    /// time.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let command = self.command;
        let update = command.verb == Verb::Update;
        let status = command.status.filter(|_| command.verb == Verb::List);
        let tuples = [self.tuple(Which::Orig), self.tuple(Which::Reply)];
        Selection::default().with(|selection| {
            selection.family = command.family;
            selection.mark = command.mark.filter(|_| !update);
            selection.status = status.map(super::values::StatusWanted::selection);
            // To a command that asks for both directions a zone of one direction only is zone 0, but not to the
            // kernel.
            selection.zone = command.zones[0].filter(|zone| *zone != 0);
            selection.tuples = (tuples[0].1 | tuples[1].1 != 0).then_some(tuples);
        })
    }

    /// A tuple for the kernel to compare, and which parts of it.
    fn tuple(&self, which: Which) -> (Tuple, u32) {
        let command = self.command;
        let (addresses, masks) = match which {
            Which::Reply => (command.reply, [None; 2]),
            _ => (command.orig, command.mask),
        };
        let mut tuple = Tuple { family: command.family, ..Tuple::default() };
        let mut bits = 0;
        // The kernel picks all IPv6 addresses but the one asked for: the comparison in
        // `ctnetlink_filter_match_tuple` is turned around (seen on 6.18).
        if command.family == FAMILY_IPV4 {
            if let (Some(src), None) = (addresses[0], masks[0]) {
                (tuple.src, bits) = (src, bits | flag::IP_SRC);
            }
            if let (Some(dst), None) = (addresses[1], masks[1]) {
                (tuple.dst, bits) = (dst, bits | flag::IP_DST);
            }
        }
        let Some(proto) = command.proto else { return (tuple, bits) };
        tuple.proto = proto;
        let has_ports = tuple.has_ports() && proto != ipproto::DCCP;
        let port = |dst| command.ports.of(which, dst).filter(|_| has_ports);
        let (src, dst) = (port(false), port(true));
        tuple = tuple.with_ports(src.unwrap_or_default(), dst.unwrap_or_default());
        if which == Which::Orig || src.is_some() || dst.is_some() {
            bits |= flag::PROTO_NUM;
        }
        bits |= if src.is_some() { flag::PROTO_SRC_PORT } else { 0 };
        bits |= if dst.is_some() { flag::PROTO_DST_PORT } else { 0 };
        (tuple, bits)
    }

    /// The command it comes from.
    #[must_use]
    pub const fn command(&self) -> &'a Command {
        self.command
    }

    /// The one source address that it wants of the original direction, if it does.
    #[must_use]
    pub fn source(&self) -> Option<Addr> {
        self.command.orig[0].filter(|_| self.command.mask[0].is_none())
    }

    /// Whether it selects every flow, so that none needs to be looked at.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether a flow is meant.
    #[must_use]
    pub fn passes(&self, flow: &FlowView<'_>) -> bool {
        let command = self.command;
        self.everything
            || ((command.family == 0 || flow.orig.family == command.family)
                && addresses(&flow.orig, command.orig, command.mask)
                && addresses(&flow.reply, command.reply, [None; 2])
                && command.proto.is_none_or(|proto| flow.orig.proto == proto)
                && self.ports(flow)
                && self.icmp(flow)
                && self.state(flow)
                && self.numbers(flow)
                && self.zones(flow)
                && self.nat(flow)
                && self.labels(flow))
    }

    fn ports(&self, flow: &FlowView<'_>) -> bool {
        self.command.ports.iter().all(|(which, dst, port)| {
            let (src_port, dst_port) = match which {
                Which::Orig => flow.orig.ports(),
                Which::Reply => flow.reply.ports(),
                Which::Mask | Which::Tuple => return true,
            };
            port == if dst { dst_port } else { src_port }
        })
    }

    fn icmp(&self, flow: &FlowView<'_>) -> bool {
        let (kind, code, id) = self.command.icmp;
        let has = flow.orig.icmp();
        kind.is_none_or(|kind| has.1 == kind)
            && code.is_none_or(|code| has.2 == code)
            && id.is_none_or(|id| has.0 == id)
    }

    fn state(&self, flow: &FlowView<'_>) -> bool {
        let wanted = self.command.state.filter(|_| self.command.verb != Verb::Update);
        wanted.is_none_or(|wanted| match flow.proto {
            ProtoState::Tcp(tcp) => tcp.state == wanted,
            ProtoState::Sctp { state, .. } | ProtoState::Dccp { state, .. } => state == wanted,
            _ => false,
        })
    }

    fn numbers(&self, flow: &FlowView<'_>) -> bool {
        let command = self.command;
        let sets = command.verb == Verb::Update;
        let mark = command.mark.filter(|_| !sets);
        let status = command.status.filter(|_| !sets && command.has(Opt::Status));
        let has = flow.status.map_or(0, |status| status.bits());
        let timeout = command.timeout_s.filter(|_| command.verb == Verb::Delete);
        timeout.is_none_or(|timeout| flow.timeout_s.is_some_and(|left| left >= timeout))
            && mark.is_none_or(|(value, mask)| flow.mark.unwrap_or_default() & mask == value)
            && status.is_none_or(|wanted| has & wanted.value == wanted.value)
            && command.id.is_none_or(|id| flow.id == Some(id))
            && command.secmark.is_none_or(|mark| flow.secmark.is_none_or(|has| has == mark))
    }

    fn zones(&self, flow: &FlowView<'_>) -> bool {
        let [both, orig, reply] = self.command.zones;
        let has = |direction: usize| flow.zones[direction].unwrap_or_default();
        both.is_none_or(|zone| flow.zone.unwrap_or_default() == zone)
            && orig.is_none_or(|zone| has(0) == zone)
            && reply.is_none_or(|zone| has(1) == zone)
    }

    fn nat(&self, flow: &FlowView<'_>) -> bool {
        let [src, dst, any] = self.command.nat;
        let status = flow.status.unwrap_or_default();
        let translated = |bit: Status, addr: Addr, port: u16, wanted: Nat| {
            let is_there = |a: Address| a.family == flow.orig.family && a.bytes == addr;
            status.contains(bit)
                && wanted.addr.is_none_or(is_there)
                && wanted.port.is_none_or(|wanted| wanted == port)
        };
        let (reply_src_port, reply_dst_port) = flow.reply.ports();
        // A translation that changes nothing is none.
        let (orig_src_port, orig_dst_port) = flow.orig.ports();
        let source_end = (flow.reply.dst, reply_dst_port) != (flow.orig.src, orig_src_port);
        let destination_end = (flow.reply.src, reply_src_port) != (flow.orig.dst, orig_dst_port);
        let source = |wanted| {
            source_end && translated(Status::SRC_NAT_DONE, flow.reply.dst, reply_dst_port, wanted)
        };
        let destination = |wanted| {
            let (addr, port) = (flow.reply.src, reply_src_port);
            destination_end && translated(Status::DST_NAT_DONE, addr, port, wanted)
        };
        src.is_none_or(source)
            && dst.is_none_or(destination)
            && any.is_none_or(|wanted| source(wanted) || destination(wanted))
    }

    fn labels(&self, flow: &FlowView<'_>) -> bool {
        let words = flow.labels.unwrap_or_default();
        let is_set = |bit: &u8| {
            let word = label_words(words).nth(usize::from(bit / 32)).unwrap_or_default();
            word >> (bit % 32) & 1 == 1
        };
        self.command.labels.wanted.iter().all(is_set)
    }
}

fn addresses(tuple: &Tuple, wanted: [Option<Addr>; 2], masks: [Option<Addr>; 2]) -> bool {
    let same = |has: &Addr, wanted: Option<Addr>, mask: Option<Addr>| match (wanted, mask) {
        (None, _) => true,
        (Some(wanted), None) => *has == wanted,
        (Some(wanted), Some(mask)) => {
            has.iter().zip(wanted).zip(mask).all(|((has, wanted), mask)| (has ^ wanted) & mask == 0)
        }
    };
    same(&tuple.src, wanted[0], masks[0]) && same(&tuple.dst, wanted[1], masks[1])
}
