//! What a helper is given: the flow, the packet, and the bytes it remembers.

use core::net::IpAddr;
use ctnetlink::Tuple;
use ctnetlink::flow::Status;

/// A packet's direction, relative to the host that began the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From who began the flow.
    Original,
    /// To who began the flow.
    Reply,
}

impl Direction {
    /// The opposite direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    /// As the kernel numbers it, `enum ip_conntrack_dir`; also the index of what is kept for each direction.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Original => 0,
            Self::Reply => 1,
        }
    }
}

/// What a helper may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Most expectations of a flow at a time. The kernel sees to it: a further one replaces the oldest.
    pub expect_max: u32,
    /// How long an expectation lives, in seconds.
    pub expect_timeout_s: u32,
}

/// The flow that a packet belongs to, as the kernel knows it (`NFQA_CT`).
#[derive(Debug)]
pub struct Context<'a> {
    /// The original direction.
    pub original: Tuple,
    /// The reply direction; other addresses than `original`, swapped, mean translation.
    pub reply: Tuple,
    /// Conntrack zone, host order.
    pub zone: u16,
    /// Status bits. `SRC_NAT` and `DST_NAT` decide about translation of what is expected.
    pub status: Status,
    /// What the helper may announce.
    pub policy: Policy,
    /// The helper's private data with this flow (`CTA_HELP_INFO`), any length; helpers read what is missing as zeros
    /// and write nothing beyond its end.
    pub private: &'a mut [u8],
}

impl Context<'_> {
    /// The tuple of a direction: as its packets look before any translation.
    #[must_use]
    pub const fn tuple(&self, direction: Direction) -> &Tuple {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }

    /// Whether `address` belongs to the end that sends in `direction`: the address it has itself, or the outer one,
    /// which the configuration of a server behind translation may name.
    pub(super) fn is_own(&self, direction: Direction, address: IpAddr) -> bool {
        self.tuple(direction).src_ip() == address
            || self.tuple(direction.opposite()).dst_ip() == address
    }

    /// A number of the private data, native order; 0 where it is too short.
    pub(super) fn private_u32(&self, at: usize) -> u32 {
        let chunk = self.private.get(at..).and_then(|rest| rest.first_chunk());
        chunk.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// Writes a number of the private data, native order. Whether that changed anything.
    pub(super) fn set_private_u32(&mut self, at: usize, value: u32) -> bool {
        let Some(room) = self.private.get_mut(at..at + 4) else { return false };
        let changed = *room != value.to_ne_bytes();
        room.copy_from_slice(&value.to_ne_bytes());
        changed
    }

    /// Whether any address or port of the flow is translated.
    pub(super) fn is_translated(&self) -> bool {
        self.status.intersects(Status::SRC_NAT | Status::DST_NAT)
    }
}

/// A packet of the flow.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The packet's direction: `CT_INFO` of at least 3 is the reply direction.
    pub direction: Direction,
    /// TCP sequence number of the payload's first byte, as in the packet; 0 for other protocols.
    pub seq: u32,
    /// What follows the transport header, untranslated, as the speaker wrote it.
    pub payload: &'a [u8],
}
