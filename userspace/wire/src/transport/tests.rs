//! `etherparse` builds packets and reads them back; ours must agree with it.

use super::*;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use std::vec;

const SRC4: [u8; 4] = [10, 1, 0, 2];
const DST4: [u8; 4] = [10, 2, 0, 2];
const SRC6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const DST6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn tcp4(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(SRC4, DST4, 64).tcp(4000, 21, 77, 1024).ack(5);
    let mut out = Vec::new();
    builder.write(&mut out, payload).expect("it fits");
    out
}

fn udp4(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let builder = PacketBuilder::ipv4(SRC4, DST4, 64).udp(4000, 69);
    builder.write(&mut out, payload).expect("it fits");
    out
}

fn tcp6(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let builder = PacketBuilder::ipv6(SRC6, DST6, 64).tcp(4000, 21, 77, 1024);
    builder.write(&mut out, payload).expect("it fits");
    out
}

fn udp6(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let builder = PacketBuilder::ipv6(SRC6, DST6, 64).udp(4000, 69);
    builder.write(&mut out, payload).expect("it fits");
    out
}

type Build = fn(&[u8]) -> Vec<u8>;
const KINDS: [Build; 4] = [tcp4, udp4, tcp6, udp6];

/// `etherparse` reads the packet, and every length and checksum in it is right.
fn assert_right(packet: &[u8], payload: &[u8]) {
    let sliced = SlicedPacket::from_ip(packet).expect("the packet can be read");
    let net = sliced.net.expect("it has an IP header");
    let rest = match (&net, sliced.transport.expect("it has a transport header")) {
        (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), packet.len());
            assert_eq!(
                Ok(tcp.checksum()),
                tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
            );
            tcp.payload()
        }
        (NetSlice::Ipv4(ip), TransportSlice::Udp(udp)) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let wanted = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
            assert!(udp.checksum() == 0 || Ok(udp.checksum()) == wanted);
            udp.payload()
        }
        (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
            assert_eq!(usize::from(ip.header().payload_length()) + 40, packet.len());
            assert_eq!(
                Ok(tcp.checksum()),
                tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
            );
            tcp.payload()
        }
        (NetSlice::Ipv6(ip), TransportSlice::Udp(udp)) => {
            let header = ip.header().to_header();
            let wanted = udp.to_header().calc_checksum_ipv6(&header, udp.payload());
            assert_eq!(Ok(udp.checksum()), wanted);
            udp.payload()
        }
        (_, other) => panic!("{other:?}"),
    };
    assert_eq!(rest, payload);
}

#[test]
fn headers_are_read_as_they_were_built() {
    let v4 = |proto| Tuple::v4(SRC4, DST4, proto);
    let v6 = |proto| Tuple::v6(SRC6, DST6, proto);
    let wanted = [
        (v4(6).with_ports(4000, 21), 77),
        (v4(17).with_ports(4000, 69), 0),
        (v6(6).with_ports(4000, 21), 77),
        (v6(17).with_ports(4000, 69), 0),
    ];
    for (build, (tuple, seq)) in KINDS.into_iter().zip(wanted) {
        let packet = build(b"payload");
        let segment = Segment::decode(&packet).expect("a whole packet");
        assert_eq!((segment.tuple, segment.seq), (tuple, seq));
        assert_eq!(segment.payload(), b"payload");
    }
}

#[test]
fn options_and_padding_are_stepped_over() {
    let mut with_options = Vec::new();
    let builder = PacketBuilder::ipv4(SRC4, DST4, 64).tcp(4000, 21, 77, 1024);
    let options = [etherparse::TcpOptionElement::MaximumSegmentSize(1460)];
    let builder = builder.options(&options).expect("options fit");
    builder.write(&mut with_options, b"PORT").expect("it fits");
    with_options.extend_from_slice(&[0; 6]);
    let segment = Segment::decode(&with_options).expect("a whole packet");
    assert_eq!(segment.payload(), b"PORT");
    let mut out = Vec::new();
    segment.rewrite(&[Edit { range: 4..4, bytes: b" 1".to_vec() }], &mut out).expect("it fits");
    assert_right(&out, b"PORT 1");
}

#[test]
fn ipv4_options_are_kept_and_counted() {
    let mut packet = udp4(b"ab");
    packet.splice(20..20, [1, 1, 1, 0]); // no operation, three times, and the end of the list
    packet[0] = 0x46;
    packet[3] += 4;
    let segment = Segment::decode(&packet).expect("a whole packet");
    assert_eq!(segment.payload(), b"ab");
    let mut out = Vec::new();
    segment.rewrite(&[Edit { range: 0..1, bytes: b"xyz".to_vec() }], &mut out).expect("it fits");
    assert_right(&out, b"xyzb");
}

/// An IPv6 packet with these headers between, each of 8 bytes but the authentication header of 12.
fn with_extensions(kinds: &[u8]) -> Vec<u8> {
    let mut packet = udp6(b"query");
    let mut chain = vec![];
    for (at, kind) in kinds.iter().enumerate() {
        let next = kinds.get(at + 1).copied().unwrap_or(ipproto::UDP);
        match *kind {
            next_header::AUTHENTICATION => chain.extend([next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
            next_header::FRAGMENT => chain.extend([next, 0, 0, 0, 0, 0, 0, 9]),
            _ => chain.extend([next, 0, 1, 0, 0, 0, 0, 0]),
        }
    }
    packet[6] = kinds.first().copied().unwrap_or(ipproto::UDP);
    packet[5] += chain.len() as u8;
    packet.splice(40..40, chain);
    packet
}

#[test]
fn extension_headers_are_stepped_over() {
    use next_header::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};
    let kinds = [HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION];
    for len in 0..=kinds.len() {
        let packet = with_extensions(&kinds[..len]);
        let segment = Segment::decode(&packet).expect("a whole packet");
        assert_eq!(segment.payload(), b"query");
        assert_eq!(segment.tuple.ports(), (4000, 69));
        let mut out = Vec::new();
        segment.rewrite(&[Edit { range: 5..5, bytes: b" 2".to_vec() }], &mut out).expect("it fits");
        assert_eq!(Segment::decode(&out).expect("whole").payload(), b"query 2");
        assert_right(&out, b"query 2");
        for cut in 0..packet.len() {
            assert!(Segment::decode(&packet[..cut]).is_err(), "{cut}");
        }
    }
}

#[test]
fn what_is_not_whole_is_an_error() {
    let refused = |packet: &[u8]| Segment::decode(packet).expect_err("refused").what;
    let mut fragment = udp4(b"x");
    fragment[6] = 0x20;
    assert_eq!(refused(&fragment), "a fragment");
    (fragment[6], fragment[7]) = (0, 1);
    assert_eq!(refused(&fragment), "a fragment");
    (fragment[6], fragment[7]) = (0x40, 0);
    assert!(Segment::decode(&fragment).is_ok(), "may not be cut, and is not");
    let mut fragment = with_extensions(&[next_header::FRAGMENT]);
    fragment[43] = 1;
    assert_eq!(refused(&fragment), "a fragment");
    (fragment[42], fragment[43]) = (1, 0);
    assert_eq!(refused(&fragment), "a fragment");
    let mut routed = with_extensions(&[next_header::ROUTING]);
    routed[43] = 1;
    assert_eq!(refused(&routed), "routed by way of another host");
    let mut udp = udp4(b"x");
    udp[25] = 7;
    assert_eq!(refused(&udp), "bad UDP length");
    udp[25] = 10;
    assert_eq!(refused(&udp), "bad UDP length");
    let mut icmp = udp4(b"x");
    icmp[9] = 1;
    assert_eq!(refused(&icmp), "neither TCP nor UDP");
    assert_eq!(refused(&[]), "no packet");
    assert_eq!(refused(&[0x50; 60]), "neither IPv4 nor IPv6");
    for (build, len) in KINDS.into_iter().flat_map(|k| (0..k(b"abc").len()).map(move |l| (k, l))) {
        assert!(Segment::decode(&build(b"abc")[..len]).is_err(), "{len}");
    }
}

#[test]
fn a_udp_checksum_of_zero_stays() {
    let mut packet = udp4(b"abcdef");
    (packet[26], packet[27]) = (0, 0);
    let segment = Segment::decode(&packet).expect("a whole packet");
    let mut out = Vec::new();
    segment.rewrite(&[Edit { range: 2..3, bytes: vec![] }], &mut out).expect("it fits");
    assert_eq!(out[26..28], [0, 0]);
    assert_right(&out, b"abdef");
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_written_as_ones() {
    let packet = udp4(b"ab");
    let segment = Segment::decode(&packet).expect("a whole packet");
    let mut out = Vec::new();
    segment.rewrite(&[], &mut out).expect("it fits");
    // Adding the checksum to the payload's one word makes the sum all ones.
    let sum = u32::from(u16::from_be_bytes([out[26], out[27]]));
    let word = sum + u32::from(u16::from_be_bytes(*b"ab"));
    let word = (word & 0xffff) + (word >> 16);
    let bytes = (word as u16).to_be_bytes().to_vec();
    segment.rewrite(&[Edit { range: 0..2, bytes: bytes.clone() }], &mut out).expect("it fits");
    assert_eq!(out[26..28], [0xff, 0xff]);
    assert_right(&out, &bytes);
}

#[test]
fn edits_that_make_no_sense_are_refused() {
    let packet = tcp4(b"0123456789");
    let segment = Segment::decode(&packet).expect("a whole packet");
    let edit = |range, len| Edit { range, bytes: vec![b'x'; len] };
    let mut out = Vec::new();
    #[expect(clippy::reversed_empty_ranges, reason = "what a faulty caller could give")]
    let backwards = 5..3;
    for bad in [
        &[edit(0..3, 1), edit(2..4, 1)][..],
        &[edit(8..11, 1)],
        &[edit(11..11, 1)],
        &[edit(backwards, 1)],
        &[edit(usize::MAX - 1..usize::MAX, 1)],
        &[edit(0..0, 65_536)],
    ] {
        assert!(segment.rewrite(bad, &mut out).is_err(), "{bad:?}");
    }
    segment.rewrite(&[edit(10..10, 2), edit(0..3, 0)], &mut out).expect("in any order");
    assert_right(&out, b"3456789xx");
}

proptest! {
    #[test]
    fn any_edit_gives_a_right_packet(
        kind in 0..4_usize,
        payload in prop::collection::vec(any::<u8>(), 0..80),
        cuts in prop::collection::vec(0..80_usize, 0..8),
        bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 4),
    ) {
        let packet = KINDS[kind](&payload);
        let segment = Segment::decode(&packet).expect("a whole packet");
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(payload.len())).collect();
        cuts.sort_unstable();
        let (pairs, _) = cuts.as_chunks::<2>();
        let edits: Vec<_> = pairs.iter().zip(&bytes)
            .map(|(&[from, to], bytes)| Edit { range: from..to, bytes: bytes.clone() }).collect();
        let mut wanted = payload.clone();
        for edit in edits.iter().rev() {
            wanted.splice(edit.range.clone(), edit.bytes.iter().copied());
        }
        let mut out = Vec::new();
        segment.rewrite(&edits, &mut out).expect("it fits");
        assert_right(&out, &wanted);
    }

    #[test]
    fn any_bytes_are_a_packet_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..200), six: bool) {
        if let Some(first) = bytes.first_mut() {
            *first = if six { 0x60 } else { 0x45 };
        }
        if let Ok(segment) = Segment::decode(&bytes) {
            let mut out = Vec::new();
            segment.rewrite(&[], &mut out).expect("nothing is changed");
            let again = Segment::decode(&out).expect("what is written can be read");
            assert_eq!((again.tuple, again.payload()), (segment.tuple, segment.payload()));
        }
    }

    #[test]
    fn any_byte_of_a_packet_may_be_another(kind in 0..4_usize, at in 0..60_usize, byte: u8) {
        let mut packet = KINDS[kind](b"some payload");
        if let Some(place) = packet.get_mut(at) {
            *place = byte;
        }
        if let Ok(segment) = Segment::decode(&packet) {
            let edit = Edit { range: 0..segment.payload().len().min(3), bytes: vec![1; 9] };
            let mut out = Vec::new();
            segment.rewrite(&[edit], &mut out).expect("it fits");
            assert!(Segment::decode(&out).is_ok());
        }
    }
}
