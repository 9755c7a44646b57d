//! SANE's network protocol: a scanner's data come over a connection of their own.
//!
//! ```text
//!   client -> server:6566    NET_START (7), handle
//!   server -> client         status 0, port, byte order, ...    each 4 bytes, network order
//!   client -> server:port    expected
//! ```
//!
//! Source: the SANE standard 1.06, section 5.2.8. Private data: `u32`, 1 while the last request was NET_START,
//! native order.

use super::announcement::{Announcement, Wanted};
use super::form::Form;
use super::text::be32;
use super::{Context, Direction, Outcome, Packet};
use ctnetlink::tuple::ipproto;

const NET_START: u32 = 7;
/// Code and handle.
const REQUEST_LEN: usize = 8;
/// Where the answer has the port.
const PORT_AT: usize = 4;

pub(super) fn packet(context: &mut Context<'_>, packet: &Packet<'_>) -> Outcome {
    if packet.payload.is_empty() {
        return Outcome::default();
    }
    match packet.direction {
        Direction::Original => {
            let is_start = be32(packet.payload, 0) == Some(NET_START);
            let awaited = is_start && packet.payload.len() == REQUEST_LEN;
            let private_changed = context.set_private_u32(0, u32::from(awaited));
            Outcome { private_changed, ..Outcome::default() }
        }
        // The note stays until the client's next request, so that an answer that TCP sends again is rewritten again.
        Direction::Reply if context.private_u32(0) != 0 => answer(context, packet.payload),
        Direction::Reply => Outcome::default(),
    }
}

fn answer(context: &Context<'_>, payload: &[u8]) -> Outcome {
    let port = be32(payload, PORT_AT).and_then(|port| u16::try_from(port).ok());
    match (be32(payload, 0), port) {
        (Some(0), Some(port)) if port != 0 => {
            let wanted = Wanted::named(Direction::Reply, ipproto::TCP, port);
            let announcement = Announcement::new(context, &wanted);
            Outcome::announces(announcement.written(PORT_AT..PORT_AT + 4, Form::Port32))
        }
        (Some(1..), _) => Outcome::default(), // The scanner does not start.
        _ => Outcome::not_understood(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::helper::Kind;
    use crate::helper::tests::{Nat, Vector};
    use std::vec::Vec;

    /// As `resp.sh` of `record/helpers` has it: port 6570, byte order 0x1234.
    const ANSWER: &[u8] = b"\0\0\0\0\0\0\x19\xaa\0\0\x12\x34\0\0\0\0";

    fn asked(nat: Nat) -> Vector {
        Vector::new(Kind::Sane, ipproto::TCP, 6566, nat)
            .says(Direction::Original, b"\0\0\0\x07\0\0\0\0")
    }

    /// Answers to a start that is noted in the private data.
    pub(crate) fn vectors() -> Vec<Vector> {
        let answered = |nat| {
            let mut vector = asked(nat);
            assert!(vector.run().private_changed);
            vector.says(Direction::Reply, ANSWER)
        };
        Nat::ALL.map(answered).to_vec()
    }

    #[test]
    fn the_client_is_expected_at_the_port_of_the_answer() {
        for (mut vector, nat) in vectors().into_iter().zip(Nat::ALL) {
            let outcome = vector.run();
            assert_eq!(vector.run(), outcome, "the same packet again");
            let announced = &outcome.announced[0];
            assert_eq!(announced.expectation(6570).tuple, vector.original.with_ports(0, 6570));
            assert_eq!(announced.searches(), nat.destination());
            let mut wanted = ANSWER.to_vec();
            wanted[7] += u8::from(nat.destination());
            assert_eq!(vector.rewritten(&announced.edits(6571)), wanted);
            assert_eq!(announced.edits(6570), [], "it says so already");
        }
    }

    #[test]
    fn an_answer_to_something_else_announces_nothing() {
        let mut unasked = asked(Nat::None).says(Direction::Reply, ANSWER);
        assert_eq!(unasked.run(), Outcome::default());
        let mut vector = vectors().remove(0);
        vector = vector.says(Direction::Original, b"\0\0\0\x05\0\0\0\0");
        assert!(vector.run().private_changed);
        assert_eq!(vector.says(Direction::Reply, ANSWER).run(), Outcome::default());
    }

    #[test]
    fn a_request_that_is_no_start_is_not_one() {
        for payload in [&b"\0\0\0\x07\0\0\0\0\0"[..], b"\0\0\0\x07\0\0\0", b"\0\0\x07\0\0\0\0\0"] {
            let mut vector = asked(Nat::None).says(Direction::Original, payload);
            assert_eq!(vector.run(), Outcome::default(), "{payload:?}");
        }
    }

    #[test]
    fn answers_that_fail_or_are_malformed() {
        let run = |payload: &[u8]| {
            let outcome = vectors().remove(0).says(Direction::Reply, payload).run();
            (outcome.announced.len(), outcome.not_understood)
        };
        assert_eq!(run(b"\0\0\0\x03\0\0\0\0"), (0, false), "the device is busy");
        assert_eq!(run(b"\0\0\0\0\0\x01\0\0"), (0, true), "no port");
        assert_eq!(run(b"\0\0\0\0\0\0\0\0"), (0, true));
        assert_eq!(run(b"\0\0\0\0\0\0\x19"), (0, true), "cut");
    }
}
