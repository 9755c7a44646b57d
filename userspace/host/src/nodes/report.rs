//! How the peers of a shard stand, and what came on its socket and is not taken: for people.

use crate::secure::{Name, Refusal};
use engine::peer::v2::session::PeerStanding;
use std::net::SocketAddr;

/// How a peer stands.
#[derive(Clone, Debug)]
pub struct PeerReport {
    /// The peer's name.
    pub name: Name,
    /// The word for where its handshakes stand.
    pub session: &'static str,
    /// The address that data is sent to.
    pub address: Option<SocketAddr>,
    /// How long the present session lasts.
    pub since: Option<std::time::Duration>,
    /// How often a key took the place of another.
    pub rekeys: u64,
    /// What the engine knows.
    pub engine: PeerStanding,
}

/// Datagrams that were refused, and datagrams that could not be sent.
#[derive(Clone, Debug)]
pub struct RefusedReport {
    /// Datagrams that were refused, by kind.
    pub kinds: [(Refusal, u64); Refusal::ALL.len()],
    /// Datagrams that could not be sealed or sent, and handshake messages that found no room.
    pub unsent: u64,
}

impl PeerReport {
    /// What a shard knows that makes no handshakes.
    pub(super) const fn of_engine(name: Name, engine: PeerStanding) -> Self {
        Self { name, session: "", address: None, since: None, rekeys: 0, engine }
    }

    /// Takes in how the same peer stands with another shard.
    pub(crate) fn join(&mut self, other: &Self) {
        self.engine = self.engine.join(other.engine);
    }
}

impl RefusedReport {
    /// Takes in what another shard refused.
    pub(crate) fn join(&mut self, other: &Self) {
        for ((_, count), (_, more)) in self.kinds.iter_mut().zip(other.kinds) {
            *count += more;
        }
        self.unsent += other.unsent;
    }

    /// How many of a kind were refused.
    #[must_use]
    pub fn count(&self, kind: Refusal) -> u64 {
        self.kinds.iter().find(|(other, _)| *other == kind).map_or(0, |(_, count)| *count)
    }
}
