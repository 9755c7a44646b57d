//! The feed, in the statistics.

use export::feed::Stats;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;
use wire::feed::Op;

object! {
    /// The feed.
    Feed {
        /// Clients that are connected.
        clients: u64,
        /// Sets of clients that want the same, and share what is encoded for them.
        channels: u64,
        /// Bytes that wait for clients.
        queue_bytes: u64,
        /// Records of rows: of snapshots, and of the first reading of the kernel's table.
        have: u64,
        /// Records of new flows, those included that found no room in a lane.
        new: u64,
        /// Records of changes, likewise.
        update: u64,
        /// Records of ends, likewise.
        destroy: u64,
        /// Records of failures, likewise.
        failure: u64,
        /// Records that found no room in the lane of a shard.
        lost_lane: u64,
        /// Records that found no room in the queue of a client, for each client.
        lost_client: u64,
        /// Snapshots that were begun.
        snapshots: u64,
        /// Clients that were one too many.
        clients_refused: u64,
        /// Clients whose request was not understood, or did not come.
        requests_misunderstood: u64,
    }
}

impl Feed {
    pub(super) fn of(stats: &Stats) -> Self {
        let produced = |op: Op| stats.produced[op as usize].load(Relaxed);
        Self {
            clients: stats.clients.load(Relaxed),
            channels: stats.channels.load(Relaxed),
            queue_bytes: stats.queue_bytes.load(Relaxed),
            have: produced(Op::Have),
            new: produced(Op::New),
            update: produced(Op::Update),
            destroy: produced(Op::Destroy),
            failure: produced(Op::Failure),
            lost_lane: stats.lost_lane.load(Relaxed),
            lost_client: stats.lost_client.load(Relaxed),
            snapshots: stats.snapshots.load(Relaxed),
            clients_refused: stats.refused.load(Relaxed),
            requests_misunderstood: stats.misunderstood.load(Relaxed),
        }
    }
}
