//! Failures on their way to clients: they come beside the lanes, because they are no shard's.

use super::Hub;
use crate::failures::Receiver;
use crate::feed::channel::Heard;
use engine::Side;
use host::clock;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::broadcast::error::RecvError;
use wire::feed::{Lost, NO_SHARD, Op, Record};

/// The next failure, or how many there was no room for.
pub(super) async fn next(failures: &mut Option<Receiver>) -> Result<Arc<[u8]>, u64> {
    loop {
        let Some(receiver) = failures else { return std::future::pending().await };
        match receiver.recv().await {
            Ok(record) => return Ok(record),
            Err(RecvError::Lagged(count)) => return Err(count),
            Err(RecvError::Closed) => *failures = None,
        }
    }
}

impl Hub {
    /// The kernel has refused, dropped or evicted something: this node's business, not that of a shard.
    pub(super) fn on_failure(&mut self, bytes: &[u8]) {
        let Ok((record, _)) = Record::decode(bytes) else { return };
        self.stats.produced[Op::Failure as usize].fetch_add(1, Relaxed);
        let (mut flow, now_ns) = (None, clock::wall_ns());
        let mut heard = Heard { record, flow: &mut flow, shard: NO_SHARD, now_ns };
        let channels = self.channels.iter_mut();
        for channel in channels.filter(|c| c.members > 0 && c.key.side == Side::Local) {
            channel.take(&mut heard, &*self.product);
        }
        self.hand_out();
    }

    /// The hub had no time for so many failures.
    pub(super) fn on_failures_lost(&mut self, count: u64) {
        let mut lost = Lost::default();
        lost.kinds[Op::Failure as usize] = count;
        self.stats.produced[Op::Failure as usize].fetch_add(count, Relaxed);
        self.stats.lost_lane.fetch_add(count, Relaxed);
        let clients = self.clients.values_mut().filter(|client| {
            client.wanted.side == Side::Local && client.wanted.kinds & (1 << Op::Failure as u8) != 0
        });
        clients.for_each(|client| client.lose_in_lane(NO_SHARD, &lost));
    }
}
