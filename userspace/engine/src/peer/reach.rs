//! How far what this node knows of a flow has come to a peer, for people.

use crate::message_id::PeerId;
use core::time::Duration;

/// How far the last change of a flow of this node has come to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing is sent about the flow: it is too young (`Settle`), or this node does not claim it.
    Untold,
    /// It waits to be sent.
    Queued,
    /// It was sent. The peer has not acknowledged it, or this mode of version 1 has no acknowledgements.
    Sent,
    /// The peer has acknowledged it.
    Acked,
    /// The flow is the peer's own: this node hears of it.
    Theirs,
}

impl Reach {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untold => "untold",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Acked => "acked",
            Self::Theirs => "theirs",
        }
    }
}

/// The same, with whom it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerReach {
    /// Which peer of version 2; `None`: all who listen on the links of version 1.
    pub peer: Option<PeerId>,
    /// How far it has come.
    pub reach: Reach,
    /// For how long the change has waited for the peer, where that is known and the peer has not acknowledged it.
    pub waits: Option<Duration>,
}
