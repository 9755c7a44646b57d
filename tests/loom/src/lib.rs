//! Code of `host` that is lock-free by our hand, with loom's atomics under it: a test here runs through every order in which
//! its threads can take turns, and through what each may see of the others' memory.
#![cfg(test)]

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
}
#[path = "../../../userspace/host/src/doorbell.rs"]
mod doorbell;

use atomic::AtomicBool;
use doorbell::Doorbell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// What the writer puts in.
const ITEMS: usize = 2;

/// One writer, one reader. The queue is a bare counter whose accesses order nothing: all order comes from the bell.
#[derive(Default)]
struct Pair {
    written: AtomicUsize,
    bell: Doorbell,
    /// An eventfd: remembers that it was written to.
    woken: AtomicBool,
}

impl Pair {
    fn write(&self) {
        for item in 1..=ITEMS {
            self.written.store(item, Ordering::Relaxed);
            if self.bell.ring() {
                self.woken.store(true, Ordering::Release);
            }
        }
    }

    /// Until everything has come, or there is nothing to do but to sleep. `again`: whether to look again before that. Says
    /// whether it sleeps.
    fn read(&self, again: bool) -> bool {
        while !self.is_all_here() {
            self.woken.store(false, Ordering::Relaxed);
            self.bell.arm();
            if again && self.is_all_here() {
                return false;
            }
            if !self.woken.load(Ordering::Acquire) {
                return true;
            }
        }
        false
    }

    fn is_all_here(&self) -> bool {
        self.written.load(Ordering::Relaxed) == ITEMS
    }
}

fn check(again: bool) {
    loom::model(move || {
        let pair = Arc::new(Pair::default());
        let writer = thread::spawn({
            let pair = Arc::clone(&pair);
            move || pair.write()
        });
        let sleeps = pair.read(again);
        writer.join().unwrap();
        // It went to sleep before everything had come, so what came last must have woken it.
        assert!(!sleeps || pair.woken.load(Ordering::Acquire), "a wake-up was lost");
    });
}

#[test]
fn no_wake_up_is_lost_in_any_order() {
    check(true);
}

#[test]
#[should_panic(expected = "a wake-up was lost")]
fn without_the_second_look_one_is_lost() {
    check(false);
}
