//! Joins the reports of several shards into one.

use super::latency::Latency;
use super::report::{Snapshot, TableState};
use engine::Standing;

impl Snapshot {
    /// Adds the report of another shard, which has other flows. Both receive events from the same source, and speak
    /// with the same peers.
    pub fn join(&mut self, other: &Self) {
        let resyncs = self.counters.resyncs.min(other.counters.resyncs);
        self.counters += other.counters;
        // The kernel's table has been read when all shards have read it.
        self.counters.resyncs = resyncs;
        for (flows, more) in self.flows.iter_mut().zip(other.flows) {
            *flows += more;
        }
        if let (Some(expectations), Some(more)) = (&mut self.expectations, other.expectations) {
            expectations.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
        self.shards += other.shards;
        self.flows_max += other.flows_max;
        self.events_malformed += other.events_malformed;
        // All find the same losses.
        self.overruns = self.overruns.max(other.overruns);
        self.traffic.packets += other.traffic.packets;
        self.traffic.bytes += other.traffic.bytes;
        self.standing = join_standings(self.standing, other.standing);
        for (peer, more) in self.peers.iter_mut().zip(&other.peers) {
            peer.join(more);
        }
        if let (Some(refused), Some(more)) = (&mut self.refused, &other.refused) {
            refused.join(more);
        }
        self.commit_progress = match (self.commit_progress, other.commit_progress) {
            (Some((done, of)), Some((more, of_more))) => Some((done + more, of + of_more)),
            (one, another) => one.or(another),
        };
        self.filled &= other.filled;
        self.uptime = self.uptime.max(other.uptime);
        self.latency.join(other.latency);
        self.tally.join(other.tally);
        if self.state.loss().is_none() {
            self.because = other.because;
        }
        self.state = self.state.join(other.state);
        self.committing |= other.committing;
        self.purging |= other.purging;
        self.purges += other.purges;
        self.orders_refused += other.orders_refused;
        self.turnover.join(&other.turnover);
        self.outbox += other.outbox;
        // All shards have the same queues.
        for ((_, usage), (_, more)) in self.queues.iter_mut().zip(&other.queues) {
            *usage += *more;
        }
    }
}

/// A node stands as the worst of its shards does.
fn join_standings(a: Standing, b: Standing) -> Standing {
    Standing {
        local_loaded: a.local_loaded && b.local_loaded,
        peer_heard: a.peer_heard.into_iter().chain(b.peer_heard).min(),
        remote_complete: a.remote_complete && b.remote_complete,
        remote_exact: a.remote_exact && b.remote_exact,
        in_bulk: a.in_bulk || b.in_bulk,
        committing: a.committing || b.committing,
    }
}

impl Latency {
    /// Quantiles cannot be joined: the worse shard's stand for both.
    fn join(&mut self, other: Self) {
        self.samples += other.samples;
        self.p50_us = self.p50_us.max(other.p50_us);
        self.p99_us = self.p99_us.max(other.p99_us);
        self.max_us = self.max_us.max(other.max_us);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count += more;
        }
    }
}

impl TableState {
    /// The table is as good as its worse part. All parts miss the same events.
    fn join(self, other: Self) -> Self {
        use TableState::{Degraded, Exact, Loading, Repairing};
        match (self, other) {
            (Loading { read: a, of }, Loading { read: b, .. }) => Loading { read: a + b, of },
            // The others have read theirs.
            (Loading { .. }, _) => self,
            (_, Loading { .. }) => other,
            (
                Degraded { ago: a, lost: m } | Repairing { ago: a, lost: m },
                Degraded { ago: b, lost: n } | Repairing { ago: b, lost: n },
            ) => {
                let (ago, lost) = (a.max(b), m.max(n));
                match (self, other) {
                    (Repairing { .. }, Repairing { .. }) => Repairing { ago, lost },
                    _ => Degraded { ago, lost },
                }
            }
            (Exact, state) | (state, Exact) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_table_is_as_good_as_its_worst_part() {
        use TableState::{Degraded, Exact, Loading, Repairing};
        let ago = Duration::from_secs;
        let loading = Loading { read: 5, of: Some(100) };
        assert_eq!(loading.join(loading), Loading { read: 10, of: Some(100) });
        assert_eq!(Exact.join(loading).word(), "loading");
        let degraded = Degraded { ago: ago(3), lost: 7 };
        let repairing = Repairing { ago: ago(2), lost: 9 };
        assert_eq!(repairing.join(degraded), Degraded { ago: ago(3), lost: 9 });
        assert_eq!(repairing.join(Exact), repairing);
        assert_eq!(Exact.join(Exact), Exact);
    }
}
