//! Copies an event into the ring of its CPU or, if that is full, into a neighbour's.
//!
//! Bursts come from few CPUs, often from one that empties a table, while the other rings are empty. The reader sorts
//! records by time, so any ring will do.
//!
//! Wake-ups are moderated as in NAPI: the reader sets its cell in `ARMED` before it sleeps, and the program that
//! exchanges the 1 for 0 wakes it. The exchange is a full barrier: either the reader sees the record or the program
//! sees the 1.

use crate::maps::{ARMED, RINGS, count};
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use aya_ebpf::programs::SkBuffContext;
use common::counter;
use common::tap::{
    HEADER_LEN, KIND_MESSAGE, RECORD_LARGE, RECORD_MEDIUM, RECORD_SMALL, RecordHeader,
};
use core::arch::asm;
use core::hint::black_box;

/// `BPF_RB_NO_WAKEUP`.
pub const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

/// How many other rings a record may go into: those of the CPUs whose numbers differ in the last three bits alone.
const NEIGHBOURS: u32 = 7;

/// The headers that every message begins with. Verifiers of old kernels (6.1) learn from this comparison that there is
/// something to copy; from one with 0 they do not.
const MESSAGE_LEN_MIN: u32 = 20;

/// Why an event is left to the socket.
#[derive(Clone, Copy)]
pub enum Spill {
    /// This CPU's ring has no room, nor have its neighbours'.
    Full,
    /// No record is large enough.
    Large,
    /// This CPU has no ring.
    NoRing,
    /// The message could not be read.
    Unreadable,
}

impl Spill {
    /// Where it is counted.
    #[inline(always)]
    pub fn counter(self) -> u32 {
        match self {
            Self::Full => counter::SPILLED_FULL,
            Self::Large => counter::SPILLED_LARGE,
            Self::NoRing => counter::SPILLED_NO_RING,
            Self::Unreadable => counter::SPILLED_UNREADABLE,
        }
    }
}

#[repr(C, align(8))]
struct Record<const N: usize>([u8; N]);

/// Puts the event into this CPU's ring, or says why not.
#[inline(always)]
pub fn emit(ctx: &SkBuffContext) -> Result<(), Spill> {
    let len = ctx.len() as usize;
    if len <= RECORD_SMALL - HEADER_LEN {
        write::<RECORD_SMALL>(ctx, len)
    } else if len <= RECORD_MEDIUM - HEADER_LEN {
        write::<RECORD_MEDIUM>(ctx, len)
    } else if len <= RECORD_LARGE - HEADER_LEN {
        write::<RECORD_LARGE>(ctx, len)
    } else {
        Err(Spill::Large)
    }
}

#[inline(always)]
fn write<const N: usize>(ctx: &SkBuffContext, len: usize) -> Result<(), Spill> {
    // SAFETY: the helper has no precondition.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let (mut record, at) = reserve::<Record<N>>(cpu)?;
    let base = record.as_mut_ptr().cast::<u8>();
    // SAFETY: `base` points to N reserved bytes, aligned to 8; header and message fit by the caller's test, which
    // is repeated on the value the helper gets so that the verifier sees the bound.
    let read = unsafe {
        base.cast::<RecordHeader>().write(RecordHeader {
            ktime_ns: bpf_ktime_get_ns(),
            len: len as u32,
            cpu: cpu as u16,
            kind: KIND_MESSAGE,
        });
        // What the compiler knows of the length, verifiers of old kernels forget when it lies on the stack meanwhile.
        let len = black_box(len as u32);
        if len < MESSAGE_LEN_MIN || len > (N - HEADER_LEN) as u32 {
            -1
        } else {
            bpf_skb_load_bytes(ctx.skb.skb.cast(), 0, base.add(HEADER_LEN).cast(), len)
        }
    };
    if read != 0 {
        record.discard(NO_WAKEUP);
        return Err(Spill::Unreadable);
    }
    record.submit(wakeup(at));
    Ok(())
}

/// Makes room for a record: in the ring of this CPU, or when that is full in one of its neighbours'. Returns whose.
#[inline(always)]
pub fn reserve<T: 'static>(cpu: u32) -> Result<(RingBufEntry<T>, u32), Spill> {
    let own = RINGS.get(cpu).ok_or(Spill::NoRing)?;
    if let Some(record) = own.reserve_untyped::<T>(0) {
        return Ok((record, cpu));
    }
    for other in 1..=NEIGHBOURS {
        let at = cpu ^ other;
        let Some(ring) = RINGS.get(at) else { continue };
        if let Some(record) = ring.reserve_untyped::<T>(0) {
            return Ok((record, at));
        }
    }
    Err(Spill::Full)
}

/// How to submit a record into the ring of that CPU: its reader is woken if it asked for that.
#[inline(always)]
pub fn wakeup(ring: u32) -> u64 {
    let Some(cell) = ARMED.get_ptr_mut(ring) else { return FORCE_WAKEUP };
    // SAFETY: the lookup succeeded, cells are 8 bytes, and they live as long as the program.
    if unsafe { take(cell) } == 0 {
        return NO_WAKEUP;
    }
    count(counter::WAKEUPS);
    FORCE_WAKEUP
}

/// Exchanges the cell with 0 and returns what was in it; a full barrier (kernel 5.12, `BPF_XCHG`).
///
/// Written in assembly because the BPF target of rustc offers no atomic exchange.
///
/// # Safety
/// `cell` must point to a map value of at least 8 bytes.
#[inline(always)]
unsafe fn take(cell: *mut u64) -> u64 {
    let mut value = 0_u64;
    // SAFETY: the caller vouches for `cell`; the instruction touches nothing else.
    unsafe { asm!("{v} = xchg_64({c} + 0, {v})", v = inout(reg) value, c = in(reg) cell) };
    value
}
