//! DHCPv6 (RFC 8415): a client asks all servers of its link, and one answers from its own address.
//!
//! ```text
//!   client:546 -> ff02::1:2:547        SOLICIT, REQUEST, ...
//!   server:any -> client:546           ADVERTISE, REPLY: expected
//! ```

use super::announcement::{Announcement, Port, Source, Wanted};
use super::{Context, Direction, Outcome, Packet};
use ctnetlink::tuple::ipproto;

/// The port that clients listen on.
const CLIENT_PORT: u16 = 546;
/// All relay agents and servers of a link.
const GROUP: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];

pub(super) fn packet(context: &Context<'_>, packet: &Packet<'_>) -> Outcome {
    if packet.direction == Direction::Reply || context.original.dst != GROUP {
        return Outcome::default();
    }
    // A message is a type and a transaction id of three bytes (section 8).
    let Some(&[kind, _, _, _]) = packet.payload.first_chunk() else {
        return Outcome::not_understood();
    };
    let Some(timeout_s) = lifetime_s(kind) else { return Outcome::not_understood() };
    let wanted = Wanted {
        listener: Direction::Original,
        protocol: ipproto::UDP,
        from: Source::Anybody,
        port: Port::Fixed(CLIENT_PORT),
        permanent: true,
        helper: None,
    };
    let outcome = Outcome::announces(Announcement::new(context, &wanted));
    Outcome { timeout_s: Some(timeout_s), ..outcome }
}

/// How long a client waits for an answer to its message at most before it sends again or gives up, in seconds (RFC
/// 8415, 7.6; for SOLICIT and INFORMATION-REQUEST RFC 3315, 5.5, whose 120 seconds became an hour). `None`: no
/// message of a client.
const fn lifetime_s(kind: u8) -> Option<u32> {
    match kind {
        1 | 11 => Some(120), // SOLICIT, INFORMATION-REQUEST
        3 => Some(30),       // REQUEST
        4 => Some(10),       // CONFIRM: CNF_MAX_RD
        5 | 6 => Some(600),  // RENEW, REBIND
        8 | 9 => Some(15),   // RELEASE, DECLINE: four tries of 1, 2, 4 and 8 seconds
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::helper::Kind;
    use crate::helper::tests::{Nat, Vector};
    use ctnetlink::Tuple;
    use std::vec::Vec;

    /// A SOLICIT with a client identifier, as the script of `record/helpers` sends it.
    const SOLICIT: &[u8] =
        b"\x01\x01\x02\x03\0\x01\0\x0e\0\x01\0\x01\x01\x02\x03\x04\x01\x02\x03\x04\x05\x06";
    const CLIENT_V6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 8, 0x9c, 0, 0xff, 0xfe, 0x7b, 1, 2];

    pub(crate) fn vectors() -> Vec<Vector> {
        let original = Tuple::v6(CLIENT_V6, GROUP, ipproto::UDP).with_ports(546, 547);
        let vector = Vector::new(Kind::Dhcpv6, ipproto::UDP, 547, Nat::None);
        let vector = vector.says(Direction::Original, SOLICIT);
        Vec::from([Vector { original, reply: original.inverted(), ..vector }])
    }

    #[test]
    fn anybody_is_expected_at_the_clients_port() {
        let mut vector = vectors().remove(0);
        // The client may send from any port; answers come to 546 (section 7.2).
        vector.original = vector.original.with_ports(1546, 547);
        vector.reply = vector.original.inverted();
        let outcome = vector.run();
        assert_eq!(outcome.timeout_s, Some(120));
        let announced = &outcome.announced[0];
        assert_eq!(announced.ports().collect::<Vec<_>>(), [546]);
        let expectation = announced.expectation(546);
        let wanted = Tuple::v6([0; 16], CLIENT_V6, ipproto::UDP).with_ports(0, 546);
        assert_eq!(expectation.tuple, wanted);
        assert_eq!((expectation.mask.src, expectation.mask.ports()), ([0; 16], (0, 0xffff)));
        assert_eq!((expectation.flags, expectation.timeout_s), (Some(1), Some(300)));
        assert_eq!((expectation.nat, expectation.function), (None, None));
    }

    #[test]
    fn messages_of_servers_and_relays_are_not_understood() {
        for kind in 0..=255 {
            let mut vector = vectors().remove(0);
            vector.payload[0] = kind;
            let is_clients = matches!(kind, 1 | 3..=6 | 8 | 9 | 11);
            assert_eq!(vector.run().not_understood, !is_clients, "{kind}");
        }
        let mut cut = vectors().remove(0).says(Direction::Original, &[1, 2, 3]);
        assert_eq!(cut.run(), Outcome::not_understood());
    }

    #[test]
    fn messages_to_one_server_need_no_expectation() {
        let mut vector = vectors().remove(0);
        vector.original.dst = CLIENT_V6;
        assert_eq!(vector.run(), Outcome::default());
    }
}
