//! Vectors of SSDP: what the scripts of `record/helpers` send.

use super::*;
use crate::helper::Kind;
use crate::helper::tests::{
    CLIENT, CLIENT_PORT, Nat, SERVER, Vector, asking, assert_is_for_the_asker,
};
use ctnetlink::flow::Status;
use std::string::String;
use std::vec::Vec;

const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\
    MAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\n\
    LOCATION: http://10.2.0.2:8200/rootDesc.xml\r\nST: ssdp:all\r\nUSN: uuid:1\r\n\r\n";
const SUBSCRIBE: &str = "SUBSCRIBE /evt HTTP/1.1\r\nHOST: 10.2.0.2:8200\r\n\
    CALLBACK: <http://10.1.0.2:7777/cb>\r\nNT: upnp:event\r\nTIMEOUT: Second-300\r\n\r\n";
const NOTIFY: &str = "NOTIFY /cb HTTP/1.1\r\nHOST: 10.1.0.2:7777\r\nSID: uuid:1\r\n\r\n";

fn search() -> Vector {
    asking(Kind::Ssdp, ipproto::UDP, (GROUP_V4, 1900), SEARCH.as_bytes())
}

/// An answer to a search that went to the device itself.
fn answer(nat: Nat, text: &str) -> Vector {
    let vector = Vector::new(Kind::Ssdp, ipproto::UDP, 1900, nat);
    vector.says(Direction::Reply, text.as_bytes())
}

fn subscribe(nat: Nat, text: &str) -> Vector {
    let vector = Vector::new(Kind::Ssdp, ipproto::TCP, 8200, nat);
    vector.says(Direction::Original, text.as_bytes())
}

/// The device comes to the client's port 7777, which others know as 7778 where the client is translated.
fn notify(nat: Nat) -> Vector {
    let (to, _, status) = crate::helper::tests::flow(ipproto::TCP, 0, nat);
    let (_, from, _) = crate::helper::tests::flow(ipproto::TCP, 0, nat);
    let outer_port = if nat.source() { 7778 } else { 7777 };
    let original = from.with_ports(50_000, outer_port);
    let reply = to.with_ports(7777, 50_000);
    let vector = subscribe(nat, NOTIFY);
    Vector { original, reply, status, ..vector }
}

pub(crate) fn vectors() -> Vec<Vector> {
    let each = |nat| [answer(nat, ANSWER), subscribe(nat, SUBSCRIBE), notify(nat)];
    Nat::ALL.into_iter().flat_map(each).chain([search()]).collect()
}

fn helper_of(announced: &Announcement) -> Option<String> {
    announced.expectation(1).helper.map(|name| name.as_str().into())
}

#[test]
fn anybody_may_answer_a_search_and_answers_are_watched() {
    let mut vector = search();
    let announced = vector.run().announced.remove(0);
    assert_is_for_the_asker(&vector, &announced, 0);
    assert_eq!(helper_of(&announced).as_deref(), Some("ssdp"));
    let mut over_ipv6 = search();
    let mut group = [0; 16];
    (group[0], group[1], group[15]) = (0xff, 5, 0x0c);
    over_ipv6.original = Tuple::v6([0x20; 16], group, ipproto::UDP).with_ports(4000, 1900);
    over_ipv6.reply = over_ipv6.original.inverted();
    assert_is_for_the_asker(&over_ipv6.clone(), &over_ipv6.run().announced[0], 0);
    let mut to_device = answer(Nat::None, "").says(Direction::Original, SEARCH.as_bytes());
    assert_eq!(to_device.run(), Outcome::default(), "the device answers as itself");
}

#[test]
fn anybody_may_read_a_description() {
    for nat in Nat::ALL {
        let mut vector = answer(nat, ANSWER);
        let announced = vector.run().announced.remove(0);
        let expectation = announced.expectation(8200);
        let device = Tuple { src: [0; 16], proto: ipproto::TCP, ..vector.original };
        assert_eq!(expectation.tuple, device.with_ports(0, 8200));
        assert_eq!((expectation.mask.src, expectation.flags), ([0; 16], Some(1)));
        assert_eq!(helper_of(&announced).as_deref(), Some("ssdp"));
        let inner = Tuple::v4(SERVER, [0; 4], ipproto::TCP).with_ports(8200, 0);
        let moved = nat.destination().then_some((0, inner));
        assert_eq!(expectation.nat.map(|n| (n.direction, n.tuple)), moved, "{nat:?}");
        let rewritten = ANSWER.replace("10.2.0.2:8200", "10.1.0.99:8201");
        let wanted = if nat.destination() { &rewritten } else { ANSWER };
        assert_eq!(vector.rewritten(&announced.edits(8201)), wanted.as_bytes());
    }
}

#[test]
fn an_answer_that_begins_a_flow_is_read_as_well() {
    // The answer to a search of the group begins a flow of the device's.
    let original = Tuple::v4(SERVER, CLIENT, ipproto::UDP).with_ports(1900, CLIENT_PORT);
    let vector = answer(Nat::None, ANSWER).says(Direction::Original, ANSWER.as_bytes());
    let mut vector = Vector { original, reply: original.inverted(), ..vector };
    let expectation = vector.run().announced[0].expectation(8200);
    assert_eq!(
        (expectation.tuple.dst_ip(), expectation.tuple.ports()),
        (original.src_ip(), (0, 8200))
    );
}

#[test]
fn the_device_is_expected_where_the_client_wants_notifications() {
    for nat in Nat::ALL {
        let mut vector = subscribe(nat, SUBSCRIBE);
        let announced = vector.run().announced.remove(0);
        let expectation = announced.expectation(7777);
        assert_eq!(expectation.tuple, vector.reply.with_ports(0, 7777));
        assert_eq!((expectation.mask.ports(), expectation.flags), ((0, 0xffff), Some(0)));
        assert_eq!(helper_of(&announced).as_deref(), Some("ssdp"));
        let rewritten = SUBSCRIBE.replace("10.1.0.2:7777", "10.2.0.77:7778");
        let wanted = if nat.source() { &rewritten } else { SUBSCRIBE };
        assert_eq!(vector.rewritten(&announced.edits(7778)), wanted.as_bytes());
    }
}

#[test]
fn the_device_is_expected_again_after_each_event() {
    for nat in Nat::ALL {
        let mut vector = notify(nat);
        let announced = vector.run().announced.remove(0);
        let port = vector.original.ports().1;
        assert_eq!(
            (announced.searches(), announced.ports().collect::<Vec<_>>()),
            (false, [port].to_vec())
        );
        let expectation = announced.expectation(port);
        assert_eq!(expectation.tuple, vector.original.with_ports(0, port));
        assert_eq!(helper_of(&announced).as_deref(), Some("ssdp"));
        let inner = Tuple::v4(CLIENT, [0; 4], ipproto::TCP).with_ports(7777, 0);
        let translated = (nat != Nat::None).then_some((0, inner));
        assert_eq!(expectation.nat.map(|n| (n.direction, n.tuple)), translated);
    }
}

#[test]
fn urls_without_a_port_and_of_ipv6_are_read() {
    let text = ANSWER.replace(":8200/", "/");
    let announced = answer(Nat::None, &text).run().announced.remove(0);
    assert_eq!(announced.ports().collect::<Vec<_>>(), [80]);
    let mut vector = answer(Nat::Destination, &text);
    let announced = vector.run().announced.remove(0);
    let wanted = ANSWER.replace("10.2.0.2:8200", "10.1.0.99:81");
    assert_eq!(vector.rewritten(&announced.edits(81)), wanted.as_bytes());

    let (client, server, outer) = ([0x20; 16], [0x40; 16], [0x30; 16]);
    let text = ANSWER.replace("10.2.0.2", "[4040:4040:4040:4040:4040:4040:4040:4040]");
    let mut vector = answer(Nat::None, &text);
    vector.original = Tuple::v6(client, outer, ipproto::UDP).with_ports(4000, 1900);
    vector.reply = Tuple::v6(server, client, ipproto::UDP).with_ports(1900, 4000);
    vector.status |= Status::DST_NAT;
    let announced = vector.run().announced.remove(0);
    let wanted = text.replace("4040", "3030").replace("8200", "8209");
    assert_eq!(vector.rewritten(&announced.edits(8209)), wanted.as_bytes());
}

#[test]
fn several_callbacks_are_several_places() {
    let own = "<http://10.1.0.2:7777/a><http://10.1.0.2:7778/b> <http://10.1.0.3:1/c>";
    let text = SUBSCRIBE.replace("<http://10.1.0.2:7777/cb>", own);
    let outcome = subscribe(Nat::None, &text).run();
    let ports: Vec<_> = outcome.announced.iter().flat_map(Announcement::ports).collect();
    assert_eq!((&ports[..], outcome.not_understood), (&[7777, 7778][..], true));
    let many = "<http://10.1.0.2:7777/a>".repeat(30);
    let outcome = subscribe(Nat::None, &text.replace(own, &many)).run();
    assert_eq!(outcome.announced.len(), ANNOUNCED_MAX);
}

#[test]
fn what_is_malformed_or_names_a_third_party_is_not_understood() {
    for url in
        ["https://10.2.0.2:1/", "http://10.2.0.3:1/", "http://10.1.0.2:1/", "http://10.2.0.2:0/"]
    {
        let outcome = answer(Nat::None, &ANSWER.replace("http://10.2.0.2:8200/", url)).run();
        assert!(outcome.not_understood && outcome.announced.is_empty(), "{url}");
        let outcome = subscribe(Nat::None, &SUBSCRIBE.replace("http://10.1.0.2:7777/", url)).run();
        let is_own = url.contains("10.1.0.2");
        assert_eq!(outcome.not_understood, !is_own, "{url}");
    }
    let in_body = "HTTP/1.1 200 OK\r\n\r\nLOCATION: http://10.2.0.2:8200/\r\n";
    assert_eq!(answer(Nat::None, in_body).run(), Outcome::default());
    let renewed = "SUBSCRIBE /evt HTTP/1.1\r\nSID: uuid:1\r\n\r\n";
    assert_eq!(subscribe(Nat::None, renewed).run(), Outcome::default());
}
