//! The flow as an owned value.

use super::{
    Counters, HelperName, Known, ProtoState, SeqAdj, Status, Synproxy, TcpState, Timestamps,
};
use crate::{FlowKey, Tuple};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The fields that few flows have. Arrays hold the original direction first, then the reply direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extra {
    /// `CTA_TUPLE_MASTER`: original tuple of the flow whose helper expected this one.
    pub master: Option<Tuple>,
    /// `CTA_HELP_NAME`: the helper that is attached.
    pub helper: Option<HelperName>,
    /// `CTA_LABELS`: 32 bits a word, host byte order, bit 0 of word 0 first.
    pub labels: Option<Vec<u32>>,
    /// `CTA_SEQ_ADJ_*`: sequence adjustment.
    pub seq_adj: Option<[SeqAdj; 2]>,
    /// `CTA_SYNPROXY`, unless all zero.
    pub synproxy: Option<Synproxy>,
    /// `CTA_TUPLE_ZONE`: the zone of one direction, host byte order.
    pub zones: [Option<u16>; 2],
    /// `CTA_COUNTERS_*`.
    pub counters: [Option<Counters>; 2],
    /// `CTA_TIMESTAMP`.
    pub timestamps: Option<Timestamps>,
    /// `CTA_TIMESTAMP_EVENT`: when the event happened; wall clock, nanoseconds since 1970.
    pub event_ns: Option<u64>,
    /// `CTA_USE`: references that the kernel holds; only in dumps.
    pub use_count: Option<u32>,
    /// `CTA_SECMARK`, obsolete.
    pub secmark: Option<u32>,
    /// `CTA_SECCTX_NAME`: security context, without terminator.
    pub secctx: Option<Vec<u8>>,
}

impl Extra {
    /// The extras after `change` has set fields. Other crates make extras so: a struct literal would not compile any
    /// more when a newer kernel adds a field.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Whether it holds fields that describe one moment of the flow.
    fn is_volatile(&self) -> bool {
        self.counters != [None; 2]
            || self.timestamps.is_some()
            || self.event_ns.is_some()
            || self.use_count.is_some()
    }
}

/// One tracked connection: an owned value of at most 128 bytes. [`Flow::known`] says which fields the message carried.
#[doc(alias = "nf_conn")]
#[doc(alias = "conntrack entry")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// `CTA_TUPLE_ORIG`: the direction of the first packet.
    pub orig: Tuple,
    /// `CTA_TUPLE_REPLY`: the direction of the replies, with translation applied. Unknown (`!is_known()`) if the
    /// message did not carry it.
    pub reply: Tuple,
    /// `CTA_ZONE`, or `CTA_TUPLE_ZONE` of the original direction: host byte order; part of the identity.
    pub zone: u16,
    /// The fields below that the message carried.
    pub known: Known,
    /// `CTA_STATUS`.
    pub status: Status,
    /// `CTA_TIMEOUT`: seconds from the message until the flow expires.
    pub timeout_s: u32,
    /// `CTA_MARK`, host byte order.
    pub mark: u32,
    /// `CTA_ID`: one number for the life of the flow in this kernel; other kernels number it differently.
    pub id: u32,
    /// `CTA_PROTOINFO`.
    pub proto: ProtoState,
    /// The fields that few flows have. Copies of a flow share them until one of them changes it ([`Flow::extra_mut`]).
    pub extra: Option<Arc<Extra>>,
}

const _: () = assert!(size_of::<Flow>() <= 128);

/// One translated end of a flow: the address, and the port where it was translated too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatEnd {
    /// Translated address, network order; IPv4 in the first four bytes. `None`: only the port is translated.
    pub addr: Option<[u8; 16]>,
    /// Translated port, host order.
    pub port: Option<u16>,
}

impl Default for Flow {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl Flow {
    /// A flow of which nothing is known.
    pub const UNKNOWN: Self = Self {
        orig: Tuple::UNKNOWN,
        reply: Tuple::UNKNOWN,
        zone: 0,
        known: Known::empty(),
        status: Status::empty(),
        timeout_s: 0,
        mark: 0,
        id: 0,
        proto: ProtoState::None,
        extra: None,
    };

    /// A flow of which only the original direction is known.
    #[must_use]
    pub fn new(orig: Tuple) -> Self {
        Self { orig, ..Self::default() }
    }

    /// Its identity.
    #[must_use]
    pub const fn key(&self) -> FlowKey {
        FlowKey::new(self.orig, self.zone)
    }

    /// The extras, to be changed: allocated if there are none, copied if another flow shares them.
    pub fn extra_mut(&mut self) -> &mut Extra {
        Arc::make_mut(self.extra.get_or_insert_default())
    }

    /// Frees extras in which no field is set.
    pub fn drop_empty_extra(&mut self) {
        self.extra = self.extra.take().filter(|extra| **extra != Extra::default());
    }

    /// Whether the message carried this field.
    #[must_use]
    pub const fn has(&self, field: Known) -> bool {
        self.known.contains(field)
    }

    /// Original tuple of the flow whose helper expected this one.
    #[must_use]
    pub fn master(&self) -> Option<&Tuple> {
        self.extra.as_deref()?.master.as_ref()
    }

    /// Synproxy parameters, all zero included.
    #[must_use]
    pub fn synproxy(&self) -> Option<Synproxy> {
        let given = self.has(Known::SYNPROXY);
        given.then(|| self.extra.as_deref().and_then(|e| e.synproxy).unwrap_or_default())
    }

    /// Translation of the source: `SRC_NAT_DONE` is set, and replies go to another address or port than the source.
    #[must_use]
    pub fn source_nat(&self) -> Option<NatEnd> {
        let set = self.status.contains(Status::SRC_NAT_DONE) && self.reply.is_known();
        let mirror = self.orig.inverted();
        set.then(|| NatEnd {
            addr: (self.reply.dst != mirror.dst).then_some(self.reply.dst),
            port: translated(self, self.reply.ports().1, mirror.ports().1),
        })
        .filter(NatEnd::is_some)
    }

    /// Translation of the destination: `DST_NAT_DONE` is set, and replies come from another address or port than the
    /// destination.
    #[must_use]
    pub fn destination_nat(&self) -> Option<NatEnd> {
        let set = self.status.contains(Status::DST_NAT_DONE) && self.reply.is_known();
        let mirror = self.orig.inverted();
        set.then(|| NatEnd {
            addr: (self.reply.src != mirror.src).then_some(self.reply.src),
            port: translated(self, self.reply.ports().0, mirror.ports().0),
        })
        .filter(NatEnd::is_some)
    }

    /// Removes the fields that describe one moment of the flow: counters, timestamps, reference count.
    pub fn drop_volatile(&mut self) {
        if self.extra.as_deref().is_some_and(Extra::is_volatile) {
            let extra = self.extra_mut();
            extra.counters = [None; 2];
            extra.timestamps = None;
            extra.event_ns = None;
            extra.use_count = None;
        }
        self.drop_empty_extra();
    }

    /// The state of the TCP tracker, if the flow has one.
    #[must_use]
    pub const fn tcp(&self) -> Option<&TcpState> {
        match &self.proto {
            ProtoState::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }
}

impl NatEnd {
    /// Whether address or port is translated.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.addr.is_some() || self.port.is_some()
    }
}

fn translated(flow: &Flow, now: u16, mirror: u16) -> Option<u16> {
    (flow.orig.has_ports() && now != mirror).then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::ipproto;

    fn natted() -> Flow {
        let orig = Tuple::v4([1, 1, 1, 1], [2, 2, 2, 2], ipproto::TCP).with_ports(1001, 80);
        let reply = Tuple::v4([8, 8, 8, 8], [9, 9, 9, 9], ipproto::TCP).with_ports(8080, 4000);
        let status = Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        Flow { reply, status, known: Known::STATUS, ..Flow::new(orig) }
    }

    #[test]
    fn translation_is_read_from_the_reply_direction() {
        let flow = natted();
        let source = flow.source_nat().unwrap();
        assert_eq!((&source.addr.unwrap()[..4], source.port), (&[9, 9, 9, 9][..], Some(4000)));
        let destination = flow.destination_nat().unwrap();
        assert_eq!(destination.port, Some(8080));
    }

    #[test]
    fn a_flow_without_the_status_bit_is_not_translated() {
        let flow = Flow { status: Status::empty(), ..natted() };
        assert_eq!(flow.source_nat(), None);
        assert_eq!(flow.destination_nat(), None);
    }

    #[test]
    fn volatile_fields_go_and_the_extras_with_them_unless_they_say_more() {
        let counted = |mut flow: Flow| {
            flow.extra_mut().counters = [Some(Counters { packets: 1, bytes: 60 }); 2];
            flow
        };
        let mut flow = counted(natted());
        flow.drop_volatile();
        assert_eq!(flow, natted());

        let mut named = natted();
        named.extra_mut().helper = HelperName::from_bytes(b"ftp");
        let mut flow = counted(named.clone());
        flow.drop_volatile();
        assert_eq!(flow, named);
    }

    #[test]
    fn copies_of_a_flow_share_the_extras_until_one_changes_them() {
        let mut flow = natted();
        flow.extra_mut().secmark = Some(1);
        let mut copy = flow.clone();
        copy.drop_volatile();
        let shared =
            |copy: &Flow| Arc::ptr_eq(flow.extra.as_ref().unwrap(), copy.extra.as_ref().unwrap());
        assert!(shared(&copy), "nothing was to be dropped");
        copy.extra_mut().secmark = Some(2);
        assert!(!shared(&copy));
        assert_eq!(flow.extra.as_ref().unwrap().secmark, Some(1));
    }
}
