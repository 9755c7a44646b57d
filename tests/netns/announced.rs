//! What `engine::helper` announces of flows that are translated, in this kernel: the announced flow arrives, from
//! and at the addresses that each end knows.
//!
//! ```text
//!   inside 10.99.60.1 --- 10.99.60.2 router 10.99.61.2 --- 10.99.61.1 outside, without a way to the inside
//! ```
//!
//! The flow that the helper watches is written into the kernel; its packets are never sent.

use ctnetlink::flow::{HelperName, ProtoState, Status, TcpState};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Flow, Tuple};
use engine::helper::{Announcement, Context, Direction, Kind, Packet};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::slice::from_ref;
use std::time::Duration;
use tests::ctnetlink::{Requests, with_lifetime};
use tests::netns::{Namespace, sysctl};

const INSIDE: [u8; 4] = [10, 99, 60, 1];
const ROUTER_INSIDE: [u8; 4] = [10, 99, 60, 2];
const ROUTER_OUTSIDE: [u8; 4] = [10, 99, 61, 2];
const OUTSIDE: [u8; 4] = [10, 99, 61, 1];
const MDNS_GROUP: [u8; 4] = [224, 0, 0, 251];
const PATIENCE: Duration = Duration::from_secs(20);

/// Without chains of this type the kernel translates nothing, and without a rule that asks for it it tracks nothing.
/// Only what is announced passes.
const RULES: &str = "table ip translation {
    chain arriving { type nat hook prerouting priority -100; }
    chain leaving { type nat hook postrouting priority 100; }
    chain passing {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept;
    }
}";

struct Places {
    inside: Namespace,
    outside: Namespace,
    router: Namespace,
}

impl Places {
    fn new() -> Self {
        let places =
            Self { inside: Namespace::new(), outside: Namespace::new(), router: Namespace::new() };
        places.inside.cable("uplink", &places.router, "in", 60);
        places.outside.cable("uplink", &places.router, "out", 61);
        places.inside.sh("ip route add default via 10.99.60.2");
        places.router.within(|| sysctl("net/ipv4/ip_forward", "1"));
        places.router.nft(RULES);
        places
    }

    /// Writes the watched flow into the router, and what a packet of it announces, for the second of the ports to
    /// try where there are several. That port is returned.
    fn announce(&self, watched: &Watched, direction: Direction, payload: &[u8]) -> u16 {
        let announced = watched.read(direction, payload);
        let port = announced.ports().nth(1).or_else(|| announced.ports().next());
        let port = port.expect("there is a port to try");
        let mut requests = Requests::open(&self.router);
        requests.create(from_ref(&watched.flow()));
        requests.expect(&[announced.expectation(port)]);
        port
    }
}

/// A flow whose both ends are translated.
struct Watched {
    kind: Kind,
    original: Tuple,
    reply: Tuple,
    /// A helper of the kernel's own, so that the flow may have expectations.
    kernels: &'static str,
}

impl Watched {
    fn flow(&self) -> Flow {
        let mut flow = with_lifetime(Flow::new(self.original));
        flow.reply = self.reply;
        if self.original.proto == ipproto::TCP {
            flow.proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
        }
        flow.status |= Status::SEEN_REPLY | Status::ASSURED;
        flow.extra_mut().helper = HelperName::from_bytes(self.kernels.as_bytes());
        flow
    }

    fn read(&self, direction: Direction, payload: &[u8]) -> Announcement {
        let mut private = vec![0; self.kind.private_len()];
        let mut context = Context {
            original: self.original,
            reply: self.reply,
            zone: 0,
            status: Status::SRC_NAT | Status::DST_NAT,
            policy: self.kind.policy(),
            private: &mut private,
        };
        let outcome = self.kind.packet(&mut context, &Packet { direction, seq: 1, payload });
        outcome.announced.into_iter().next().expect("something is announced")
    }
}

/// An FTP session of the inside with the router's inner address, which leads to the outside.
fn ftp() -> Watched {
    let original = Tuple::v4(INSIDE, ROUTER_INSIDE, ipproto::TCP).with_ports(4000, 6667);
    let reply = Tuple::v4(OUTSIDE, ROUTER_OUTSIDE, ipproto::TCP).with_ports(6667, 4100);
    Watched { kind: Kind::Ftp, original, reply, kernels: "irc" }
}

fn listen(at: &Namespace, address: [u8; 4]) -> (TcpListener, [u8; 2]) {
    let listener = at.within(|| TcpListener::bind((IpAddr::from(address), 0)).expect("a listener"));
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port.to_be_bytes())
}

fn connect(from: &Namespace, to: [u8; 4], port: u16) -> TcpStream {
    let to = SocketAddr::from((to, port));
    from.within(|| TcpStream::connect_timeout(&to, PATIENCE).expect("the flow is let in"))
}

fn assert_peers(from: &TcpStream, listener: &TcpListener, seen: [u8; 4]) {
    let (accepted, peer) = listener.accept().expect("it arrives");
    assert_eq!(peer.ip(), IpAddr::from(seen));
    let own = from.local_addr().expect("it is connected");
    assert_eq!((own.port(), accepted.local_addr().ok()), (peer.port(), listener.local_addr().ok()));
}

#[test]
fn a_data_connection_arrives_at_the_client_whose_address_is_translated() {
    let places = Places::new();
    let (listener, [high, low]) = listen(&places.inside, INSIDE);
    let text = format!("PORT 10,99,60,1,{high},{low}\r\n");
    let port = places.announce(&ftp(), Direction::Original, text.as_bytes());
    assert_eq!(port, u16::from_be_bytes([high, low]) + 1, "another port outside");
    let stream = connect(&places.outside, ROUTER_OUTSIDE, port);
    assert_peers(&stream, &listener, ROUTER_INSIDE);
}

#[test]
fn a_data_connection_arrives_at_the_server_whose_address_is_translated() {
    let places = Places::new();
    let (listener, [high, low]) = listen(&places.outside, OUTSIDE);
    let text = format!("227 Entering Passive Mode (10,99,61,1,{high},{low})\r\n");
    let port = places.announce(&ftp(), Direction::Reply, text.as_bytes());
    let stream = connect(&places.inside, ROUTER_INSIDE, port);
    assert_peers(&stream, &listener, ROUTER_OUTSIDE);
}

/// The asker, too, sees the answerer's own address: not the multicast group it asked.
#[test]
fn a_datagram_arrives_from_its_senders_own_address() {
    let query = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x05_http\x04_tcp\x05local\0\0\x0c\0\x01";
    let cases: [(Kind, [u8; 4], u16, &[u8]); 2] =
        [(Kind::Tftp, OUTSIDE, 69, b"\0\x01file\0octet\0"), (Kind::Mdns, MDNS_GROUP, 5353, query)];
    for (kind, asked, service, payload) in cases {
        let places = Places::new();
        let original = Tuple::v4(INSIDE, asked, ipproto::UDP).with_ports(4000, service);
        let reply = Tuple::v4(asked, ROUTER_OUTSIDE, ipproto::UDP).with_ports(service, 4100);
        let watched = Watched { kind, original, reply, kernels: "tftp" };
        let port = places.announce(&watched, Direction::Original, payload);
        assert_eq!(port, 4100);
        let bind = |at: &Namespace, own: [u8; 4], port: u16| {
            let own = SocketAddr::from((own, port));
            at.within(|| UdpSocket::bind(own).expect("a socket"))
        };
        let asker = bind(&places.inside, INSIDE, 4000);
        asker.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let answerer = bind(&places.outside, OUTSIDE, 5353);
        answerer.send_to(b"here", (IpAddr::from(ROUTER_OUTSIDE), port)).expect("it is sent");
        let mut bytes = [0; 16];
        let (len, from) = asker.recv_from(&mut bytes).expect("it arrives");
        assert_eq!(
            (&bytes[..len], from),
            (&b"here"[..], SocketAddr::from((OUTSIDE, 5353))),
            "{kind:?}"
        );
    }
}
