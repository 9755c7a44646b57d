//! What the programs of `ebpf/src/bin/failure.rs` write down when the kernel refuses, drops or evicts something, and
//! which fields of the kernel they read. In native byte order, but for addresses and layer-4 bytes.
//!
//! ```text
//!  0        8        9        10      11       12    14     16      32      48     52     56      72      88
//! +--------+--------+--------+-------+--------+-----+------+-------+-------+------+------+-------+-------+--------+
//! | ktime  | reason | family | proto | 0      | cpu | zone | src   | dst   | l4   | by   | by    | by    | words  |
//! |        |        |        |       |        |     |      | 16    | 16    | 4    | l4 4 | src 16| dst 16| 40     |
//! +--------+--------+--------+-------+--------+-----+------+-------+-------+------+------+-------+-------+--------+
//! ```

use ctnetlink::Tuple;

/// Bytes of a record.
pub const RECORD_LEN: usize = 128;
/// Bytes of the kernel's words in a record, the zero behind them included.
pub const WORDS_LEN: usize = 40;
/// Bytes of the ring.
pub const RING_BYTES: u32 = 256 << 10;

/// The reason of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// A packet that begins a flow was dropped: the table is full, and nothing in it could be evicted.
    TableFull = 1,
    /// A flow was thrown out before its time, to make room for another one.
    Evicted = 2,
    /// A packet that begins a flow was dropped: another flow has its identity, or the identity of its answers.
    InsertFailed = 3,
    /// A packet that begins a flow clashed with another flow, and was given to that one.
    ClashResolved = 4,
    /// A packet that begins a flow was dropped: a chain of the kernel's hash table was too long.
    ChainTooLong = 5,
    /// A packet belongs to no flow and may begin none.
    Invalid = 6,
}

impl Reason {
    /// How many there are; their numbers begin at 1.
    pub const COUNT: usize = 6;
    /// All, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::TableFull,
        Self::Evicted,
        Self::InsertFailed,
        Self::ClashResolved,
        Self::ChainTooLong,
        Self::Invalid,
    ];

    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }

    /// Its place among all.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// Its name in metrics, in the feed and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TableFull => "table_full",
            Self::Evicted => "evicted",
            Self::InsertFailed => "insert_failed",
            Self::ClashResolved => "clash_resolved",
            Self::ChainTooLong => "chain_toolong",
            Self::Invalid => "invalid",
        }
    }
}

/// Names of programs and maps.
pub mod name {
    /// Probe of `early_drop`: the kernel looks for a flow to evict.
    pub const EVICT: &str = "failure_evict";
    /// Return of `early_drop`.
    pub const EVICTED: &str = "failure_evicted";
    /// Probe of `nf_ct_delete`.
    pub const DELETE: &str = "failure_delete";
    /// Probe of `nf_ct_resolve_clash`.
    pub const CLASH: &str = "failure_clash";
    /// Return of `nf_ct_resolve_clash`.
    pub const CLASHED: &str = "failure_clashed";
    /// Probe of `nf_l4proto_log_invalid`.
    pub const INVALID: &str = "failure_invalid";
    /// Probe of `nf_ct_l4proto_log_invalid`.
    pub const INVALID_OF_FLOW: &str = "failure_invalid_of_flow";
    /// Raw tracepoint `kfree_skb`.
    pub const FREED: &str = "failure_freed";
    /// Ring buffer of records.
    pub const RING: &str = "FAILURES";
    /// Per-CPU array of `u64`: how often each [`super::Reason`] was seen, then how many of those records are in the
    /// ring.
    pub const COUNTERS: &str = "FAILURE_COUNTERS";
    /// Global: [`super::Setting`]s.
    pub const SETTINGS: &str = "SETTINGS";
}

/// Constants that the loader writes into the programs before it loads them: field offsets in bytes, except the first
/// two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[expect(missing_docs, reason = "host::failures::fields says what each one is")]
pub enum Setting {
    /// Number of the network namespace.
    Netns,
    /// Most records of a reason a second, on each CPU.
    PerSecond,
    NetInum,
    HookStateNet,
    SkbDev,
    SkbHead,
    SkbNetwork,
    SkbNfct,
    DevNet,
    CtNet,
    CtZone,
    CtOrig,
    CtReply,
    TupleSrc,
    TupleSrcL4,
    TupleFamily,
    TupleDst,
    TupleDstL4,
    TupleProto,
    TupleDir,
}

/// How many [`Setting`]s there are.
pub const SETTINGS: usize = Setting::TupleDir as usize + 1;
/// Stands for a field that the kernel does not have.
pub const NO_FIELD: u32 = u32::MAX;

/// Something that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FailureRecord {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ktime_ns: u64,
    /// Number of a [`Reason`].
    pub reason: u8,
    /// `AF_INET` or `AF_INET6`; 0 where no packet could be read.
    pub family: u8,
    /// IP protocol number.
    pub proto: u8,
    /// Always zero.
    pub reserved: u8,
    /// CPU it happened on.
    pub cpu: u16,
    /// Zone of the flow, where there is a flow.
    pub zone: u16,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// As in [`Tuple`].
    pub l4: [u8; 4],
    /// The other flow of a clash, its original direction: layer-4 bytes, source, destination; zero where there is none.
    pub by_l4: [u8; 4],
    /// See `by_l4`.
    pub by_src: [u8; 16],
    /// See `by_l4`.
    pub by_dst: [u8; 16],
    /// The kernel's words, up to a zero: a format of `printf`.
    pub words: [u8; WORDS_LEN],
}

const _: () = assert!(size_of::<FailureRecord>() == RECORD_LEN);

impl FailureRecord {
    /// The record in these bytes; `None` when there are too few, or they name no reason.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<RECORD_LEN>()?;
        Reason::from_number(bytes[8])?;
        Some(Self {
            ktime_ns: u64::from_ne_bytes(part(bytes, 0)),
            reason: bytes[8],
            family: bytes[9],
            proto: bytes[10],
            reserved: 0,
            cpu: u16::from_ne_bytes(part(bytes, 12)),
            zone: u16::from_ne_bytes(part(bytes, 14)),
            src: part(bytes, 16),
            dst: part(bytes, 32),
            l4: part(bytes, 48),
            by_l4: part(bytes, 52),
            by_src: part(bytes, 56),
            by_dst: part(bytes, 72),
            words: part(bytes, 88),
        })
    }

    /// What failed: a packet, or a flow's original direction.
    #[must_use]
    pub const fn tuple(&self) -> Tuple {
        let Self { src, dst, l4, family, proto, .. } = *self;
        Tuple { src, dst, l4, family, proto }
    }

    /// The other flow of a clash; [`Tuple::UNKNOWN`] where there is none.
    #[must_use]
    pub fn by(&self) -> Tuple {
        let Self { by_src, by_dst, by_l4, family, proto, .. } = *self;
        if by_src == [0; 16] && by_dst == [0; 16] {
            return Tuple::UNKNOWN;
        }
        Tuple { src: by_src, dst: by_dst, l4: by_l4, family, proto }
    }

    /// The kernel's words, without the spaces behind them.
    #[must_use]
    pub fn words(&self) -> &[u8] {
        let len = self.words.iter().position(|&byte| byte == 0).unwrap_or(WORDS_LEN);
        self.words[..len].trim_ascii()
    }
}

fn part<const N: usize>(bytes: &[u8; RECORD_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_the_picture_says() {
        let mut bytes = [0; RECORD_LEN];
        bytes[..8].copy_from_slice(&7_u64.to_ne_bytes());
        (bytes[8], bytes[9], bytes[10]) = (3, 2, 17);
        bytes[14..16].copy_from_slice(&5_u16.to_ne_bytes());
        bytes[16..20].copy_from_slice(&[10, 0, 0, 1]);
        bytes[32..36].copy_from_slice(&[10, 0, 0, 2]);
        bytes[48..52].copy_from_slice(&[0x0f, 0xa0, 0, 53]);
        bytes[88..97].copy_from_slice(b"invalid \0");
        let record = FailureRecord::read(&bytes).unwrap();
        assert_eq!((record.ktime_ns, record.zone, record.words()), (7, 5, b"invalid".as_slice()));
        assert_eq!(
            record.tuple(),
            Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(4000, 53)
        );
        assert_eq!(record.by(), Tuple::UNKNOWN);
        bytes[56] = 9;
        assert_eq!(FailureRecord::read(&bytes).unwrap().by().src[0], 9);
        assert_eq!(FailureRecord::read(&bytes[1..]), None);
        for wrong in [0, 7, 255] {
            bytes[8] = wrong;
            assert_eq!(FailureRecord::read(&bytes), None, "reason {wrong}");
        }
    }

    #[test]
    fn numbers_and_reasons_are_the_same_thing() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!((reason.index(), Reason::from_number(reason as u8)), (index, Some(reason)));
        }
    }
}
