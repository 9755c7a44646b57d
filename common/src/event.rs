//! The fields of a conntrack event message that a filter tests: read in place, by the kernel program and by user space
//! alike.
//!
//! `ctnetlink_conntrack_event` (kernel v6.12, `net/netfilter/nf_conntrack_netlink.c`) always writes the original tuple
//! first, the reply tuple second, and in each the addresses in front of the protocol. Every attribute header is
//! checked; a message that looks different is not read at all.
//!
//! ```text
//! 0        16       20                               20 + len(orig)
//! +--------+--------+--------------------------------+--------------+------+----+--------+-----+------+
//! | nlmsg  | nfgen  | TUPLE_ORIG                     | TUPLE_REPLY  | ZONE?| ID | STATUS | ... | MARK?|
//! +--------+--------+--------------------------------+--------------+------+----+--------+-----+------+
//!                   | hdr | IP | SRC | DST | PROTO | NUM | l4 ... |
//! ```

use crate::filter::{Subject, known};
use core::sync::atomic::{Ordering, compiler_fence};
use ctnetlink::Change;
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};

/// Where a message lies.
pub trait Bytes {
    /// `N` bytes from `at` on, if there are so many.
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]>;
}

impl Bytes for [u8] {
    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk::<N>().copied()
    }
}

/// `NFNL_SUBSYS_CTNETLINK`; expectations (2) are not read here.
const SUBSYS_CTNETLINK: u8 = 1;
const IPCTNL_MSG_CT_NEW: u8 = 0;
const IPCTNL_MSG_CT_DELETE: u8 = 2;
/// `NLM_F_EXCL | NLM_F_CREATE`, in the upper byte of the flags.
const NLM_F_NEW: u16 = 0x0600;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_PROTOINFO: u16 = 4;
const CTA_MARK: u16 = 8;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;

/// `nfgenmsg.nfgen_family`.
const FAMILY: usize = 16;
/// Where the first attribute lies: the original tuple.
const TUPLE: usize = 20;
/// From a tuple's header to its source address: that header, the one of the addresses, the one of the source.
const SOURCE: usize = 12;
/// More attributes than an event has.
const ATTRIBUTES_MAX: usize = 24;

/// Reads a message's fields into `subject`, which must be [`Subject::NOTHING`]. With `far`, also those behind the
/// tuples. `None` if it is not an event about a flow, or does not look as expected; `subject` then holds anything.
#[must_use]
#[inline(always)]
pub fn read<B: Bytes + ?Sized>(bytes: &B, far: bool, subject: &mut Subject) -> Option<Change> {
    let [a, b, c, d, kind, subsystem, e, f] = bytes.load(0)?;
    if subsystem != SUBSYS_CTNETLINK {
        return None;
    }
    let (end, flags) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
    let change = match kind {
        IPCTNL_MSG_CT_NEW if flags & NLM_F_NEW != 0 => Change::New,
        IPCTNL_MSG_CT_NEW => Change::Update,
        IPCTNL_MSG_CT_DELETE => Change::Destroy,
        _ => return None,
    };
    let [family] = bytes.load(FAMILY)?;
    let at = match family {
        FAMILY_IPV4 => tuples::<B, 4>(bytes, CTA_IP_V4_SRC, subject)?,
        FAMILY_IPV6 => tuples::<B, 16>(bytes, CTA_IP_V6_SRC, subject)?,
        _ => return None,
    };
    subject.key.tuple.family = family;
    if far {
        walk(bytes, at, end as usize, subject);
    }
    Some(change)
}

/// The original tuple and the source of the reply tuple; where the next attribute lies. `A` is the length of an
/// address, `src` the kind of attribute that a source address is.
#[inline(always)]
fn tuples<B: Bytes + ?Sized, const A: usize>(
    bytes: &B,
    src: u16,
    subject: &mut Subject,
) -> Option<usize> {
    let tuple = &mut subject.key.tuple;
    let (dst, proto) = (TUPLE + SOURCE + A, TUPLE + SOURCE + A + 4 + A);
    let len = header(bytes, TUPLE, CTA_TUPLE_ORIG)?;
    header(bytes, TUPLE + 4, CTA_TUPLE_IP)?;
    header(bytes, TUPLE + 8, src)?;
    header(bytes, dst, src + 1)?;
    let zone = proto + header(bytes, proto, CTA_TUPLE_PROTO)?;
    header(bytes, proto + 4, CTA_PROTO_NUM)?;
    tuple.src[..A].copy_from_slice(&bytes.load::<A>(TUPLE + SOURCE)?);
    tuple.dst[..A].copy_from_slice(&bytes.load::<A>(dst + 4)?);
    [tuple.proto] = bytes.load(proto + 8)?;
    // What identifies a flow within its protocol: each part behind a header of its own, padded to four bytes.
    let first = proto + 12;
    let wanted = match tuple.proto {
        ipproto::ICMP => CTA_PROTO_ICMP_ID,
        ipproto::ICMPV6 => CTA_PROTO_ICMPV6_ID,
        ipproto::GRE => CTA_PROTO_SRC_PORT,
        _ if tuple.has_ports() => CTA_PROTO_SRC_PORT,
        _ => 0,
    };
    if wanted != 0 {
        header(bytes, first, wanted)?;
        let ([a, b], [c, d]) = (bytes.load(first + 4)?, bytes.load(first + 12)?);
        let d = if wanted == CTA_PROTO_SRC_PORT { d } else { bytes.load::<1>(first + 20)?[0] };
        tuple.l4 = [a, b, c, d];
    }
    let reply = TUPLE + len;
    // A zone of the original direction alone separates flows as well as one of both directions does.
    if zone < reply {
        header(bytes, zone, CTA_TUPLE_ZONE)?;
        subject.key.zone = u16::from_be_bytes(bytes.load(zone + 4)?);
    }
    let len = header(bytes, reply, CTA_TUPLE_REPLY)?;
    header(bytes, reply + 4, CTA_TUPLE_IP)?;
    header(bytes, reply + 8, src)?;
    subject.reply_src[..A].copy_from_slice(&bytes.load::<A>(reply + SOURCE)?);
    subject.known = known::REPLY;
    Some(reply + len)
}

/// How far behind the attribute at `at` the next one is, if it is of this kind.
#[inline(always)]
fn header<B: Bytes + ?Sized>(bytes: &B, at: usize, kind: u16) -> Option<usize> {
    let head: [u8; 4] = bytes.load(at)?;
    (kind_at(&head, 0) == kind).then_some(len_at(&head, 0))
}

/// Goes through the attributes behind the tuples. In a message that ends as it should, a missing zone or mark is zero:
/// the kernel leaves out a zone or a mark of 0.
#[inline(always)]
fn walk<B: Bytes + ?Sized>(bytes: &B, from: usize, end: usize, subject: &mut Subject) {
    let mut at = from;
    for _ in 0..ATTRIBUTES_MAX {
        if at >= end {
            subject.known |= known::ZONE | known::MARK;
            return;
        }
        let Some(head) = bytes.load::<4>(at) else { return };
        match kind_at(&head, 0) {
            CTA_ZONE => {
                let Some(zone) = bytes.load::<2>(at + 4) else { return };
                subject.key.zone = u16::from_be_bytes(zone);
                subject.known |= known::ZONE;
            }
            CTA_MARK => {
                let Some(mark) = bytes.load::<4>(at + 4) else { return };
                subject.mark = u32::from_be_bytes(mark);
                subject.known |= known::MARK;
            }
            CTA_PROTOINFO if subject.key.tuple.proto == ipproto::TCP => {
                let Some(info) = bytes.load::<9>(at + 4) else { return };
                if kind_at(&info, 0) == CTA_PROTOINFO_TCP
                    && kind_at(&info, 4) == CTA_PROTOINFO_TCP_STATE
                {
                    subject.tcp_state = u32::from(info[8]);
                    subject.known |= known::TCP_STATE;
                }
            }
            _ => {}
        }
        let len = len_at(&head, 0);
        if len < 4 {
            return;
        }
        at += len;
        // The verifier must not remember what was found in which order: the ways to get here would be too many.
        compiler_fence(Ordering::SeqCst);
    }
}

/// The kind of the attribute at `at`, without its flags.
#[inline(always)]
const fn kind_at(raw: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([raw[at + 2], raw[at + 3]]) & 0x3fff
}

/// How far behind the attribute at `at` the next one is.
#[inline(always)]
const fn len_at(raw: &[u8], at: usize) -> usize {
    (u16::from_ne_bytes([raw[at], raw[at + 1]]) as usize + 3) & !3
}
