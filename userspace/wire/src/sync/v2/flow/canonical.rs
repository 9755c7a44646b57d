//! The canonical form of a flow: what travels of it, with defaults filled in.

use super::attribute::{labels_of, seq_adj_of, synproxy_of};
use ctnetlink::flow::{Extra, Known, ProtoState, Status, TcpState};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};
use ctnetlink::{Flow, FlowKey, Tuple};

/// The most seconds left that can be encoded; longer times are encoded as this.
pub const TIMEOUT_MAX_S: u32 = 30 << 14;

/// Seconds left up to this number are encoded exactly.
const SECONDS_EXACT: u32 = 32;
/// The time left is unknown.
const TIMEOUT_NOT_TOLD: u8 = 0xff;

/// Status bits that mean nothing elsewhere: where the flow is forwarded, and that this kernel is about to remove it.
const OF_THIS_KERNEL: Status =
    Status::OFFLOAD.union(Status::HW_OFFLOAD).union(Status::DYING).union(Status::TEMPLATE);

/// The greatest window scale (RFC 7323, 2.3).
const WINDOW_SCALE_MAX: u8 = 14;

/// The byte T of a number of seconds.
#[must_use]
#[inline]
pub const fn timeout_code(seconds: Option<u32>) -> u8 {
    let Some(seconds) = seconds else { return TIMEOUT_NOT_TOLD };
    let seconds = if seconds < TIMEOUT_MAX_S { seconds } else { TIMEOUT_MAX_S };
    if seconds < SECONDS_EXACT {
        return seconds as u8;
    }
    let exponent = seconds.ilog2() - 4;
    ((exponent + 1) * 16 + (seconds >> exponent) - 16) as u8
}

/// The number of seconds that the byte T encodes; `None`: unknown.
#[must_use]
#[inline]
pub const fn timeout_of(code: u8) -> Option<u32> {
    let code32 = code as u32;
    match code {
        TIMEOUT_NOT_TOLD => None,
        _ if code32 < SECONDS_EXACT => Some(code32),
        _ => Some((16 + code32 % 16) << (code32 / 16 - 1)),
    }
}

/// A flow as both ends see it, whatever their kernels reported: the fields that travel, with defaults filled in.
/// Fields that one kernel alone knows (its id, counters, offloading, security marks) are not in it.
///
/// The time left is in it, and rounded as it travels; the print of a flow leaves it out.
#[derive(Clone, Copy, Debug)]
pub struct Canonical<'a> {
    /// Its identity: addresses without anything behind their last byte.
    pub key: FlowKey,
    /// The reply direction; the mirrored original one where it is unknown.
    pub reply: Tuple,
    /// Its status: *confirmed*, and without the bits that concern one kernel alone.
    pub status: Status,
    /// Seconds left, as encoded; `None`: unknown.
    pub timeout_s: Option<u32>,
    /// 0 where it is unknown.
    pub mark: u32,
    /// State of the tracker that the protocol has: TCP without flags, SCTP, DCCP.
    pub proto: ProtoState,
    /// Where the rare fields are.
    pub(super) extra: Option<&'a Extra>,
}

impl<'a> Canonical<'a> {
    /// The canonical form of a flow; `None` if not even its original direction is known.
    #[must_use]
    #[inline]
    pub fn of(flow: &'a Flow) -> Option<Self> {
        if !flow.orig.is_known() {
            return None;
        }
        let orig = tuple(flow.orig);
        let given = |field, value| if flow.has(field) { value } else { 0 };
        let status = Status::from_bits_retain(given(Known::STATUS, flow.status.bits()));
        let left = flow.has(Known::TIMEOUT).then_some(flow.timeout_s);
        Some(Self {
            key: FlowKey::new(orig, flow.zone),
            reply: if flow.reply.is_known() { tuple(flow.reply) } else { orig.inverted() },
            status: shared(status),
            timeout_s: timeout_of(timeout_code(left)),
            mark: given(Known::MARK, flow.mark),
            proto: state(orig.proto, flow.proto),
            extra: flow.extra.as_deref(),
        })
    }

    /// The byte W: both window scales; 0xff where both are unknown.
    #[must_use]
    #[inline]
    pub const fn window_scales(&self) -> u8 {
        match &self.proto {
            ProtoState::Tcp(tcp) => window_scales(tcp),
            _ => 0xff,
        }
    }

    /// Whether the record needs an attribute list, given whether the list must carry the status or the reply tuple.
    #[inline]
    pub(in crate::sync::v2) const fn needs_list(&self, told_whole: bool) -> bool {
        let state = matches!(self.proto, ProtoState::Sctp { .. } | ProtoState::Dccp { .. });
        told_whole || self.mark != 0 || self.extra.is_some() || state
    }

    /// As an owned flow. It takes memory only for rare fields.
    #[must_use]
    pub fn to_flow(&self) -> Flow {
        let mut flow = Flow {
            reply: self.reply,
            zone: self.key.zone,
            known: Known::STATUS | Known::MARK,
            status: self.status,
            timeout_s: self.timeout_s.unwrap_or(0),
            mark: self.mark,
            proto: self.proto,
            ..Flow::new(self.key.tuple)
        };
        flow.known.set(Known::TIMEOUT, self.timeout_s.is_some());
        if let Some(extra) = self.extra {
            let rare = Extra::default().with(|rare| {
                rare.master = extra.master.filter(Tuple::is_known).map(tuple);
                rare.helper = extra.helper;
                rare.labels = labels_of(extra).map(Into::into);
                rare.seq_adj = seq_adj_of(extra);
                rare.synproxy = synproxy_of(extra);
                rare.zones = extra.zones;
            });
            flow.extra = Some(rare.into());
            flow.drop_empty_extra();
        }
        fill_known(&mut flow);
        flow
    }
}

/// Sets what is known of a flow because of its rare fields and its zone.
pub(super) fn fill_known(flow: &mut Flow) {
    let extra = flow.extra.as_deref();
    let zones = extra.map_or([None; 2], |extra| extra.zones);
    let synproxy = extra.is_some_and(|extra| extra.synproxy.is_some());
    flow.known.set(Known::ZONE, flow.zone != 0 && zones == [None; 2]);
    flow.known.set(Known::SYNPROXY, synproxy);
}

/// The bits of a status that both ends agree on.
pub(super) const fn shared(status: Status) -> Status {
    status.union(Status::CONFIRMED).difference(OF_THIS_KERNEL)
}

/// A tuple without bytes that mean nothing.
pub(super) fn tuple(given: Tuple) -> Tuple {
    if given.family == FAMILY_IPV6 {
        return given;
    }
    let short = |[a, b, c, d, ..]: [u8; 16]| [a, b, c, d];
    let tuple = Tuple::v4(short(given.src), short(given.dst), given.proto);
    Tuple { l4: given.l4, family: FAMILY_IPV4, ..tuple }
}

/// The state that a flow of this protocol has.
pub(super) fn state(proto: u8, given: ProtoState) -> ProtoState {
    match (proto, given) {
        (ipproto::TCP, ProtoState::Tcp(tcp)) => ProtoState::Tcp(TcpState {
            state: if tcp.state < 16 { tcp.state } else { 0 },
            wscale: tcp.wscale.filter(|scales| scales.iter().all(|&s| s <= WINDOW_SCALE_MAX)),
            flags: None,
        }),
        (ipproto::TCP, _) => ProtoState::Tcp(TcpState::default()),
        (ipproto::SCTP, ProtoState::Sctp { .. }) | (ipproto::DCCP, ProtoState::Dccp { .. }) => {
            given
        }
        (ipproto::SCTP, _) => ProtoState::Sctp { state: 0, vtag: [0; 2] },
        (ipproto::DCCP, _) => ProtoState::Dccp { state: 0, role: 0 },
        _ => ProtoState::None,
    }
}

/// The byte W.
pub(super) const fn window_scales(tcp: &TcpState) -> u8 {
    match tcp.wscale {
        Some([orig, reply]) => orig << 4 | reply,
        None => 0xff,
    }
}

/// What the byte W says.
pub(super) const fn window_scales_of(w: u8) -> Option<[u8; 2]> {
    let scales = [w >> 4, w & 15];
    if scales[0] > WINDOW_SCALE_MAX || scales[1] > WINDOW_SCALE_MAX { None } else { Some(scales) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_down_by_less_than_a_sixteenth() {
        for seconds in (0..70_000).chain([86_400, 432_000, TIMEOUT_MAX_S]) {
            let decoded = timeout_of(timeout_code(Some(seconds))).unwrap();
            assert!(
                decoded <= seconds && (seconds - decoded) * 16 <= seconds,
                "{seconds}: {decoded}"
            );
            assert!(seconds >= SECONDS_EXACT || decoded == seconds);
        }
        // `nf_conntrack_tcp_timeout_established` of five days.
        assert_eq!(timeout_of(timeout_code(Some(432_000))), Some(425_984));
        assert_eq!(timeout_of(timeout_code(Some(u32::MAX))), Some(TIMEOUT_MAX_S));
        assert_eq!(timeout_of(timeout_code(None)), None);
    }

    #[test]
    fn each_code_of_seconds_comes_back_and_they_ascend() {
        let values: std::vec::Vec<_> = (0..255).map(|code| timeout_of(code).unwrap()).collect();
        assert!(values.is_sorted_by(|a, b| a < b));
        for (code, seconds) in values.into_iter().enumerate() {
            assert_eq!(usize::from(timeout_code(Some(seconds))), code);
        }
    }
}
