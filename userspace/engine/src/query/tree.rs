//! The tree of a filter.

use crate::interval::{Addresses, Intervals};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use ctnetlink::flow::{HelperName, Status};

/// A filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expr {
    /// Every flow.
    #[default]
    Everything,
    /// Flows of which this is false.
    Not(Box<Self>),
    /// Flows of which all of these are true. At least two, none of them an `And`.
    And(Vec<Self>),
    /// Flows of which one of these is true. At least two, none of them an `Or`.
    Or(Vec<Self>),
    /// Flows that pass a test.
    Term(Term),
}

impl Expr {
    /// Calls `each` for every term, in the order they were written.
    pub fn for_each_term<'a>(&'a self, each: &mut impl FnMut(&'a Term)) {
        match self {
            Self::Everything => {}
            Self::Not(inner) => inner.for_each_term(each),
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().for_each(|part| part.for_each_term(each));
            }
            Self::Term(term) => each(term),
        }
    }
}

/// The direction of a flow that a test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Either direction.
    Any,
    /// The direction of the first packet, before translation.
    Orig,
    /// The direction of the answers.
    Reply,
    /// What an end of the flow was translated to; nothing, of a flow that is not translated there.
    Nat,
}

/// The end of a direction that a test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Source or destination.
    Any,
    /// The source.
    Src,
    /// The destination.
    Dst,
}

impl Which {
    /// Whether this end, source or destination, is looked at.
    #[must_use]
    pub const fn takes(self, dst: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Src => !dst,
            Self::Dst => dst,
        }
    }
}

/// Layer-4 states, a bit for each number that the kernel gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// `enum tcp_conntrack`.
    pub tcp: u16,
    /// `enum sctp_conntrack`.
    pub sctp: u16,
    /// `enum ct_dccp_states`.
    pub dccp: u16,
}

impl States {
    /// Whether none is named.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.tcp | self.sctp | self.dccp == 0
    }

    /// The members of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        let (tcp, sctp) = (self.tcp | other.tcp, self.sctp | other.sctp);
        Self { tcp, sctp, dccp: self.dccp | other.dccp }
    }
}

/// What is compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Bytes, IP headers included.
    Bytes,
    /// How many packets.
    Packets,
    /// Time since it began.
    Age,
    /// Time since its last packet.
    Idle,
    /// Time until it expires.
    Left,
    /// Bytes a second.
    Rate,
    /// Packets a second.
    Pps,
    /// How long it lived, of an ended flow.
    Duration,
    /// How long ago it ended.
    Ended,
}

/// What a quantity is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    Number,
    /// A time in milliseconds.
    Time,
}

impl Measure {
    /// Every measure with its word.
    pub const ALL: [(&'static str, Self); 9] = [
        ("bytes", Self::Bytes),
        ("packets", Self::Packets),
        ("age", Self::Age),
        ("idle", Self::Idle),
        ("left", Self::Left),
        ("rate", Self::Rate),
        ("pps", Self::Pps),
        ("duration", Self::Duration),
        ("ended", Self::Ended),
    ];

    /// The unit in which it is counted.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::Bytes | Self::Packets | Self::Rate | Self::Pps => Unit::Number,
            Self::Age | Self::Idle | Self::Left | Self::Duration | Self::Ended => Unit::Time,
        }
    }
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl Op {
    /// Every operator as it is printed.
    pub const ALL: [(&'static str, Self); 6] = [
        ("=", Self::Eq),
        ("!=", Self::Ne),
        ("<", Self::Lt),
        ("<=", Self::Le),
        (">", Self::Gt),
        (">=", Self::Ge),
    ];

    /// Whether `left` is to `right` as the operator says.
    #[must_use]
    pub const fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Ne => left != right,
            Self::Lt => left < right,
            Self::Le => left <= right,
            Self::Gt => left > right,
            Self::Ge => left >= right,
        }
    }
}

/// A comparison of a measure with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The quantity that is compared.
    pub measure: Measure,
    /// Its direction: [`Scope::Any`] is the sum of both. Never [`Scope::Nat`].
    pub scope: Scope,
    /// How it is compared.
    pub op: Op,
    /// The number that it is compared with, in the measure's unit.
    pub value: u64,
}

/// How a peer stands to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerIs {
    /// News of the flow waits to be sent to the peer.
    Queued,
    /// The flow was sent to it.
    Sent,
    /// The peer acknowledged the flow.
    Acked,
    /// Nothing is known of the flow.
    Unknown,
}

impl PeerIs {
    /// Every one with its word.
    pub const ALL: [(&'static str, Self); 4] = [
        ("queued", Self::Queued),
        ("sent", Self::Sent),
        ("acked", Self::Acked),
        ("unknown", Self::Unknown),
    ];
}

/// A test of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// An address of it is one of these.
    Address {
        /// The direction that is tested.
        scope: Scope,
        /// The end that is tested.
        which: Which,
        /// The set of addresses.
        set: Addresses,
    },
    /// A port of it is one of these. Flows whose protocol has no ports never pass.
    Port {
        /// The direction that is tested.
        scope: Scope,
        /// The end that is tested.
        which: Which,
        /// The set of ports, host order.
        set: Intervals<u16>,
    },
    /// Address family: [`ctnetlink::tuple::FAMILY_IPV4`] or [`ctnetlink::tuple::FAMILY_IPV6`].
    Family(u8),
    /// IP protocol.
    Proto(Intervals<u8>),
    /// Layer-4 state. Flows whose protocol has no states never pass.
    State(States),
    /// One of these status bits is set.
    Status(Status),
    /// The end is translated, to this address and port where they are given.
    Translated {
        /// Source, destination, or either.
        which: Which,
        /// The address that it is translated to.
        addr: Option<IpAddr>,
        /// The port that it is translated to, host order.
        port: Option<u16>,
    },
    /// Conntrack zone; [`Scope::Any`]: of either direction. Never [`Scope::Nat`].
    Zone {
        /// The direction that is tested.
        scope: Scope,
        /// The set of zones.
        set: Intervals<u16>,
    },
    /// `mark & mask == value` for one of these pairs of value and mask.
    Mark(Vec<(u32, u32)>),
    /// Security mark.
    Secmark(Intervals<u32>),
    /// The kernel's id of the flow.
    Id(u32),
    /// Name of the helper.
    Helper(HelperName),
    /// One of these labels is set: bits, 0 to 127.
    Label(Vec<u8>),
    /// Fits a class of the configuration.
    Class(String),
    /// Came in by this interface.
    Iif(String),
    /// Goes out by this interface.
    Oif(String),
    /// How a peer stands to it.
    Peer(String, PeerIs),
    /// A comparison with a number.
    Quantity(Quantity),
}
