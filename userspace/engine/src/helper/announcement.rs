//! A flow that a packet announces: its expectation, and the text that names it.
//!
//! The *listener* is the end of the watched flow to which the announced flow will go. It knows itself by its inner
//! address, and everybody else knows it by the outer one; without translation the two are the same.
//!
//! ```text
//!    listener, inner address          this machine          the other end
//!    tuple(L).src           ------------- L ------------>   sees tuple(!L).dst: the listener's outer address
//!                           <------------!L -------------   sends from tuple(!L).src
//! ```

use super::context::{Context, Direction};
use super::form::{self, Form, Piece};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Range;
use ctnetlink::Tuple;
use ctnetlink::expectation::{ExpectNat, Expectation, flag};
use ctnetlink::flow::{HelperName, Name};
use wire::transport::Edit;

/// Ports that are tried, upward from the announced one, before the packet is left as it is.
const TRIES: u16 = 128;

/// The host that will begin the announced flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The other end of the watched flow, from any port.
    Peer,
    /// Any host, from any port.
    Anybody,
    /// Any host, from this port.
    AnybodyAt(u16),
}

/// Where the listener waits for the announced flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// At the port that the watched flow itself uses.
    OfFlow,
    /// At a port the packet names. Under translation the outer port may be another, and the text is rewritten.
    Named(u16),
    /// At a port the protocol fixes; the outer port is the same.
    Fixed(u16),
}

/// What a helper wants to be let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The end of the watched flow that will accept: the one that sends in this direction.
    pub listener: Direction,
    /// Transport protocol.
    pub protocol: u8,
    /// The source that the expected flow comes from.
    pub from: Source,
    /// The port that the expected flow goes to.
    pub port: Port,
    /// Whether the expectation outlives its first flow.
    pub permanent: bool,
    /// The helper that will watch the announced flow.
    pub helper: Option<&'static str>,
}

impl Wanted {
    /// One flow from the other end to a port that the listener named.
    pub(super) const fn named(listener: Direction, protocol: u8, port: u16) -> Self {
        let (from, port) = (Source::Peer, Port::Named(port));
        Self { listener, protocol, from, port, permanent: false, helper: None }
    }
}

/// A flow that a packet announces. What to do with it: the head of `helper.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// For the announced port, or the outer port where it is known.
    expectation: Expectation,
    /// The address by which the other end knows the listener.
    outer: IpAddr,
    searches: bool,
    pieces: Vec<Piece>,
}

impl Announcement {
    /// What lets in the flow that is wanted.
    pub(super) fn new(context: &Context<'_>, wanted: &Wanted) -> Self {
        let inner = context.tuple(wanted.listener);
        let other = context.tuple(wanted.listener.opposite());
        let (inner_port, outer_port) = match wanted.port {
            Port::OfFlow => (inner.ports().0, other.ports().1),
            Port::Named(port) | Port::Fixed(port) => (port, port),
        };
        let (src, src_mask, src_port) = match wanted.from {
            Source::Peer => (other.src, ones(inner.family), 0),
            Source::Anybody => ([0; 16], [0; 16], 0),
            Source::AnybodyAt(port) => ([0; 16], [0; 16], port),
        };
        let (family, proto) = (inner.family, wanted.protocol);
        let tuple = Tuple { src, dst: other.dst, l4: [0; 4], family, proto };
        let mask = Tuple { src: src_mask, dst: ones(family), l4: [0; 4], family, proto };
        let mask_of_port = if src_port == 0 { 0 } else { u16::MAX };
        let is_moved = inner.src != other.dst || inner_port != outer_port;
        let translation = translation(context, wanted, is_moved, inner_port);
        let expectation = Expectation::default().with(|expect| {
            expect.master = context.original;
            expect.tuple = tuple.with_ports(src_port, outer_port);
            expect.mask = mask.with_ports(mask_of_port, u16::MAX);
            expect.timeout_s = Some(context.policy.expect_timeout_s);
            expect.flags = Some(if wanted.permanent { flag::PERMANENT } else { 0 });
            expect.zone = Some(context.zone).filter(|&zone| zone != 0);
            expect.helper = wanted.helper.and_then(|name| HelperName::from_bytes(name.as_bytes()));
            expect.nat = translation.map(|(nat, _)| nat);
            expect.function = translation.and_then(|(_, name)| Name::from_bytes(name.as_bytes()));
        });
        let searches = matches!(wanted.port, Port::Named(_)) && inner.src != other.dst;
        Self { expectation, outer: other.dst_ip(), searches, pieces: Vec::new() }
    }

    /// The same announcement, with the piece of text that names the address or port.
    pub(super) fn written(mut self, range: Range<usize>, form: Form) -> Self {
        self.pieces.push(Piece { range, form });
        self
    }

    /// Whether the outer port must be found free first: the listener shares its outer address with others.
    #[must_use]
    pub const fn searches(&self) -> bool {
        self.searches
    }

    /// The outer ports to try, in this order: the announced one and, if it searches, up to 127 above it.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let first = self.expectation.tuple.ports().1;
        let tries = if self.searches { TRIES } else { 1 };
        first..=first.saturating_add(tries - 1)
    }

    /// The expectation for one of [`Announcement::ports`].
    #[must_use]
    pub fn expectation(&self, port: u16) -> Expectation {
        let mut out = self.expectation.clone();
        out.tuple = out.tuple.with_ports(out.tuple.ports().0, port);
        out
    }

    /// Whether an expectation that the kernel holds is the one for `port`, made by an earlier copy of this packet.
    #[must_use]
    pub fn is_made(&self, port: u16, existing: &Expectation) -> bool {
        let ours = self.expectation(port);
        let saved = |e: &Expectation| e.nat.map(|n| (n.direction, n.tuple.src, n.tuple.ports().0));
        existing.master == ours.master
            && existing.tuple == ours.tuple
            && saved(existing) == saved(&ours)
    }

    /// What the payload must say for the outer `port`. Nothing where it says so already.
    #[must_use]
    pub fn edits(&self, port: u16) -> Vec<Edit> {
        let names_address = |piece: &Piece| !matches!(piece.form, Form::Port | Form::Port32);
        let is_announced = port == self.expectation.tuple.ports().1;
        if !self.searches || (is_announced && !self.pieces.iter().any(names_address)) {
            return Vec::new();
        }
        form::edits(&self.pieces, self.outer, port)
    }
}

/// The NAT of the announced flow, and the kernel function that applies it.
///
/// `nat-follow-master` sets both the destination and the source: right for the other end of the flow, wrong for third
/// parties, whose packets would then seem to come from a multicast group. For those the SIP function is used, which
/// translates the source only if the flow comes from the other end (`nf_nat_sip_expected`, Linux 6.12,
/// `net/netfilter/nf_nat_sip.c`). Without that module the kernel rejects the expectation and drops the flow. A listener
/// without NAT needs neither.
fn translation(
    context: &Context<'_>,
    wanted: &Wanted,
    is_moved: bool,
    inner_port: u16,
) -> Option<(ExpectNat, &'static str)> {
    let function = match wanted.from {
        Source::Peer if is_moved || context.is_translated() => "nat-follow-master",
        Source::Anybody | Source::AnybodyAt(_) if is_moved => "sip",
        Source::Peer | Source::Anybody | Source::AnybodyAt(_) => return None,
    };
    let inner = context.tuple(wanted.listener);
    let saved = Tuple { dst: [0; 16], proto: wanted.protocol, ..*inner };
    let direction = wanted.listener.opposite().index() as u32;
    Some((ExpectNat { direction, tuple: saved.with_ports(inner_port, 0) }, function))
}

/// A mask under which every bit of an address counts.
const fn ones(family: u8) -> [u8; 16] {
    if family == ctnetlink::tuple::FAMILY_IPV6 {
        return [0xff; 16];
    }
    let mut out = [0; 16];
    (out[0], out[1], out[2], out[3]) = (0xff, 0xff, 0xff, 0xff);
    out
}
