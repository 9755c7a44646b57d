//! A row of the table: what nearly every flow is like takes the least room, and nothing of any flow is lost.
//!
//! ```text
//!             12      12      4      12      16                           2      2       8       20    = 88 bytes
//!           +-------+-------+------+-------+----------------------------+------+-------+-------+-------+
//!  two-way  | orig  | reply | tag, | state | status, timeout, mark, id  | zone | known | extra | notes |
//!           +-------+-------+ prot-+-------+----------------------------+------+-------+-------+-------+
//!  one-way  | orig  |       | ocol |       |                            |      |       |       |       |
//!           +-------+-------+------+-------+----------------------------+------+-------+-------+-------+
//!  wide     | place |       | tag  |       |                            |      |       |       |       |
//!           +-------+-------+------+-------+----------------------------+------+-------+-------+-------+
//!   orig, reply   IPv4 source and destination, layer-4 bytes. The compiler puts the fields in an order of its own.
//!   place         where in `Pairs` both tuples lie as they are, 76 bytes
//! ```
//!
//! *Wide* is what fits neither of the others: IPv6, a reply of another family or protocol, and whatever a peer may make
//! up, such as an IPv4 address with something behind its fourth byte.

pub(super) mod look;

use super::notes::Notes;
use crate::flows::merge::Fields;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use ctnetlink::flow::{Extra, Known, ProtoState, Status};
use ctnetlink::tuple::FAMILY_IPV4;
use ctnetlink::{Flow, FlowKey, Tuple};
use foldhash::fast::FixedState;

/// One direction over IPv4; the row says which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    src: [u8; 4],
    dst: [u8; 4],
    l4: [u8; 4],
}

impl End {
    /// The direction in short; `None` where that would lose something.
    #[inline]
    fn of(tuple: &Tuple) -> Option<Self> {
        let short = tuple.family == FAMILY_IPV4 && is_short(&tuple.src) && is_short(&tuple.dst);
        let first = |[a, b, c, d, ..]: [u8; 16]| [a, b, c, d];
        short.then(|| Self { src: first(tuple.src), dst: first(tuple.dst), l4: tuple.l4 })
    }

    #[inline]
    fn tuple(self, proto: u8) -> Tuple {
        let Self { src, dst, l4 } = self;
        Tuple { src: whole(src), dst: whole(dst), l4, family: FAMILY_IPV4, proto }
    }

    /// Whether the tuple says just this.
    #[inline]
    fn is(self, proto: u8, tuple: &Tuple) -> bool {
        (tuple.family, tuple.proto, tuple.l4) == (FAMILY_IPV4, proto, self.l4)
            && number(tuple.src) == number(whole(self.src))
            && number(tuple.dst) == number(whole(self.dst))
    }
}

// Addresses are handled as numbers: what is written byte by byte and then read in one piece makes a processor wait.

/// Whether an address has nothing behind its fourth byte.
#[inline]
const fn is_short(address: &[u8; 16]) -> bool {
    number(*address) >> 32 == 0
}

#[inline]
const fn number(address: [u8; 16]) -> u128 {
    u128::from_le_bytes(address)
}

#[inline]
fn whole(address: [u8; 4]) -> [u8; 16] {
    u128::from(u32::from_le_bytes(address)).to_le_bytes()
}

/// Both directions of a flow.
#[derive(Debug)]
enum Ends {
    TwoWay {
        orig: End,
        reply: End,
        proto: u8,
    },
    /// Nothing of the reply is known.
    OneWay {
        orig: End,
        proto: u8,
    },
    Wide(u32),
}

impl Ends {
    fn new([orig, reply]: [Tuple; 2], pairs: &mut Pairs) -> Self {
        Self::short(&orig, &reply).unwrap_or_else(|| Self::Wide(pairs.keep([orig, reply])))
    }

    /// Both directions in short form, if that form holds all of them.
    fn short(orig: &Tuple, reply: &Tuple) -> Option<Self> {
        let (proto, orig) = (orig.proto, End::of(orig)?);
        if *reply == Tuple::default() {
            return Some(Self::OneWay { orig, proto });
        }
        let reply = End::of(reply).filter(|_| reply.proto == proto)?;
        Some(Self::TwoWay { orig, reply, proto })
    }

    fn set(&mut self, [orig, reply]: [Tuple; 2], pairs: &mut Pairs) {
        match (Self::short(&orig, &reply), &*self) {
            (None, Self::Wide(place)) => pairs.pairs[*place as usize] = [orig, reply],
            (None, _) => *self = Self::Wide(pairs.keep([orig, reply])),
            (Some(short), _) => {
                self.release(pairs);
                *self = short;
            }
        }
    }

    fn release(&self, pairs: &mut Pairs) {
        if let Self::Wide(place) = self {
            pairs.free.push(*place);
        }
    }

    fn orig(&self, pairs: &Pairs) -> Tuple {
        match self {
            Self::TwoWay { orig, proto, .. } | Self::OneWay { orig, proto } => orig.tuple(*proto),
            Self::Wide(place) => pairs.at(*place)[0],
        }
    }

    /// Whether this is the reply.
    #[inline]
    fn reply_is(&self, tuple: &Tuple, pairs: &Pairs) -> bool {
        match self {
            Self::TwoWay { reply, proto, .. } => reply.is(*proto, tuple),
            Self::OneWay { .. } => *tuple == Tuple::default(),
            Self::Wide(place) => pairs.at(*place)[1] == *tuple,
        }
    }

    #[inline]
    fn knows_reply(&self, pairs: &Pairs) -> bool {
        match self {
            Self::TwoWay { .. } => true,
            Self::OneWay { .. } => false,
            Self::Wide(place) => pairs.at(*place)[1].is_known(),
        }
    }

    fn reply(&self, pairs: &Pairs) -> Tuple {
        match self {
            Self::TwoWay { reply, proto, .. } => reply.tuple(*proto),
            Self::OneWay { .. } => Tuple::default(),
            Self::Wide(place) => pairs.at(*place)[1],
        }
    }
}

/// Tuples of the flows that are wide.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pairs: Vec<[Tuple; 2]>,
    free: Vec<u32>,
}

impl Pairs {
    fn keep(&mut self, pair: [Tuple; 2]) -> u32 {
        let Some(place) = self.free.pop() else {
            self.pairs.push(pair);
            return (self.pairs.len() - 1) as u32;
        };
        self.pairs[place as usize] = pair;
        place
    }

    fn at(&self, place: u32) -> &[Tuple; 2] {
        &self.pairs[place as usize]
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.pairs.clear();
        self.free.clear();
    }

    /// How many there are, and how many free places.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.pairs.len() - self.free.len(), self.free.len())
    }
}

/// What a flow is found by.
pub(super) struct Key<'a> {
    key: &'a FlowKey,
    short: Option<(End, u8)>,
}

impl<'a> Key<'a> {
    #[inline]
    pub(super) fn of(key: &'a FlowKey) -> Self {
        let short = End::of(&key.tuple).map(|orig| (orig, key.tuple.proto));
        Self { key, short }
    }

    #[inline]
    pub(super) fn hash(&self, hasher: &FixedState) -> u64 {
        match self.short {
            Some((orig, proto)) => hash_short(hasher, orig, proto, self.key.zone),
            None => hasher.hash_one(self.key),
        }
    }
}

/// Two numbers are hashed in a fraction of the time that 38 bytes take.
#[inline]
fn hash_short(hasher: &FixedState, End { src, dst, l4 }: End, proto: u8, zone: u16) -> u64 {
    let [src, dst, l4] = [src, dst, l4].map(|bytes| u128::from(u32::from_ne_bytes(bytes)));
    hasher.hash_one((src << 64 | dst << 32 | l4, u32::from(zone) << 8 | u32::from(proto)))
}

/// One flow and what is remembered of it.
#[derive(Debug)]
pub(super) struct Row {
    ends: Ends,
    state: ProtoState,
    status: Status,
    timeout_s: u32,
    mark: u32,
    id: u32,
    zone: u16,
    known: Known,
    extra: Option<Arc<Extra>>,
    pub(super) notes: Notes,
}

// A million flows are a million of these. A slot without one takes no more.
const _: () = assert!(size_of::<Row>() == 88 && size_of::<Option<Row>>() == 88);

impl Row {
    #[inline]
    pub(super) fn new(flow: Flow, notes: Notes, pairs: &mut Pairs) -> Self {
        let ends = Ends::new([flow.orig, flow.reply], pairs);
        Self::with_ends(flow, ends, notes)
    }

    #[inline]
    fn with_ends(flow: Flow, ends: Ends, notes: Notes) -> Self {
        let Flow { orig: _, reply: _, zone, known, status, timeout_s, mark, id, proto, extra } =
            flow;
        Self { ends, state: proto, status, timeout_s, mark, id, zone, known, extra, notes }
    }

    pub(super) fn set_flow(&mut self, flow: Flow, pairs: &mut Pairs) {
        self.ends.set([flow.orig, flow.reply], pairs);
        let Flow { orig: _, reply: _, zone, known, status, timeout_s, mark, id, proto, extra } =
            flow;
        (self.zone, self.known, self.status, self.timeout_s) = (zone, known, status, timeout_s);
        (self.mark, self.id, self.state, self.extra) = (mark, id, proto, extra);
    }

    /// As [`merge::absorb`]. Nothing is unpacked for it.
    pub(super) fn absorb(&mut self, news: Flow, pairs: &mut Pairs) {
        if news.reply.is_known() && !self.ends.reply_is(&news.reply, pairs) {
            self.ends.set([self.ends.orig(pairs), news.reply], pairs);
        }
        let fields = Fields {
            known: &mut self.known,
            status: &mut self.status,
            timeout_s: &mut self.timeout_s,
            mark: &mut self.mark,
            id: &mut self.id,
            proto: &mut self.state,
            extra: &mut self.extra,
        };
        fields.absorb(news);
    }

    pub(super) fn flow(&self, pairs: &Pairs) -> Flow {
        Flow {
            orig: self.ends.orig(pairs),
            reply: self.ends.reply(pairs),
            zone: self.zone,
            known: self.known,
            status: self.status,
            timeout_s: self.timeout_s,
            mark: self.mark,
            id: self.id,
            proto: self.state,
            extra: self.extra.clone(),
        }
    }

    pub(super) fn key(&self, pairs: &Pairs) -> FlowKey {
        FlowKey::new(self.ends.orig(pairs), self.zone)
    }

    /// Whether another reply direction is known than this.
    #[inline]
    pub(super) fn has_other_reply(&self, reply: &Tuple, pairs: &Pairs) -> bool {
        self.ends.knows_reply(pairs) && !self.ends.reply_is(reply, pairs)
    }

    pub(super) fn proto(&self, pairs: &Pairs) -> u8 {
        match &self.ends {
            Ends::TwoWay { proto, .. } | Ends::OneWay { proto, .. } => *proto,
            Ends::Wide(place) => pairs.at(*place)[0].proto,
        }
    }

    pub(super) const fn zone(&self) -> u16 {
        self.zone
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.known.contains(Known::ID).then_some(self.id)
    }

    pub(super) const fn timeout_s(&self) -> u32 {
        self.timeout_s
    }

    pub(super) fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    /// Whether this is the flow with that identity.
    #[inline]
    pub(super) fn is(&self, key: &Key<'_>, pairs: &Pairs) -> bool {
        let same = match &self.ends {
            Ends::TwoWay { orig, proto, .. } | Ends::OneWay { orig, proto } => {
                key.short == Some((*orig, *proto))
            }
            Ends::Wide(place) => pairs.at(*place)[0] == key.key.tuple,
        };
        same && self.zone == key.key.zone
    }

    /// As [`Key::hash`].
    pub(super) fn hash(&self, pairs: &Pairs, hasher: &FixedState) -> u64 {
        match &self.ends {
            Ends::TwoWay { orig, proto, .. } | Ends::OneWay { orig, proto } => {
                hash_short(hasher, *orig, *proto, self.zone)
            }
            Ends::Wide(_) => Key::of(&self.key(pairs)).hash(hasher),
        }
    }

    /// The flow goes: what is kept of it elsewhere goes too.
    pub(super) fn release(self, pairs: &mut Pairs) -> Notes {
        self.ends.release(pairs);
        self.notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::merge;
    use ctnetlink::flow::TcpState;
    use proptest::prelude::*;
    use std::vec;
    use wire::arbitrary;

    /// Any tuple at all: known or not, and with bytes that no decoder would let through.
    fn any_tuple() -> impl Strategy<Value = Tuple> {
        let wild = any::<([u8; 16], [u8; 16], [u8; 4], u8, u8)>()
            .prop_map(|(src, dst, l4, family, proto)| Tuple { src, dst, l4, family, proto });
        // A tuple in short, but for one byte.
        let nearly = (any::<[u8; 4]>(), 0..16_usize, any::<(bool, u8)>()).prop_map(
            |(address, at, (source, byte))| {
                let mut tuple = Tuple::v4(address, address, 6).with_ports(1, 2);
                (if source { &mut tuple.src } else { &mut tuple.dst })[at] = byte;
                tuple
            },
        );
        let few = vec![Tuple::default(), Tuple { proto: 6, ..Tuple::default() }];
        prop_oneof![arbitrary::tuple(), nearly, wild, proptest::sample::select(few)]
    }

    fn any_flow() -> impl Strategy<Value = Flow> {
        let reply = prop_oneof![any_tuple().prop_map(Some), Just(None)];
        let rest = (any::<(u16, u32, u32, bool, Option<[u8; 2]>)>(), any_tuple(), reply);
        (arbitrary::v1_flow(), rest).prop_map(|(flow, (numbers, orig, reply))| {
            let (known, id, status, whole, wscale) = numbers;
            // As it was made, both tuples belong to each other; without a reply, the answer is untranslated.
            let reply = reply.unwrap_or_else(|| orig.inverted());
            let (orig, reply) = if whole { (flow.orig, flow.reply) } else { (orig, reply) };
            let tcp = TcpState { state: id as u8, wscale, flags: None };
            let proto = if known % 2 == 0 { ProtoState::Tcp(tcp) } else { flow.proto };
            let (known, status) =
                (Known::from_bits_retain(known), Status::from_bits_retain(status));
            Flow { orig, reply, known, id, status, proto, ..flow }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn any_flow_comes_out_as_it_went_in(first in any_flow(), second in any_flow()) {
            let (mut pairs, hasher) = (Pairs::default(), FixedState::with_seed(1));
            let mut row = Row::new(first.clone(), Notes::default(), &mut pairs);
            for flow in [&first, &second, &first] {
                row.set_flow(flow.clone(), &mut pairs);
                prop_assert_eq!(&row.flow(&pairs), flow);
                prop_assert_eq!(row.key(&pairs), flow.key());
                let key = flow.key();
                prop_assert!(row.is(&Key::of(&key), &pairs));
                prop_assert_eq!(row.hash(&pairs, &hasher), Key::of(&key).hash(&hasher));
                let other = if *flow == first { second.key() } else { first.key() };
                prop_assert_eq!(row.is(&Key::of(&other), &pairs), other == key);
            }
            row.release(&mut pairs);
            prop_assert_eq!(pairs.counts().0, 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn news_is_laid_over_a_row_as_over_a_flow(known in any_flow(), news in any_flow(), is_known: bool) {
            let reply = if is_known { known.reply } else { news.reply };
            let news = Flow { orig: known.orig, zone: known.zone, reply, ..news };
            let mut pairs = Pairs::default();
            let mut row = Row::new(known.clone(), Notes::default(), &mut pairs);
            let other = known.reply.is_known() && known.reply != news.reply;
            prop_assert_eq!(row.has_other_reply(&news.reply, &pairs), other);
            row.absorb(news.clone(), &mut pairs);
            let mut flow = known;
            merge::absorb(&mut flow, news);
            prop_assert_eq!(row.flow(&pairs), flow);
        }
    }

    #[test]
    fn what_most_flows_are_like_is_short() {
        let orig = Tuple::v4([1; 4], [2; 4], 6).with_ports(3, 4);
        let is_wide = |flow: Flow| {
            let mut pairs = Pairs::default();
            let _ = Row::new(flow, Notes::default(), &mut pairs);
            pairs.counts().0 == 1
        };
        assert!(!is_wide(Flow::new(orig)));
        assert!(!is_wide(Flow { reply: orig.inverted(), ..Flow::new(orig) }));
        assert!(is_wide(Flow { reply: Tuple::v6([1; 16], [2; 16], 6), ..Flow::new(orig) }));
        assert!(is_wide(Flow { reply: Tuple::v4([1; 4], [2; 4], 17), ..Flow::new(orig) }));
        assert!(is_wide(Flow { reply: Tuple { proto: 6, ..Tuple::default() }, ..Flow::new(orig) }));
    }
}
