//! TFTP (RFC 1350): the server answers a request from a port of its own choice.
//!
//! ```text
//!   client:p -> server:69    opcode 1 (read) or 2 (write), file name
//!   server:q -> client:p     expected
//! ```

use super::announcement::{Announcement, Port, Source, Wanted};
use super::{Context, Direction, Outcome, Packet};
use ctnetlink::tuple::ipproto;

const READ: [u8; 2] = [0, 1];
const WRITE: [u8; 2] = [0, 2];

pub(super) fn packet(context: &Context<'_>, packet: &Packet<'_>) -> Outcome {
    if packet.direction == Direction::Reply {
        return Outcome::default();
    }
    match packet.payload.first_chunk() {
        Some(&(READ | WRITE)) => Outcome::announces(Announcement::new(
            context,
            &Wanted {
                listener: Direction::Original,
                protocol: ipproto::UDP,
                from: Source::Peer,
                port: Port::OfFlow,
                permanent: false,
                helper: None,
            },
        )),
        _ => Outcome::not_understood(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::helper::Kind;
    use crate::helper::tests::{CLIENT, CLIENT_PORT, Nat, Vector};
    use ctnetlink::expectation::ExpectNat;
    use std::vec::Vec;

    /// A request to read and one to write, in each of the four kinds of translation.
    pub(crate) fn vectors() -> Vec<Vector> {
        let payloads: [&[u8]; 2] = [b"\0\x01file\0octet\0", b"\0\x02file\0netascii\0"];
        let each = |nat| payloads.map(|text| vector(nat).says(Direction::Original, text));
        Nat::ALL.into_iter().flat_map(each).collect()
    }

    fn vector(nat: Nat) -> Vector {
        Vector::new(Kind::Tftp, ipproto::UDP, 69, nat)
    }

    #[test]
    fn the_server_is_expected_from_any_port_at_the_clients() {
        for mut vector in vectors() {
            let outcome = vector.run();
            let [announced] = &outcome.announced[..] else { panic!("{vector:?}") };
            assert!(!announced.searches() && !outcome.not_understood);
            let ports: Vec<_> = announced.ports().collect();
            assert_eq!(ports, [vector.reply.ports().1], "the client's outer port and no other");
            let expectation = announced.expectation(ports[0]);
            assert_eq!(expectation.tuple, vector.reply.with_ports(0, ports[0]));
            assert_eq!(expectation.mask.ports(), (0, 0xffff));
            assert_eq!(expectation.master, vector.original);
            assert_eq!((expectation.flags, expectation.timeout_s), (Some(0), Some(300)));
            assert_eq!(announced.edits(ports[0]), []);
        }
    }

    #[test]
    fn what_comes_is_translated_as_the_request_was() {
        for nat in Nat::ALL {
            let mut vector = vector(nat).says(Direction::Original, b"\0\x01f\0octet\0");
            let announced = vector.run().announced.remove(0);
            let expectation = announced.expectation(1);
            let inner =
                ctnetlink::Tuple::v4(CLIENT, [0; 4], ipproto::UDP).with_ports(CLIENT_PORT, 0);
            let wanted = ExpectNat { direction: 1, tuple: inner };
            assert_eq!(expectation.nat, (nat != Nat::None).then_some(wanted), "{nat:?}");
            let function = expectation.function.map(|name| name.as_str() == "nat-follow-master");
            assert_eq!(function, (nat != Nat::None).then_some(true));
        }
    }

    #[test]
    fn answers_and_other_operations_announce_nothing() {
        let mut data = vector(Nat::None).says(Direction::Original, b"\0\x03\0\x01");
        assert_eq!(data.run(), Outcome::not_understood());
        let mut answer = vector(Nat::None).says(Direction::Reply, b"\0\x01file\0");
        assert_eq!(answer.run(), Outcome::default());
    }
}
