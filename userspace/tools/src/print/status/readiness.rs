//! Whether a node may take over, and what keeps it from that.

use engine::Cause;
use engine::config::limit::PEER_SILENCE;
use host::shard::Snapshot;

/// Why the tables of a node are not complete or not exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The kernel's table is being read for the first time.
    Loading,
    /// The local table is not what the kernel holds.
    Inexact(Cause),
    /// The peer's flows are being written into the kernel.
    Committing,
    /// Entries of the kernel are being deleted.
    Purging,
    /// No room in the local table.
    LocalFull,
    /// No room in the remote table.
    RemoteFull,
    /// The daemon has begun, and the peer was not heard yet.
    PeerUnheard,
    /// The peer's flows have not all come.
    PeerIncomplete,
    /// Messages of the peer are missing.
    PeerInexact,
}

impl NotReady {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Loading,
        Self::Inexact(Cause::EventsLost),
        Self::Inexact(Cause::TableFull),
        Self::Inexact(Cause::EventsOff),
        Self::Inexact(Cause::CountDiffers),
        Self::Inexact(Cause::Flushed),
        Self::Committing,
        Self::Purging,
        Self::LocalFull,
        Self::RemoteFull,
        Self::PeerUnheard,
        Self::PeerIncomplete,
        Self::PeerInexact,
    ];

    /// A word for machines, which stays the same.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Inexact(_) => "inexact",
            Self::Committing => "committing",
            Self::Purging => "purging",
            Self::LocalFull => "local_full",
            Self::RemoteFull => "remote_full",
            Self::PeerUnheard => "peer_unheard",
            Self::PeerIncomplete => "peer_incomplete",
            Self::PeerInexact => "peer_inexact",
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Loading => "the kernel's table has not been read yet",
            Self::Inexact(cause) => inexact(cause),
            Self::Committing => "a commit is running",
            Self::Purging => "entries of the kernel are being deleted",
            Self::LocalFull => "the internal cache is full (HashLimit)",
            Self::RemoteFull => "the external cache is full (HashLimit)",
            Self::PeerUnheard => "the other node has not been heard yet",
            Self::PeerIncomplete => {
                "the other node's flows have not all been asked for and received yet"
            }
            Self::PeerInexact => "messages of the other node are missing",
        }
    }

    /// The reason that people were given with this text.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.text() == text)
    }
}

/// Why the internal cache is not what the kernel holds.
const fn inexact(cause: Cause) -> &'static str {
    match cause {
        Cause::EventsLost => {
            "kernel events were lost, and the kernel's table has not been read again since"
        }
        Cause::TableFull => {
            "the internal cache had no room for all flows (HashLimit), and the kernel's table has not \
             been read again since"
        }
        Cause::EventsOff => {
            "the kernel does not tell of flows (net.netfilter.nf_conntrack_events is 0), or its table \
             has not been read since it does"
        }
        Cause::CountDiffers => {
            "the kernel holds another number of flows, and its table has not been read since that was seen"
        }
        Cause::Flushed => {
            "the internal cache was flushed, and the kernel's table has not been read again since"
        }
    }
}

/// Whether the tables of this node are complete and exact, or why they are not.
///
/// # Errors
/// With the reasons.
pub fn readiness(s: &Snapshot) -> Result<(), Vec<NotReady>> {
    let full = |at: usize| s.keeps[at] && s.flows[at] >= s.flows_max;
    let own = [
        (!s.filled, NotReady::Loading),
        (s.state.loss().is_some(), NotReady::Inexact(s.because)),
        (s.committing, NotReady::Committing),
        (s.purging, NotReady::Purging),
        (full(0), NotReady::LocalFull),
        (full(1), NotReady::RemoteFull),
    ];
    let own = own.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason);
    let reasons: Vec<_> = own.chain(of_peer(s)).collect();
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

/// What is missing of the peer's flows. A node without a peer lacks nothing: there are no other flows.
fn of_peer(s: &Snapshot) -> Option<NotReady> {
    let standing = &s.standing;
    if !s.replicates {
        return None;
    }
    match standing.peer_heard {
        None if s.uptime < PEER_SILENCE => Some(NotReady::PeerUnheard),
        None => None,
        Some(ago) if ago > PEER_SILENCE => None,
        Some(_) if !standing.remote_complete => Some(NotReady::PeerIncomplete),
        Some(_) if !standing.remote_exact => Some(NotReady::PeerInexact),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_found_again_by_its_text() {
        for reason in NotReady::ALL {
            assert_eq!(NotReady::of_text(reason.text()), Some(reason));
        }
        assert_eq!(NotReady::of_text("a cat sleeps on it"), None);
    }
}
