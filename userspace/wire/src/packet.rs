//! What the hook's program reports (`common::hook`), as a flow.

use alloc::sync::Arc;
use common::hook::{BODY_LEN, Direction, PacketRecord, ext, zone_dir};
use ctnetlink::flow::{Extra, Flow, Known, ProtoState, Status, TcpFlags, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{DecodeError, FlowKey, Tuple};

/// A flow as a packet left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The flow, as it is once the packet has left: confirmed.
    pub flow: Flow,
    /// Whether the kernel had it in its table before this packet. If not, it is about to put it there, but may fail.
    pub confirmed: bool,
    /// Whether the packet carries everything that the kernel would report of the flow.
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
    if !matches!(family, ctnetlink::tuple::FAMILY_IPV4 | ctnetlink::tuple::FAMILY_IPV6) {
        return Err(DecodeError::new(BODY_LEN, "record of an unknown family"));
    }
    let status = Status::from_bits_retain(record.status);
    let of_both = zones_of_both(&record);
    let mut known = Known::STATUS | Known::TIMEOUT | Known::MARK;
    known.set(Known::ZONE, of_both && record.zone != 0);
    let flow = Flow {
        orig: tuple(&record.orig, family, record.proto),
        reply: tuple(&record.reply, family, record.proto),
        zone: original_zone(&record),
        known,
        status: status | Status::CONFIRMED,
        timeout_s: record.ticks_left.checked_div(hz).unwrap_or(0),
        mark: record.mark,
        id: 0,
        proto: proto_state(&record),
        extra: if of_both { None } else { Some(zones_apart(&record)) },
    };
    let not_in_record = Status::EXPECTED | Status::HELPER | Status::SEQ_ADJUST;
    let ext_not_in_record = ext::HELPER | ext::LABELS | ext::SYNPROXY;
    let whole = !status.intersects(not_in_record)
        && record.ext & ext_not_in_record == 0
        && record.secmark == 0;
    Ok(Seen { flow, confirmed: status.contains(Status::CONFIRMED), whole })
}

/// The identity of the flow that a record is about; `None` when it is too short.
#[must_use]
pub fn identity(bytes: &[u8]) -> Option<FlowKey> {
    let record = PacketRecord::read(bytes)?;
    let tuple = tuple(&record.orig, record.family, record.proto);
    Some(FlowKey::new(tuple, original_zone(&record)))
}

/// The zone that distinguishes a flow from others with its original tuple.
fn original_zone(record: &PacketRecord) -> u16 {
    let of_orig = zones_of_both(record) || record.zone_dir & zone_dir::ORIG != 0;
    if of_orig { record.zone } else { 0 }
}

fn zones_of_both(record: &PacketRecord) -> bool {
    let both = zone_dir::ORIG | zone_dir::REPLY;
    record.zone_dir == 0 || record.zone_dir & both == both
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
fn zones_apart(record: &PacketRecord) -> Arc<Extra> {
    let of = |bit| (record.zone_dir & bit != 0).then_some(record.zone);
    Arc::new(Extra::default().with(|extra| extra.zones = [of(zone_dir::ORIG), of(zone_dir::REPLY)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use ctnetlink::tuple::FAMILY_IPV4;
    use proptest::prelude::*;

    const HZ: u32 = 250;

    /// The bytes of a record, as the program lays them out.
    fn bytes(r: &PacketRecord) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(r.orig.iter().chain(&r.reply));
        for word in [r.status, r.ticks_left, r.mark, r.secmark] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(r.state);
        out.extend(r.zone.to_ne_bytes());
        out.extend([r.zone_dir, r.family, r.proto, r.ext]);
        out.extend(r.reserved);
        out
    }

    fn direction(src: [u8; 4], dst: [u8; 4], l4: [u8; 4]) -> Direction {
        let mut out = [0; 36];
        out[..4].copy_from_slice(&src);
        out[16..20].copy_from_slice(&dst);
        out[32..].copy_from_slice(&l4);
        out
    }

    /// An established connection of zone 7 with a translated source.
    fn connection() -> PacketRecord {
        PacketRecord {
            orig: direction([10, 0, 0, 1], [10, 0, 0, 2], [0x9c, 0x40, 1, 0xbb]),
            reply: direction([10, 0, 0, 2], [9, 9, 9, 9], [1, 0xbb, 0x10, 0]),
            status: (Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED).bits(),
            ticks_left: 100 * HZ + HZ - 1,
            mark: 5,
            secmark: 0,
            state: [3, 7, 9, 0x23, 0x0b, 0, 0, 0, 0, 0, 0, 0],
            zone: 7,
            zone_dir: 3,
            family: FAMILY_IPV4,
            proto: ipproto::TCP,
            ext: ext::SEQADJ,
            reserved: [0; 6],
        }
    }

    #[test]
    fn a_record_is_the_flow_that_netlink_would_tell() {
        let seen = decode(&bytes(&connection()), HZ).unwrap();
        let flags = [0x23, 0x0b].map(|flags| TcpFlags { flags, mask: 0 });
        let flow = Flow {
            reply: Tuple::v4([10, 0, 0, 2], [9, 9, 9, 9], ipproto::TCP).with_ports(443, 4096),
            zone: 7,
            known: Known::STATUS | Known::TIMEOUT | Known::MARK | Known::ZONE,
            status: Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED,
            timeout_s: 100,
            mark: 5,
            proto: ProtoState::Tcp(TcpState { state: 3, wscale: Some([7, 9]), flags: Some(flags) }),
            ..Flow::new(
                Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::TCP).with_ports(40_000, 443),
            )
        };
        assert_eq!(seen, Seen { flow, confirmed: true, whole: true });
    }

    #[test]
    fn a_first_packet_tells_of_a_flow_that_is_about_to_be_confirmed() {
        let first = PacketRecord { status: 0, ..connection() };
        let seen = decode(&bytes(&first), HZ).unwrap();
        assert_eq!((seen.confirmed, seen.flow.status), (false, Status::CONFIRMED));
    }

    #[test]
    fn what_a_record_cannot_hold_is_to_be_asked_for() {
        let whole = |record: PacketRecord| decode(&bytes(&record), HZ).unwrap().whole;
        for bit in [ext::HELPER, ext::LABELS, ext::SYNPROXY] {
            assert!(!whole(PacketRecord { ext: bit, ..connection() }), "{bit}");
        }
        for bit in [Status::EXPECTED, Status::HELPER, Status::SEQ_ADJUST] {
            let status = connection().status | bit.bits();
            assert!(!whole(PacketRecord { status, ..connection() }), "{bit:?}");
        }
        assert!(!whole(PacketRecord { secmark: 1, ..connection() }));
    }

    #[test]
    fn a_zone_of_one_direction_is_told_as_netlink_tells_it() {
        for (zone_dir, zone, zones) in [(1, 7, [Some(7), None]), (2, 0, [None, Some(7)])] {
            let flow = decode(&bytes(&PacketRecord { zone_dir, ..connection() }), HZ).unwrap().flow;
            assert_eq!((flow.zone, flow.has(Known::ZONE)), (zone, false));
            assert_eq!(flow.extra.unwrap().zones, zones);
        }
        // A kernel without zones.
        let flow = decode(&bytes(&PacketRecord { zone_dir: 0, zone: 0, ..connection() }), HZ);
        assert_eq!(flow.unwrap().flow.extra, None);
    }

    #[test]
    fn sctp_carries_its_tags() {
        let state = [3, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4];
        let record = PacketRecord { proto: ipproto::SCTP, state, ..connection() };
        let flow = decode(&bytes(&record), HZ).unwrap().flow;
        assert_eq!(flow.proto, ProtoState::Sctp { state: 3, vtag: [258, 772] });
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_flow_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..2 * BODY_LEN),
            hz: u32,
        ) {
            if let Ok(seen) = decode(&bytes, hz) {
                prop_assert!(bytes.len() >= BODY_LEN && seen.flow.orig.is_known());
            }
        }
    }
}
