//! The view of a flow, which one pass over the attributes fills.
//!
//! Numbers are taken out right away, because that costs less than remembering where they were; bytes of variable
//! length stay in the datagram. Building a view allocates nothing, and [`FlowView::to_flow`] only does for what
//! few flows have.

#[cfg(feature = "alloc")]
mod owned;

#[cfg(feature = "alloc")]
pub use owned::Detail;

use crate::attribute::{Attribute, Attributes};
use crate::flow::{
    Counters, HelperName, ProtoState, SeqAdj, Status, Synproxy, TcpFlags, TcpState, Timestamps,
};
use crate::frame::split_family;
use crate::uapi::{counters, cta, help, protoinfo, secctx, seqadj, synproxy, timestamp};
use crate::{DecodeError, FlowKey, Tuple, direction};

/// A flow in a datagram. Arrays hold the original direction first, then the reply direction, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowView<'a> {
    /// `nfgenmsg.nfgen_family`.
    pub family: u8,
    /// `CTA_TUPLE_ORIG`.
    pub orig: Tuple,
    /// `CTA_TUPLE_REPLY`; unknown if the message did not carry it.
    pub reply: Tuple,
    /// `CTA_ZONE`: the zone of both directions.
    pub zone: Option<u16>,
    /// `CTA_TUPLE_ZONE`: the zone of one direction. The kernel sends either this or `zone`.
    pub zones: [Option<u16>; 2],
    /// `CTA_TUPLE_MASTER`.
    pub master: Option<Tuple>,
    /// `CTA_STATUS`.
    pub status: Option<Status>,
    /// `CTA_TIMEOUT`: seconds left.
    pub timeout_s: Option<u32>,
    /// `CTA_MARK`. The kernel leaves a mark of 0 out of events unless it has just changed.
    pub mark: Option<u32>,
    /// `CTA_ID`.
    pub id: Option<u32>,
    /// `CTA_USE`.
    pub use_count: Option<u32>,
    /// `CTA_PROTOINFO`. Events of destruction carry only the state of TCP.
    pub proto: ProtoState,
    /// `CTA_HELP_NAME`.
    pub helper: Option<HelperName>,
    /// `CTA_HELP_INFO`: the helper's own bytes.
    pub helper_info: Option<&'a [u8]>,
    /// `CTA_LABELS`: as it lies in the kernel's memory; see [`label_words`].
    pub labels: Option<&'a [u8]>,
    /// `CTA_SEQ_ADJ_*`.
    pub seq_adj: [Option<SeqAdj>; 2],
    /// `CTA_SYNPROXY`, all zero included.
    pub synproxy: Option<Synproxy>,
    /// `CTA_SECMARK`.
    pub secmark: Option<u32>,
    /// `CTA_SECCTX_NAME`, without terminator.
    pub secctx: Option<&'a [u8]>,
    /// `CTA_COUNTERS_*`.
    pub counters: [Option<Counters>; 2],
    /// `CTA_TIMESTAMP`.
    pub timestamps: Option<Timestamps>,
    /// `CTA_TIMESTAMP_EVENT`: nanoseconds since 1970.
    pub event_ns: Option<u64>,
}

impl Default for FlowView<'_> {
    fn default() -> Self {
        Self::NOTHING
    }
}

impl<'a> FlowView<'a> {
    /// A view of nothing, copied as it lies in the program: that costs less than to put it together.
    const NOTHING: Self = Self {
        family: 0,
        orig: Tuple::UNKNOWN,
        reply: Tuple::UNKNOWN,
        zone: None,
        zones: [None; 2],
        master: None,
        status: None,
        timeout_s: None,
        mark: None,
        id: None,
        use_count: None,
        proto: ProtoState::None,
        helper: None,
        helper_info: None,
        labels: None,
        seq_adj: [None; 2],
        synproxy: None,
        secmark: None,
        secctx: None,
        counters: [None; 2],
        timestamps: None,
        event_ns: None,
    };

    /// Reads the payload of a flow message: family header and attributes. Unknown attributes are skipped.
    ///
    /// # Errors
    /// When the family header or an attribute is cut short, an attribute has the wrong length, or there is no original
    /// tuple. Offsets count from the start of `payload`.
    pub fn parse(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut view = Self::NOTHING;
        view.read(payload)?;
        Ok(view)
    }

    /// Reads as [`FlowView::parse`] does, over a view that is there already: nothing is left of what it held. A caller
    /// that reads many messages saves the moves of a view, several hundred bytes each.
    ///
    /// # Errors
    /// As [`FlowView::parse`]; the view then holds what came before the error.
    #[inline]
    pub fn read(&mut self, payload: &'a [u8]) -> Result<(), DecodeError> {
        *self = Self::NOTHING;
        let (family, attributes) = split_family(payload)?;
        self.family = family;
        self.fill(attributes)?;
        if !self.orig.is_known() {
            return Err(DecodeError::new(payload.len(), "flow without original tuple"));
        }
        Ok(())
    }

    /// Reads a flow that lies in an attribute of another message: `NFQA_CT` of a queued packet, `NFULA_CT` of a logged
    /// one. `family` is that of the message.
    ///
    /// # Errors
    /// As [`FlowView::parse`]; offsets count from where those of `nest` do.
    pub fn of_nest(family: u8, nest: &Attribute<'a>) -> Result<Self, DecodeError> {
        let mut view = Self { family, ..Self::NOTHING };
        view.fill(nest.nest())?;
        if view.orig.is_known() { Ok(view) } else { Err(nest.error("flow without original tuple")) }
    }

    /// The view after `change` has set fields. Other crates make a view so: a struct literal would not compile any more
    /// when a newer kernel adds a field.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The identity of the flow.
    #[must_use]
    pub fn key(&self) -> FlowKey {
        FlowKey::new(self.orig, self.identity_zone())
    }

    /// The zone that distinguishes this flow from others with the same original tuple: a zone of the original direction
    /// alone does that as well as one of both (`nf_ct_zone_id`, kernel v6.12
    /// `include/net/netfilter/nf_conntrack_zones.h`).
    fn identity_zone(&self) -> u16 {
        self.zone.or(self.zones[0]).unwrap_or(0)
    }

    /// Apart from `parse` so that the view stays in one place: inlined, the compiler takes it to pieces and spends more
    /// time on putting it together again than on reading.
    #[inline(never)]
    fn fill(&mut self, attributes: Attributes<'a>) -> Result<(), DecodeError> {
        for attribute in attributes {
            self.take(&attribute?)?;
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, a: &Attribute<'a>) -> Result<(), DecodeError> {
        match a.kind {
            cta::TUPLE_ORIG => self.zones[0] = direction::decode_into(&mut self.orig, a)?,
            cta::TUPLE_REPLY => self.zones[1] = direction::decode_into(&mut self.reply, a)?,
            cta::ID => self.id = Some(a.be32()?),
            cta::STATUS => self.status = Some(Status::from_bits_retain(a.be32()?)),
            cta::TIMEOUT => self.timeout_s = Some(a.be32()?),
            cta::PROTOINFO => self.proto = proto_state(a)?,
            cta::MARK => self.mark = Some(a.be32()?),
            cta::ZONE => self.zone = Some(a.be16()?),
            cta::COUNTERS_ORIG => self.counters[0] = Some(traffic(a)?),
            cta::COUNTERS_REPLY => self.counters[1] = Some(traffic(a)?),
            cta::TIMESTAMP => self.timestamps = Some(lifetime(a)?),
            cta::TIMESTAMP_EVENT => self.event_ns = Some(a.be64()?),
            _ => self.take_rare(a)?,
        }
        Ok(())
    }

    #[inline(never)]
    fn take_rare(&mut self, a: &Attribute<'a>) -> Result<(), DecodeError> {
        match a.kind {
            cta::TUPLE_MASTER => self.master = Some(direction::decode(a)?.0),
            cta::HELP => self.take_helper(a)?,
            cta::LABELS => self.labels = Some(label_bytes(a)?),
            cta::SEQ_ADJ_ORIG => self.seq_adj[0] = Some(adjustment(a)?),
            cta::SEQ_ADJ_REPLY => self.seq_adj[1] = Some(adjustment(a)?),
            cta::SYNPROXY => self.synproxy = Some(proxied(a)?),
            cta::USE => self.use_count = Some(a.be32()?),
            cta::SECMARK => self.secmark = Some(a.be32()?),
            cta::SECCTX => self.secctx = find(a, secctx::NAME)?.map(|name| name.text()),
            _ => {}
        }
        Ok(())
    }

    fn take_helper(&mut self, nest: &Attribute<'a>) -> Result<(), DecodeError> {
        for attribute in nest.nest() {
            let attribute = attribute?;
            match attribute.kind {
                help::NAME => self.helper = helper_name(&attribute)?,
                help::INFO => self.helper_info = Some(attribute.value),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The original tuple in the payload of a flow message; `None` where there is none. It reads no further than that
/// tuple, so for sorting messages by flow it is cheaper than [`FlowView::parse`].
#[must_use]
pub fn original(payload: &[u8]) -> Option<Tuple> {
    let (_, attributes) = split_family(payload).ok()?;
    for attribute in attributes {
        let attribute = attribute.ok()?;
        if attribute.kind == cta::TUPLE_ORIG {
            return direction::decode(&attribute).ok().map(|(tuple, _)| tuple);
        }
    }
    None
}

/// The identity of the flow in the payload of a flow message: the original tuple, and its zone. `None` where
/// there is no original tuple. It reads more than [`original`] does, and less than [`FlowView::parse`].
#[must_use]
pub fn identity(payload: &[u8]) -> Option<FlowKey> {
    let (_, attributes) = split_family(payload).ok()?;
    let (mut tuple, mut zones) = (None, [None; 2]);
    for attribute in attributes {
        let attribute = attribute.ok()?;
        match attribute.kind {
            cta::TUPLE_ORIG => {
                let (orig, zone) = direction::decode(&attribute).ok()?;
                (tuple, zones[1]) = (Some(orig), zone);
            }
            cta::ZONE => zones[0] = Some(attribute.be16().ok()?),
            _ => {}
        }
    }
    tuple.map(|tuple| FlowKey::new(tuple, zones[0].or(zones[1]).unwrap_or(0)))
}

/// A helper name; `None` when it is empty.
pub(super) fn helper_name(a: &Attribute<'_>) -> Result<Option<HelperName>, DecodeError> {
    let text = a.text();
    match HelperName::from_bytes(text) {
        None if !text.is_empty() => Err(a.error("helper name is longer than 15 bytes")),
        name => Ok(name),
    }
}

/// Label bits as 32-bit words: word `i` holds bits `32 * i` to `32 * i + 31`.
///
/// The kernel sends the memory of an `unsigned long` array (`ctnetlink_dump_labels`, kernel v6.12
/// `net/netfilter/nf_conntrack_netlink.c`). On little-endian machines, and on 32-bit ones, that is these words in
/// order; on 64-bit big-endian machines the two halves of each long are swapped.
pub fn label_words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let swapped = cfg!(all(target_endian = "big", target_pointer_width = "64"));
    let (words, _) = bytes.as_chunks::<4>();
    let last = words.len().saturating_sub(1);
    (0..words.len()).map(move |i| {
        let from = if swapped { (i ^ 1).min(last) } else { i };
        u32::from_ne_bytes(words[from])
    })
}

pub(super) fn label_bytes<'a>(a: &Attribute<'a>) -> Result<&'a [u8], DecodeError> {
    if a.value.len().is_multiple_of(4) {
        Ok(a.value)
    } else {
        Err(a.error("labels are not a multiple of 4 bytes long"))
    }
}

/// The last attribute of this kind in a nest.
pub(super) fn find<'a>(
    nest: &Attribute<'a>,
    kind: u16,
) -> Result<Option<Attribute<'a>>, DecodeError> {
    let mut found = None;
    for attribute in nest.nest() {
        found = Some(attribute?).filter(|attribute| attribute.kind == kind).or(found);
    }
    Ok(found)
}

fn proto_state(nest: &Attribute<'_>) -> Result<ProtoState, DecodeError> {
    let mut out = ProtoState::None;
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            protoinfo::TCP => out = ProtoState::Tcp(tcp_state(&attribute)?),
            protoinfo::DCCP => out = dccp_state(&attribute)?,
            protoinfo::SCTP => out = sctp_state(&attribute)?,
            _ => {}
        }
    }
    Ok(out)
}

fn tcp_state(nest: &Attribute<'_>) -> Result<TcpState, DecodeError> {
    let mut out = TcpState::default();
    for attribute in nest.nest() {
        let a = attribute?;
        match a.kind {
            protoinfo::TCP_STATE => out.state = a.u8()?,
            protoinfo::TCP_WSCALE_ORIGINAL => out.wscale.get_or_insert_default()[0] = a.u8()?,
            protoinfo::TCP_WSCALE_REPLY => out.wscale.get_or_insert_default()[1] = a.u8()?,
            protoinfo::TCP_FLAGS_ORIGINAL => out.flags.get_or_insert_default()[0] = tcp_flags(&a)?,
            protoinfo::TCP_FLAGS_REPLY => out.flags.get_or_insert_default()[1] = tcp_flags(&a)?,
            _ => {}
        }
    }
    Ok(out)
}

fn tcp_flags(a: &Attribute<'_>) -> Result<TcpFlags, DecodeError> {
    let [flags, mask] = a.array("TCP flags are not 2 bytes long")?;
    Ok(TcpFlags { flags, mask })
}

/// The handshake sequence number is checked and dropped: nothing that reads flows has a use for it.
fn dccp_state(nest: &Attribute<'_>) -> Result<ProtoState, DecodeError> {
    let (mut state, mut role) = (0, 0);
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            protoinfo::DCCP_STATE => state = attribute.u8()?,
            protoinfo::DCCP_ROLE => role = attribute.u8()?,
            protoinfo::DCCP_HANDSHAKE_SEQ => drop(attribute.be64()?),
            _ => {}
        }
    }
    Ok(ProtoState::Dccp { state, role })
}

fn sctp_state(nest: &Attribute<'_>) -> Result<ProtoState, DecodeError> {
    let (mut state, mut vtag) = (0, [0; 2]);
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            protoinfo::SCTP_STATE => state = attribute.u8()?,
            protoinfo::SCTP_VTAG_ORIGINAL => vtag[0] = attribute.be32()?,
            protoinfo::SCTP_VTAG_REPLY => vtag[1] = attribute.be32()?,
            _ => {}
        }
    }
    Ok(ProtoState::Sctp { state, vtag })
}

fn traffic(nest: &Attribute<'_>) -> Result<Counters, DecodeError> {
    let mut out = Counters::default();
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            counters::PACKETS => out.packets = attribute.be64()?,
            counters::BYTES => out.bytes = attribute.be64()?,
            counters::PACKETS32 => out.packets = attribute.be32()?.into(),
            counters::BYTES32 => out.bytes = attribute.be32()?.into(),
            _ => {}
        }
    }
    Ok(out)
}

fn lifetime(nest: &Attribute<'_>) -> Result<Timestamps, DecodeError> {
    let mut out = Timestamps::default();
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            timestamp::START => out.start_ns = attribute.be64()?,
            timestamp::STOP => out.stop_ns = attribute.be64()?,
            _ => {}
        }
    }
    Ok(out)
}

fn adjustment(nest: &Attribute<'_>) -> Result<SeqAdj, DecodeError> {
    let mut out = SeqAdj::default();
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            seqadj::CORRECTION_POS => out.correction_pos = attribute.be32()?,
            seqadj::OFFSET_BEFORE => out.offset_before = attribute.be32()?,
            seqadj::OFFSET_AFTER => out.offset_after = attribute.be32()?,
            _ => {}
        }
    }
    Ok(out)
}

fn proxied(nest: &Attribute<'_>) -> Result<Synproxy, DecodeError> {
    let mut out = Synproxy::default();
    for attribute in nest.nest() {
        let attribute = attribute?;
        match attribute.kind {
            synproxy::ISN => out.isn = attribute.be32()?,
            synproxy::ITS => out.its = attribute.be32()?,
            synproxy::TSOFF => out.tsoff = attribute.be32()?,
            _ => {}
        }
    }
    Ok(out)
}
