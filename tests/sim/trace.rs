//! What a run did: always as one number, and as text when a seed is replayed.

use common::Instant;
use ctnetlink::{Flow, FlowKey};
use std::fmt::Arguments;

/// Folds everything that happens into one hash; prints it when asked.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    verbose: bool,
}

impl Trace {
    pub(crate) const fn new(verbose: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, verbose }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Folds bytes into the hash (FNV-1a).
    pub(crate) fn fold(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Folds eight bytes at once; the numbers of a run are many.
    pub(crate) const fn fold_word(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn fold_key(&mut self, key: &FlowKey) {
        self.fold(&key.tuple.src[..4]);
        self.fold(&key.tuple.l4);
        self.fold_word(u64::from(key.zone) << 8 | u64::from(key.tuple.proto));
    }

    /// One line, if the trace is verbose.
    pub(crate) fn say(&self, now: Instant, node: usize, text: Arguments<'_>) {
        if self.verbose {
            let who = name(node);
            println!("{:>12.6} {who} {text}", now.0 as f64 / 1e9);
        }
    }
}

/// What a node is called.
pub(crate) fn name(node: usize) -> char {
    char::from(b'A' + node as u8)
}

/// A flow in one line.
pub(crate) fn brief(flow: &Flow) -> String {
    let state = flow.tcp().map_or(0, |tcp| tcp.state);
    let master = if flow.master().is_some() { " expected" } else { "" };
    format!(
        "{:?} zone {} id {} status {:#x} mark {} state {state}{master}",
        flow.orig,
        flow.zone,
        flow.id,
        flow.status.bits(),
        flow.mark
    )
}
