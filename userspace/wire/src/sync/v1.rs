//! Version 1 of the replication protocol: bytes to messages and back (`docs/spec/sync.md`).
//!
//! A datagram, or a TCP stream, is a row of messages. [`Messages`] cuts it, [`decode`] gives one message its
//! value; [`encode_flow`], [`encode_expectation`] and [`encode_control`] go the other way.
//!
//! ```text
//!  0        1        2                 4                                   8
//! +--------+--------+-----------------+-----------------------------------+----------------------
//! | 1 |kind| flags  | len, BE         | seq, BE                           | body, len - 8 bytes
//! +--------+--------+-----------------+-----------------------------------+----------------------
//!   body: ACK, NACK, RESYNC   from (4, BE), to (4, BE)
//!         ALIVE               nothing
//!         flow, expectation   attributes:
//!
//!          0                 2                 4               4 + n
//!         +-----------------+-----------------+---------------+---------------------------+
//!         | 4 + n, BE       | number, BE      | value, n      | zeros to a multiple of 4  |
//!         +-----------------+-----------------+---------------+---------------------------+
//! ```
//!
//! Two things are lost on the way through version 1: GRE keys and UDP-Lite ports. Two such flows between the same
//! hosts are one flow to the receiver.

use bitflags::bitflags;
use core::fmt;
use ctnetlink::tuple::ipproto;
use ctnetlink::{Change, DecodeError, Expectation, Flow, FlowKey};

pub(in crate::sync) mod attribute;
mod header;
mod flow;
pub(in crate::sync) mod expect;
#[cfg(test)]
mod tests;

pub use expect::encode_expectation;
pub use flow::encode_flow;
pub use header::{HEADER_LEN, Header, Messages, RANGE_HEADER_LEN, RawMessage, encode_control};

/// The version this module speaks: high half of a message's first byte.
pub const VERSION: u8 = 1;

/// What a message is about: low half of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A flow; on the wire 0 new, 1 update, 2 destroy.
    Flow(Change),
    /// An expectation; on the wire 3 new, 4 update, 5 destroy.
    Expect(Change),
    /// The conversation itself; on the wire 10.
    Control,
}

impl Kind {
    /// The kind with this wire number; `None` for 6 to 9 and 11 to 15.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Flow(Change::New),
            1 => Self::Flow(Change::Update),
            2 => Self::Flow(Change::Destroy),
            3 => Self::Expect(Change::New),
            4 => Self::Expect(Change::Update),
            5 => Self::Expect(Change::Destroy),
            10 => Self::Control,
            _ => return None,
        })
    }

    /// Its wire number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Flow(change) => change as u8,
            Self::Expect(change) => 3 + change as u8,
            Self::Control => 10,
        }
    }
}

bitflags! {
    /// A message's second byte.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u8 {
        /// With ALIVE: nothing is left to send. Ours alone; conntrackd ignores it.
        const SETTLED = 0x01;
        /// Control: send me everything.
        const RESYNC = 0x02;
        /// Control: these did not arrive.
        const NACK = 0x04;
        /// Control: these arrived.
        const ACK = 0x08;
        /// Control: I am here.
        const ALIVE = 0x10;
        /// Any message: the sender restarted and has received no greeting yet.
        const HELLO = 0x20;
        /// Any message: I saw your HELLO.
        const HELLO_BACK = 0x40;
        /// Control: I give account of my table ([`Account`]). Only ctflow says so.
        const ACCOUNTS = 0x80;
        /// Bits without a meaning are kept and ignored.
        const _ = !0;
    }
}

/// A sender's description of its own table, sent when nothing is left to send. The receiver compares it with what it
/// holds (`docs/spec/sync.md` S10). It stands in the body of an ALIVE, which conntrackd ignores.
///
/// ```text
///  8               12              16              20              24
/// +---------------+---------------+---------------+---------------+
/// | bits, BE      | from, BE      | flows, BE     | 0             |
/// +---------------+---------------+---------------+---------------+
///   1 exact, 2 `from` counts, 4 `flows` counts, 8 whole, 16 injects
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Account {
    /// The sender's table is what its kernel holds, as far as the sender knows.
    pub exact: bool,
    /// Each message of the sender about a flow carries all that it knows of the flow, so a field that an update does
    /// not carry is absent. Senders without a table pass on what changed.
    pub whole: bool,
    /// The sender writes received flows straight into its kernel (`DisableExternalCache`). A received state of one of
    /// its own flows changes or ends that flow, and the sender does not announce the change.
    pub injects: bool,
    /// Sequence number of the first message of the sender's last complete bulk transfer: every flow that the sender
    /// holds was named in a message with this number or a later one.
    pub transfer: Option<u32>,
    /// Flows that the receiver should hold from this sender: all but those of protocols whose identity does not travel
    /// ([`Account::counts`]).
    pub flows: Option<u32>,
}

impl Account {
    /// Whether flows of an IP protocol are counted in [`Account::flows`]. GRE keys and UDP-Lite ports do not travel
    /// (S4.16), so that several flows of the sender may be one to the receiver.
    #[must_use]
    pub const fn counts(protocol: u8) -> bool {
        !matches!(protocol, ipproto::GRE | ipproto::UDPLITE)
    }
}

/// What a control message says. HELLO and HELLO_BACK travel beside it, in [`Header::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// The sender is there.
    Alive,
    /// The sender is there, and has sent all that it was asked for. conntrackd takes it for [`Control::Alive`], and
    /// never sends it. Versions of ctflow before 0.2 send no account with it.
    Settled(Option<Account>),
    /// Everything from `from` to `to` arrived, both included.
    Ack {
        /// First sequence number.
        from: u32,
        /// Last sequence number.
        to: u32,
    },
    /// Nothing from `from` to `to` arrived, both included.
    Nack {
        /// First sequence number.
        from: u32,
        /// Last sequence number.
        to: u32,
    },
    /// The sender asks the receiver for its whole table.
    Resync,
}

/// One message with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Something happened to a flow.
    Flow {
        /// The kind of change.
        change: Change,
        /// The flow after it.
        flow: Flow,
    },
    /// Something happened to an expectation.
    Expect {
        /// The kind of change.
        change: Change,
        /// The expectation after it.
        expect: Expectation,
    },
    /// The conversation itself.
    Control(Control),
}

/// What the sender puts on each message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Sequence number: one count for all messages of a sender, wrapping.
    pub seq: u32,
    /// [`Flags::HELLO`], [`Flags::HELLO_BACK`] and, in control messages, [`Flags::ACCOUNTS`]; other bits are the
    /// encoder's business and are dropped.
    pub flags: Flags,
}

/// What a sender includes about its flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether remaining lifetimes are sent. conntrackd stops sending them when `CommitTimeout` is set.
    pub timeout: bool,
    /// Whether TCP window scale factors are sent. conntrackd does so with `TCPWindowTracking`.
    pub window_scale: bool,
}

/// The receive counter of a fault; conntrackd shows the same ones in `-s network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The header contradicts itself.
    Header,
    /// Another version.
    Version,
    /// The attributes make no sense.
    Payload,
    /// No such kind of message.
    Type,
    /// Fewer bytes than a header.
    Truncated,
    /// A length that cannot be.
    Size,
}

impl FaultKind {
    /// Whether the rest of the datagram or stream is unreadable too, because the next message's start is unknown.
    #[must_use]
    pub const fn ends_walk(self) -> bool {
        matches!(self, Self::Truncated | Self::Size)
    }
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The counter to increment.
    pub kind: FaultKind,
    /// What was wrong, and where: offset in bytes from the start of the datagram or of the stream buffer.
    pub error: DecodeError,
}

impl Fault {
    fn new(kind: FaultKind, at: usize, what: &'static str) -> Self {
        Self { kind, error: DecodeError::new(at, what) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl core::error::Error for Fault {}

/// The flow with ports that a message is likely to be about, in a fraction of the time that [`decode`] takes. A hint:
/// nothing is checked, and the zone is taken to be 0.
#[must_use]
pub fn hint(raw: &RawMessage<'_>) -> Option<FlowKey> {
    match raw.header.kind {
        Kind::Flow(_) => flow::hint(raw.body),
        Kind::Expect(_) | Kind::Control => None,
    }
}

/// The value of one message.
///
/// # Errors
/// A [`Fault`] of kind [`FaultKind::Payload`]: the header was already judged by [`Messages`].
#[inline(always)]
pub fn decode(raw: &RawMessage<'_>) -> Result<Message, Fault> {
    let message = match raw.header.kind {
        Kind::Flow(change) => flow::decode(raw.body).map(|flow| Message::Flow { change, flow }),
        Kind::Expect(change) => {
            expect::decode(raw.body).map(|expect| Message::Expect { change, expect })
        }
        Kind::Control => Ok(Message::Control(raw.header.control(raw.body))),
    };
    message.map_err(|error| Fault {
        kind: FaultKind::Payload,
        error: error.shifted(raw.at + HEADER_LEN),
    })
}
