//! Flows as attributes (`docs/spec/sync.md`, section 4).
//!
//! The reply direction does not travel. The receiver mirrors the original direction and applies the translation
//! attributes, so what travels of a translated flow is the four values that differ from the mirror.

use super::attribute::{self, Attribute, Attributes};
use super::{Kind, Options, Stamp, header};
use ctnetlink::flow::{Known, NatEnd, ProtoState, SeqAdj, Status, Synproxy, TcpState};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use ctnetlink::{Change, DecodeError, Flow, FlowKey, Tuple, Writer};

/// Attribute numbers. "LE" marks the fields that lie on the wire in little-endian order.
///
/// Those five are in network order in conntrackd's memory already when it swaps them into network order, so what
/// a little-endian sender emits is little-endian, and a big-endian one emits big-endian. We define the wire by
/// what is deployed: little-endian, whatever the host.
mod number {
    /// Source and destination address, 4 bytes each.
    pub(super) const IPV4: u16 = 0;
    /// Source and destination address, 16 bytes each.
    pub(super) const IPV6: u16 = 1;
    /// IP protocol, 1 byte.
    pub(super) const L4PROTO: u16 = 2;
    /// Source and destination port, 2 bytes each, BE.
    pub(super) const PORT: u16 = 3;
    /// 1 byte.
    pub(super) const TCP_STATE: u16 = 4;
    /// 4 bytes, BE.
    pub(super) const STATUS: u16 = 5;
    /// Seconds, 4 bytes, BE.
    pub(super) const TIMEOUT: u16 = 6;
    /// 4 bytes, BE.
    pub(super) const MARK: u16 = 7;
    /// Addresses of the master flow, as `IPV4`.
    pub(super) const MASTER_IPV4: u16 = 8;
    /// Addresses of the master flow, as `IPV6`.
    pub(super) const MASTER_IPV6: u16 = 9;
    /// Protocol of the master flow, as `L4PROTO`.
    pub(super) const MASTER_L4PROTO: u16 = 10;
    /// Ports of the master flow, as `PORT`.
    pub(super) const MASTER_PORT: u16 = 11;
    /// Translated source, 4 bytes.
    pub(super) const SNAT_IPV4: u16 = 12;
    /// Translated destination, 4 bytes.
    pub(super) const DNAT_IPV4: u16 = 13;
    /// Translated source port, 2 bytes, LE.
    pub(super) const SPAT_PORT: u16 = 14;
    /// Translated destination port, 2 bytes, LE.
    pub(super) const DPAT_PORT: u16 = 15;
    /// Original position, before, after; reply position, before, after; 6 times 4 bytes, BE.
    pub(super) const NAT_SEQ_ADJ: u16 = 16;
    /// 1 byte.
    pub(super) const SCTP_STATE: u16 = 17;
    /// Original direction, 4 bytes, LE.
    pub(super) const SCTP_VTAG_ORIG: u16 = 18;
    /// Reply direction, 4 bytes, LE.
    pub(super) const SCTP_VTAG_REPL: u16 = 19;
    /// 1 byte.
    pub(super) const DCCP_STATE: u16 = 20;
    /// 1 byte.
    pub(super) const DCCP_ROLE: u16 = 21;
    /// 1 byte.
    pub(super) const ICMP_TYPE: u16 = 22;
    /// 1 byte.
    pub(super) const ICMP_CODE: u16 = 23;
    /// 2 bytes, LE.
    pub(super) const ICMP_ID: u16 = 24;
    /// Original direction, 1 byte.
    pub(super) const TCP_WSCALE_ORIG: u16 = 25;
    /// Reply direction, 1 byte.
    pub(super) const TCP_WSCALE_REPL: u16 = 26;
    /// String.
    pub(super) const HELPER_NAME: u16 = 27;
    /// Words of 4 bytes, BE, label 0 in bit 0 of the first.
    pub(super) const LABELS: u16 = 28;
    /// Translated source, 16 bytes.
    pub(super) const SNAT_IPV6: u16 = 29;
    /// Translated destination, 16 bytes.
    pub(super) const DNAT_IPV6: u16 = 30;
    /// Timestamp, sequence number, timestamp offset; 3 times 4 bytes, BE.
    pub(super) const SYNPROXY: u16 = 31;
    /// 2 bytes, BE.
    pub(super) const ZONE: u16 = 32;
}

/// Longest helper name we send: a peer of version 1.4.7 refuses the whole message over a longer one.
const HELPER_NAME_LEN_MAX: usize = attribute::name_len_max(16);
/// Most words of labels: conntrackd takes values of up to 1024 bytes.
const LABEL_WORDS_MAX: usize = 256;

/// Upper bound of an encoded flow: 33 attributes with a header of 4 bytes and at most 32 of value each, labels
/// apart. It is what lets the length field be 16 bits wide without a check.
pub(super) const FLOW_LEN_MAX: usize = header::HEADER_LEN + 33 * (4 + 32) + 4 * LABEL_WORDS_MAX;
const _: () = assert!(FLOW_LEN_MAX <= u16::MAX as usize);

/// Appends a message about a flow, with the attributes in the order conntrackd 1.4.7 puts them.
///
/// A helper name longer than 11 bytes is left out, because the receiver would refuse the whole message over it.
/// The original direction must be known; without it the message says nothing a receiver can use.
pub fn encode_flow(
    change: Change,
    stamp: Stamp,
    flow: &Flow,
    options: Options,
    w: &mut Writer<'_>,
) {
    let start = header::begin(w, Kind::Flow(change), stamp);
    attribute::put_addresses(w, number::IPV4, number::IPV6, &flow.orig);
    attribute::put(w, number::STATUS, &flow.status.bits().to_be_bytes());
    attribute::put(w, number::L4PROTO, &[flow.orig.proto]);
    put_protocol(w, flow, options);
    if options.timeout && flow.has(Known::TIMEOUT) {
        attribute::put(w, number::TIMEOUT, &flow.timeout_s.to_be_bytes());
    }
    if flow.has(Known::MARK) {
        attribute::put(w, number::MARK, &flow.mark.to_be_bytes());
    }
    if let Some(master) = flow.master() {
        put_master(w, master);
    }
    put_translation(w, flow);
    put_extra(w, flow);
    if flow.has(Known::ZONE) || flow.zone != 0 {
        attribute::put(w, number::ZONE, &flow.zone.to_be_bytes());
    }
    header::finish(w, start);
}

/// What depends on the layer-4 protocol.
fn put_protocol(w: &mut Writer<'_>, flow: &Flow, options: Options) {
    match flow.orig.proto {
        ipproto::TCP | ipproto::UDP | ipproto::SCTP | ipproto::DCCP => {
            attribute::put(w, number::PORT, &flow.orig.l4);
        }
        ipproto::ICMP | ipproto::ICMPV6 => {
            let (id, kind, code) = flow.orig.icmp();
            attribute::put(w, number::ICMP_TYPE, &[kind]);
            attribute::put(w, number::ICMP_CODE, &[code]);
            attribute::put(w, number::ICMP_ID, &id.to_le_bytes());
        }
        // GRE keys and UDP-Lite ports have no attribute that conntrackd would write.
        _ => {}
    }
    match flow.proto {
        ProtoState::Tcp(tcp) => {
            attribute::put(w, number::TCP_STATE, &[tcp.state]);
            if let Some([orig, reply]) = tcp.wscale.filter(|_| options.window_scale) {
                attribute::put(w, number::TCP_WSCALE_ORIG, &[orig]);
                attribute::put(w, number::TCP_WSCALE_REPL, &[reply]);
            }
        }
        ProtoState::Dccp { state, role } => {
            attribute::put(w, number::DCCP_STATE, &[state]);
            attribute::put(w, number::DCCP_ROLE, &[role]);
        }
        ProtoState::Sctp { state, vtag: [orig, reply] } => {
            attribute::put(w, number::SCTP_STATE, &[state]);
            attribute::put(w, number::SCTP_VTAG_ORIG, &orig.to_le_bytes());
            attribute::put(w, number::SCTP_VTAG_REPL, &reply.to_le_bytes());
        }
        // No state, or one of a protocol that version 1 has no attribute for.
        _ => {}
    }
}

fn put_master(w: &mut Writer<'_>, master: &Tuple) {
    attribute::put_addresses(w, number::MASTER_IPV4, number::MASTER_IPV6, master);
    attribute::put(w, number::MASTER_L4PROTO, &[master.proto]);
    if master.has_ports() {
        attribute::put(w, number::MASTER_PORT, &master.l4);
    }
}

fn put_translation(w: &mut Writer<'_>, flow: &Flow) {
    let nowhere = NatEnd { addr: None, port: None };
    let source = flow.source_nat().unwrap_or(nowhere);
    let destination = flow.destination_nat().unwrap_or(nowhere);
    let v6 = flow.orig.family == FAMILY_IPV6;
    let (snat, dnat, len) = if v6 {
        (number::SNAT_IPV6, number::DNAT_IPV6, 16)
    } else {
        (number::SNAT_IPV4, number::DNAT_IPV4, 4)
    };
    for (number, addr) in [(snat, source.addr), (dnat, destination.addr)] {
        if let Some(addr) = addr {
            attribute::put(w, number, &addr[..len]);
        }
    }
    for (number, port) in [(number::SPAT_PORT, source.port), (number::DPAT_PORT, destination.port)]
    {
        if let Some(port) = port {
            attribute::put(w, number, &port.to_le_bytes());
        }
    }
}

fn put_extra(w: &mut Writer<'_>, flow: &Flow) {
    if let Some(extra) = flow.extra.as_deref() {
        if let Some(ends) = extra.seq_adj {
            attribute::put_header(w, number::NAT_SEQ_ADJ, 24);
            for end in ends {
                put_words(w, &[end.correction_pos, end.offset_before, end.offset_after]);
            }
        }
        if let Some(helper) = &extra.helper {
            attribute::put_name(w, number::HELPER_NAME, helper, HELPER_NAME_LEN_MAX);
        }
        if let Some(labels) = extra.labels.as_deref() {
            let labels = &labels[..labels.len().min(LABEL_WORDS_MAX)];
            if labels.iter().any(|&word| word != 0) {
                attribute::put_header(w, number::LABELS, 4 * labels.len());
                put_words(w, labels);
            }
        }
    }
    if let Some(synproxy) = flow.synproxy() {
        attribute::put_header(w, number::SYNPROXY, 12);
        put_words(w, &[synproxy.its, synproxy.isn, synproxy.tsoff]);
    }
}

fn put_words(w: &mut Writer<'_>, words: &[u32]) {
    for word in words {
        w.put(&word.to_be_bytes());
    }
}

/// The flow a body describes. Attributes come in any order, so what needs another one waits in here.
struct Parts {
    flow: Flow,
    has_proto: bool,
    ports: [u8; 4],
    /// Id in host order, type, code.
    icmp: (u16, u8, u8),
    master: Tuple,
    tcp_state: Option<u8>,
    wscale: [Option<u8>; 2],
    sctp_state: Option<u8>,
    vtag: [u32; 2],
    dccp_state: Option<u8>,
    dccp_role: u8,
    source: Translated,
    destination: Translated,
}

/// One translated end as it travels: the address with its family, and the port in host order.
struct Translated {
    addr: Option<(u8, [u8; 16])>,
    port: Option<u16>,
}

impl Translated {
    const NOT: Self = Self { addr: None, port: None };
}

impl Parts {
    /// Copied as it lies in the program. Put together field by field on the stack and then moved, it would wait for
    /// every store before it.
    const NONE: Self = Self {
        flow: Flow::UNKNOWN,
        has_proto: false,
        ports: [0; 4],
        icmp: (0, 0, 0),
        master: Tuple::UNKNOWN,
        tcp_state: None,
        wscale: [None; 2],
        sctp_state: None,
        vtag: [0; 2],
        dccp_state: None,
        dccp_role: 0,
        source: Translated::NOT,
        destination: Translated::NOT,
    };
}

/// The flow that the attributes in `body` describe.
pub(super) fn decode(body: &[u8]) -> Result<Flow, DecodeError> {
    let mut parts = Parts::NONE;
    let mut attributes = Attributes::new(body);
    while let Some(attribute) = attributes.next()? {
        parts.take(&attribute)?;
    }
    parts.complete()?;
    Ok(parts.flow)
}

/// The flow that the attributes in `body` are likely to be about, from the first few of them: nothing is checked, and a
/// zone comes too late to be seen.
pub(super) fn hint(body: &[u8]) -> Option<FlowKey> {
    let mut tuple = Tuple::UNKNOWN;
    let mut attributes = Attributes::new(body);
    while let Some(a) = attributes.next().ok()? {
        match a.number {
            number::IPV4 => attribute::addresses::<8>(&a, FAMILY_IPV4, &mut tuple).ok()?,
            number::IPV6 => attribute::addresses::<32>(&a, FAMILY_IPV6, &mut tuple).ok()?,
            number::L4PROTO => tuple.proto = a.u8().ok()?,
            number::PORT => {
                tuple.l4 = a.array().ok()?;
                return Some(FlowKey::new(tuple, 0));
            }
            _ => {}
        }
    }
    None
}

impl Parts {
    /// Takes what every flow may have; the rest goes to [`Parts::take_protocol`].
    fn take(&mut self, a: &Attribute<'_>) -> Result<(), DecodeError> {
        let flow = &mut self.flow;
        match a.number {
            number::IPV4 => attribute::addresses::<8>(a, FAMILY_IPV4, &mut flow.orig)?,
            number::IPV6 => attribute::addresses::<32>(a, FAMILY_IPV6, &mut flow.orig)?,
            number::L4PROTO => {
                flow.orig.proto = a.u8()?;
                self.has_proto = true;
            }
            number::STATUS => {
                flow.status = Status::from_bits_retain(a.u32()?);
                flow.known |= Known::STATUS;
            }
            number::TIMEOUT => {
                flow.timeout_s = a.u32()?;
                flow.known |= Known::TIMEOUT;
            }
            number::MARK => {
                flow.mark = a.u32()?;
                flow.known |= Known::MARK;
            }
            number::ZONE => {
                flow.zone = a.array().map(u16::from_be_bytes)?;
                flow.known |= Known::ZONE;
            }
            number::MASTER_IPV4 => attribute::addresses::<8>(a, FAMILY_IPV4, &mut self.master)?,
            number::MASTER_IPV6 => attribute::addresses::<32>(a, FAMILY_IPV6, &mut self.master)?,
            number::MASTER_L4PROTO => self.master.proto = a.u8()?,
            number::MASTER_PORT => self.master.l4 = a.array()?,
            number::NAT_SEQ_ADJ => flow.extra_mut().seq_adj = Some(seq_adj(a)?),
            number::HELPER_NAME => {
                if let Some(name) = a.name()? {
                    flow.extra_mut().helper = Some(name);
                }
            }
            number::LABELS => take_labels(flow, a)?,
            number::SYNPROXY => take_synproxy(flow, a)?,
            _ => self.take_protocol(a)?,
        }
        Ok(())
    }

    /// Takes protocol state and translation. Unknown attributes are skipped: a later version may add some.
    fn take_protocol(&mut self, a: &Attribute<'_>) -> Result<(), DecodeError> {
        match a.number {
            number::PORT => self.ports = a.array()?,
            number::TCP_STATE => self.tcp_state = Some(a.u8()?),
            number::TCP_WSCALE_ORIG => self.wscale[0] = Some(a.u8()?),
            number::TCP_WSCALE_REPL => self.wscale[1] = Some(a.u8()?),
            number::SCTP_STATE => self.sctp_state = Some(a.u8()?),
            number::SCTP_VTAG_ORIG => self.vtag[0] = a.array().map(u32::from_le_bytes)?,
            number::SCTP_VTAG_REPL => self.vtag[1] = a.array().map(u32::from_le_bytes)?,
            number::DCCP_STATE => self.dccp_state = Some(a.u8()?),
            number::DCCP_ROLE => self.dccp_role = a.u8()?,
            number::ICMP_TYPE => self.icmp.1 = a.u8()?,
            number::ICMP_CODE => self.icmp.2 = a.u8()?,
            number::ICMP_ID => self.icmp.0 = a.array().map(u16::from_le_bytes)?,
            number::SNAT_IPV4 => self.source.addr = Some((FAMILY_IPV4, address::<4>(a)?)),
            number::DNAT_IPV4 => self.destination.addr = Some((FAMILY_IPV4, address::<4>(a)?)),
            number::SNAT_IPV6 => self.source.addr = Some((FAMILY_IPV6, address::<16>(a)?)),
            number::DNAT_IPV6 => self.destination.addr = Some((FAMILY_IPV6, address::<16>(a)?)),
            number::SPAT_PORT => self.source.port = Some(a.array().map(u16::from_le_bytes)?),
            number::DPAT_PORT => self.destination.port = Some(a.array().map(u16::from_le_bytes)?),
            _ => {}
        }
        Ok(())
    }

    /// Puts what waited into the flow. In place: the parts are large, and moving them took a fifth of the time.
    fn complete(&mut self) -> Result<(), DecodeError> {
        if !self.flow.orig.is_known() {
            return Err(DecodeError::new(0, "no addresses"));
        }
        if !self.has_proto {
            return Err(DecodeError::new(0, "no layer-4 protocol"));
        }
        let orig = &mut self.flow.orig;
        if orig.is_icmp() {
            let (id, kind, code) = self.icmp;
            *orig = orig.with_icmp(id, kind, code);
        } else if orig.has_ports() {
            orig.l4 = self.ports;
        }
        self.flow.proto = self.state();
        if self.master.is_known() {
            self.flow.extra_mut().master = Some(self.master);
        }
        self.translate()
    }

    /// The protocol state, if it belongs to the flow's protocol.
    fn state(&self) -> ProtoState {
        match (self.flow.orig.proto, self.tcp_state, self.sctp_state, self.dccp_state) {
            (ipproto::TCP, Some(state), _, _) => {
                let [orig, reply] = self.wscale;
                let given = orig.is_some() || reply.is_some();
                let wscale = given.then(|| [orig.unwrap_or(0), reply.unwrap_or(0)]);
                ProtoState::Tcp(TcpState { state, wscale, flags: None })
            }
            (ipproto::SCTP, _, Some(state), _) => ProtoState::Sctp { state, vtag: self.vtag },
            (ipproto::DCCP, _, _, Some(state)) => ProtoState::Dccp { state, role: self.dccp_role },
            _ => ProtoState::None,
        }
    }

    /// Makes the reply direction.
    ///
    /// The status bits are set to match, as the reply direction means nothing without them and a sender that
    /// gives a translated address cannot mean anything else.
    fn translate(&mut self) -> Result<(), DecodeError> {
        let flow = &mut self.flow;
        flow.reply = flow.orig.inverted();
        let (mut reply_sport, mut reply_dport) = flow.reply.ports();
        let ends = [
            (&self.source, Status::SRC_NAT_DONE, &mut flow.reply.dst, &mut reply_dport),
            (&self.destination, Status::DST_NAT_DONE, &mut flow.reply.src, &mut reply_sport),
        ];
        for (end, done, addr, port) in ends {
            if let Some((family, translated)) = end.addr {
                if family != flow.orig.family {
                    return Err(DecodeError::new(0, "translation into the other family"));
                }
                *addr = translated;
            }
            // conntrackd sends both ports, as zero, for every translated ICMP flow. They mean nothing there.
            let given = end.port.filter(|_| flow.orig.has_ports());
            if let Some(translated) = given {
                *port = translated;
            }
            if end.addr.is_some() || given.is_some() {
                flow.status |= done;
                flow.known |= Known::STATUS;
            }
        }
        if flow.reply.has_ports() {
            flow.reply = flow.reply.with_ports(reply_sport, reply_dport);
        }
        Ok(())
    }
}

/// One address, IPv4 in the first four bytes.
fn address<const N: usize>(a: &Attribute<'_>) -> Result<[u8; 16], DecodeError> {
    let given: [u8; N] = a.array()?;
    let mut out = [0; 16];
    out[..N].copy_from_slice(&given);
    Ok(out)
}

/// `N` numbers in network order.
fn words<const N: usize, const LEN: usize>(a: &Attribute<'_>) -> Result<[u32; N], DecodeError> {
    const { assert!(LEN == 4 * N) };
    let bytes: [u8; LEN] = a.array()?;
    let (chunks, _) = bytes.as_chunks::<4>();
    Ok(core::array::from_fn(|i| u32::from_be_bytes(chunks[i])))
}

fn seq_adj(a: &Attribute<'_>) -> Result<[SeqAdj; 2], DecodeError> {
    let [p0, b0, a0, p1, b1, a1] = words::<6, 24>(a)?;
    let end = |correction_pos, offset_before, offset_after| SeqAdj {
        correction_pos,
        offset_before,
        offset_after,
    };
    Ok([end(p0, b0, a0), end(p1, b1, a1)])
}

fn take_synproxy(flow: &mut Flow, a: &Attribute<'_>) -> Result<(), DecodeError> {
    let [its, isn, tsoff] = words::<3, 12>(a)?;
    let synproxy = Synproxy { isn, its, tsoff };
    flow.known |= Known::SYNPROXY;
    // The kernel reports zeros for most flows; they must not cost each one an allocation.
    if synproxy != Synproxy::default() {
        flow.extra_mut().synproxy = Some(synproxy);
    }
    Ok(())
}

/// Takes label words. An incomplete last word is ignored, as conntrackd does. Words without a set label count as no
/// words, because no message can pass them on: a message carries labels only if one is set.
fn take_labels(flow: &mut Flow, a: &Attribute<'_>) -> Result<(), DecodeError> {
    if a.value.len() > 4 * LABEL_WORDS_MAX {
        return Err(a.error("attribute of wrong size"));
    }
    let (words, _) = a.value.as_chunks::<4>();
    if words.iter().any(|word| *word != [0; 4]) {
        let words = words.iter().map(|word| u32::from_be_bytes(*word));
        flow.extra_mut().labels = Some(words.collect());
    }
    Ok(())
}
