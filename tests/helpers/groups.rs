//! Protocols that ask a group and are answered by any host: mdns, slp, ssdp, dhcpv6. Nothing of a group is forwarded
//! here, so the router itself asks, and its own rules let in nothing but what is expected.

use crate::stage::{
    CLIENT, Expected, Nat, PATIENCE, SERVER, Stage, accept_from, alone, connect, datagrams,
    in_every_variant, in_variants, listen, start,
};
use host::nfnetlink::Client;
use host::nfnetlink::helper::HelperKey;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV6, UdpSocket};
use tests::daemon::{Brand, Files};
use tests::wait::wait_for;

/// The router's address on the side of the server.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 2);

const SEARCH: &[u8] =
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\n\
    MX: 1\r\nST: ssdp:all\r\n\r\n";

#[test]
fn mdns_is_answered() {
    in_variants("mdns", &[Nat::None], |stage, _| mdns(stage));
}

fn mdns(stage: &Stage) {
    let query = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x05_http\x04_tcp\x05local\0\0\x0c\0\x01";
    asks(stage, ([224, 0, 0, 251], 5353), query, "mdns");
}

#[test]
fn slp_is_answered() {
    in_variants("slp", &[Nat::None], |stage, _| {
        let request = b"\x02\x01\0\0\x31\x20\0\0\0\0\0\x01";
        asks(stage, ([239, 255, 255, 253], 427), request, "slp");
    });
}

/// From here on, the router asks groups on the side of the server.
pub(crate) fn ask_towards_server(stage: &Stage) {
    stage.router.sh("ip route replace 224.0.0.0/4 dev rs");
}

/// A socket of the router that does.
fn asker(stage: &Stage) -> UdpSocket {
    ask_towards_server(stage);
    datagrams(&stage.router, ROUTER, 0)
}

/// Asks a group. The server answers, from the protocol's port and from another one; only the first may.
fn asks(stage: &Stage, (group, port): ([u8; 4], u16), question: &[u8], helper: &str) {
    let router = asker(stage);
    let from = router.local_addr().expect("it is bound").port();
    router.send_to(question, (Ipv4Addr::from(group), port)).expect("it is sent");
    let masters = [(ROUTER, from), (group.into(), port)];
    let anybody = Expected::from_anybody(helper, 17, (ROUTER, from), masters);
    stage.expects(&Expected { from_port: port, ..anybody });
    datagrams(&stage.server, SERVER, 0).send_to(b"no", (ROUTER, from)).expect("it is sent");
    let server = datagrams(&stage.server, SERVER, port);
    server.send_to(b"yes", (ROUTER, from)).expect("it is sent");
    server.send_to(b"again", (ROUTER, from)).expect("it is sent");
    let mut bytes = [0; 10];
    for text in [&b"yes"[..], b"again"] {
        let (len, sender) = router.recv_from(&mut bytes).expect("the answer passes");
        assert_eq!((&bytes[..len], sender), (text, (SERVER, port).into()));
    }
    stage.router.sh("conntrack -F expect");
}

/// As on Chromium OS and on desktops with players and printers: helpers alone, objects that `nfct` has added, rules about
/// what this machine itself asks.
#[test]
fn a_daemon_for_ssdp_and_mdns_alone_helps_a_machine_that_asks() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    for name in ["mdns", "ssdp"] {
        let key = HelperKey { name: name.into(), l3_protocol: 2, l4_protocol: 17 };
        let policy = key.known_policy().expect("it is known");
        // The helper may be there from another test.
        let added = Client::open().and_then(|mut client| client.add_helper(&key, policy));
        drop(added);
    }
    let text = "General { HashSize 4096\n HashLimit 16384\n LogFile @.log\n LockFile @.lock\n \
         UNIX { Path @.sock\n Backlog 20\n }\n }\n\
         Helper {\n Type mdns inet udp {\n QueueNum 4\n QueueLen 10240\n Policy mdns {\n ExpectMax 8\n \
         ExpectTimeout 30\n }\n }\n Type ssdp inet udp {\n QueueNum 10\n QueueLen 10240\n Policy ssdp {\n \
         ExpectMax 8\n ExpectTimeout 300\n }\n }\n }\n";
    let text = text.replace('@', &files.path().join("d").display().to_string());
    let daemon = start(&stage.router, Brand::Ours, &files, "d", &text);
    stage.router.nft(
        "table inet desktop {
            ct helper mdns { type \"mdns\" protocol udp; l3proto ip; }
            ct helper ssdp { type \"ssdp\" protocol udp; l3proto ip; }
            chain sent {
                type filter hook output priority -150
                udp dport 5353 ct helper set \"mdns\"
                udp dport 1900 ct helper set \"ssdp\"
            }
            chain take {
                type filter hook input priority 0; policy drop
                iif lo accept
                meta l4proto icmpv6 accept
                ct state established accept
                ct state related accept
            }
        }",
    );
    mdns(&stage);
    search_group(&stage, Nat::None);
    assert_eq!(daemon.status()["ready"], true);
}

#[test]
fn ssdp_search_is_answered() {
    in_variants("ssdp M-SEARCH", &[Nat::None], search_group);
}

/// The device answers, from a port of its own, and says where its description is: there the router may connect to.
fn search_group(stage: &Stage, _: Nat) {
    let router = asker(stage);
    let from = router.local_addr().expect("it is bound").port();
    let group = Ipv4Addr::new(239, 255, 255, 250);
    router.send_to(SEARCH, (group, 1900)).expect("it is sent");
    let masters = [(ROUTER, from), (group, 1900)];
    stage.expects(&Expected::from_anybody("ssdp", 17, (ROUTER, from), masters));
    datagrams(&stage.server, SERVER, 0)
        .send_to(b"HTTP/1.1 200 OK\r\n\r\n", (ROUTER, from))
        .expect("it is sent");
    let mut bytes = [0; 100];
    let (_, sender) = router.recv_from(&mut bytes).expect("the answer passes");
    assert_eq!(sender.ip(), IpAddr::from(SERVER));
    stage.router.sh("conntrack -F expect");
}

#[test]
fn ssdp_location_is_reached() {
    in_every_variant("ssdp LOCATION", location);
}

/// A client asks one device, which says where its description is.
fn location(stage: &Stage, nat: Nat) {
    let server = datagrams(&stage.server, SERVER, 1900);
    let client = datagrams(&stage.client, CLIENT, 0);
    let from = client.local_addr().expect("it is bound").port();
    client.send_to(SEARCH, (nat.server(), 1900)).expect("it is sent");
    let mut bytes = [0; 500];
    let (_, asker) = server.recv_from(&mut bytes).expect("the search passes");
    let listener = listen(&stage.server, SERVER, 0);
    let port = listener.local_addr().expect("it is bound").port();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nLOCATION: http://{SERVER}:{port}/root.xml\r\n\
         ST: ssdp:all\r\nUSN: uuid:1\r\n\r\n"
    );
    server.send_to(answer.as_bytes(), asker).expect("it is sent");
    let (len, _) = client.recv_from(&mut bytes).expect("the answer passes");
    let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
    let told = place(&text, "http://");
    assert_eq!(told.0, nat.server(), "{text}");
    let masters = [(CLIENT, from), (nat.server(), 1900)];
    stage.expects(&Expected::from_anybody("ssdp", 6, told, masters));
    let _client = connect(&stage.client, told.0, told.1);
    accept_from(&listener, nat.client());
    stage.router.sh("conntrack -F expect");
}

/// Address and port behind some words.
fn place(text: &str, words: &str) -> (Ipv4Addr, u16) {
    let rest = text.split(words).nth(1).expect("a place");
    let place = rest.split(['/', '>']).next().expect("a place");
    let (address, port) = place.split_once(':').expect("a port");
    (address.parse().expect("an address"), port.parse().expect("a number"))
}

#[test]
fn ssdp_subscribers_are_called_back() {
    in_every_variant("ssdp SUBSCRIBE", subscription);
}

fn subscription(stage: &Stage, nat: Nat) {
    let (mut client, mut server) = stage.connection(nat, 2869);
    let from = client.local_addr().expect("it is bound").port();
    let listener = listen(&stage.client, CLIENT, 0);
    let port = listener.local_addr().expect("it is bound").port();
    let request = format!(
        "SUBSCRIBE /evt HTTP/1.1\r\nHOST: {}:2869\r\nCALLBACK: <http://{CLIENT}:{port}/cb>\r\n\
         NT: upnp:event\r\nTIMEOUT: Second-300\r\n\r\n",
        nat.server()
    );
    client.write_all(request.as_bytes()).expect("the other end is there");
    let mut bytes = [0; 500];
    let len = server.read(&mut bytes).expect("the request passes");
    let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
    let told = place(&text, "<http://");
    assert_eq!(told.0, nat.client(), "{text}");
    let masters = [(CLIENT, from), (nat.server(), 2869)];
    stage.expects(&Expected::once("ssdp", 6, SERVER, told, masters));
    let _server = connect(&stage.server, told.0, told.1);
    accept_from(&listener, nat.server());
    stage.router.sh("conntrack -F expect");
}

#[test]
fn dhcpv6_is_answered() {
    in_variants("dhcpv6", &[Nat::None], solicit);
}

/// Link-local address of an interface, and its index.
fn link_local(stage: &tests::netns::Namespace, name: &str) -> SocketAddrV6 {
    let text = wait_for("the address is checked", || {
        let text = stage.sh(&format!("ip -o -6 addr show dev {name} scope link"));
        (!text.is_empty() && !text.contains("tentative")).then_some(text)
    });
    let (index, _) = text.split_once(':').expect("an index");
    let address = text.split_whitespace().nth(3).and_then(|word| word.split('/').next());
    let address = address.expect("an address").parse().expect("an address");
    SocketAddrV6::new(address, 0, 0, index.trim().parse().expect("a number"))
}

fn solicit(stage: &Stage, _: Nat) {
    let mut here = link_local(&stage.router, "rs");
    let mut there = link_local(&stage.server, "s0");
    here.set_port(546);
    let router = stage.router.within(|| UdpSocket::bind(here).expect("the port is free"));
    router.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let all = "ff02::1:2".parse().expect("an address");
    let solicit =
        b"\x01\x01\x02\x03\0\x01\0\x0e\0\x01\0\x01\x01\x02\x03\x04\x01\x02\x03\x04\x05\x06";
    router.send_to(solicit, SocketAddrV6::new(all, 547, 0, here.scope_id())).expect("it is sent");
    let expected = stage.router.sh("conntrack -L expect -f ipv6");
    let wanted = format!(
        "proto=17 src=:: dst={0} sport=0 dport=546 mask-src=:: \
         mask-dst=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff sport=0 dport=65535 master-src={0} \
         master-dst=ff02::1:2 sport=546 dport=547 PERMANENT class=0 helper=dhcpv6",
        here.ip()
    );
    assert_eq!(expected.split_once(' ').map(|(_, rest)| rest.trim_end()), Some(&*wanted));
    there.set_port(0);
    let server = stage.server.within(|| UdpSocket::bind(there).expect("a port is free"));
    let client = SocketAddrV6::new(*here.ip(), 546, 0, there.scope_id());
    server.send_to(b"\x02\x01\x02\x03", client).expect("it is sent");
    let mut bytes = [0; 10];
    let (len, sender) = router.recv_from(&mut bytes).expect("the answer passes");
    assert_eq!((&bytes[..len], sender.ip()), (&b"\x02\x01\x02\x03"[..], IpAddr::from(*there.ip())));
    stage.router.sh("conntrack -F expect");
}
