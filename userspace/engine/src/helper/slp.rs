//! The service location protocol (RFC 2608, RFC 3111): as multicast DNS, from port 427.

use super::{Context, Direction, Outcome, Packet, mdns};
use ctnetlink::Tuple;
use ctnetlink::tuple::FAMILY_IPV4;

/// The port that answers come from.
const PORT: u16 = 427;
const GROUP_V4: [u8; 4] = [239, 255, 255, 253];

/// Functions that are answered: requests for services, attributes and service types.
const REQUESTS: [u8; 3] = [1, 6, 9];

pub(super) fn packet(context: &Context<'_>, packet: &Packet<'_>) -> Outcome {
    if packet.direction == Direction::Reply || !is_to_group(&context.original) {
        return Outcome::default();
    }
    match packet.payload.first_chunk() {
        Some([1 | 2, function]) if REQUESTS.contains(function) => {
            Outcome::announces(mdns::answer(context, PORT))
        }
        Some([1 | 2, _]) => Outcome::default(),
        _ => Outcome::not_understood(),
    }
}

/// Over IPv6: `ff0x::116`, and for services `ff0x::1:1000` to `ff0x::1:13ff` (RFC 3111, section 4.1).
fn is_to_group(original: &Tuple) -> bool {
    if original.family == FAMILY_IPV4 {
        return original.dst.starts_with(&GROUP_V4);
    }
    let [0xff, scope, zeros @ .., a, b, c, d] = original.dst else { return false };
    let of_service = matches!([a, b, c], [0, 1, 0x10..=0x13]);
    scope < 16 && zeros == [0; 10] && (of_service || [a, b, c, d] == [0, 0, 1, 0x16])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::helper::Kind;
    use crate::helper::tests::{Nat, Vector, asking, assert_is_for_the_asker};
    use ctnetlink::tuple::ipproto;
    use std::vec::Vec;

    /// A request for a service, as the script of `record/helpers` sends it.
    const REQUEST: &[u8] = b"\x02\x01\0\0\x31\x20\0\0\0\0\0\x01";

    pub(crate) fn vectors() -> Vec<Vector> {
        Vec::from([asking(Kind::Slp, ipproto::UDP, (GROUP_V4, PORT), REQUEST)])
    }

    #[test]
    fn answers_of_anybody_from_the_port_of_the_protocol_are_expected() {
        for mut vector in vectors() {
            let announced = vector.run().announced.remove(0);
            assert_is_for_the_asker(&vector, &announced, 427);
            assert_eq!(announced.expectation(1).timeout_s, Some(16));
        }
    }

    #[test]
    fn groups_of_ipv6_are_known() {
        let group = |last: [u8; 4]| {
            let mut dst = [0; 16];
            (dst[0], dst[1]) = (0xff, 5);
            dst[12..].copy_from_slice(&last);
            is_to_group(&Tuple::v6([1; 16], dst, ipproto::UDP))
        };
        assert!(group([0, 0, 1, 0x16]) && group([0, 1, 0x10, 0]) && group([0, 1, 0x13, 0xff]));
        assert!(!group([0, 0, 1, 0x17]) && !group([0, 1, 0x14, 0]));
        assert!(!is_to_group(&Tuple::v6([1; 16], [0; 16], ipproto::UDP)));
    }

    #[test]
    fn what_is_not_answered_announces_nothing() {
        for (text, outcome) in [
            (&[2, 8][..], Outcome::default()),
            (&[3, 1], Outcome::not_understood()),
            (&[2], Outcome::not_understood()),
        ] {
            let mut vector = vectors().remove(0).says(Direction::Original, text);
            assert_eq!(vector.run(), outcome);
        }
        let mut to_host = Vector::new(Kind::Slp, ipproto::UDP, PORT, Nat::None);
        to_host.payload = REQUEST.to_vec();
        assert_eq!(to_host.run(), Outcome::default());
    }
}
