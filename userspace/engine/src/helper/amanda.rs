//! Amanda backups: the backup server queries a client by UDP, and the answer names three or four TCP ports.
//!
//! ```text
//!   server:a -> client:10080    Amanda 2.6 REQ ...
//!   client -> server            Amanda 2.6 REP ... CONNECT DATA 1001 MESG 1002 INDEX 1003 STATE 1004
//!   server -> client:1001, 1002, 1003, 1004    expected
//! ```
//!
//! Source: what the scripts of `record/helpers` send and the original does with it, and what `amandad` 3.5.1 of Debian
//! 12 answers: it names a fourth stream, STATE. A port of 0 or below means that there is no such stream.

use super::announcement::{Announcement, Wanted};
use super::form::Form;
use super::text::Scanner;
use super::{Context, Direction, Outcome, Packet};
use ctnetlink::tuple::ipproto;

/// Seconds that the flow lives on after an answer: the next one may take that long.
const TIMEOUT_S: u32 = 300;

/// Streams of every version.
const STREAMS: [&[u8]; 3] = [b" DATA ", b" MESG ", b" INDEX "];
/// The stream that older clients do not have.
const STATE: &[u8] = b" STATE ";

pub(super) fn packet(context: &Context<'_>, packet: &Packet<'_>) -> Outcome {
    if packet.direction == Direction::Original {
        return Outcome::default();
    }
    let mut outcome = Outcome { timeout_s: Some(TIMEOUT_S), ..Outcome::default() };
    let mut text = Scanner::new(packet.payload, 0);
    if text.find(b"\nCONNECT").is_none() {
        return outcome;
    }
    let start = text.at();
    let line = text.while_is(|byte| byte != b'\n');
    // With the byte behind it: a line that is cut may be cut within a number.
    let line = packet.payload.get(..=line.end).unwrap_or_default();
    for stream in STREAMS.into_iter().chain([STATE]) {
        let mut words = Scanner::new(line, start);
        if words.find(stream).is_none() {
            outcome.not_understood |= stream != STATE;
        } else if !matches!(words.peek(), Some(b'-' | b'0')) {
            outcome.take(named(context, words));
        }
    }
    outcome
}

fn named(context: &Context<'_>, mut words: Scanner<'_>) -> Option<Announcement> {
    let (port, port_at) = words.port()?;
    let wanted = Wanted::named(Direction::Reply, ipproto::TCP, port);
    Some(Announcement::new(context, &wanted).written(port_at, Form::Port))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::helper::Kind;
    use crate::helper::tests::{Nat, Vector};
    use std::vec::Vec;

    const ANSWER: &str = "Amanda 2.6 REP HANDLE 000-00000000 SEQ 1\n\
        CONNECT DATA 1001 MESG 1002 INDEX 1003\nOPTIONS features=x;\n";

    fn answer(nat: Nat, text: &str) -> Vector {
        let vector = Vector::new(Kind::Amanda, ipproto::UDP, 10_080, nat);
        vector.says(Direction::Reply, text.as_bytes())
    }

    pub(crate) fn vectors() -> Vec<Vector> {
        Nat::ALL.map(|nat| answer(nat, ANSWER)).to_vec()
    }

    #[test]
    fn three_ports_are_expected() {
        for mut vector in vectors() {
            let outcome = vector.run();
            assert_eq!((outcome.timeout_s, outcome.not_understood), (Some(300), false));
            let ports: Vec<_> =
                outcome.announced.iter().map(|a| a.ports().next().expect("one")).collect();
            assert_eq!(ports, [1001, 1002, 1003]);
            for (announced, port) in outcome.announced.iter().zip(ports) {
                let expectation = announced.expectation(port);
                let wanted = vector.original.with_ports(0, port);
                assert_eq!(expectation.tuple, ctnetlink::Tuple { proto: ipproto::TCP, ..wanted });
                assert_eq!((expectation.flags, expectation.timeout_s), (Some(0), Some(180)));
            }
        }
    }

    #[test]
    fn a_client_that_names_a_fourth_stream_is_reached_there_too() {
        let text = ANSWER.replace("INDEX 1003", "INDEX 1003 STATE 1004");
        let outcome = answer(Nat::None, &text).run();
        let ports = outcome.announced.iter().filter_map(|announced| announced.ports().next());
        assert_eq!(ports.collect::<Vec<_>>(), [1001, 1002, 1003, 1004]);
        assert!(!outcome.not_understood);
    }

    #[test]
    fn ports_are_rewritten_where_the_answering_side_is_translated() {
        for nat in Nat::ALL {
            let mut vector = answer(nat, ANSWER);
            let announced = vector.run().announced;
            let ports = [20_001, 1002, 20_003];
            let edits: Vec<_> =
                announced.iter().zip(ports).flat_map(|(a, port)| a.edits(port)).collect();
            let moved = ANSWER.replace("1001", "20001").replace("1003", "20003");
            let wanted = if nat.destination() { &moved } else { ANSWER };
            assert_eq!(vector.rewritten(&edits), wanted.as_bytes(), "{nat:?}");
            assert!(announced.iter().all(|a| a.searches() == nat.destination()));
        }
    }

    #[test]
    fn streams_that_are_missing_are_left_out() {
        let count = |text: &str| {
            let outcome = answer(Nat::None, text).run();
            (outcome.announced.len(), outcome.not_understood)
        };
        assert_eq!(count("REP\nCONNECT DATA 1001 MESG 1002 INDEX 0\n"), (2, false));
        assert_eq!(count("REP\nCONNECT DATA 1001 MESG 1002 INDEX -1\n"), (2, false));
        assert_eq!(count("REP\nCONNECT DATA 1001 MESG 70000 INDEX 1003\n"), (2, true));
        assert_eq!(count("REP\nCONNECT DATA 1001\nMESG 1002 INDEX 1003\n"), (1, true));
        assert_eq!(count("REP\nCONNECT DATA 1001 MESG 1002 INDEX 100"), (0, true), "cut");
        assert_eq!(count("ACK\n"), (0, false));
        let mut request = answer(Nat::None, ANSWER).says(Direction::Original, ANSWER.as_bytes());
        assert_eq!(request.run(), Outcome::default());
    }
}
