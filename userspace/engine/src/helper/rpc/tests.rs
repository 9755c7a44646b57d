//! Vectors of the port mapper: what the scripts of `record/helpers` send, and GETADDR built by the RFC's words.

use super::*;
use crate::helper::Kind;
use crate::helper::tests::{Nat, Vector};
use ctnetlink::Tuple;
use std::vec::Vec;

/// The call of the script: version 2, GETPORT, program 100003 (NFS), version 3, UDP.
const GETPORT: &[u8] = b"\x01\x02\x03\x04\0\0\0\0\0\0\0\x02\0\x01\x86\xa0\0\0\0\x02\0\0\0\x03\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x86\xa3\0\0\0\x03\0\0\0\x11\0\0\0\0";
/// Its reply: port 2049.
const PORT_2049: &[u8] = b"\x01\x02\x03\x04\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\x01";

fn string(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out.resize(4 + padded(text.len() as u32), 0);
    out
}

/// A call of version 4 with credentials of five bytes.
fn getaddr(netid: &str) -> Vec<u8> {
    let mut out = GETPORT[..24].to_vec();
    out[19] = 4;
    out.extend_from_slice(b"\0\0\0\x01\0\0\0\x05abcde\0\0\0\0\0\0\0\0\0\0\0");
    out.extend_from_slice(b"\0\x01\x86\xa3\0\0\0\x03");
    [out, string(netid), string(""), string("")].concat()
}

fn at(address: &str) -> Vec<u8> {
    [&PORT_2049[..24], &string(address)].concat()
}

/// Over TCP: the word of the length first.
fn record(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32 | WHOLE).to_be_bytes(), message].concat()
}

/// The reply to a call whose private data are noted.
fn answered(protocol: u8, nat: Nat, call: &[u8], reply: &[u8]) -> Vector {
    let vector = Vector::new(Kind::Rpc, protocol, 111, nat);
    let framed = |m: &[u8]| if protocol == ipproto::TCP { record(m) } else { m.to_vec() };
    let mut vector = vector.says(Direction::Original, &framed(call));
    let outcome = vector.run();
    assert!(!outcome.not_understood && outcome.announced.is_empty());
    vector.says(Direction::Reply, &framed(reply))
}

pub(crate) fn vectors() -> Vec<Vector> {
    let each = |nat| {
        [ipproto::UDP, ipproto::TCP].into_iter().flat_map(move |protocol| {
            let by_address = (getaddr("udp"), at("10.2.0.2.8.1"));
            let calls = [(GETPORT.to_vec(), PORT_2049.to_vec()), by_address];
            calls.map(|(call, reply)| answered(protocol, nat, &call, &reply))
        })
    };
    Nat::ALL.into_iter().flat_map(each).collect()
}

#[test]
fn the_call_is_noted_in_the_layout_of_conntrackd() {
    let noted = [0x0102_0304_u32, 100_003, 3, 17].map(u32::to_ne_bytes).concat();
    for vector in vectors() {
        assert_eq!(vector.private, noted);
    }
}

#[test]
fn the_client_is_expected_at_the_services_port() {
    for mut vector in vectors() {
        let outcome = vector.run();
        assert_eq!(vector.run(), outcome, "the same packet again");
        let [announced] = &outcome.announced[..] else { panic!("{vector:?}") };
        let expectation = announced.expectation(2049);
        let wanted = Tuple { proto: ipproto::UDP, ..vector.original };
        assert_eq!(expectation.tuple, wanted.with_ports(0, 2049));
        assert_eq!((expectation.flags, expectation.mask.ports()), (Some(1), (0, 0xffff)));
    }
}

#[test]
fn replies_are_rewritten_where_the_server_is_translated() {
    for nat in Nat::ALL {
        for protocol in [ipproto::UDP, ipproto::TCP] {
            let framed = |m: &[u8]| if protocol == ipproto::TCP { record(m) } else { m.to_vec() };
            let mut port = PORT_2049.to_vec();
            port[27] += u8::from(nat.destination());
            let mut vector = answered(protocol, nat, GETPORT, PORT_2049);
            let announced = vector.run().announced.remove(0);
            assert_eq!(announced.searches(), nat.destination());
            assert_eq!(vector.rewritten(&announced.edits(2050)), framed(&port));

            let address = if nat.destination() { "10.1.0.99.8.2" } else { "10.2.0.2.8.1" };
            let mut vector = answered(protocol, nat, &getaddr("tcp"), &at("10.2.0.2.8.1"));
            let announced = vector.run().announced.remove(0);
            assert_eq!(vector.rewritten(&announced.edits(2050)), framed(&at(address)), "{nat:?}");
        }
    }
}

#[test]
fn the_port_mapper_itself_and_other_transports_are_not_expected() {
    let mut own = GETPORT.to_vec();
    own[43] = 0xa0;
    assert_eq!(answered(ipproto::UDP, Nat::None, &own, PORT_2049).run(), Outcome::default());
    let mut sctp = GETPORT.to_vec();
    sctp[51] = 132;
    assert_eq!(answered(ipproto::UDP, Nat::None, &sctp, PORT_2049).run(), Outcome::default());
    let local = getaddr("local");
    assert_eq!(answered(ipproto::UDP, Nat::None, &local, PORT_2049).run(), Outcome::default());
    let mut dump = GETPORT.to_vec();
    dump[23] = 4;
    assert_eq!(answered(ipproto::UDP, Nat::None, &dump, PORT_2049).run(), Outcome::default());
}

#[test]
fn replies_that_match_no_call_fail_or_say_nothing() {
    let run = |reply: &[u8]| {
        let outcome = answered(ipproto::UDP, Nat::None, GETPORT, reply).run();
        (outcome.announced.len(), outcome.not_understood)
    };
    let changed = |at: usize, byte: u8| {
        let mut reply = PORT_2049.to_vec();
        reply[at] = byte;
        reply
    };
    assert_eq!(run(&changed(3, 9)), (0, false), "another xid");
    assert_eq!(run(&changed(11, 1)), (0, false), "refused");
    assert_eq!(run(&changed(23, 1)), (0, false), "no such program");
    assert_eq!(run(&changed(25, 1)), (0, true), "no port");
    assert_eq!(run(&changed(17, 1)), (0, true), "a verifier beyond the end");
    assert_eq!(run(&PORT_2049[..27]), (0, true), "cut");
    let mut unknown = changed(26, 0);
    unknown[27] = 0;
    assert_eq!(run(&unknown), (0, false), "not registered");
    for address in ["10.2.0.3.8.1", "10.1.0.2.8.1", "10.2.0.2.0.0", "10.2.0.2.256.1", "host.8.1"] {
        assert_eq!(run(&at(address)), (0, true), "{address}");
    }
}

#[test]
fn records_that_are_not_whole_are_left_alone() {
    let mut vector = Vector::new(Kind::Rpc, ipproto::TCP, 111, Nat::None);
    for payload in [&record(GETPORT)[..40], &[&[0, 0, 0, 56], GETPORT].concat()] {
        vector = vector.says(Direction::Original, payload);
        assert_eq!(vector.run(), Outcome::default());
    }
    let mut cut = Vector::new(Kind::Rpc, ipproto::UDP, 111, Nat::None);
    cut = cut.says(Direction::Original, &GETPORT[..50]);
    assert_eq!(cut.run(), Outcome::not_understood());
}

#[test]
fn ipv6_is_followed_by_its_address() {
    let mut vector = answered(ipproto::UDP, Nat::Destination, &getaddr("udp6"), &at("4040::1.8.1"));
    let mut server = [0; 16];
    (server[0], server[1], server[15]) = (0x40, 0x40, 1);
    let outer = [0x30; 16];
    vector.original = Tuple::v6([0x20; 16], outer, ipproto::UDP).with_ports(700, 111);
    vector.reply = Tuple::v6(server, [0x20; 16], ipproto::UDP).with_ports(111, 700);
    let announced = vector.run().announced.remove(0);
    assert_eq!(announced.expectation(2049).tuple, vector.original.with_ports(0, 2049));
    let wanted = at("3030:3030:3030:3030:3030:3030:3030:3030.8.1");
    assert_eq!(vector.rewritten(&announced.edits(2049)), wanted);
}
