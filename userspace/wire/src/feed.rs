//! The feed: every change of a flow table as a record of fixed size (`docs/spec/feed.md`).
//!
//! ```text
//!   engine --record, tail--> lane --> thread of the feed --frames--> clients
//!
//!     0 sequence u64 | 8 time u64 | 16 orig.src 16 | 32 orig.dst 16 | 48 reply.src 16 | 64 reply.dst 16
//!    80 orig.l4 4 | 84 reply.l4 4 | 88 status u32 | 92 mark u32 | 96 timeout u32 | 100 id u32 | 104 zone u16
//!   106 family u8 | 107 proto u8 | 108 op u8 | 109 state u8 | 110 known u16 | 112 flags u16 | 114 tail length u16
//!   116 reason u8 | 117 reply.family u8 | 118 reply.proto u8 | 119 to 127 zero
//! ```
//!
//! Numbers are little-endian; addresses and layer-4 bytes are in network order, an IPv4 address in the first four of
//! its sixteen bytes. What few flows have follows in a tail of type, length, value.
//!
//! ```
//! use ctnetlink::{Flow, Tuple};
//! use wire::feed::{Head, Op, Record, encode};
//! let flow = Flow::new(Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(4000, 53));
//! let bytes = encode(&Head { seq: 7, time_ns: 1, op: Op::New, ..Head::default() }, &flow, 0);
//! let (record, rest) = Record::decode(&bytes).unwrap();
//! assert_eq!((record.head.seq, record.flow(), rest.len()), (7, flow, 0));
//! ```

mod failure;

pub use failure::Failure;

use alloc::vec::Vec;
use bitflags::bitflags;
use core::fmt;
use ctnetlink::flow::{
    Counters, Extra, HelperName, Known, ProtoState, SeqAdj, Status, TcpState, Timestamps,
};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, Tuple};

/// Bytes of a record without its tail.
pub const RECORD_LEN: usize = 128;
/// Bytes in front of the records of a frame.
pub const FRAME_LEN: usize = 8;
/// The longest tail.
pub const TAIL_MAX: usize = 256;
/// Stands for the shard of what belongs to none: failures.
pub const NO_SHARD: u16 = u16::MAX;
/// Kinds of records that are counted one by one: have, new, update, destroy, failure, cleared.
pub const KINDS: usize = 6;

/// What a record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// The table holds the flow: a row of a snapshot, or of the first reading of the kernel's table.
    #[default]
    Have = 0,
    /// The flow is new in the table, or another one under the same identity.
    New = 1,
    /// The flow is not as it was.
    Update = 2,
    /// The flow has ended.
    Destroy = 3,
    /// The kernel refused or dropped something.
    Failure = 4,
    /// The table was emptied. Only the header of the record says anything.
    Cleared = 5,
    /// Records found no room in the lane. Never sent to clients in this form.
    Gap = 0x80,
    /// A piece of the table has been walked. Never sent to clients.
    Walked = 0x81,
}

impl Op {
    /// Operations that clients can ask for, with their names.
    pub const NAMED: [(Self, &'static str); 5] = [
        (Self::Have, "have"),
        (Self::New, "new"),
        (Self::Update, "update"),
        (Self::Destroy, "destroy"),
        (Self::Failure, "failure"),
    ];

    /// The record kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Have,
            1 => Self::New,
            2 => Self::Update,
            3 => Self::Destroy,
            4 => Self::Failure,
            5 => Self::Cleared,
            0x80 => Self::Gap,
            0x81 => Self::Walked,
            _ => return None,
        })
    }
}

bitflags! {
    /// What a record says about itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u16 {
        /// The time is that of the kernel; without it, that of hearing.
        const EXACT = 1;
        /// No event reported the end: a reading found the flow gone.
        const UNREPORTED = 2;
        /// The reply direction is not known.
        const NO_REPLY = 4;
        /// A peer's flow, written into the kernel by this daemon.
        const BY_PEER = 8;
        /// A flow of the remote table.
        const REMOTE = 64;
        /// A row of a snapshot.
        const ROW = 128;
        const _ = !0;
    }
}

/// Bit of `known`: the layer-4 state is known; the lower bits are those of [`Known`].
const STATE_KNOWN: u16 = 1 << 15;

/// What stands in every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the record in the stream of its shard and table.
    pub seq: u64,
    /// When it happened, nanoseconds: on the engine's clock in the lane, since 1970 for clients.
    pub time_ns: u64,
    /// The operation that the record reports.
    pub op: Op,
    /// More about it.
    pub flags: Flags,
    /// The reason of a failure.
    pub reason: u8,
}

/// Types of tail values.
mod tail {
    pub(super) const COUNTERS: u8 = 1;
    pub(super) const TIMES: u8 = 2;
    pub(super) const HELPER: u8 = 3;
    pub(super) const LABELS: u8 = 4;
    pub(super) const SEQ_ADJ: u8 = 5;
}

/// The record of a flow, whose tail of this length follows it.
#[must_use]
pub fn encode(head: &Head, flow: &Flow, tail_len: u16) -> [u8; RECORD_LEN] {
    let mut out = [0; RECORD_LEN];
    let mut flags = head.flags;
    flags.set(Flags::NO_REPLY, !flow.reply.is_known());
    out[..8].copy_from_slice(&head.seq.to_le_bytes());
    out[8..16].copy_from_slice(&head.time_ns.to_le_bytes());
    out[16..32].copy_from_slice(&flow.orig.src);
    out[32..48].copy_from_slice(&flow.orig.dst);
    out[48..64].copy_from_slice(&flow.reply.src);
    out[64..80].copy_from_slice(&flow.reply.dst);
    out[80..84].copy_from_slice(&flow.orig.l4);
    out[84..88].copy_from_slice(&flow.reply.l4);
    out[88..92].copy_from_slice(&flow.status.bits().to_le_bytes());
    out[92..96].copy_from_slice(&flow.mark.to_le_bytes());
    out[96..100].copy_from_slice(&flow.timeout_s.to_le_bytes());
    out[100..104].copy_from_slice(&flow.id.to_le_bytes());
    out[104..106].copy_from_slice(&flow.zone.to_le_bytes());
    (out[106], out[107], out[108]) = (flow.orig.family, flow.orig.proto, head.op as u8);
    let state = match flow.proto {
        ProtoState::Tcp(TcpState { state, .. })
        | ProtoState::Sctp { state, .. }
        | ProtoState::Dccp { state, .. } => Some(state),
        _ => None,
    };
    out[109] = state.unwrap_or(0);
    let known = flow.known.bits() & !STATE_KNOWN | if state.is_some() { STATE_KNOWN } else { 0 };
    out[110..112].copy_from_slice(&known.to_le_bytes());
    out[112..114].copy_from_slice(&flags.bits().to_le_bytes());
    out[114..116].copy_from_slice(&tail_len.to_le_bytes());
    (out[116], out[117], out[118]) = (head.reason, flow.reply.family, flow.reply.proto);
    out
}

/// Appends the tail of a record: fields that few flows have, and those of this moment if `moment` carries some.
pub fn encode_tail(out: &mut Vec<u8>, extra: Option<&Extra>, moment: Option<&Moment>) {
    let mut put = |kind: u8, parts: &[&[u8]]| {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        if len <= usize::from(u8::MAX) && out.len() + 2 + len <= TAIL_MAX {
            out.extend_from_slice(&[kind, len as u8]);
            parts.iter().for_each(|part| out.extend_from_slice(part));
        }
    };
    if let Some(moment) = moment {
        if moment.counters != [None; 2] {
            let of = |at: usize| moment.counters[at].unwrap_or_default();
            let (orig, reply) = (of(0), of(1));
            let numbers = [orig.packets, orig.bytes, reply.packets, reply.bytes];
            put(
                tail::COUNTERS,
                &numbers.each_ref().map(|n| n.to_le_bytes()).each_ref().map(|n| &n[..]),
            );
        }
        if let Some(Timestamps { start_ns, stop_ns }) = moment.timestamps {
            put(tail::TIMES, &[&start_ns.to_le_bytes(), &stop_ns.to_le_bytes()]);
        }
    }
    let Some(extra) = extra else { return };
    if let Some(helper) = &extra.helper {
        put(tail::HELPER, &[helper.as_bytes()]);
    }
    if let Some(labels) = &extra.labels {
        let mut bytes = [0; 64];
        let words = labels.len().min(bytes.len() / 4);
        for (word, to) in labels.iter().zip(bytes.chunks_exact_mut(4)) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        put(tail::LABELS, &[&bytes[..words * 4]]);
    }
    if let Some(both) = &extra.seq_adj {
        let numbers = both.map(|a| [a.correction_pos, a.offset_before, a.offset_after]);
        let bytes = numbers.as_flattened().iter().flat_map(|n| n.to_le_bytes());
        let mut flat = [0; 24];
        flat.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        put(tail::SEQ_ADJ, &[&flat]);
    }
}

/// What is true of a flow at one moment only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Traffic counters of both directions.
    pub counters: [Option<Counters>; 2],
    /// When the kernel says that the flow began and ended.
    pub timestamps: Option<Timestamps>,
}

impl Moment {
    /// The counters and timestamps of a message; `None` where it carried neither.
    #[must_use]
    pub const fn of(extra: &Extra) -> Option<Self> {
        let moment = Self { counters: extra.counters, timestamps: extra.timestamps };
        let is_known = extra.counters[0].is_some()
            || extra.counters[1].is_some()
            || extra.timestamps.is_some();
        if is_known { Some(moment) } else { None }
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There are fewer bytes than the record has.
    Short,
    /// No record has this number at 108.
    Op(u8),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the record is cut"),
            Self::Op(number) => write!(f, "no record has the kind {number}"),
        }
    }
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What stands in every record.
    pub head: Head,
    /// Its 128 bytes.
    pub bytes: &'a [u8; RECORD_LEN],
    /// The tail.
    pub tail: &'a [u8],
}

fn part<const N: usize>(bytes: &[u8; RECORD_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl<'a> Record<'a> {
    /// Reads the first record, and says what is behind it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (bytes, rest) = bytes.split_first_chunk::<RECORD_LEN>().ok_or(Error::Short)?;
        let op = Op::from_number(bytes[108]).ok_or(Error::Op(bytes[108]))?;
        let tail_len = usize::from(u16::from_le_bytes(part(bytes, 114)));
        let (tail, rest) = rest.split_at_checked(tail_len).ok_or(Error::Short)?;
        let head = Head {
            seq: u64::from_le_bytes(part(bytes, 0)),
            time_ns: u64::from_le_bytes(part(bytes, 8)),
            op,
            flags: Flags::from_bits_retain(u16::from_le_bytes(part(bytes, 112))),
            reason: bytes[116],
        };
        Ok((Self { head, bytes, tail }, rest))
    }

    /// The flow, with what is true at this moment only.
    #[must_use]
    pub fn flow(&self) -> Flow {
        let bytes = self.bytes;
        let number = |at| u32::from_le_bytes(part(bytes, at));
        let known = u16::from_le_bytes(part(bytes, 110));
        let tuple = |src, dst, l4, family, proto| Tuple {
            src: part(bytes, src),
            dst: part(bytes, dst),
            l4: part(bytes, l4),
            family,
            proto,
        };
        let mut flow = Flow {
            orig: tuple(16, 32, 80, bytes[106], bytes[107]),
            reply: tuple(48, 64, 84, bytes[117], bytes[118]),
            zone: u16::from_le_bytes(part(bytes, 104)),
            known: Known::from_bits_retain(known & !STATE_KNOWN),
            status: Status::from_bits_retain(number(88)),
            mark: number(92),
            timeout_s: number(96),
            id: number(100),
            ..Flow::UNKNOWN
        };
        if known & STATE_KNOWN != 0 {
            flow.proto = state(flow.orig.proto, bytes[109]);
        }
        self.add_tail(&mut flow);
        flow
    }

    fn add_tail(&self, flow: &mut Flow) {
        let mut rest = self.tail;
        while let [kind, len, more @ ..] = rest {
            let Some((value, more)) = more.split_at_checked(usize::from(*len)) else { return };
            rest = more;
            add(flow, *kind, value);
        }
    }
}

const fn state(proto: u8, state: u8) -> ProtoState {
    match proto {
        ipproto::SCTP => ProtoState::Sctp { state, vtag: [0; 2] },
        ipproto::DCCP => ProtoState::Dccp { state, role: 0 },
        _ => ProtoState::Tcp(TcpState { state, wscale: None, flags: None }),
    }
}

/// Lays one value of a tail over a flow. What is not understood is passed over.
fn add(flow: &mut Flow, kind: u8, value: &[u8]) {
    let long = |at: usize| value.get(at * 8..at * 8 + 8)?.try_into().ok().map(u64::from_le_bytes);
    let word = |at: usize| value.get(at * 4..at * 4 + 4)?.try_into().ok().map(u32::from_le_bytes);
    match kind {
        tail::COUNTERS => {
            let of = |at| Some(Counters { packets: long(at)?, bytes: long(at + 1)? });
            flow.extra_mut().counters = [of(0), of(2)];
        }
        tail::TIMES => {
            let times = long(0).zip(long(1));
            let times = times.map(|(start_ns, stop_ns)| Timestamps { start_ns, stop_ns });
            flow.extra_mut().timestamps = times;
        }
        tail::HELPER => flow.extra_mut().helper = HelperName::from_bytes(value),
        tail::LABELS => {
            flow.extra_mut().labels = Some((0..value.len() / 4).filter_map(word).collect());
        }
        tail::SEQ_ADJ => {
            let of = |at| {
                let (correction_pos, offset_before) = (word(at)?, word(at + 1)?);
                Some(SeqAdj { correction_pos, offset_before, offset_after: word(at + 2)? })
            };
            flow.extra_mut().seq_adj = of(0).zip(of(3)).map(|(orig, reply)| [orig, reply]);
        }
        _ => {}
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Frame {
    /// Records, one behind the other.
    Records = 1,
    /// A control line: one JSON object.
    Control = 2,
}

/// The header of a frame over `len` bytes about a shard.
#[must_use]
pub fn frame(kind: Frame, shard: u16, len: u32) -> [u8; FRAME_LEN] {
    let (len, shard) = (len.to_le_bytes(), shard.to_le_bytes());
    [len[0], len[1], len[2], len[3], kind as u8, 0, shard[0], shard[1]]
}

/// What the header of a frame says: what it holds, about which shard, and how many bytes follow. `None`: it is no
/// frame that is known.
#[must_use]
pub const fn unframe(header: [u8; FRAME_LEN]) -> Option<(Frame, u16, u32)> {
    let [a, b, c, d, kind, _, e, f] = header;
    let kind = match kind {
        1 => Frame::Records,
        2 => Frame::Control,
        _ => return None,
    };
    Some((kind, u16::from_le_bytes([e, f]), u32::from_le_bytes([a, b, c, d])))
}

/// Records that found no room in a lane: the first and the last of them, and how many of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Sequence number of the first.
    pub from: u64,
    /// The number of the last lost record.
    pub to: u64,
    /// By [`Op`], as far as [`KINDS`].
    pub kinds: [u64; KINDS],
}

impl Lost {
    /// Whether nothing is lost.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.kinds == [0; KINDS]
    }

    /// Adds one record.
    pub const fn add(&mut self, op: Op, seq: u64) {
        if let Some(count) = self.kinds.as_mut_slice().split_at_mut_checked(op as usize)
            && let [count, ..] = count.1
        {
            *count += 1;
        }
        if self.from == 0 {
            self.from = seq;
        }
        self.to = seq;
    }

    /// Adds what else was lost, later.
    pub fn join(&mut self, later: &Self) {
        self.from = if self.from == 0 { later.from } else { self.from };
        self.to = self.to.max(later.to);
        self.kinds.iter_mut().zip(later.kinds).for_each(|(count, more)| *count += more);
    }

    /// As a record of the lane.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        out[..8].copy_from_slice(&self.from.to_le_bytes());
        out[16..24].copy_from_slice(&self.to.to_le_bytes());
        for (count, at) in self.kinds.iter().zip((24..).step_by(8)) {
            out[at..at + 8].copy_from_slice(&count.to_le_bytes());
        }
        out[108] = Op::Gap as u8;
        out
    }

    /// From a record of the lane.
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_LEN]) -> Self {
        let long = |at| u64::from_le_bytes(part(bytes, at));
        let kinds = core::array::from_fn(|kind| long(24 + 8 * kind));
        Self { from: long(0), to: long(16), kinds }
    }
}

/// A piece of a table that was walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Number that the requester chose.
    pub id: u32,
    /// The first slot of it.
    pub from: u32,
    /// The slot behind it; `None` at the end of the table.
    pub next: Option<u32>,
    /// Flows of the whole table that live.
    pub alive: u64,
    /// Rows sent.
    pub rows: u32,
}

impl Walked {
    /// As a record of the lane.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        let next = self.next.unwrap_or(u32::MAX);
        for (number, at) in [self.id, self.from, next, self.rows].iter().zip((16..).step_by(4)) {
            out[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        out[32..40].copy_from_slice(&self.alive.to_le_bytes());
        out[108] = Op::Walked as u8;
        out
    }

    /// From a record of the lane.
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_LEN]) -> Self {
        let number = |at| u32::from_le_bytes(part(bytes, at));
        let next = Some(number(24)).filter(|next| *next != u32::MAX);
        let alive = u64::from_le_bytes(part(bytes, 32));
        Self { id: number(16), from: number(20), next, alive, rows: number(28) }
    }
}

#[cfg(test)]
mod tests;
