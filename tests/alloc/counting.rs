//! An allocator that counts.
#![expect(
    unsafe_code,
    reason = "an allocator cannot be written without; it hands everything on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Whether allocations are taken down.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// Where in the code they were, while they are.
static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether the thread's allocations do not count: it is the test's own, or is taking one down.
    static LEFT_OUT: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if !WATCHED.load(Ordering::Relaxed) || LEFT_OUT.replace(true) {
        return;
    }
    let place = Backtrace::force_capture().to_string();
    // The thread that runs the tests starts others and reports those that have ended; one that has just started
    // prepares its stack and its output buffer. A test itself counts, on whatever thread it runs.
    let runs_tests = ["run_tests_console", "test::run_test"].iter().any(|at| place.contains(at))
        && !place.contains("test::__rust_begin_short_backtrace");
    if runs_tests || place.contains("stack_overflow::") {
        LEFT_OUT.set(false);
        return;
    }
    PLACES.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    LEFT_OUT.set(false);
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

/// Takes down every allocation of threads that were not left out, from here on.
pub(crate) fn watch() {
    places_mut(Vec::clear);
    WATCHED.store(true, Ordering::Relaxed);
}

/// Stops that; where in the code the allocations were: a backtrace of each.
pub(crate) fn places() -> Vec<String> {
    WATCHED.store(false, Ordering::Relaxed);
    places_mut(std::mem::take)
}

fn places_mut<T>(look: impl FnOnce(&mut Vec<String>) -> T) -> T {
    let was = LEFT_OUT.replace(true);
    let result = look(&mut PLACES.lock().unwrap_or_else(PoisonError::into_inner));
    LEFT_OUT.set(was);
    result
}

pub(crate) fn leave_out_this_thread(whether: bool) {
    LEFT_OUT.set(whether);
}
