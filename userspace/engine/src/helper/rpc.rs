//! Sun RPC's port mapper (RFC 1833): a client asks on which port a service of the same host listens.
//!
//! ```text
//!   client -> server:111    call    GETPORT program, version, protocol      (version 2)
//!                                   GETADDR program, version, "udp", ...    (versions 3 and 4, what IPv6 needs)
//!   server -> client        reply   port, or "10.2.0.2.8.1"
//!   client -> server:port   expected, by the protocol that was asked for
//! ```
//!
//! Messages (RFC 5531, 8) are of words of four bytes in network order; over TCP a word before each holds its length
//! and, in the highest bit, that it is whole (section 11). A call is matched with its reply by its number, *xid*.
//! Private data, native order: `u32 xid, program, version, protocol`, zeros before the first call.

use super::announcement::{Announcement, Port, Source, Wanted};
use super::form::Form;
use super::text::be32;
use super::{Context, Direction, Outcome, Packet};
use core::net::IpAddr;
use core::ops::Range;
use ctnetlink::tuple::ipproto;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
/// The port mapper's own program number.
const PORT_MAPPER: u32 = 100_000;
/// GETPORT in version 2, GETADDR in versions 3 and 4.
const ASK: u32 = 3;
/// The longest body of credentials or a verifier (RFC 5531, 8.2).
const AUTH_LEN_MAX: u32 = 400;
const WHOLE: u32 = 1 << 31;

pub(super) fn packet(context: &mut Context<'_>, packet: &Packet<'_>) -> Outcome {
    let Some(message) = Message::of(context, packet.payload) else { return Outcome::default() };
    match (packet.direction, message.word(1)) {
        (Direction::Original, Some(CALL)) => call(context, message),
        (Direction::Reply, Some(REPLY)) => reply(context, message),
        _ => Outcome::default(),
    }
}

/// A message in a payload: all that follows the word of its length, if there is one.
#[derive(Clone, Copy)]
struct Message<'a> {
    payload: &'a [u8],
    at: usize,
    /// What the word before it says, over TCP.
    marker: Option<u32>,
}

impl<'a> Message<'a> {
    /// The message, if it is whole. Over TCP what follows it is left out.
    fn of(context: &Context<'_>, payload: &'a [u8]) -> Option<Self> {
        if context.original.proto != ipproto::TCP {
            return Some(Self { payload, at: 0, marker: None });
        }
        let marker = be32(payload, 0).filter(|marker| marker & WHOLE != 0)?;
        let payload = payload.get(..4 + (marker & !WHOLE) as usize)?;
        Some(Self { payload, at: 4, marker: Some(marker) })
    }

    /// A word, counted from the start of the message.
    fn word(&self, index: usize) -> Option<u32> {
        be32(self.payload, self.at + index * 4)
    }

    /// Where it goes on after credentials or a verifier that begin at `at`: a kind, a length and as many bytes.
    fn after_auth(&self, at: usize) -> Option<usize> {
        let len = be32(self.payload, at + 4).filter(|&len| len <= AUTH_LEN_MAX)?;
        Some(at + 8 + padded(len))
    }

    /// A string at `at` and where it lies with its length and padding.
    fn string(&self, at: usize) -> Option<(&'a str, Range<usize>)> {
        let len = be32(self.payload, at).filter(|&len| len <= AUTH_LEN_MAX)?;
        let text = self.payload.get(at + 4..at + 4 + len as usize)?;
        let range = at..at + 4 + padded(len);
        self.payload.get(range.clone())?;
        Some((core::str::from_utf8(text).ok()?, range))
    }
}

/// A length, rounded up to whole words.
const fn padded(len: u32) -> usize {
    len.next_multiple_of(4) as usize
}

fn call(context: &mut Context<'_>, message: Message<'_>) -> Outcome {
    let head = [2, 3, 5].map(|index| message.word(index));
    if head != [Some(RPC_VERSION), Some(PORT_MAPPER), Some(ASK)] {
        return Outcome::default();
    }
    let Some(asked) = asked(message) else { return Outcome::not_understood() };
    let [_, program, _, protocol] = asked;
    let is_transport = [ipproto::TCP, ipproto::UDP].map(u32::from).contains(&protocol);
    let of_interest = program != PORT_MAPPER && is_transport;
    let private_changed = note(context, if of_interest { asked } else { [0; 4] });
    Outcome { private_changed, ..Outcome::default() }
}

/// The number of a call, and the program, version and protocol it asks for.
fn asked(message: Message<'_>) -> Option<[u32; 4]> {
    let credentials_at = message.at + 6 * 4;
    let at = message.after_auth(message.after_auth(credentials_at)?)?;
    let argument = |index: usize| be32(message.payload, at + index * 4);
    let protocol = match message.word(4)? {
        2 => argument(2)?,
        3 | 4 => match message.string(at + 8)?.0 {
            "tcp" | "tcp6" => u32::from(ipproto::TCP),
            "udp" | "udp6" => u32::from(ipproto::UDP),
            _ => 0,
        },
        _ => return None,
    };
    Some([message.word(0)?, argument(0)?, argument(1)?, protocol])
}

/// The call stays noted until the next, so that a reply that TCP sends again is rewritten again.
fn reply(context: &Context<'_>, message: Message<'_>) -> Outcome {
    let [xid, program, _, protocol] = [0, 4, 8, 12].map(|at| context.private_u32(at));
    if program == 0 || message.word(0) != Some(xid) {
        return Outcome::default();
    }
    let mut outcome = Outcome::default();
    match found(context, message, protocol as u8) {
        Some(Found::At(announcement)) => outcome.announced.push(announcement),
        Some(Found::Nowhere) => {}
        None => outcome.not_understood = true,
    }
    outcome
}

/// What the port mapper knows of a service.
#[expect(clippy::large_enum_variant, reason = "it lives for a moment")]
enum Found {
    Nowhere,
    At(Announcement),
}

/// Reads an accepted reply; `None` if it is malformed.
fn found(context: &Context<'_>, message: Message<'_>, protocol: u8) -> Option<Found> {
    if message.word(2)? != 0 {
        return Some(Found::Nowhere); // The call was refused.
    }
    let at = message.after_auth(message.at + 3 * 4)?;
    if be32(message.payload, at)? != 0 {
        return Some(Found::Nowhere); // It could not be carried out.
    }
    let at = at + 4;
    if message.payload.len() > at + 4 {
        return at_universal_address(context, message, at, protocol);
    }
    let port = u16::try_from(be32(message.payload, at)?).ok()?;
    if port == 0 {
        return Some(Found::Nowhere);
    }
    let announcement = named(context, protocol, port);
    Some(Found::At(announcement.written(at..at + 4, Form::Port32)))
}

/// `10.2.0.2.8.1`: an address and, after two more dots, the bytes of a port (RFC 5665, 5.2.3.3). It must be the
/// server's own.
fn at_universal_address(
    context: &Context<'_>,
    message: Message<'_>,
    at: usize,
    protocol: u8,
) -> Option<Found> {
    let (text, range) = message.string(at)?;
    let (rest, low) = text.rsplit_once('.')?;
    let (address, high) = rest.rsplit_once('.')?;
    let address: IpAddr = address.parse().ok()?;
    let port = u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?]);
    if port == 0 || !context.is_own(Direction::Reply, address) {
        return None;
    }
    let mut announcement = named(context, protocol, port).written(range, Form::Universal);
    if let Some(marker) = message.marker {
        announcement = announcement.written(0..4, Form::Length32(marker));
    }
    Some(Found::At(announcement))
}

/// The client may come again and again.
fn named(context: &Context<'_>, protocol: u8, port: u16) -> Announcement {
    let wanted = Wanted {
        listener: Direction::Reply,
        protocol,
        from: Source::Peer,
        port: Port::Named(port),
        permanent: true,
        helper: None,
    };
    Announcement::new(context, &wanted)
}

/// Remembers which reply is awaited. Whether that changed anything.
fn note(context: &mut Context<'_>, words: [u32; 4]) -> bool {
    let mut changed = false;
    for (index, word) in words.into_iter().enumerate() {
        changed |= context.set_private_u32(index * 4, word);
    }
    changed
}

#[cfg(test)]
pub(super) mod tests;
