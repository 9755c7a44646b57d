//! Failures, in the statistics.

use common::failure::Reason;
use export::failures::Stats;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;

object! {
    /// Failures for one reason since the daemon began. All together they are `seen` and `counted`.
    Failure {
        /// Why: `table_full`, `evicted`, `insert_failed`, `clash_resolved`, `chain_toolong`, `invalid`.
        reason: String,
        /// Seen by an eBPF program.
        seen: u64,
        /// Of these: reported with addresses and ports. The others exceeded `EventsPerSecond`.
        reported: u64,
        /// Known from the kernel's counters alone.
        counted: u64,
    }
}

impl Failure {
    pub(super) fn all(stats: &Stats) -> Vec<Self> {
        let of = |reason: Reason| {
            let at = reason.index();
            Self {
                reason: reason.name().into(),
                seen: stats.seen[at].load(Relaxed),
                reported: stats.reported[at].load(Relaxed),
                counted: stats.counted[at].load(Relaxed),
            }
        };
        Reason::ALL.into_iter().map(of).collect()
    }
}
