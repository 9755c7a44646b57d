//! The flow as an owned value.

use super::{
    Counters, HelperName, Known, ProtoState, SeqAdj, Status, Synproxy, TcpState, Timestamps,
};
use crate::{FlowKey, Tuple};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What few flows have. Arrays hold the original direction first, then the reply direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extra {
    /// Original tuple of the flow whose expectation began this one.
    pub master: Option<Tuple>,
    /// Attached helper.
    pub helper: Option<HelperName>,
    /// Connection labels, 32 bits a word, bit 0 of word 0 first.
    pub labels: Option<Vec<u32>>,
    /// Sequence adjustment.
    pub seq_adj: Option<[SeqAdj; 2]>,
    /// Synproxy parameters that are not all zero.
    pub synproxy: Option<Synproxy>,
    /// Zones that differ between the directions.
    pub zones: [Option<u16>; 2],
    /// Traffic counters.
    pub counters: [Option<Counters>; 2],
    /// When it began and ended.
    pub timestamps: Option<Timestamps>,
    /// When the event happened (`CTA_TIMESTAMP_EVENT`): wall clock, nanoseconds since 1970.
    pub event_ns: Option<u64>,
    /// Reference count, in dumps.
    pub use_count: Option<u32>,
    /// Deprecated security mark.
    pub secmark: Option<u32>,
    /// Security context.
    pub secctx: Option<Vec<u8>>,
}

impl Extra {
    /// The same after `change` has set fields. Other crates make extras so: a struct literal would not compile any more
    /// when a newer kernel adds a field.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Whether it says anything that belongs to one reading of a flow.
    fn is_volatile(&self) -> bool {
        self.counters != [None; 2]
            || self.timestamps.is_some()
            || self.event_ns.is_some()
            || self.use_count.is_some()
    }
}

/// One tracked connection, as much of it as its source told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The direction of the first packet.
    pub orig: Tuple,
    /// The direction of the answers, with translation applied. Unknown (`!is_known()`) where not told.
    pub reply: Tuple,
    /// Zone, host order; part of the identity.
    pub zone: u16,
    /// Which of the following carry a value.
    pub known: Known,
    /// Status bits.
    pub status: Status,
    /// Seconds until it expires, counted from when the source spoke.
    pub timeout_s: u32,
    /// Packet mark of the connection.
    pub mark: u32,
    /// The kernel's id: stable for the life of the flow, not across kernels.
    pub id: u32,
    /// Layer-4 state.
    pub proto: ProtoState,
    /// What few flows have. Copies of a flow share it until one of them changes it ([`Flow::extra_mut`]).
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

    /// The extras, made on first use.
    pub fn extra_mut(&mut self) -> &mut Extra {
        Arc::make_mut(self.extra.get_or_insert_default())
    }

    /// Lets go of extras that say nothing.
    pub fn drop_empty_extra(&mut self) {
        self.extra = self.extra.take().filter(|extra| **extra != Extra::default());
    }

    /// Whether the source gave this field.
    #[must_use]
    pub const fn has(&self, field: Known) -> bool {
        self.known.contains(field)
    }

    /// Original tuple of the master flow, for an expected flow.
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

    /// How the source is translated: the status says it is, and the reply goes to somebody else.
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

    /// How the destination is translated: the status says it is, and the reply comes from somebody else.
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

    /// Drops what belongs to one reading of a flow rather than to the flow: counters, timestamps, reference count.
    /// A table keeps flows in this form.
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

    /// Whether a state that only TCP has may be acted on.
    #[must_use]
    pub const fn tcp(&self) -> Option<&TcpState> {
        match &self.proto {
            ProtoState::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }
}

impl NatEnd {
    /// Whether it translates anything.
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
