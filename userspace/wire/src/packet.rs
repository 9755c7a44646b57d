//! What the hook's program reports (`common::hook`), as a flow.

use crate::DecodeError;
use crate::flow::{Extra, Flow, Known, ProtoState, Status, TcpFlags, TcpState};
use alloc::boxed::Box;
use common::Tuple;
use common::hook::{BODY_LEN, Direction, PacketRecord, ext, zone_dir};
use common::tuple::ipproto;

/// A flow as a packet left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The flow, as it is once the packet has left: confirmed.
    pub flow: Flow,
    /// Whether the kernel had it in its table before this packet. If not, it is about to put it there, but may fail.
    pub confirmed: bool,
    /// Whether this is everything that the kernel would tell of it.
    pub whole: bool,
}

/// Reads a record. `hz` is how many jiffies the kernel has in a second.
///
/// # Errors
/// When it is too short, or the flow has no family that conntrack knows.
#[inline]
pub fn decode(bytes: &[u8], hz: u32) -> Result<Seen, DecodeError> {
    let Some(record) = PacketRecord::read(bytes) else {
        return Err(DecodeError::new(bytes.len(), "record is shorter than its layout"));
    };
    let family = record.family;
    if !matches!(family, common::tuple::FAMILY_IPV4 | common::tuple::FAMILY_IPV6) {
        return Err(DecodeError::new(BODY_LEN, "record of an unknown family"));
    }
    let status = Status::from_bits_retain(record.status);
    let both = zone_dir::ORIG | zone_dir::REPLY;
    let of_both = record.zone_dir == 0 || record.zone_dir & both == both;
    let mut known = Known::STATUS | Known::TIMEOUT | Known::MARK;
    known.set(Known::ZONE, of_both && record.zone != 0);
    let of_orig = of_both || record.zone_dir & zone_dir::ORIG != 0;
    let flow = Flow {
        orig: tuple(&record.orig, family, record.proto),
        reply: tuple(&record.reply, family, record.proto),
        zone: if of_orig { record.zone } else { 0 },
        known,
        status: status | Status::CONFIRMED,
        timeout_s: record.ticks_left.checked_div(hz).unwrap_or(0),
        mark: record.mark,
        id: 0,
        proto: proto_state(&record),
        extra: if of_both { None } else { Some(zones_apart(&record)) },
    };
    let untold = Status::EXPECTED | Status::HELPER | Status::SEQ_ADJUST;
    let untold_ext = ext::HELPER | ext::LABELS | ext::SYNPROXY;
    let whole = !status.intersects(untold) && record.ext & untold_ext == 0 && record.secmark == 0;
    Ok(Seen { flow, confirmed: status.contains(Status::CONFIRMED), whole })
}

#[inline]
fn tuple(direction: &Direction, family: u8, proto: u8) -> Tuple {
    let mut out = Tuple { family, proto, ..Tuple::default() };
    out.src.copy_from_slice(&direction[..16]);
    out.dst.copy_from_slice(&direction[16..32]);
    out.l4.copy_from_slice(&direction[32..36]);
    out
}

fn proto_state(record: &PacketRecord) -> ProtoState {
    let s = &record.state;
    match record.proto {
        ipproto::TCP => {
            let flags = |flags| TcpFlags { flags, mask: 0 };
            ProtoState::Tcp(TcpState {
                state: s[0],
                wscale: Some([s[1], s[2]]),
                flags: Some([flags(s[3]), flags(s[4])]),
            })
        }
        ipproto::SCTP => ProtoState::Sctp {
            state: s[0],
            vtag: [
                u32::from_be_bytes([s[4], s[5], s[6], s[7]]),
                u32::from_be_bytes([s[8], s[9], s[10], s[11]]),
            ],
        },
        ipproto::DCCP => ProtoState::Dccp { state: s[0], role: s[1] },
        _ => ProtoState::None,
    }
}

#[cold]
fn zones_apart(record: &PacketRecord) -> Box<Extra> {
    let of = |bit| (record.zone_dir & bit != 0).then_some(record.zone);
    Box::new(Extra { zones: [of(zone_dir::ORIG), of(zone_dir::REPLY)], ..Extra::default() })
}
