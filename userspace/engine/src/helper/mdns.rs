//! Multicast DNS (RFC 6762): a host queries the group from a port of its own, and any host that knows answers, from
//! its own address and port 5353 (section 6.7). Any host may ask, and any may answer.

use super::announcement::{Announcement, Port, Source, Wanted};
use super::text::be16;
use super::{Context, Direction, Outcome, Packet};
use ctnetlink::Tuple;
use ctnetlink::tuple::{FAMILY_IPV4, ipproto};

/// The port that answers come from.
const PORT: u16 = 5353;
const GROUP_V4: [u8; 4] = [224, 0, 0, 251];
const GROUP_V6: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb];

/// Length of the header of DNS (RFC 1035, 4.1.1).
const HEADER_LEN: usize = 12;
/// The bits of its third byte that are 0 in a standard query: that it is an answer, and the operation.
const NOT_A_QUERY: u8 = 0xf8;

pub(super) fn packet(context: &Context<'_>, packet: &Packet<'_>) -> Outcome {
    if packet.direction == Direction::Reply || !is_to_group(&context.original) {
        return Outcome::default();
    }
    match packet.payload.get(2) {
        Some(flags) if packet.payload.len() >= HEADER_LEN => {
            let asks = flags & NOT_A_QUERY == 0 && be16(packet.payload, 4) != Some(0);
            if asks { Outcome::announces(answer(context, PORT)) } else { Outcome::default() }
        }
        _ => Outcome::not_understood(),
    }
}

fn is_to_group(original: &Tuple) -> bool {
    if original.family == FAMILY_IPV4 {
        original.dst.starts_with(&GROUP_V4)
    } else {
        original.dst == GROUP_V6
    }
}

/// Answers to a request to a group, from any host's `port`. Several may come.
pub(super) fn answer(context: &Context<'_>, port: u16) -> Announcement {
    let wanted = Wanted {
        listener: Direction::Original,
        protocol: ipproto::UDP,
        from: Source::AnybodyAt(port),
        port: Port::OfFlow,
        permanent: true,
        helper: None,
    };
    Announcement::new(context, &wanted)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::helper::Kind;
    use crate::helper::tests::{
        CLIENT, CLIENT_OUTSIDE, Nat, Vector, asking, assert_is_for_the_asker,
    };
    use std::vec::Vec;

    /// `_http._tcp.local PTR`, as the script of `record/helpers` asks.
    const QUERY: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x05_http\x04_tcp\x05local\0\0\x0c\0\x01";

    /// From port 41707 and from 5353.
    pub(crate) fn vectors() -> Vec<Vector> {
        let ask = |port| {
            let vector = asking(Kind::Mdns, ipproto::UDP, (GROUP_V4, PORT), QUERY);
            let original = vector.original.with_ports(port, PORT);
            Vector { original, reply: original.inverted(), ..vector }
        };
        Vec::from([41_707, 5353].map(ask))
    }

    #[test]
    fn answers_of_anybody_from_the_port_of_the_protocol_are_expected() {
        for mut vector in vectors() {
            let announced = vector.run().announced.remove(0);
            assert_is_for_the_asker(&vector, &announced, 5353);
            assert_eq!(announced.expectation(PORT).timeout_s, Some(30));
        }
    }

    #[test]
    fn over_ipv6_too() {
        let mut vector = vectors().remove(0);
        vector.original = Tuple::v6([0x20; 16], GROUP_V6, ipproto::UDP).with_ports(4000, PORT);
        vector.reply = vector.original.inverted();
        let announced = vector.run().announced.remove(0);
        assert_is_for_the_asker(&vector, &announced, 5353);
    }

    #[test]
    fn answers_and_questions_to_one_host_announce_nothing() {
        let mut answer = vectors().remove(0);
        answer.payload[2] = 0x84;
        assert_eq!(answer.run(), Outcome::default());
        let mut of_nothing = vectors().remove(0);
        of_nothing.payload[5] = 0;
        assert_eq!(of_nothing.run(), Outcome::default());
        let mut cut = vectors().remove(0);
        cut.payload.truncate(11);
        assert_eq!(cut.run(), Outcome::not_understood());
        let mut to_host = Vector::new(Kind::Mdns, ipproto::UDP, PORT, Nat::None);
        to_host.payload = QUERY.to_vec();
        assert_eq!(to_host.run(), Outcome::default());
    }

    #[test]
    fn an_asker_that_is_translated_is_answered_by_its_outer_address() {
        let mut vector = vectors().remove(0);
        vector.status |= ctnetlink::flow::Status::SRC_NAT;
        vector.reply.dst[..4].copy_from_slice(&CLIENT_OUTSIDE);
        vector.reply = vector.reply.with_ports(PORT, 999);
        let announced = vector.run().announced.remove(0);
        assert_eq!(announced.ports().collect::<Vec<_>>(), [999]);
        let expectation = announced.expectation(999);
        let inner = Tuple::v4(CLIENT, [0; 4], ipproto::UDP).with_ports(41_707, 0);
        let nat = expectation.nat.expect("it is translated");
        assert_eq!((nat.direction, nat.tuple), (1, inner));
        let function = expectation.function.map(|name| name.as_str().len());
        assert_eq!(function, Some("sip".len()), "whoever answers keeps the own address");
    }
}
