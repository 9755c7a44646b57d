//! Flows out of records.

use super::attribute::{self, Kept};
use super::canonical::{self, timeout_of, window_scales_of};
use super::{Before, Claim, OTHER, TCP, What, address_lens, head, nat, protocol_code, protocols};
use super::{bit, same, status_of, stepped, translate_source};
use crate::cursor::Reader;
use crate::sync::v2::number;
use alloc::sync::Arc;
use ctnetlink::flow::{Known, ProtoState, Status, TcpState};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use ctnetlink::{DecodeError, Flow, FlowKey, Tuple};

/// One record: what a peer says of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord<'a> {
    /// What is claimed, as far as the record says it.
    pub claim: Claim,
    /// The flow.
    pub key: FlowKey,
    /// How it is; `None`: the claim is an end.
    pub state: Option<State<'a>>,
}

/// How a flow is, in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<'a> {
    /// The reply direction.
    pub reply: Tuple,
    /// Its status.
    pub status: Status,
    /// Seconds left, rounded down; `None`: unknown.
    pub timeout_s: Option<u32>,
    /// Its mark.
    pub mark: u32,
    /// State of its tracker.
    pub proto: ProtoState,
    /// The list that holds rare fields; empty where there are none.
    rare: &'a [u8],
}

impl FlowRecord<'_> {
    /// The flow, in canonical form; of an end, only what identifies it is known. It takes memory only for rare fields.
    #[must_use]
    pub fn to_flow(&self) -> Flow {
        let zone = self.key.zone;
        let Some(state) = &self.state else {
            return Flow { zone, ..Flow::new(self.key.tuple) };
        };
        let mut flow = Flow {
            reply: state.reply,
            zone,
            known: Known::STATUS | Known::MARK,
            status: state.status,
            timeout_s: state.timeout_s.unwrap_or(0),
            mark: state.mark,
            proto: state.proto,
            ..Flow::new(self.key.tuple)
        };
        flow.known.set(Known::TIMEOUT, state.timeout_s.is_some());
        if !state.rare.is_empty() {
            flow.extra = Some(Arc::new(attribute::rare(state.rare)));
            flow.drop_empty_extra();
        }
        canonical::fill_known(&mut flow);
        flow
    }
}

/// The records of a frame. An error is about one record; the walk goes on behind it, unless the frame is cut off.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    zone: u16,
    before: Before,
    list: Option<&'a [u8]>,
}

/// What is wrong with one record, when its length is not.
type Fault = &'static str;

impl<'a> Records<'a> {
    /// The records in `bytes`; zone and version are those of the frame's head.
    #[must_use]
    pub fn new(bytes: &'a [u8], zone: u16, version: u64) -> Self {
        let before = Before { version: version & number::MAX, ..Before::default() };
        Self { reader: Reader::new(bytes), zone, before, list: None }
    }

    /// One record. The outer error: the rest cannot be read.
    fn record(&mut self) -> Result<Result<FlowRecord<'a>, Fault>, DecodeError> {
        let r = &mut self.reader;
        let [h0, h1] = r.array("truncated record")?;
        let version = stepped(self.before.version, number::take(r)?);
        self.before.version = version;
        let what = What::of_bits(h0 >> 6);
        let mut claim = Claim { version, what, epoch: 0, base: 0 };
        let mut fault = None;
        if h0 & head::EPOCH != 0 {
            let epoch = u32::try_from(number::take(r)?);
            claim.base = number::take(r)?;
            claim.epoch = epoch.unwrap_or_else(|_| {
                fault = Some("epoch too great");
                0
            });
        }
        let orig = self.tuple(h0, h1)?;
        if what.is_end() {
            let list = self.attributes(h0)?;
            let fault = fault.or((h1 & 3 != nat::NONE).then_some("an end with a translation"));
            let key = orig.and_then(|orig| list.map(|_| FlowKey::new(orig, self.zone)));
            let record = key.map(|key| FlowRecord { claim, key, state: None });
            return Ok(fault.map_or(record, Err));
        }
        let state = self.state(h0, h1, orig)?;
        let record = orig.and_then(|orig| {
            let key = FlowKey::new(orig, self.zone);
            Ok(FlowRecord { claim, key, state: Some(state?) })
        });
        Ok(fault.map_or(record, Err))
    }

    /// The original direction.
    fn tuple(&mut self, h0: u8, h1: u8) -> Result<Result<Tuple, Fault>, DecodeError> {
        let (r, before) = (&mut self.reader, &mut self.before);
        let v6 = h0 & head::IPV6 != 0;
        let code = h0 >> 2 & 7;
        let proto = match protocols(v6).get(usize::from(code)) {
            Some(&proto) => Ok(proto),
            None => {
                let [proto] = r.array("truncated record")?;
                let other = protocol_code(proto, v6) == OTHER;
                if other { Ok(proto) } else { Err("a protocol that has a code") }
            }
        };
        let family = usize::from(v6);
        let src = address(r, &mut before.src[family], h1 >> 6, v6)?;
        let dst = address(r, &mut before.dst[family], h1 >> 4 & 3, v6)?;
        for (half, bit) in before.l4.iter_mut().zip([8, 4]) {
            if h1 & bit == 0 {
                *half = Some(r.array("truncated record")?);
            }
        }
        let family = if v6 { FAMILY_IPV6 } else { FAMILY_IPV4 };
        let tuple = || {
            const ABSENT: Fault = "a part of a record before that has none";
            let ([a, b], [c, d]) = (before.l4[0].ok_or(ABSENT)?, before.l4[1].ok_or(ABSENT)?);
            let (src, dst) = (src.ok_or(ABSENT)?, dst.ok_or(ABSENT)?);
            Ok(Tuple { src, dst, l4: [a, b, c, d], family, proto: proto? })
        };
        Ok(tuple())
    }

    /// What follows the original direction of a state.
    fn state(
        &mut self,
        h0: u8,
        h1: u8,
        orig: Result<Tuple, Fault>,
    ) -> Result<Result<State<'a>, Fault>, DecodeError> {
        let v6 = h0 & head::IPV6 != 0;
        let translation = self.translation(h1 & 3, v6)?;
        let [s] = self.reader.array("truncated record")?;
        let mut w = 0xff;
        if h0 >> 2 & 7 == TCP {
            [w] = self.reader.array("truncated record")?;
        }
        let [t] = self.reader.array("truncated record")?;
        let list = self.attributes(h0)?;
        let state = || {
            let (orig, list) = (orig?, list?);
            let kept = attribute::read(list)?;
            let mirror = orig.inverted();
            let reply = match (translation?, kept.reply) {
                (None, None) => mirror,
                (None, Some(reply)) => reply,
                (Some((address, port)), None) => translate_source(mirror, address, port),
                (Some(_), Some(_)) => return Err("two translations"),
            };
            let status = status(s, &kept, &mirror, &reply)?;
            let tcp = TcpState { state: s >> 4, wscale: window_scales_of(w), flags: None };
            let proto = if protocol_code(orig.proto, v6) == TCP {
                ProtoState::Tcp(tcp)
            } else {
                kept.proto
            };
            let (proto, mark) = (canonical::state(orig.proto, proto), kept.mark);
            let rare = if kept.rare { list } else { &[] };
            Ok(State { reply, status, timeout_s: timeout_of(t), mark, proto, rare })
        };
        Ok(state())
    }

    /// Where the source is translated to: address and, unless it is kept, port.
    #[expect(clippy::type_complexity, reason = "used once, and named by the line above")]
    fn translation(
        &mut self,
        code: u8,
        v6: bool,
    ) -> Result<Result<Option<([u8; 16], Option<[u8; 2]>)>, Fault>, DecodeError> {
        let known = &mut self.before.translated[usize::from(v6)];
        if code == nat::NONE {
            return Ok(Ok(None));
        }
        if code == nat::ADDRESS_AND_PORT {
            *known = Some(whole_address(&mut self.reader, v6)?);
        }
        let port = match code {
            nat::SAME_ADDRESS => None,
            _ => Some(self.reader.array("truncated record")?),
        };
        Ok(known.map(|address| Some((address, port))).ok_or("no translation before"))
    }

    /// The list of attributes; empty where the record has none.
    fn attributes(&mut self, h0: u8) -> Result<Result<&'a [u8], Fault>, DecodeError> {
        if h0 & head::ATTR == 0 {
            return Ok(Ok(&[]));
        }
        let len = number::take_len(&mut self.reader)?;
        if len == 0 {
            return Ok(self.list.ok_or("no attributes before"));
        }
        let list = self.reader.take(len, "truncated attributes")?;
        self.list = Some(list);
        Ok(Ok(list))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<FlowRecord<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.remaining() == 0 {
            return None;
        }
        let at = self.reader.position();
        match self.record() {
            Ok(record) => Some(record.map_err(|what| DecodeError::new(at, what))),
            Err(cut_off) => {
                self.reader.skip_at_most(usize::MAX);
                Some(Err(cut_off))
            }
        }
    }
}

fn status(s: u8, kept: &Kept, mirror: &Tuple, reply: &Tuple) -> Result<Status, Fault> {
    match (s & bit::EXACT != 0, kept.status) {
        (true, None) => Ok(status_of(s, mirror, reply)),
        (false, Some(status)) => Ok(status),
        (true, Some(_)) => Err("two statuses"),
        (false, None) => Err("no status"),
    }
}

/// An address, which the next record may refer to; `None` where there is nothing to refer to.
#[inline]
fn address(
    r: &mut Reader<'_>,
    before: &mut Option<[u8; 16]>,
    code: u8,
    v6: bool,
) -> Result<Option<[u8; 16]>, DecodeError> {
    *before = match (code, *before) {
        (same::WHOLE, _) => Some(whole_address(r, v6)?),
        (same::NET, known) => {
            let (len, net) = address_lens(v6);
            let host = r.take(len - net, "truncated record")?;
            known.map(|mut address| {
                address[net..len].copy_from_slice(host);
                address
            })
        }
        (same::ADDRESS, known) => known,
        // The fourth code means nothing, so nothing is known for the next record either.
        _ => None,
    };
    Ok(*before)
}

#[inline]
fn whole_address(r: &mut Reader<'_>, v6: bool) -> Result<[u8; 16], DecodeError> {
    if v6 {
        return r.array("truncated record");
    }
    let mut address = [0; 16];
    address[..4].copy_from_slice(&r.array::<4>("truncated record")?);
    Ok(address)
}
