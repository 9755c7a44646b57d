//! Vectors of FTP: what the scripts of `record/helpers` send, and examples of RFC 959 and 2428.

use super::*;
use crate::helper::Kind;
use crate::helper::tests::{CLIENT, CLIENT_PORT, Nat, SERVER, Vector};
use ctnetlink::Tuple;
use ctnetlink::expectation::ExpectNat;
use std::vec::Vec;

/// A speaker, its text, and its text for port 5002 where the speaker is known as 10.2.0.77 or 10.1.0.99.
struct Said {
    by: Direction,
    text: &'static str,
    port: u16,
    rewritten: &'static str,
}

const PORT_COMMAND: Said = Said {
    by: Direction::Original,
    text: "PORT 10,1,0,2,19,137\r\n",
    port: 5001,
    rewritten: "PORT 10,2,0,77,19,138\r\n",
};

const SAID: [Said; 8] = [
    PORT_COMMAND,
    Said { text: "port  10,1,0,2,19,137\n", rewritten: "port  10,2,0,77,19,138\n", ..PORT_COMMAND },
    Said {
        text: "EPRT |1|10.1.0.2|5001|\r\n",
        rewritten: "EPRT |1|10.2.0.77|5002|\r\n",
        ..PORT_COMMAND
    },
    Said {
        by: Direction::Reply,
        text: "227 Entering Passive Mode (10,2,0,2,19,137)\r\n",
        port: 5001,
        rewritten: "227 Entering Passive Mode (10,1,0,99,19,138)\r\n",
    },
    Said {
        by: Direction::Reply,
        text: "227 =10,2,0,2,19,137\r\n",
        port: 5001,
        rewritten: "227 =10,1,0,99,19,138\r\n",
    },
    Said {
        by: Direction::Reply,
        text: "226 Done\r\n227 Mode 2 (10,2,0,2,19,137).\r\n",
        port: 5001,
        rewritten: "226 Done\r\n227 Mode 2 (10,1,0,99,19,138).\r\n",
    },
    Said {
        by: Direction::Reply,
        text: "229 Entering Extended Passive Mode (|||9999|)\r\n",
        port: 9999,
        rewritten: "229 Entering Extended Passive Mode (|||10000|)\r\n",
    },
    Said {
        by: Direction::Reply,
        text: "229 ok (!!!5001!)\r\n",
        port: 5001,
        rewritten: "229 ok (!!!5002!)\r\n",
    },
];

fn vector(nat: Nat, by: Direction, text: &str) -> Vector {
    Vector::new(Kind::Ftp, ipproto::TCP, 21, nat).says(by, text.as_bytes())
}

/// Every text in each of the four kinds of translation.
pub(crate) fn vectors() -> Vec<Vector> {
    let each = |nat| SAID.iter().map(move |said| vector(nat, said.by, said.text));
    Nat::ALL.into_iter().flat_map(each).collect()
}

fn is_moved(nat: Nat, speaker: Direction) -> bool {
    match speaker {
        Direction::Original => nat.source(),
        Direction::Reply => nat.destination(),
    }
}

#[test]
fn the_other_end_is_expected_at_the_speakers_outer_address() {
    for (nat, said) in Nat::ALL.into_iter().flat_map(|nat| SAID.iter().map(move |s| (nat, s))) {
        let mut vector = vector(nat, said.by, said.text);
        let outcome = vector.run();
        assert!(!outcome.not_understood, "{}", said.text);
        let [announced] = &outcome.announced[..] else { panic!("{}", said.text) };
        let expectation = announced.expectation(said.port);
        let (peer, direction) = match said.by {
            Direction::Original => (vector.reply, 1),
            Direction::Reply => (vector.original, 0),
        };
        assert_eq!(expectation.tuple, peer.with_ports(0, said.port), "{nat:?} {}", said.text);
        assert_eq!(expectation.mask.ports(), (0, 0xffff));
        let every_bit = expectation.mask.src[..5] == [0xff, 0xff, 0xff, 0xff, 0];
        assert!(every_bit && expectation.mask.src == expectation.mask.dst);
        assert_eq!((expectation.flags, expectation.timeout_s), (Some(0), Some(300)));
        let inner = if said.by == Direction::Original { CLIENT } else { SERVER };
        let tuple = Tuple::v4(inner, [0; 4], ipproto::TCP).with_ports(said.port, 0);
        let wanted = (nat != Nat::None).then_some(ExpectNat { direction, tuple });
        assert_eq!(expectation.nat, wanted, "{nat:?} {}", said.text);
        assert_eq!(expectation.function.is_some(), nat != Nat::None);
    }
}

#[test]
fn text_is_rewritten_where_its_speaker_is_translated_and_nowhere_else() {
    for (nat, said) in Nat::ALL.into_iter().flat_map(|nat| SAID.iter().map(move |s| (nat, s))) {
        let mut vector = vector(nat, said.by, said.text);
        let announced = vector.run().announced.remove(0);
        let moved = is_moved(nat, said.by);
        assert_eq!(announced.searches(), moved, "{nat:?} {}", said.text);
        assert_eq!(announced.ports().next(), Some(said.port));
        assert_eq!(announced.ports().count(), if moved { 128 } else { 1 });
        let wanted = if moved { said.rewritten } else { said.text };
        assert_eq!(vector.rewritten(&announced.edits(said.port + 1)), wanted.as_bytes());
    }
}

#[test]
fn a_speaker_may_name_its_outer_address() {
    let text = "227 Entering Passive Mode (10,1,0,99,19,137)\r\n";
    let mut vector = vector(Nat::Destination, Direction::Reply, text);
    let announced = vector.run().announced.remove(0);
    assert_eq!(announced.expectation(5001).tuple, vector.original.with_ports(0, 5001));
    assert_eq!(vector.rewritten(&announced.edits(5001)), text.as_bytes());
    assert_eq!(vector.rewritten(&announced.edits(5002)), SAID[3].rewritten.as_bytes());
}

#[test]
fn the_last_port_is_the_last_that_is_tried() {
    let mut vector = vector(Nat::Source, Direction::Original, "PORT 10,1,0,2,255,254\r\n");
    let announced = vector.run().announced.remove(0);
    assert_eq!(announced.ports().collect::<Vec<_>>(), [0xfffe, 0xffff]);
}

#[test]
fn an_expectation_of_the_same_packet_is_known_again() {
    let mut vector = vector(Nat::Source, Direction::Original, SAID[0].text);
    let announced = vector.run().announced.remove(0);
    let mut made = announced.expectation(5003);
    assert!(announced.is_made(5003, &made) && !announced.is_made(5002, &made));
    made.master = made.master.with_ports(1, 21);
    assert!(!announced.is_made(5003, &made), "another flow's");
    let mut moved = announced.expectation(5003);
    moved.nat = moved.nat.map(|n| ExpectNat { tuple: n.tuple.with_ports(5002, 0), ..n });
    assert!(!announced.is_made(5003, &moved), "of this flow, for another port of the client");
}

#[test]
fn what_is_malformed_or_names_a_third_party_is_not_understood() {
    let (client, server) = (Direction::Original, Direction::Reply);
    for (by, text) in [
        (client, "PORT 10,1,0,3,19,137\r\n"), // another host
        (client, "PORT 10,2,0,2,19,137\r\n"), // the server
        (client, "PORT 10,1,0,2,19\r\n"),
        (client, "PORT 10,1,0,2,19,256\r\n"),
        (client, "PORT 10,1,0,2,0,0\r\n"),
        (client, "PORT 10,1,0,2,19,13"), // cut
        (client, "EPRT |1|10.1.0.3|5001|\r\n"),
        (client, "EPRT |2|10.1.0.2|5001|\r\n"),
        (client, "EPRT |1|10.1.0.2|70000|\r\n"),
        (client, "EPRT |1|10.1.0.2|0|\r\n"),
        (client, "EPRT |1|10.1.0.2!5001|\r\n"),
        (client, "EPRT |2|::ffff:10.1.0.2|5001|\r\n"),
        (server, "227 Entering Passive Mode (10,2,0,3,18,52)\r\n"),
        (server, "227 Entering Passive Mode (10,1,0,2,18,52)\r\n"), // the client
        (server, "227 Entering Passive Mode\r\n(10,2,0,2,18,52)\r\n"),
        (server, "229 Entering Extended Passive Mode (||5001|)\r\n"),
        (server, "229 Entering Extended Passive Mode (|||5001)\r\n"),
        (server, "229 Entering Extended Passive Mode (|||0|)\r\n"),
    ] {
        let outcome = vector(Nat::None, by, text).run();
        assert!(outcome.not_understood && outcome.announced.is_empty(), "{text}");
    }
    for text in ["USER anonymous\r\n", "PORTAL\r\n", "227 I am no reply\r\n"] {
        let outcome = vector(Nat::None, Direction::Original, text).run();
        assert!(!outcome.not_understood && outcome.announced.is_empty(), "{text}");
    }
}

#[test]
fn a_command_counts_behind_the_end_of_a_line() {
    let text = SAID[0].text;
    let mut vector = vector(Nat::None, Direction::Original, "USER a\r\n");
    vector.seq = 1000;
    assert!(vector.run().private_changed);
    vector = Vector { seq: 1008, ..vector }.says(Direction::Original, text.as_bytes());
    assert_eq!(vector.run().announced.len(), 1);
    assert!(!vector.run().private_changed, "the same packet again");
    assert_eq!(vector.run().announced.len(), 1, "and helped again");
    vector.seq = 1009;
    assert_eq!(vector.run().announced.len(), 0, "in the middle of a line");
    let mut reply = Vector { seq: 7, ..vector }.says(Direction::Reply, SAID[3].text.as_bytes());
    assert_eq!(reply.run().announced.len(), 1, "nothing is known of the server's lines");
    reply.seq = 8;
    assert_eq!(reply.run().announced.len(), 0);
}

#[test]
fn the_end_of_a_line_that_is_not_understood_is_noted_too() {
    let mut vector = vector(Nat::None, Direction::Original, "PORT 10,1,0,3,19,137\r\n");
    let outcome = vector.run();
    assert!(outcome.not_understood && outcome.private_changed);
    let seq = vector.seq + vector.payload.len() as u32;
    vector = Vector { seq, ..vector }.says(Direction::Original, SAID[0].text.as_bytes());
    assert_eq!(vector.run().announced.len(), 1);
}

#[test]
fn private_data_has_the_layout_of_the_kernel() {
    let mut vector = vector(Nat::None, Direction::Original, "USER a\r\n");
    vector.seq = u32::MAX - 3;
    vector.run();
    let words = |vector: &Vector| -> Vec<u32> {
        let (words, _) = vector.private.as_chunks::<4>();
        words.iter().map(|&bytes| u32::from_ne_bytes(bytes)).collect()
    };
    assert_eq!(words(&vector), [4, 0, 0, 0, 1, 0], "numbers go round");
    vector = Vector { seq: 4, ..vector };
    vector.run();
    assert_eq!(words(&vector), [4, 12, 0, 0, 2, 0]);
    vector = Vector { seq: 12, ..vector };
    vector.run();
    assert_eq!(words(&vector), [20, 12, 0, 0, 2, 0], "the older one goes");
    vector = Vector { seq: 100, ..vector }.says(Direction::Reply, b"331 pw\r\n");
    vector.run();
    assert_eq!(words(&vector), [20, 12, 108, 0, 2, 1]);
}

#[test]
fn private_data_that_lies_or_is_cut_harms_nothing() {
    let mut vector = vector(Nat::None, Direction::Original, SAID[0].text);
    vector.private = [0xff; 24].to_vec();
    assert_eq!(vector.run().announced.len(), 0, "no line ended there");
    for len in 0..24 {
        vector.private = [0xff; 24][..len].to_vec();
        vector.run();
        assert_eq!(vector.private.len(), len);
    }
}

#[test]
fn ipv6_is_rewritten_too() {
    let (client, outer, server) = ([0x20; 16], [0x30; 16], [0x40; 16]);
    let original = Tuple::v6(client, server, ipproto::TCP).with_ports(CLIENT_PORT, 21);
    let reply = Tuple::v6(server, outer, ipproto::TCP).with_ports(21, CLIENT_PORT);
    let text = "EPRT |2|2020:2020:2020:2020:2020:2020:2020:2020|5001|\r\n";
    let vector = vector(Nat::Source, Direction::Original, text);
    let mut vector = Vector { original, reply, ..vector };
    let announced = vector.run().announced.remove(0);
    assert_eq!(announced.expectation(5001).tuple, reply.with_ports(0, 5001));
    assert_eq!(announced.expectation(5001).mask.dst, [0xff; 16]);
    let wanted = "EPRT |2|3030:3030:3030:3030:3030:3030:3030:3030|5001|\r\n";
    assert_eq!(vector.rewritten(&announced.edits(5001)), wanted.as_bytes());
    vector.private.fill(0);
    let mut four = vector.says(Direction::Original, SAID[0].text.as_bytes());
    assert!(four.run().not_understood, "an IPv4 address over IPv6");
}

/// A session behind source translation that Debian's conntrackd 1.4.7 served on kernel 6.12 (`record/helpers/log-h2-6.12`):
/// who spoke, sequence number, text, and the private data of its verdict.
const RECORDED: [(Direction, u32, &str, [u32; 6]); 14] = {
    use Direction::{Original as C, Reply as S};
    const A: u32 = 0xe65b_8600;
    const B: u32 = 0x6d3f_3200;
    [
        (S, B + 0xf0, "220 hi\r\n", [0, 0, B + 0xf8, 0, 0, 1]),
        (C, A - 10, "USER anonymous\r\n", [A + 6, 0, B + 0xf8, 0, 1, 1]),
        (S, B + 0xf8, "331 pw\r\n", [A + 6, 0, B + 0xf8, B + 0x100, 1, 2]),
        (C, A + 6, "PASS busybox\r\n", [A + 6, A + 0x14, B + 0xf8, B + 0x100, 2, 2]),
        (S, B + 0x100, "230 ok\r\n", [A + 6, A + 0x14, B + 0x108, B + 0x100, 2, 2]),
        (C, A + 0x14, "TYPE I\r\n", [A + 0x1c, A + 0x14, B + 0x108, B + 0x100, 2, 2]),
        (S, B + 0x108, "200 type\r\n", [A + 0x1c, A + 0x14, B + 0x108, B + 0x112, 2, 2]),
        (C, A + 0x1c, "EPSV\r\n", [A + 0x1c, A + 0x22, B + 0x108, B + 0x112, 2, 2]),
        (S, B + 0x112, "500 no\r\n", [A + 0x1c, A + 0x22, B + 0x11a, B + 0x112, 2, 2]),
        (C, A + 0x22, "PASV\r\n", [A + 0x28, A + 0x22, B + 0x11a, B + 0x112, 2, 2]),
        (S, B + 0x11a, PASSIVE, [A + 0x28, A + 0x22, B + 0x11a, B + 0x146, 2, 2]),
        (C, A + 0x28, "SIZE file\r\n", [A + 0x28, A + 0x33, B + 0x11a, B + 0x146, 2, 2]),
        (S, B + 0x146, "213 6\r\n", [A + 0x28, A + 0x33, B + 0x14d, B + 0x146, 2, 2]),
        (C, A + 0x33, "RETR file\r\n", [A + 0x3e, A + 0x33, B + 0x14d, B + 0x146, 2, 2]),
    ]
};
const PASSIVE: &str = "227 Entering Passive Mode (10,2,0,2,18,52)\r\n";

#[test]
fn a_recorded_session_leaves_the_private_data_that_conntrackd_left() {
    let mut session = vector(Nat::Source, Direction::Original, "");
    for (by, seq, text, private) in RECORDED {
        session = Vector { seq, ..session }.says(by, text.as_bytes());
        let outcome = session.run();
        assert_eq!(session.private, private.map(u32::to_ne_bytes).concat(), "{text}");
        let ports: Vec<_> = outcome.announced.iter().flat_map(Announcement::ports).collect();
        let wanted: &[u16] = if text == PASSIVE { &[4660] } else { &[] };
        assert_eq!((&ports[..], outcome.not_understood), (wanted, false), "{text}");
    }
}
