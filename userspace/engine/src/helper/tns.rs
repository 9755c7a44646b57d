//! Oracle's TNS: a listener may send the client on to another port.
//!
//! ```text
//!   server:1521 -> client    | length 2 | 0 2 | 5 | 0 | 0 2 | length 2 | (ADDRESS=...(HOST=10.2.0.2)(PORT=1522))
//!                                         REDIRECT              of the text
//!   or the REDIRECT alone, then
//!                            | length 2 | 0 2 | 6 | 0 | 0 2 | flags 2 | (ADDRESS=...)
//!                                         DATA
//!   client -> server:1522    expected
//! ```
//!
//! Lengths count from the first byte of the packet, in network order. Only the listener's own address is followed.
//! Private data: one byte, 1 since a REDIRECT without text.

use super::announcement::{Announcement, Wanted};
use super::form::Form;
use super::text::{Scanner, be16};
use super::{Context, Direction, Outcome, Packet};
use ctnetlink::tuple::ipproto;

const REDIRECT: u8 = 5;
const DATA: u8 = 6;
const TYPE_AT: usize = 4;
/// Where the length of a REDIRECT's text stands, or the flags of DATA.
const TEXT_LEN_AT: usize = 8;
const TEXT_AT: usize = 10;
/// The longest packet that is rewritten: it may become longer.
const LEN_MAX: u16 = 0xff00;

pub(super) fn packet(context: &mut Context<'_>, packet: &Packet<'_>) -> Outcome {
    if packet.direction == Direction::Original || packet.payload.is_empty() {
        return Outcome::default();
    }
    let awaits_data = context.private.first() == Some(&1);
    let kind = packet.payload.get(TYPE_AT);
    let mut outcome = match kind {
        Some(&REDIRECT) => redirect(context, packet.payload),
        Some(&DATA) if awaits_data => in_text(context, packet.payload),
        _ => Outcome::default(),
    };
    // The note stays behind DATA, so that DATA that TCP sends again is rewritten again.
    let awaits = match kind {
        Some(&DATA) => awaits_data,
        _ => is_redirect_alone(packet.payload),
    };
    let awaits = u8::from(awaits);
    if let Some(private) = context.private.first_mut().filter(|private| **private != awaits) {
        *private = awaits;
        outcome.private_changed = true;
    }
    outcome
}

/// A REDIRECT whose text follows as DATA.
fn is_redirect_alone(payload: &[u8]) -> bool {
    payload.get(TYPE_AT) == Some(&REDIRECT) && payload.len() == TEXT_AT
}

fn redirect(context: &Context<'_>, payload: &[u8]) -> Outcome {
    if is_redirect_alone(payload) { Outcome::default() } else { in_text(context, payload) }
}

fn in_text(context: &Context<'_>, payload: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.take(address(context, payload));
    outcome
}

fn address(context: &Context<'_>, payload: &[u8]) -> Option<Announcement> {
    let len = be16(payload, 0).filter(|len| usize::from(*len) >= TEXT_AT)?;
    // What follows the packet is another one. A packet that goes on in the next segment is read as far as it is here.
    let payload = payload.get(..usize::from(len)).unwrap_or(payload);
    let mut text = Scanner::new(payload, TEXT_AT);
    text.find(b"(HOST=")?;
    let (host, host_at) = text.address()?;
    text.byte(b')')?;
    let mut text = Scanner::new(payload, TEXT_AT);
    text.find(b"(PORT=")?;
    let (port, port_at) = text.port()?;
    text.byte(b')')?;
    if !context.is_own(Direction::Reply, host) {
        return None;
    }
    let wanted = Wanted::named(Direction::Reply, ipproto::TCP, port);
    let announcement = Announcement::new(context, &wanted);
    if announcement.searches() && len > LEN_MAX {
        return None;
    }
    let announcement = announcement
        .written(0..2, Form::Length16(len))
        .written(host_at, Form::Address)
        .written(port_at, Form::Port);
    if payload.get(TYPE_AT) != Some(&REDIRECT) {
        return Some(announcement);
    }
    let text_len = be16(payload, TEXT_LEN_AT).filter(|text| *text <= len - TEXT_AT as u16)?;
    Some(announcement.written(TEXT_LEN_AT..TEXT_AT, Form::Length16(text_len)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::helper::Kind;
    use crate::helper::tests::{Nat, Vector};
    use std::vec::Vec;

    /// As `resp.sh` of `record/helpers` has it. The lengths are three bytes and four more than what is there.
    const REDIRECTS: &[u8] =
        b"\0\x41\0\0\x05\0\0\0\0\x37(ADDRESS=(PROTOCOL=tcp)(HOST=10.2.0.2)(PORT=1522))  ";

    fn says(nat: Nat, payload: &[u8]) -> Vector {
        Vector::new(Kind::Tns, ipproto::TCP, 1521, nat).says(Direction::Reply, payload)
    }

    /// A REDIRECT with this text and right lengths.
    fn redirect_to(text: &str) -> Vec<u8> {
        let len = text.len() as u8;
        [&[0, len + 10, 0, 0, REDIRECT, 0, 0, 0, 0, len], text.as_bytes()].concat()
    }

    fn redirects() -> Vec<u8> {
        redirect_to("(ADDRESS=(PROTOCOL=tcp)(HOST=10.2.0.2)(PORT=1522))")
    }

    fn data() -> Vec<u8> {
        let mut payload = redirects();
        (payload[TYPE_AT], payload[9]) = (DATA, 0);
        payload
    }

    /// In one packet, and as DATA behind a REDIRECT.
    pub(crate) fn vectors() -> Vec<Vector> {
        let behind = |nat| {
            let mut vector = says(nat, b"\0\x0a\0\0\x05\0\0\0\0\x37");
            let outcome = vector.run();
            assert!(outcome.private_changed && outcome.announced.is_empty());
            vector.says(Direction::Reply, &data())
        };
        Nat::ALL.into_iter().flat_map(|nat| [says(nat, REDIRECTS), behind(nat)]).collect()
    }

    #[test]
    fn the_client_is_expected_at_the_port_it_is_sent_to() {
        for mut vector in vectors() {
            let outcome = vector.run();
            assert_eq!(vector.run().announced, outcome.announced, "the same packet again");
            let [announced] = &outcome.announced[..] else { panic!("{vector:?}") };
            assert_eq!(announced.expectation(1522).tuple, vector.original.with_ports(0, 1522));
        }
    }

    #[test]
    fn text_and_lengths_are_rewritten_where_the_listener_is_translated() {
        for nat in Nat::ALL {
            let mut vector = says(nat, &redirects());
            let announced = vector.run().announced.remove(0);
            assert_eq!(announced.searches(), nat.destination());
            let mut wanted = redirects();
            if nat.destination() {
                wanted = redirect_to("(ADDRESS=(PROTOCOL=tcp)(HOST=10.1.0.99)(PORT=10000))");
            }
            assert_eq!(vector.rewritten(&announced.edits(10_000)), wanted, "{nat:?}");
        }
        let mut behind = vectors().remove(5);
        let edits = behind.run().announced.remove(0).edits(10_000);
        let rewritten = behind.rewritten(&edits);
        assert_eq!(rewritten[..10], [0, rewritten.len() as u8, 0, 0, DATA, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_names_another_host_or_is_malformed_is_not_understood() {
        let text = |old: &str, new: &str| {
            let text = "(ADDRESS=(PROTOCOL=tcp)(HOST=10.2.0.2)(PORT=1522))";
            redirect_to(&text.replace(old, new))
        };
        for payload in [
            text("10.2.0.2", "10.2.0.3"),
            text("10.2.0.2", "10.1.0.2"),
            text("10.2.0.2", "db.example"),
            text("1522", "0"),
            text("1522", "65536"),
            text("(PORT=", "(port"),
            text("1522))", "1522"),
            [&[0, 40], &redirects()[2..]].concat(), // the packet ends before the port
            [&redirects()[..8], &[0xff, 0xff], &redirects()[10..]].concat(), // text beyond the packet
        ] {
            let outcome = says(Nat::None, &payload).run();
            assert!(outcome.not_understood && outcome.announced.is_empty(), "{payload:?}");
        }
        let long = [&[0xff, 1], &redirects()[2..]].concat();
        assert!(!says(Nat::None, &long).run().not_understood);
        let rewritten = says(Nat::Destination, &long).run();
        assert!(rewritten.not_understood, "its new length could not be said");
        assert_eq!(says(Nat::None, &data()).run(), Outcome::default(), "nobody was redirected");
        let mut client = says(Nat::None, b"").says(Direction::Original, &redirects());
        assert_eq!(client.run(), Outcome::default());
    }
}
