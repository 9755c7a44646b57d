//! How a node stands with its peers, as every session says it.

use core::time::Duration;

/// How this node stands with its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The kernel's table has been read, and is not being read again.
    pub local_loaded: bool,
    /// How long ago the peer was heard; `None` if it never was.
    pub peer_heard: Option<Duration>,
    /// The peer's whole table came in since we asked for it.
    pub remote_complete: bool,
    /// No message of the peer is missing, as far as that is known.
    pub remote_exact: bool,
    /// A bulk transfer to the peer is under way.
    pub in_bulk: bool,
    /// A commit is under way.
    pub committing: bool,
}
