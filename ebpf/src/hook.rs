//! Reports changes of a packet's flow, just before the kernel confirms the flow.
//!
//! ```text
//!   packet --> its nf_conn --> signature as last reported? --yes--> settled: almost every packet
//!                                     | no, or the flow is not confirmed yet
//!                                     v
//!                               filter --> own CPU's ring --> the slot gets the new signature
//! ```
//!
//! Most packets change nothing, so the cost of that path counts. The program reads kernel structures with plain loads:
//! `bpf_rdonly_cast` is free, and the loader writes the offsets into the instructions (`common::hook`).
//!
//! **No change is lost for good.** A slot identifies its flow: slot number and content together give the flow's
//! address. An unconfirmed flow is reported whatever its slot contains, so a flow that reuses an address is reported.
//! If the ring is full, the slot keeps its old content and the flow's next packet reports.
//!
//! **The latest report has the latest state.** Two CPUs may process packets of one flow at once. The program reads the
//! time after the state, then reads the state again and reports once more if it changed. A later change gets a later
//! time.

use crate::diagnose::diagnose;
use crate::emit::{Spill, reserve, wakeup};
use crate::filter;
use crate::maps::{HOOK_COUNTERS, SIGNATURES};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_ns};
use common::hook::{
    BODY_LEN, CALL_CAST, Direction, FIELD_OFFSET, Field, PacketRecord, SIGNATURES_MAX, TYPE_AREA,
    counter, ext,
};
use common::tap::{HEADER_LEN, KIND_PACKET, RecordHeader};
use core::arch::asm;
use core::mem::transmute;
use ctnetlink::Change;
use ctnetlink::tuple::ipproto;

/// `struct bpf_nf_ctx` (`include/linux/netfilter/nf_bpf_link.h`).
#[repr(C)]
pub struct NfContext {
    state: *const u8,
    skb: *const u8,
}

/// Bits of `enum ip_conntrack_status`.
const CONFIRMED: u64 = 1 << 3;
const DYING: u64 = 1 << 9;
const TEMPLATE: u64 = 1 << 11;
/// `skb->_nfct` carries `enum ip_conntrack_info` in these bits (`NFCT_INFOMASK`).
const INFO_MASK: u64 = 7;

/// Reads a field of the kernel; `$width` is its width. The compiler repeats each read and caches none.
macro_rules! field {
    ($width:literal, $base:expr, $field:ident) => {{
        let value: u64;
        // SAFETY: the verifier checks the load; where the address is bad, the kernel reads zero.
        unsafe {
            asm!(
                concat!("{v} = *(", $width, " *)({b} + {o})"),
                v = out(reg) value,
                b = in(reg) $base,
                o = const FIELD_OFFSET + Field::$field as i16,
                options(nostack, readonly)
            );
        }
        value
    }};
}

/// A packet's flow.
#[derive(Clone, Copy)]
struct Conn(*const u8);

/// What is looked at for news.
struct State {
    status: u64,
    mark: u64,
    /// `orig.dst.protonum`.
    proto: u8,
    /// The state of the protocol, if it has one.
    proto_state: u64,
}

/// What became of a report.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Recorded,
    Filtered,
    Full,
    NoRing,
}

/// One packet; returns nothing, because no packet is ever held up.
#[inline(always)]
pub fn look(ctx: *const NfContext) {
    // SAFETY: the kernel hands in a valid context.
    let skb = unsafe { (*ctx).skb };
    let at = field!("u64", skb, SkbNfct) & !INFO_MASK;
    if at == 0 {
        return count(counter::UNTRACKED);
    }
    let conn = Conn(cast(at));
    let state = conn.state();
    if state.status & (TEMPLATE | DYING) != 0 {
        return count(counter::UNTRACKED);
    }
    let (index, tag) = place(at);
    let Some(slot) = SIGNATURES.get_ptr_mut(index) else { return count(counter::UNTRACKED) };
    let word = tag | state.signature();
    // SAFETY: the lookup succeeded; slots are 8 bytes and live as long as the program. Others may write it at any time.
    let last = unsafe { slot.read_volatile() };
    if last == word && state.status & CONFIRMED != 0 {
        return count(counter::SETTLED);
    }
    let (outcome, word) = tell(conn, &state, tag, word);
    if outcome == Outcome::Recorded || outcome == Outcome::Filtered {
        // SAFETY: as above.
        unsafe { slot.write_volatile(word) };
    }
}

/// Reports a flow, twice if it changes meanwhile; returns the new contents of its slot.
#[inline(always)]
fn tell(conn: Conn, state: &State, tag: u64, word: u64) -> (Outcome, u64) {
    let outcome = conn.report(state);
    count(match outcome {
        Outcome::Recorded => counter::RECORDED,
        Outcome::Filtered => counter::FILTERED,
        Outcome::Full => counter::LOST_FULL,
        Outcome::NoRing => counter::LOST_NO_RING,
    });
    match outcome {
        Outcome::Recorded => {}
        Outcome::Filtered => diagnose!(&(), "hook: the filter refuses a report"),
        Outcome::Full => diagnose!(&(), "hook: a report is lost, the ring is full"),
        Outcome::NoRing => diagnose!(&(), "hook: a report is lost, the CPU has no ring"),
    }
    if outcome != Outcome::Recorded {
        return (outcome, word);
    }
    let again = conn.state();
    let again_word = tag | again.signature();
    if again_word == word {
        return (outcome, word);
    }
    match conn.report(&again) {
        Outcome::Recorded => count(counter::REPEATED),
        _ => count(counter::REPEAT_LOST),
    }
    // The flow is changing fast, or its second report found no room: the next packet looks again.
    (outcome, 0)
}

impl Conn {
    #[inline(always)]
    fn state(self) -> State {
        let proto = field!("u8", self.0, OrigProto) as u8;
        let proto_state = match proto {
            ipproto::TCP => field!("u8", self.0, TcpState),
            ipproto::SCTP => field!("u32", self.0, SctpState),
            ipproto::DCCP => field!("u8", self.0, DccpState),
            _ => 0,
        };
        State {
            status: field!("u64", self.0, Status),
            mark: field!("u32", self.0, Mark),
            proto,
            proto_state,
        }
    }

    /// Puts the flow into this CPU's ring.
    #[inline(always)]
    fn report(self, state: &State) -> Outcome {
        // SAFETY: the helper has no precondition.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let (mut entry, at) = match reserve::<[u64; (HEADER_LEN + BODY_LEN) / 8]>(cpu) {
            Ok(reserved) => reserved,
            Err(Spill::NoRing) => return Outcome::NoRing,
            Err(_) => return Outcome::Full,
        };
        let base = entry.as_mut_ptr().cast::<u8>();
        // SAFETY: there are `BODY_LEN` reserved bytes behind the header, aligned to 8.
        let body = unsafe { &mut *base.add(HEADER_LEN).cast::<PacketRecord>() };
        self.fill(state, body);
        if !passes(body) {
            entry.discard(crate::emit::NO_WAKEUP);
            return Outcome::Filtered;
        }
        // SAFETY: `base` points to the reserved header.
        unsafe {
            base.cast::<RecordHeader>().write(RecordHeader {
                ktime_ns: bpf_ktime_get_ns(),
                len: BODY_LEN as u32,
                cpu: cpu as u16,
                kind: KIND_PACKET,
            });
        }
        entry.submit(wakeup(at));
        Outcome::Recorded
    }

    #[inline(always)]
    fn fill(self, state: &State, body: &mut PacketRecord) {
        let ct = self.0;
        let orig = [
            field!("u64", ct, OrigSrc),
            field!("u64", ct, OrigSrcHigh),
            field!("u64", ct, OrigDst),
            field!("u64", ct, OrigDstHigh),
        ];
        let reply = [
            field!("u64", ct, ReplySrc),
            field!("u64", ct, ReplySrcHigh),
            field!("u64", ct, ReplyDst),
            field!("u64", ct, ReplyDstHigh),
        ];
        let l4 = |src: u64, dst: u64| (src as u32 & 0xffff) | (dst as u32) << 16;
        let orig_l4 = l4(field!("u16", ct, OrigSrcL4), field!("u16", ct, OrigDstL4));
        let reply_l4 = l4(field!("u16", ct, ReplySrcL4), field!("u16", ct, ReplyDstL4));
        direction(&mut body.orig, orig, orig_l4);
        direction(&mut body.reply, reply, reply_l4);
        body.status = state.status as u32;
        body.ticks_left = self.ticks_left(state.status);
        body.mark = state.mark as u32;
        body.secmark = field!("u32", ct, Secmark) as u32;
        self.fill_state(state, body);
        body.zone = field!("u16", ct, ZoneId) as u16;
        body.zone_dir = field!("u8", ct, ZoneDir) as u8;
        body.family = field!("u16", ct, OrigFamily) as u8;
        body.proto = state.proto;
        body.ext = self.extensions();
        body.reserved = [0; 6];
    }

    #[inline(always)]
    fn fill_state(self, state: &State, body: &mut PacketRecord) {
        let ct = self.0;
        let (mut head, mut tags) = (state.proto_state as u32, [0; 2]);
        match state.proto {
            ipproto::TCP => {
                head |= (field!("u8", ct, TcpScaleOrig) as u32) << 8;
                head |= (field!("u8", ct, TcpScaleReply) as u32) << 16;
                head |= (field!("u8", ct, TcpFlagsOrig) as u32) << 24;
                tags[0] = field!("u8", ct, TcpFlagsReply) as u32;
            }
            ipproto::SCTP => {
                head &= 0xff;
                tags =
                    [field!("u32", ct, SctpTagOrig) as u32, field!("u32", ct, SctpTagReply) as u32];
            }
            ipproto::DCCP => head |= (field!("u8", ct, DccpRole) as u32) << 8,
            _ => {}
        }
        let out = body.state.as_mut_ptr().cast::<u32>();
        // SAFETY: `state` is 12 bytes at offset 88 of an aligned record.
        unsafe {
            out.write(head);
            out.add(1).write(tags[0]);
            out.add(2).write(tags[1]);
        }
    }

    /// Before confirmation the timeout counts from then, after it from the start of the clock.
    #[inline(always)]
    fn ticks_left(self, status: u64) -> u32 {
        let timeout = field!("u32", self.0, Timeout) as u32;
        if status & CONFIRMED == 0 {
            return timeout;
        }
        // SAFETY: the helper has no precondition.
        let left = timeout.wrapping_sub(unsafe { bpf_jiffies64() } as u32);
        if left as i32 > 0 { left } else { 0 }
    }

    #[inline(always)]
    fn extensions(self) -> u8 {
        let at = field!("u64", self.0, Ext);
        if at == 0 {
            return 0;
        }
        let offsets = cast(at);
        let mut found = 0;
        if field!("u8", offsets, ExtHelper) != 0 {
            found |= ext::HELPER;
        }
        if field!("u8", offsets, ExtSeqadj) != 0 {
            found |= ext::SEQADJ;
        }
        if field!("u8", offsets, ExtSynproxy) != 0 {
            found |= ext::SYNPROXY;
        }
        let labels = field!("u8", offsets, ExtLabels);
        if labels != 0 && any_label(cast(at + labels)) {
            found |= ext::LABELS;
        }
        found
    }
}

impl State {
    /// State and status as they are, and 15 bits of the mark: 35 bits in all. A mark that changes by rule while
    /// nothing else does is missed once in 32,768 times. CONFIRMED is left out: the report of the first packet
    /// implies it.
    #[inline(always)]
    fn signature(&self) -> u64 {
        let mark = (self.mark as u32).wrapping_mul(0x9e37_79b1) >> 17;
        (self.status & 0xffff & !CONFIRMED) << 19 | (self.proto_state & 0xf) << 15 | u64::from(mark)
    }
}

/// The slot of a flow's signature, and the tag that distinguishes the flow from others of that slot: the product with
/// an odd number can be undone, so slot number and tag together are the address. Addresses of flows differ in their low
/// 48 bits, because no machine has more memory than that, and their last three bits are zero.
#[inline(always)]
fn place(at: u64) -> (u32, u64) {
    const BITS: u32 = 45;
    const INDEX_BITS: u32 = SIGNATURES_MAX.ilog2();
    const SIGNATURE_BITS: u32 = 35;
    let mixed = (at >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) & ((1 << BITS) - 1);
    ((mixed >> (BITS - INDEX_BITS)) as u32, mixed << SIGNATURE_BITS)
}

/// Makes an address readable; the kernel turns this into a move.
#[inline(always)]
fn cast(at: u64) -> *const u8 {
    let area: u64;
    // SAFETY: the loader turns the call into one of `bpf_rdonly_cast`, which takes any value and a type number; the
    // instruction before it only names that number.
    unsafe {
        asm!("{v} = {k}", v = out(reg) area, k = const TYPE_AREA, options(pure, nomem, nostack));
        let cast: extern "C" fn(u64, u64) -> *const u8 = transmute(CALL_CAST as usize);
        cast(at, area)
    }
}

#[inline(always)]
fn any_label(labels: *const u8) -> bool {
    let (low, high): (u64, u64);
    // SAFETY: as in `field!`.
    unsafe {
        asm!("{v} = *(u64 *)({b} + 0)", v = out(reg) low, b = in(reg) labels, options(nostack, readonly));
        asm!("{v} = *(u64 *)({b} + 8)", v = out(reg) high, b = in(reg) labels, options(nostack, readonly));
    }
    low | high != 0
}

#[inline(always)]
fn direction(out: &mut Direction, [src, src_high, dst, dst_high]: [u64; 4], l4: u32) {
    let at = out.as_mut_ptr();
    // SAFETY: 36 bytes, and both directions lie at multiples of 4.
    unsafe {
        at.cast::<u64>().write_unaligned(src);
        at.add(8).cast::<u64>().write_unaligned(src_high);
        at.add(16).cast::<u64>().write_unaligned(dst);
        at.add(24).cast::<u64>().write_unaligned(dst_high);
        at.add(32).cast::<u32>().write_unaligned(l4);
    }
}

/// Whether the filter lets a report pass. Costs one map lookup when nothing is configured.
#[inline(always)]
fn passes(body: &PacketRecord) -> bool {
    let Some(config) = filter::settings() else { return true };
    let began = u64::from(body.status) & CONFIRMED == 0;
    let change = if began { Change::New } else { Change::Update };
    filter::lets_pass(config, change, &body.subject())
}

#[inline(always)]
fn count(index: u32) {
    if let Some(cell) = HOOK_COUNTERS.get_ptr_mut(index) {
        // SAFETY: the lookup succeeded and the cell belongs to this CPU. A packet that interrupts another one may run
        // this program in between, so it takes an atomic addition.
        unsafe { asm!("lock *(u64 *)({c} + 0) += {v}", c = in(reg) cell, v = in(reg) 1_u64) };
    }
}
