//! Memory that is about to be read.
#![expect(unsafe_code, reason = "processors fetch memory by instructions of their own")]

/// Length of a line, bytes.
const LINE: usize = 64;

/// Has the memory at `at` fetched into the caches, and does not wait for it. A hint: where there is no such
/// instruction, nothing happens.
#[inline]
pub fn fetch<T>(at: &T) {
    let at = std::ptr::from_ref(at).cast::<u8>();
    // The value may begin in the middle of a line.
    let into = at.addr() % LINE;
    let lines = (0..into + size_of::<T>()).step_by(LINE);
    lines.for_each(|ahead| line(at.wrapping_sub(into).wrapping_add(ahead)));
}

#[inline]
fn line(at: *const u8) {
    // SAFETY: the instruction accesses nothing, and every x86-64 processor has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    // SAFETY: the instruction accesses nothing, and every AArch64 processor has it.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
