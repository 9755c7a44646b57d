//! An allocator that counts.
#![expect(
    unsafe_code,
    reason = "an allocator cannot be written without; it hands everything on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Of threads that were not left out.
static OTHERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
    static LEFT_OUT: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    OWN.set(OWN.get() + 1);
    if !LEFT_OUT.get() {
        OTHERS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is the system allocator's, with the same arguments; counting touches no memory that is allocated.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Allocations of the calling thread so far.
pub(crate) fn of_this_thread() -> u64 {
    OWN.get()
}

/// Allocations so far of all threads that were not left out.
pub(crate) fn of_other_threads() -> u64 {
    OTHERS.load(Ordering::Relaxed)
}

pub(crate) fn leave_out_this_thread() {
    LEFT_OUT.set(true);
}
