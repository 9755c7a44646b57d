//! SSDP and UPnP eventing (UPnP device architecture 1.1, sections 1.3, 4.1 and 4.3).
//!
//! ```text
//!   UDP  client:p -> 239.255.255.250:1900  M-SEARCH                 expected: any -> client:p
//!        device   -> client:p              LOCATION: http://A:P/    expected: any -> A:P by TCP
//!   TCP  client   -> device                SUBSCRIBE, CALLBACK: <http://C:Q/>    expected: device -> C:Q
//!        device   -> C:Q                   NOTIFY                   expected again, for the next event
//! ```
//!
//! What is expected is watched by this helper as well, so that of UDP sees TCP, too.

use super::announcement::{Announcement, Port, Source, Wanted};
use super::form::Form;
use super::text::Scanner;
use super::{ANNOUNCED_MAX, Context, Direction, Outcome, Packet};
use ctnetlink::Tuple;
use ctnetlink::tuple::{FAMILY_IPV4, ipproto};

const GROUP_V4: [u8; 4] = [239, 255, 255, 250];
const NAME: &str = "ssdp";

pub(super) fn packet(context: &Context<'_>, packet: &Packet<'_>) -> Outcome {
    let from_beginner = packet.direction == Direction::Original;
    let starts = |word: &[u8]| packet.payload.starts_with(word);
    match context.original.proto {
        ipproto::UDP if from_beginner && starts(b"M-SEARCH ") => search(context),
        ipproto::UDP if starts(b"HTTP/1.") => description(context, packet),
        ipproto::TCP if from_beginner && starts(b"SUBSCRIBE ") => callbacks(context, packet),
        ipproto::TCP if from_beginner && starts(b"NOTIFY ") => next_event(context),
        _ => Outcome::default(),
    }
}

/// Answers to a search of the group come from any host, to the port that asked.
fn search(context: &Context<'_>) -> Outcome {
    if !is_to_group(&context.original) {
        return Outcome::default();
    }
    let wanted = Wanted {
        listener: Direction::Original,
        protocol: ipproto::UDP,
        from: Source::Anybody,
        port: Port::OfFlow,
        permanent: true,
        helper: Some(NAME),
    };
    Outcome::announces(Announcement::new(context, &wanted))
}

/// Over IPv6 `ff0x::c` (annex A).
fn is_to_group(original: &Tuple) -> bool {
    if original.family == FAMILY_IPV4 {
        return original.dst.starts_with(&GROUP_V4);
    }
    let [0xff, scope, zeros @ .., last] = original.dst else { return false };
    scope < 16 && zeros == [0; 13] && last == 0x0c
}

/// Where the control point reads a device's description.
fn description(context: &Context<'_>, packet: &Packet<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut text = Scanner::new(packet.payload, 0);
    if text.header(b"LOCATION").is_some() {
        let wanted = Wanted {
            from: Source::Anybody,
            permanent: true,
            ..Wanted::named(packet.direction, ipproto::TCP, 0)
        };
        outcome.take(at_own_url(context, wanted, &mut text));
    }
    outcome
}

/// Where a client wants to receive events. It may give several places; those of other hosts are left out.
fn callbacks(context: &Context<'_>, packet: &Packet<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut text = Scanner::new(packet.payload, 0);
    if text.header(b"CALLBACK").is_none() {
        return outcome; // A subscription is renewed.
    }
    while text.byte(b'<').is_some() && outcome.announced.len() < ANNOUNCED_MAX {
        let wanted = Wanted::named(packet.direction, ipproto::TCP, 0);
        outcome.take(at_own_url(context, wanted, &mut text));
        text.while_is(|byte| !matches!(byte, b'>' | b'\r' | b'\n'));
        text.while_is(|byte| matches!(byte, b'>' | b' '));
    }
    outcome.not_understood |= outcome.announced.is_empty();
    outcome
}

/// What is wanted, at the place of a URL, if that is the listener's own.
fn at_own_url(
    context: &Context<'_>,
    wanted: Wanted,
    text: &mut Scanner<'_>,
) -> Option<Announcement> {
    let (address, port, range) = text.endpoint_of_url()?;
    let wanted = Wanted { port: Port::Named(port), helper: Some(NAME), ..wanted };
    let is_own = context.is_own(wanted.listener, address);
    is_own.then(|| Announcement::new(context, &wanted).written(range, Form::Endpoint))
}

/// The device will come again with the next event, to the port it came to now.
fn next_event(context: &Context<'_>) -> Outcome {
    let wanted = Wanted {
        port: Port::OfFlow,
        helper: Some(NAME),
        ..Wanted::named(Direction::Reply, ipproto::TCP, 0)
    };
    Outcome::announces(Announcement::new(context, &wanted))
}

#[cfg(test)]
pub(super) mod tests;
