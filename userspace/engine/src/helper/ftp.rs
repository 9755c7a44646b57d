//! FTP (RFC 959, RFC 2428): client and server negotiate the data connections.
//!
//! ```text
//!   client -> server:21   PORT 10,1,0,2,19,137      server -> client:5001 expected
//!                         EPRT |1|10.1.0.2|5001|    the same, either family
//!   server -> client      227 ... (10,2,0,2,18,52)  client -> server:4660 expected
//!                         229 ... (|||4660|)        the same, either family
//! ```
//!
//! A command is accepted only at the start of a packet that follows a line end, a reply at the start of any line: an
//! attacker may choose packet boundaries and would otherwise turn data into a command. The private data holds the
//! sequence numbers of line ends, two per direction, in the layout that the kernel and conntrackd share:
//!
//! ```text
//!   0        8        16     20     24
//!   | u32 x2 | u32 x2 | u32  | u32  |     native order
//!     original reply    how many of each
//! ```
//!
//! For a direction without known line ends, a packet is assumed to begin a line, so that existing sessions are helped
//! too.

use super::announcement::{Announcement, Wanted};
use super::form::Form;
use super::text::Scanner;
use super::{Context, Direction, Outcome, Packet};
use core::net::{IpAddr, Ipv4Addr};
use core::ops::Range;
use ctnetlink::tuple::ipproto;

/// Sequence numbers kept of each direction.
const REMEMBERED: usize = 2;
/// Where the counts begin.
const COUNTS_AT: usize = 16;

pub(super) fn packet(context: &mut Context<'_>, packet: &Packet<'_>) -> Outcome {
    let Some(last) = packet.payload.last() else { return Outcome::default() };
    let begins_a_line = begins_a_line(context, packet);
    let mut outcome = match packet.direction {
        Direction::Original if begins_a_line => command(context, packet.payload),
        Direction::Original => Outcome::default(),
        Direction::Reply => replies(context, packet.payload, begins_a_line),
    };
    if *last == b'\n' {
        let end = packet.seq.wrapping_add(packet.payload.len() as u32);
        outcome.private_changed = note_end(context, packet.direction, end);
    }
    outcome
}

fn command(context: &Context<'_>, payload: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut line = Scanner::new(payload, 0);
    if line.word(b"PORT ").is_some() {
        line.blanks();
        outcome.take(six_numbers(context, Direction::Original, line));
        return outcome;
    }
    line = Scanner::new(payload, 0);
    if line.word(b"EPRT ").is_some() {
        line.blanks();
        outcome.take(eprt(context, line));
    }
    outcome
}

fn replies(context: &Context<'_>, payload: &[u8], begins_a_line: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut lines = Scanner::new(payload, 0);
    if !begins_a_line && lines.find(b"\n").is_none() {
        return outcome;
    }
    loop {
        let code = payload.get(lines.at()..).and_then(|line| line.first_chunk());
        match code {
            Some(b"227 ") => outcome.take(pasv(context, lines)),
            Some(b"229 ") => outcome.take(epsv(context, lines)),
            _ => {}
        }
        if lines.find(b"\n").is_none() {
            return outcome;
        }
    }
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// `227 Entering Passive Mode (10,2,0,2,18,52)`. Servers differ in what stands before the numbers; most have a
/// parenthesis there.
fn pasv(context: &Context<'_>, mut line: Scanner<'_>) -> Option<Announcement> {
    line.word(b"227 ")?;
    let mut numbers = line;
    line.while_is(|byte| byte != b'(' && !is_line_end(byte));
    if line.byte(b'(').is_some() {
        numbers = line;
    } else {
        numbers.while_is(|byte| !byte.is_ascii_digit() && !is_line_end(byte));
    }
    six_numbers(context, Direction::Reply, numbers)
}

/// `10,1,0,2,19,137`: the address of who says it and a port.
fn six_numbers(
    context: &Context<'_>,
    speaker: Direction,
    mut text: Scanner<'_>,
) -> Option<Announcement> {
    let start = text.at();
    let mut numbers = [0; 6];
    for (place, number) in numbers.iter_mut().enumerate() {
        if place > 0 {
            text.byte(b',')?;
        }
        *number = text.number(255)? as u8;
    }
    let [a, b, c, d, high, low] = numbers;
    let address = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let port = u16::from_be_bytes([high, low]);
    let named = named(context, speaker, address, port)?;
    Some(named.written(start..text.at(), Form::Commas))
}

/// `|1|10.1.0.2|5001|`, with any delimiter.
fn eprt(context: &Context<'_>, mut text: Scanner<'_>) -> Option<Announcement> {
    let delimiter = text.any().filter(u8::is_ascii_graphic)?;
    let family = text.number(2)?;
    text.byte(delimiter)?;
    let (address, address_at): (_, Range<usize>) = text.address()?;
    text.byte(delimiter)?;
    let (port, port_at) = text.port()?;
    text.byte(delimiter)?;
    let is_of_family = matches!((family, address), (1, IpAddr::V4(_)) | (2, IpAddr::V6(_)));
    let named = named(context, Direction::Original, address, port).filter(|_| is_of_family)?;
    Some(named.written(address_at, Form::Address).written(port_at, Form::Port))
}

/// `229 Entering Extended Passive Mode (|||4660|)`, with any delimiter: a port of the server's own address.
fn epsv(context: &Context<'_>, mut text: Scanner<'_>) -> Option<Announcement> {
    text.while_is(|byte| byte != b'(' && !is_line_end(byte));
    text.byte(b'(')?;
    let delimiter = text.any().filter(u8::is_ascii_graphic)?;
    text.byte(delimiter)?;
    text.byte(delimiter)?;
    let (port, port_at) = text.port()?;
    text.byte(delimiter)?;
    text.byte(b')')?;
    let own = context.tuple(Direction::Reply).src_ip();
    Some(named(context, Direction::Reply, own, port)?.written(port_at, Form::Port))
}

/// A data connection to the address and port that `speaker` names: its own, or none.
fn named(
    context: &Context<'_>,
    speaker: Direction,
    address: IpAddr,
    port: u16,
) -> Option<Announcement> {
    let is_own = context.is_own(speaker, address) && port != 0;
    is_own.then(|| Announcement::new(context, &Wanted::named(speaker, ipproto::TCP, port)))
}

const fn place_of(direction: Direction, which: usize) -> usize {
    (direction.index() * REMEMBERED + which) * 4
}

const fn count_at(direction: Direction) -> usize {
    COUNTS_AT + direction.index() * 4
}

fn begins_a_line(context: &Context<'_>, packet: &Packet<'_>) -> bool {
    let count = context.private_u32(count_at(packet.direction)) as usize;
    let mut known = (0..count.min(REMEMBERED)).map(|which| place_of(packet.direction, which));
    count == 0 || known.any(|at| context.private_u32(at) == packet.seq)
}

/// Remembers where a line ended, in place of the older of two such places. Whether that changed anything.
fn note_end(context: &mut Context<'_>, direction: Direction, end: u32) -> bool {
    let count = (context.private_u32(count_at(direction)) as usize).min(REMEMBERED);
    let mut kept = [0; REMEMBERED];
    for (which, kept) in kept.iter_mut().enumerate() {
        *kept = context.private_u32(place_of(direction, which));
    }
    if kept[..count].contains(&end) {
        return false;
    }
    let is_first_older = (kept[0].wrapping_sub(kept[1]) as i32) < 0;
    let which = if count < REMEMBERED { count } else { usize::from(!is_first_older) };
    let changed = context.set_private_u32(place_of(direction, which), end);
    let counted = context.set_private_u32(count_at(direction), (count + 1).min(REMEMBERED) as u32);
    changed | counted
}

#[cfg(test)]
pub(super) mod tests;
