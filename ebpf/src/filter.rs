//! The filter in the kernel: `common::filter` over maps.
//!
//! A message that cannot be read as `common::event` expects passes: user space filters again and decides.

use crate::maps::{
    FILTER, FILTER_IPV4, FILTER_IPV6, FILTER_NUMBERS, Message, SCRATCH, SCRATCH_LEN, Scratch, YOUNG,
};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::SkBuffContext;
use common::event::{self, Bytes};
use common::filter::{FilterConfig, Numbers, Sets, Subject, known};
use core::hint::black_box;
use ctnetlink::Change;

impl Bytes for Message {
    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if at > SCRATCH_LEN - N {
            return None;
        }
        // Old verifiers lose what was just compared when the value is spilled to the stack; a mask they understand.
        let at = black_box(at) & (SCRATCH_LEN - 1);
        // SAFETY: `at + N` bytes exist.
        Some(unsafe { self.0.as_ptr().add(at).cast::<[u8; N]>().read() })
    }
}

/// The sets, as maps hold them.
struct Maps;

impl Sets for Maps {
    #[inline(always)]
    fn hold_ipv4(&self, addr: [u8; 4]) -> bool {
        FILTER_IPV4.get(&Key::new(32, addr)).is_some()
    }

    #[inline(always)]
    fn hold_ipv6(&self, addr: [u8; 16]) -> bool {
        FILTER_IPV6.get(&Key::new(128, addr)).is_some()
    }

    #[inline(always)]
    fn hold_number(&self, set: Numbers, number: u16) -> bool {
        let (word, bit) = set.place(number);
        FILTER_NUMBERS.get(word).is_some_and(|word| *word >> bit & 1 == 1)
    }
}

/// The settings, if there are any. Costs one map lookup when there are none.
#[inline(always)]
pub fn settings() -> Option<&'static FilterConfig> {
    FILTER.get(0).filter(|config| config.enabled != 0)
}

/// Whether an event message passes.
#[inline(always)]
pub fn passes(ctx: &SkBuffContext) -> bool {
    let Some(config) = settings() else { return true };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return true };
    // SAFETY: the lookup succeeded, and the cell belongs to this CPU; who interrupts this run and finds it busy leaves
    // it alone, and who came before has set it free.
    unsafe {
        if (&raw const (*scratch).busy).read_volatile() != 0 {
            return true;
        }
        (&raw mut (*scratch).busy).write_volatile(1);
        let passes = judge(ctx, config, scratch).unwrap_or(true);
        (&raw mut (*scratch).busy).write_volatile(0);
        passes
    }
}

/// # Safety
/// `scratch` must be valid and used by no other code meanwhile.
#[inline(always)]
unsafe fn judge(ctx: &SkBuffContext, config: &FilterConfig, scratch: *mut Scratch) -> Option<bool> {
    let len = black_box(ctx.len().min(SCRATCH_LEN as u32));
    // What the compiler knows of `len`, old verifiers do not: this is 1 to 512 by the look of it, and `len` unless that
    // is 0, which does not happen.
    let len = (len.wrapping_sub(1) & (SCRATCH_LEN as u32 - 1)) + 1;
    // SAFETY: `bytes` has room for `len` bytes, and the caller guarantees that no other code uses it.
    let (bytes, subject) = unsafe {
        let to = (&raw mut (*scratch).bytes).cast();
        if bpf_skb_load_bytes(ctx.skb.skb.cast(), 0, to, len) != 0 {
            return None;
        }
        (*scratch).subject = (*scratch).nothing;
        (&(*scratch).bytes, &mut (*scratch).subject)
    };
    let change = event::read(bytes, config.looks_far(), subject)?;
    Some(lets_pass(config, change, subject))
}

/// Whether news of a flow passes.
#[inline(always)]
pub fn lets_pass(config: &FilterConfig, change: Change, subject: &Subject) -> bool {
    if !config.matches(subject, &Maps) {
        return false;
    }
    // A flow must be seen to begin even in a state or with a mark that does not pass.
    let grown = config.age_ns == 0 || is_grown(config.age_ns, change, subject);
    grown && (matches!(change, Change::Destroy) || config.fit(subject))
}

/// Whether a flow is old enough. Its beginning is remembered until it is, or until it ends. The end itself passes: user
/// space may have learnt of the flow in another way.
#[inline(always)]
fn is_grown(age_ns: u64, change: Change, subject: &Subject) -> bool {
    if subject.known & known::ZONE == 0 {
        return true;
    }
    // SAFETY: the helper has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    match change {
        Change::New => YOUNG.insert(&subject.key, now, 0).is_err(),
        Change::Update => {
            // SAFETY: the value is read at once; a value of another life in this place would be younger.
            let since = unsafe { YOUNG.get(&subject.key) }.copied();
            let young = since.is_some_and(|since| now.saturating_sub(since) < age_ns);
            if since.is_some() && !young {
                let _ = YOUNG.remove(&subject.key);
            }
            !young
        }
        Change::Destroy => {
            let _ = YOUNG.remove(&subject.key);
            true
        }
    }
}
