//! What was sent to the other node and received from it.

use engine::counters::ReplicaCounters;
use host::shard::Snapshot;
use serde::{Deserialize, Serialize};

object! {
    /// State of the replication.
    Replication {
        /// Messages sent.
        sent: u64,
        /// Messages received and understood.
        received: u64,
        /// Messages that never came.
        lost: u64,
        /// Messages that came after a later one.
        before: u64,
        /// Seconds since the peer was heard; `null` if it never was.
        peer_heard_s: Option<u64>,
        /// Whether all of the peer's flows have come in since they were asked for.
        remote_complete: bool,
        /// Whether no message of the peer is known to be missing.
        remote_exact: bool,
        /// Whether everything is being sent to the peer.
        in_bulk: bool,
        /// Restarts of the peer that were noticed.
        peer_restarts: u64,
        /// Messages refused, of whatever reason.
        malformed: u64,
        /// Of these: of another version.
        bad_version: u64,
        /// Of these: with a header that contradicts itself.
        bad_header: u64,
        /// Of these: with attributes that make no sense.
        bad_payload: u64,
        /// Of these: of a type that does not exist.
        bad_type: u64,
        /// Of these: datagrams that end inside a header.
        truncated: u64,
        /// Of these: of an impossible length.
        bad_size: u64,
        /// How long ago the oldest message was sent that the peer has not acknowledged, milliseconds, 0 if none waits;
        /// `null` in a mode without acknowledgements.
        lag_ms: Option<u64>,
        /// Messages that fit into no datagram.
        send_too_large: u64,
        /// Messages that found the queue full.
        send_no_space: u64,
        /// Ends of flows that the peer never received, because new flows needed their room in the table. A transfer of
        /// all flows follows.
        ends_untold: u64,
        /// Acknowledgements, and requests to send again, of numbers that were never given.
        absurd_ranges: u64,
        /// Datagrams held back, because their numbers lay far from all others and no second one agreed yet.
        jumps_doubted: u64,
        /// Requests for all flows that were answered later, because the same node had sent several.
        resyncs_put_off: u64,
    }
}

impl Replication {
    pub(super) fn of(s: &Snapshot) -> Self {
        let r = &s.counters.replica;
        // Without `..`: a counter that is new cannot be left out.
        let ReplicaCounters {
            bad_header,
            bad_version,
            bad_payload,
            bad_type,
            truncated,
            bad_size,
            lost,
            before,
            peer_restarts,
            received,
            sent,
            send_too_large,
            send_no_space,
            ends_untold,
            absurd_ranges,
            jumps_doubted,
            resyncs_put_off,
        } = *r;
        Self {
            sent,
            received,
            lost,
            before,
            peer_heard_s: s.standing.peer_heard.map(|ago| ago.as_secs()),
            remote_complete: s.standing.remote_complete,
            remote_exact: s.standing.remote_exact,
            in_bulk: s.standing.in_bulk,
            peer_restarts,
            malformed: r.malformed(),
            bad_version,
            bad_header,
            bad_payload,
            bad_type,
            truncated,
            bad_size,
            lag_ms: s.lag.map(|lag| lag.as_millis() as u64),
            send_too_large,
            send_no_space,
            ends_untold,
            absurd_ranges,
            jumps_doubted,
            resyncs_put_off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::counters::Counters;

    #[test]
    fn each_counter_of_the_engine_is_under_its_own_name() {
        let replica = ReplicaCounters {
            bad_header: 1,
            bad_version: 2,
            bad_payload: 4,
            bad_type: 8,
            truncated: 16,
            bad_size: 32,
            lost: 64,
            before: 65,
            peer_restarts: 66,
            received: 67,
            sent: 68,
            send_too_large: 69,
            send_no_space: 70,
            ends_untold: 71,
            absurd_ranges: 72,
            jumps_doubted: 73,
            resyncs_put_off: 74,
        };
        let counters = Counters { replica, ..Counters::default() };
        let shown = Replication::of(&Snapshot { counters, ..Snapshot::default() });
        let wanted = Replication {
            malformed: 63,
            bad_header: 1,
            bad_version: 2,
            bad_payload: 4,
            bad_type: 8,
            truncated: 16,
            bad_size: 32,
            lost: 64,
            before: 65,
            peer_restarts: 66,
            received: 67,
            sent: 68,
            send_too_large: 69,
            send_no_space: 70,
            ends_untold: 71,
            absurd_ranges: 72,
            jumps_doubted: 73,
            resyncs_put_off: 74,
            ..Replication::default()
        };
        assert_eq!(shown, wanted);
    }
}
