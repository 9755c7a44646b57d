//! Plain counts. No decision depends on them; people and metrics read them.

use core::ops::AddAssign;

/// What happened to one table, in the terms conntrackd reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    /// Entries added.
    pub created: u64,
    /// Entries that could not be added because the table was full.
    pub create_no_space: u64,
    /// Entries changed.
    pub updated: u64,
    /// Updates of an entry that does not exist and could not be added.
    pub update_failed: u64,
    /// Entries removed.
    pub destroyed: u64,
    /// Removals of an entry that does not exist.
    pub destroy_not_found: u64,
    /// News that came too late to be true, and was dropped.
    pub stale: u64,
}

/// What became of flows handed straight through, where a table is disabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassCounters {
    /// New flows passed on, and how many the other side refused.
    pub created: u64,
    /// New flows that the table or the kernel refused.
    pub create_failed: u64,
    /// Updates passed on.
    pub updated: u64,
    /// Changes that the table or the kernel refused.
    pub update_failed: u64,
    /// Destructions passed on.
    pub destroyed: u64,
    /// Ends that the table or the kernel refused.
    pub destroy_failed: u64,
}

/// What the replication protocol saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCounters {
    /// Messages with a header that contradicts itself.
    pub bad_header: u64,
    /// Messages of another version.
    pub bad_version: u64,
    /// Messages whose attributes make no sense.
    pub bad_payload: u64,
    /// Messages of a type that does not exist.
    pub bad_type: u64,
    /// Datagrams ending inside a header.
    pub truncated: u64,
    /// Datagrams with an impossible message length.
    pub bad_size: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Messages that came after a later one.
    pub before: u64,
    /// Restarts of the peer that were noticed.
    pub peer_restarts: u64,
    /// Messages received and understood.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that fit into no datagram of this link, and were not sent.
    pub send_too_large: u64,
    /// Messages not sent because the queue was full.
    pub send_no_space: u64,
    /// Ends of flows that the peer never received, because living flows needed their room in the table. The peer is
    /// owed a bulk transfer. Ends that wait for one and are too many are counted by their queue (`unheard_ends`).
    pub ends_untold: u64,
    /// ACKs and NACKs of numbers that were never given.
    pub absurd_ranges: u64,
    /// Datagrams held back because their numbers lay far from all others and no second one agreed yet.
    pub jumps_doubted: u64,
    /// Requests for everything that were answered later, because the same node had sent several.
    pub resyncs_put_off: u64,
}

impl ReplicaCounters {
    /// Messages that were refused, whatever the reason.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.bad_header
            + self.bad_version
            + self.bad_payload
            + self.bad_type
            + self.truncated
            + self.bad_size
    }
}

/// Everything one engine counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernel events handled.
    pub events: u64,
    /// Kernel events and dumped flows that the filter refused.
    pub filtered: u64,
    /// Local table.
    pub local: TableCounters,
    /// Remote table.
    pub remote: TableCounters,
    /// Events passed on where the local table is disabled.
    pub bypass: PassCounters,
    /// Flows written where the remote table is disabled.
    pub inject: PassCounters,
    /// Local expectations.
    pub local_expectations: TableCounters,
    /// Remote expectations.
    pub remote_expectations: TableCounters,
    /// Expectations written where the remote table is disabled.
    pub inject_expectations: PassCounters,
    /// Counts of the replication.
    pub replica: ReplicaCounters,
    /// Kernel requests dropped because too many were waiting.
    pub kernel_no_space: u64,
    /// Events ([`crate::Event`]) that were dropped because too many were waiting.
    pub events_dropped: u64,
    /// Requests made again without a part of the flow that the kernel refuses: a helper, labels and such.
    pub written_without: u64,
    /// Flows checked against the kernel because news about them came without an exact time.
    pub verified: u64,
    /// Times the kernel table was read into the local table.
    pub resyncs: u64,
}

/// Adds up two of a kind, field by field, leaving none out.
macro_rules! adds {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                let Self { $($field),* } = other;
                $(self.$field += $field;)*
            }
        }
    )*};
}

adds! {
    TableCounters {
        created, create_no_space, updated, update_failed, destroyed, destroy_not_found, stale,
    }
    PassCounters {
        created, create_failed, updated, update_failed, destroyed, destroy_failed,
    }
    ReplicaCounters {
        bad_header, bad_version, bad_payload, bad_type, truncated, bad_size, lost, before,
        peer_restarts, received, sent, send_too_large, send_no_space, ends_untold,
        absurd_ranges, jumps_doubted, resyncs_put_off,
    }
    Counters {
        events, filtered, local, remote, bypass, inject, local_expectations,
        remote_expectations, inject_expectations, replica, kernel_no_space, events_dropped, written_without, verified,
        resyncs,
    }
}
