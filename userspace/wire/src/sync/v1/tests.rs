//! Tests of the version-1 codec: cutting datagrams and streams here, captured bytes and properties below.

use super::*;
use alloc::vec::Vec;
use ctnetlink::Writer;
use std::vec;

mod vector;
mod property;

/// Everything on, as in conntrackd with `TCPWindowTracking` and without `CommitTimeout`.
const ALL: Options = Options { timeout: true, window_scale: true };

/// What `encode` appends. Counting must come to the same length as writing.
fn encoded(encode: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    let mut counter = Writer::counting();
    encode(&mut counter);
    let mut bytes = vec![0xaa; counter.position()];
    let mut writer = Writer::new(&mut bytes);
    encode(&mut writer);
    assert_eq!(writer.finish(), Ok(bytes.len()));
    bytes
}

/// The bytes written in `text`: hexadecimal, blanks anywhere.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "odd number of digits");
    let byte = |pair: &[u8; 2]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16);
    pairs.iter().map(|pair| byte(pair).unwrap()).collect()
}

/// The messages of a datagram, or the counters that refused them.
fn walk(datagram: &[u8]) -> Vec<Result<Message, FaultKind>> {
    let raws = Messages::datagram(datagram);
    raws.map(|raw| raw.and_then(|raw| decode(&raw)).map_err(|fault| fault.kind)).collect()
}

/// A datagram and how conntrackd 1.4.7 counts it, then whether it reads on: observed in `-s network` and `-e`.
#[test]
fn faults_are_counted_as_conntrackd_counts_them() {
    let alive = Ok(Message::Control(Control::Alive));
    let alive_bytes = "1a10 0008 00000001";
    let check = |bad: &str, kind: FaultKind, goes_on: bool| {
        let mut want = vec![Err(kind)];
        want.extend(goes_on.then(|| alive.clone()));
        let mut datagram = hex(bad);
        datagram.extend(hex(alive_bytes));
        assert_eq!(walk(&datagram), want, "{bad}");
    };
    check("2010 0008 00000000", FaultKind::Version, true);
    check("1600 0008 00000000", FaultKind::Type, true);
    check("1b10 0008 00000000", FaultKind::Type, true);
    check("1000 0008 00000000", FaultKind::Payload, true);
    check("1000 0010 00000000 0008 0021 00000000", FaultKind::Payload, true);
    // A state message with a verb or with an unknown bit, and a control message without a verb.
    check("1010 0008 00000000", FaultKind::Header, true);
    check("1008 0008 00000000", FaultKind::Header, true);
    check("1001 0008 00000000", FaultKind::Header, true);
    check("1080 0008 00000000", FaultKind::Header, true);
    check("1a00 0008 00000000", FaultKind::Header, true);
    check("1a20 0008 00000000", FaultKind::Header, true);
    check("1a08 0010 00000000 00000005 00000001", FaultKind::Header, true);
    // Lengths that cannot be.
    check("1a10 0000 00000000", FaultKind::Size, false);
    check("1a10 0004 00000000", FaultKind::Size, false);
    check("1a08 000c 00000000 00000000", FaultKind::Size, false);
    check("1a10 0018 00000000", FaultKind::Size, false);
    // Too little left for a header, the range of control messages included.
    assert_eq!(walk(&hex("1a100008")), [Err(FaultKind::Truncated)]);
    assert_eq!(walk(&hex("1a08 0008 00000000")), [Err(FaultKind::Truncated)]);
    assert_eq!(walk(&hex("1a08 0010 00000000 00000000")), [Err(FaultKind::Truncated)]);
    let trailing = [hex(alive_bytes), hex("000000")].concat();
    assert_eq!(walk(&trailing), [alive, Err(FaultKind::Truncated)]);
}

#[test]
fn control_messages_may_be_longer_than_they_need() {
    let longer = walk(&hex("1a10 000c 00000000 00000000"));
    assert_eq!(longer, [Ok(Message::Control(Control::Alive))]);
}

#[test]
fn a_range_may_cross_the_wrap() {
    let acked = walk(&hex("1a08 0010 00000002 ffffffff 00000001"));
    assert_eq!(acked, [Ok(Message::Control(Control::Ack { from: u32::MAX, to: 1 }))]);
}

#[test]
fn a_fault_says_where_in_the_datagram() {
    // The second message is a flow whose second attribute, at byte 8 + 8 + 12, claims more than there is.
    let bytes = hex(
        "1a10 0008 00000001  1000 001c 00000002 000c 0000 01010101 02020202 0020 0006 00000000",
    );
    let mut messages = Messages::datagram(&bytes);
    assert!(messages.next().unwrap().is_ok());
    let raw = messages.next().unwrap().unwrap();
    let fault = decode(&raw).unwrap_err();
    assert_eq!((fault.kind, fault.error.at), (FaultKind::Payload, 8 + 8 + 12 + 4));
}

#[test]
fn a_stream_keeps_its_unfinished_message() {
    let bytes = hex("1a10 0008 00000001 1a08 0010 00000002 00000001 00000001");
    for len in 0..=bytes.len() {
        let mut messages = Messages::stream(&bytes[..len]);
        let count = messages.by_ref().inspect(|message| assert!(message.is_ok())).count();
        let want = [(0, 0), (1, 8), (2, 24)][usize::from(len >= 8) + usize::from(len >= 24)];
        assert_eq!((count, messages.consumed()), want, "{len} bytes");
    }
}

#[test]
fn a_stream_that_lost_its_framing_ends() {
    let bytes = hex("1a10 0004 00000001 1a10 0008 00000002");
    let mut messages = Messages::stream(&bytes);
    assert_eq!(messages.next().unwrap().unwrap_err().kind, FaultKind::Size);
    assert_eq!((messages.next(), messages.consumed()), (None, 0));
}

#[test]
fn messages_may_begin_anywhere_in_a_buffer() {
    let one = encoded(|w| encode_control(Control::Resync, Stamp::default(), w));
    let shifted = encoded(|w| {
        w.put(&[0xff; 3]);
        encode_control(Control::Resync, Stamp::default(), w);
    });
    assert_eq!(shifted[3..], one[..]);
}

#[test]
fn numbers_of_kinds_are_those_of_the_wire() {
    for number in 0..=u8::MAX {
        let known = matches!(number, 0..=5 | 10);
        assert_eq!(Kind::from_number(number).map(Kind::number), known.then_some(number));
    }
}
