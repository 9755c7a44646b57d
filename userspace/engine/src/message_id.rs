//! Names a message of a peer.

use crate::config::limit;
use alloc::vec::Vec;

/// Names a node that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u8);

impl PeerId {
    /// The node that was heard first.
    pub const FIRST: Self = Self(0);

    /// The node that was heard next.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The node with this number.
    #[must_use]
    pub const fn at(index: usize) -> Self {
        Self(index as u8)
    }

    /// Its number, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

const _: () = assert!(limit::PEERS_MAX < u8::MAX as usize);

/// An order of each peer's messages.
#[derive(Debug, Default)]
pub(crate) struct OrderByPeer(Vec<u64>);

impl OrderByPeer {
    /// The order of a peer; 0 if none was set, which is before every message.
    pub(crate) fn of(&self, peer: PeerId) -> u64 {
        self.0.get(peer.index()).copied().unwrap_or(0)
    }

    pub(crate) fn set(&mut self, peer: PeerId, order: u64) {
        let peers = self.0.len().max(peer.index() + 1);
        self.0.resize(peers, 0);
        self.0[peer.index()] = order;
    }
}

impl FromIterator<u64> for OrderByPeer {
    /// In the order of the peers.
    fn from_iter<I: IntoIterator<Item = u64>>(orders: I) -> Self {
        Self(orders.into_iter().collect())
    }
}

/// Names a message: which peer sent it, and its place in that peer's sequence. As a number, this is the stamp that
/// tables remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(u64);

/// Bits of the order in a [`MessageId`]; the peer's number plus one lies above.
const ORDER_BITS: u32 = 56;

impl MessageId {
    /// By this peer, in the message with this order.
    #[must_use]
    pub const fn new(peer: PeerId, order: u64) -> Self {
        Self(((peer.0 as u64 + 1) << ORDER_BITS) | (order & ((1 << ORDER_BITS) - 1)))
    }

    /// As it is remembered as a stamp.
    #[must_use]
    pub const fn stamp(self) -> u64 {
        self.0
    }

    /// From a stamp; `None` for the stamp of no peer.
    #[must_use]
    pub const fn from_stamp(stamp: u64) -> Option<Self> {
        if stamp >> ORDER_BITS == 0 { None } else { Some(Self(stamp)) }
    }

    /// The peer.
    #[must_use]
    pub const fn peer(self) -> PeerId {
        PeerId((self.0 >> ORDER_BITS) as u8 - 1)
    }

    /// Place of the message in that peer's sequence.
    #[must_use]
    pub const fn order(self) -> u64 {
        self.0 & ((1 << ORDER_BITS) - 1)
    }

    /// Whether `last`, about the same thing, comes from the same peer and not before this. Messages of different
    /// peers have no order but that of their arrival.
    #[must_use]
    pub const fn is_overtaken_by(self, last: Self) -> bool {
        self.peer().0 == last.peer().0 && last.order() >= self.order()
    }
}
