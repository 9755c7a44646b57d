//! What the hook's program writes into a ring for each piece of news, and which fields of the kernel it reads.
//!
//! Behind a [`crate::tap::RecordHeader`] of kind [`crate::tap::KIND_PACKET`] lies, in 112 bytes:
//!
//! ```text
//!  0                 36                72       76         80     84        88         100
//! +-----------------+-----------------+--------+----------+------+---------+----------+---
//! | orig            | reply           | status | ticks    | mark | secmark | state    |
//! | src dst l4      | src dst l4      |        | left     |      |         | 12 bytes |
//! +-----------------+-----------------+--------+----------+------+---------+----------+---
//!  100    102        103      104     105   106
//! +------+----------+--------+-------+-----+----------+
//! | zone | zone_dir | family | proto | ext | 0        |
//! +------+----------+--------+-------+-----+----------+
//!   state   TCP   state, window scale of both directions, flags of both directions
//!           SCTP  state, 3 bytes unused, verification tags of both directions in network order
//!           DCCP  state, role of the original direction
//! ```
//!
//! Addresses and layer-4 identities are in network order, everything else in native order: writer and reader are one
//! machine. It is the state of the whole flow as the packet left it, just before the kernel confirms the flow.

use crate::filter::{Subject, known};
use ctnetlink::tuple::ipproto;

/// Length of what lies behind the header.
pub const BODY_LEN: usize = 112;

/// Signatures of flows the program remembers; a power of two, 8 bytes each.
pub const SIGNATURES_MAX: u32 = 1 << 17;

/// One direction, see the picture.
pub type Direction = [u8; 36];

/// A flow as a packet left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PacketRecord {
    /// The direction of the flow's first packet.
    pub orig: Direction,
    /// The direction of the answers, with translation applied.
    pub reply: Direction,
    /// `nf_conn.status`.
    pub status: u32,
    /// Jiffies until it expires.
    pub ticks_left: u32,
    /// `nf_conn.mark`.
    pub mark: u32,
    /// `nf_conn.secmark`.
    pub secmark: u32,
    /// State of the protocol, see the picture.
    pub state: [u8; 12],
    /// `nf_conn.zone.id`.
    pub zone: u16,
    /// `nf_conn.zone.dir`: which directions the zone is of, bits of [`zone_dir`]; 0 where the kernel has no zones.
    pub zone_dir: u8,
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// IP protocol number.
    pub proto: u8,
    /// What else there is, bits of [`ext`].
    pub ext: u8,
    /// Always zero.
    pub reserved: [u8; 6],
}

const _: () = assert!(size_of::<PacketRecord>() == BODY_LEN);

/// What a flow has that no record holds.
pub mod ext {
    /// A helper.
    pub const HELPER: u8 = 1 << 0;
    /// A label that is set.
    pub const LABELS: u8 = 1 << 1;
    /// An adjustment of TCP sequence numbers.
    pub const SEQADJ: u8 = 1 << 2;
    /// Parameters of SYNPROXY.
    pub const SYNPROXY: u8 = 1 << 3;
}

/// The directions that a zone is of (`NF_CT_ZONE_DIR_ORIG`, `NF_CT_ZONE_DIR_REPL`).
pub mod zone_dir {
    /// The original one.
    pub const ORIG: u8 = 1 << 0;
    /// The direction of the answers.
    pub const REPLY: u8 = 1 << 1;
}

impl PacketRecord {
    /// The fields that a filter tests.
    #[must_use]
    #[inline(always)]
    pub fn subject(&self) -> Subject {
        let mut subject = Subject::NOTHING;
        let tuple = &mut subject.key.tuple;
        tuple.src.copy_from_slice(&self.orig[..16]);
        tuple.dst.copy_from_slice(&self.orig[16..32]);
        tuple.l4.copy_from_slice(&self.orig[32..36]);
        (tuple.family, tuple.proto) = (self.family, self.proto);
        subject.reply_src.copy_from_slice(&self.reply[..16]);
        // A zone of the answers alone is no part of the identity.
        if self.zone_dir == 0 || self.zone_dir & zone_dir::ORIG != 0 {
            subject.key.zone = self.zone;
        }
        subject.mark = self.mark;
        subject.known = known::REPLY | known::ZONE | known::MARK;
        if self.proto == ipproto::TCP {
            subject.tcp_state = self.state[0].into();
            subject.known |= known::TCP_STATE;
        }
        subject
    }

    /// The record in these bytes; `None` when there are too few.
    #[must_use]
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<BODY_LEN>()?;
        Some(Self {
            orig: part(bytes, 0),
            reply: part(bytes, 36),
            status: u32::from_ne_bytes(part(bytes, 72)),
            ticks_left: u32::from_ne_bytes(part(bytes, 76)),
            mark: u32::from_ne_bytes(part(bytes, 80)),
            secmark: u32::from_ne_bytes(part(bytes, 84)),
            state: part(bytes, 88),
            zone: u16::from_ne_bytes(part(bytes, 100)),
            zone_dir: bytes[102],
            family: bytes[103],
            proto: bytes[104],
            ext: bytes[105],
            reserved: [0; 6],
        })
    }
}

#[inline(always)]
fn part<const N: usize>(bytes: &[u8; BODY_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Indexes into the hook's per-CPU counter array. Every run of the program ends in exactly one of the outcomes.
pub mod counter {
    /// Outcome: the flow is as it was last reported.
    pub const SETTLED: u32 = 0;
    /// Outcome: the packet belongs to no flow that is or will be in the table.
    pub const UNTRACKED: u32 = 1;
    /// Outcome: news, in a ring.
    pub const RECORDED: u32 = 2;
    /// Outcome: news that the filter refuses.
    pub const FILTERED: u32 = 3;
    /// Outcome: news that found no room. The next packet of the flow reports it.
    pub const LOST_FULL: u32 = 4;
    /// Outcome: news on a CPU that has no ring.
    pub const LOST_NO_RING: u32 = 5;
    /// A second report, because the flow changed during the first (not an outcome).
    pub const REPEATED: u32 = 6;
    /// News that the hook repeated found no room (not an outcome). The next packet of the flow reports it.
    pub const REPEAT_LOST: u32 = 7;
    /// How many counters there are.
    pub const COUNT: u32 = 8;
}

/// The kernel's fields that the program reads.
///
/// The program is compiled without knowing any kernel. A load of field `n` has [`FIELD_OFFSET`]` + n` as its offset,
/// and the loader writes the running kernel's offset there; where the kernel has no such field, it makes the load a
/// zero. The same goes for calls and type numbers: see [`CALL_CAST`] and [`TYPE_AREA`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
#[expect(missing_docs, reason = "host::source::hook::fields says what each one is")]
pub enum Field {
    SkbNfct,
    Status,
    Timeout,
    Mark,
    Secmark,
    Ext,
    ZoneId,
    ZoneDir,
    OrigSrc,
    OrigSrcHigh,
    OrigSrcL4,
    OrigFamily,
    OrigDst,
    OrigDstHigh,
    OrigDstL4,
    OrigProto,
    ReplySrc,
    ReplySrcHigh,
    ReplySrcL4,
    ReplyDst,
    ReplyDstHigh,
    ReplyDstL4,
    TcpState,
    TcpScaleOrig,
    TcpScaleReply,
    TcpFlagsOrig,
    TcpFlagsReply,
    SctpState,
    SctpTagOrig,
    SctpTagReply,
    DccpState,
    DccpRole,
    ExtHelper,
    ExtLabels,
    ExtSeqadj,
    ExtSynproxy,
}

/// See [`Field`]: larger than any offset the kernel's structures have.
pub const FIELD_OFFSET: i16 = 0x7f00;
/// How many fields there are.
pub const FIELD_COUNT: usize = Field::ExtSynproxy as usize + 1;
/// Stands for the kernel function `bpf_rdonly_cast` in the call instruction. No helper has this number.
pub const CALL_CAST: i32 = 0x00c7_f10e;
/// Stands for the number of the type that memory is read as: any structure that begins with a large array of numbers,
/// so that the kernel lets the program read at every offset.
pub const TYPE_AREA: i32 = 0x00c7_f10f;
/// How far the program reads.
pub const AREA_LEN: usize = 512;
