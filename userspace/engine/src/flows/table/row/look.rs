//! Looks at a row without unpacking it, for queries that pick few of very many.

use super::super::Entry;
use super::{End, Ends, Pairs, Row};
use core::net::{IpAddr, Ipv4Addr};
use ctnetlink::Tuple;
use ctnetlink::flow::{Extra, Known, ProtoState, Status};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};

/// What a row holds beside its tuples.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The fields below that carry a value.
    pub known: Known,
    /// Status bits.
    pub status: Status,
    /// Mark.
    pub mark: u32,
    /// The kernel's id.
    pub id: u32,
    /// Zone of the identity, host order.
    pub zone: u16,
    /// Layer-4 state.
    pub state: &'a ProtoState,
    /// What few flows have.
    pub extra: Option<&'a Extra>,
}

impl Row {
    #[inline]
    fn address(&self, pairs: &Pairs, reply: bool, dst: bool) -> Option<IpAddr> {
        let of = |end: &End| Some(Ipv4Addr::from(if dst { end.dst } else { end.src }).into());
        match &self.ends {
            Ends::TwoWay { orig, reply: answers, .. } => of(if reply { answers } else { orig }),
            Ends::OneWay { orig, .. } => (!reply).then(|| of(orig)).flatten(),
            Ends::Wide(place) => address(&pairs.at(*place)[usize::from(reply)], dst),
        }
    }

    #[inline]
    fn l4(&self, pairs: &Pairs, reply: bool) -> Option<[u8; 4]> {
        match &self.ends {
            Ends::TwoWay { orig, reply: answers, .. } => {
                Some(if reply { answers.l4 } else { orig.l4 })
            }
            Ends::OneWay { orig, .. } => (!reply).then_some(orig.l4),
            Ends::Wide(place) => {
                let tuple = &pairs.at(*place)[usize::from(reply)];
                tuple.is_known().then_some(tuple.l4)
            }
        }
    }

    #[inline]
    fn family_and_proto(&self, pairs: &Pairs) -> (u8, u8) {
        match &self.ends {
            Ends::TwoWay { proto, .. } | Ends::OneWay { proto, .. } => (FAMILY_IPV4, *proto),
            Ends::Wide(place) => {
                let orig = &pairs.at(*place)[0];
                (orig.family, orig.proto)
            }
        }
    }
}

/// Source or destination address of a tuple; `None` where it is unknown.
#[must_use]
#[inline]
pub fn address(tuple: &Tuple, dst: bool) -> Option<IpAddr> {
    match tuple.family {
        FAMILY_IPV4 | FAMILY_IPV6 => Some(if dst { tuple.dst_ip() } else { tuple.src_ip() }),
        _ => None,
    }
}

impl<'a> Entry<'a> {
    /// Source or destination address of the original or the reply direction; `None` where it is unknown.
    #[must_use]
    #[inline]
    pub fn address(&self, reply: bool, dst: bool) -> Option<IpAddr> {
        self.row.address(self.pairs, reply, dst)
    }

    /// Layer-4 bytes of the original or the reply direction, as in [`Tuple::l4`]; `None` where they are unknown.
    #[must_use]
    #[inline]
    pub fn l4(&self, reply: bool) -> Option<[u8; 4]> {
        self.row.l4(self.pairs, reply)
    }

    /// Address family and IP protocol of the original direction.
    #[must_use]
    #[inline]
    pub fn family_and_proto(&self) -> (u8, u8) {
        self.row.family_and_proto(self.pairs)
    }

    /// The fields besides the tuples.
    #[must_use]
    #[inline]
    pub fn facts(&self) -> Facts<'a> {
        let Row { known, status, mark, id, zone, state, extra, .. } = self.row;
        let (known, status, mark, id, zone) = (*known, *status, *mark, *id, *zone);
        Facts { known, status, mark, id, zone, state, extra: extra.as_deref() }
    }
}
