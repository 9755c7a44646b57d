//! Flows that real connections make, through a pair of routers that translate addresses.
//!
//! ```text
//!                 /-- A (first) --\
//!   client -- c0 -+               +- s0 -- server
//!          -- c1 -+               +- s1 --
//!                 \-- B (later) --/
//! ```
//!
//! Both routers translate the client's address into the same one, so the server sees no difference, and a connection
//! survives the way over B if B knows it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use tests::conf::{Conf, End, Rules, SUBNET};
use tests::conntrack::lines;
use tests::daemon::{Brand, Daemon, Files};
use tests::netns::{Family, Namespace, address, sysctl};
use tests::wait::{PATIENCE, wait_equal, wait_until};

crate::in_each_direction!(
    traffic_over_ipv4_is_shown_and_committed_as_by_the_original,
    traffic_over_ipv6_is_shown_and_committed_as_by_the_original,
    traffic_over_ipv4_by_ftfw_is_shown_and_committed_as_by_the_original,
    traffic_over_ipv6_by_ftfw_is_shown_and_committed_as_by_the_original,
    an_open_connection_survives_a_take_over,
    an_open_connection_survives_a_take_over_by_ftfw,
);

/// Subnets: client to A and B, A and B to server.
const CLIENT: [u8; 2] = [1, 3];
const SERVER: [u8; 2] = [2, 4];
/// The address the server sees.
const PUBLIC: u8 = 9;
const PORT: u16 = 7000;

struct Net {
    client: Namespace,
    server: Namespace,
    routers: [Namespace; 2],
    family: Family,
    files: Files,
}

impl Net {
    fn new(family: Family) -> Self {
        let [client, server, a, b] = [(); 4].map(|()| Namespace::new());
        let names = [["c0", "rc", "rs", "s0"], ["c1", "rc", "rs", "s1"]];
        for (at, router) in [&a, &b].into_iter().enumerate() {
            let [to_router, from_client, to_server, from_router] = names[at];
            client.cable(to_router, router, from_client, CLIENT[at]);
            router.cable(to_server, &server, from_router, SERVER[at]);
            router.within(|| {
                sysctl("net/ipv4/ip_forward", "1");
                sysctl("net/ipv6/conf/all/forwarding", "1");
            });
            router.nft(&translation(family));
        }
        a.cable(End::A.interface(), &b, End::B.interface(), SUBNET);
        // The client keeps its address towards A when it goes over B.
        let (known_as, via) = (address(family, CLIENT[0], 1), address(family, CLIENT[1], 1));
        b.sh(&format!("ip route add {known_as} via {via}"));
        let net = Self { client, server, routers: [a, b], family, files: Files::new() };
        net.go_over(0);
        net
    }

    /// From here on everything goes over A (0) or B (1).
    fn go_over(&self, router: usize) {
        let via_client = address(self.family, CLIENT[router], 2);
        let via_server = address(self.family, SERVER[router], 1);
        let public = address(self.family, PUBLIC, 1);
        self.client.sh(&format!("ip route replace default via {via_client}"));
        self.server.sh(&format!("ip route replace {public} via {via_server}"));
    }

    /// Where the server listens.
    fn service(&self) -> SocketAddr {
        // An address of its own, reached over either router.
        SocketAddr::new(address(self.family, 8, 8), PORT)
    }

    fn open_service(&self) -> (TcpListener, UdpSocket) {
        let at = self.service();
        let bits = if at.is_ipv4() { 32 } else { 128 };
        self.server.sh(&format!("ip addr add {}/{bits} dev lo {}", at.ip(), nodad(at.ip())));
        for (router, subnet) in self.routers.iter().zip(SERVER) {
            let via = address(self.family, subnet, 2);
            router.sh(&format!("ip route add {}/{bits} via {via}", at.ip()));
        }
        self.server.within(|| {
            let tcp = TcpListener::bind(at).expect("the server listens");
            (tcp, UdpSocket::bind(at).expect("the server listens"))
        })
    }

    fn daemon(&self, brand: Brand, name: &str, conf: &Conf) -> Daemon<'_> {
        let router = &self.routers[usize::from(conf.end == End::B)];
        Daemon::start(router, brand, &self.files, name, conf)
    }
}

fn nodad(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "nodad" } else { "" }
}

/// What goes out to the server comes from the public address.
fn translation(family: Family) -> String {
    let public = address(family, PUBLIC, 1);
    let kind = if family == Family::V4 { "ip" } else { "ip6" };
    format!(
        "table {kind} nat {{ chain post {{
            type nat hook postrouting priority srcnat; oifname \"rs\" snat to {public};
        }}; }}"
    )
}

/// An open TCP connection, both ends.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn open(net: &Net, listener: &TcpListener) -> Self {
        let at = net.service();
        let client = net.client.within(|| TcpStream::connect(at).expect("the service answers"));
        let (server, _) = listener.accept().expect("a connection arrives");
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        }
        Self { client, server }
    }

    /// Says something in both directions.
    fn talk(&self) {
        for (mut from, mut to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            from.write_all(b"hello").expect("the connection stands");
            let mut heard = [0; 5];
            to.read_exact(&mut heard).expect("the connection stands");
            assert_eq!(&heard, b"hello");
        }
    }
}

/// One datagram there and one back.
fn udp_exchange(net: &Net, service: &UdpSocket) -> UdpSocket {
    let any =
        SocketAddr::new(if net.family == Family::V4 { [0; 4].into() } else { [0; 16].into() }, 0);
    let client = net.client.within(|| UdpSocket::bind(any).expect("a socket"));
    client.send_to(b"ping", net.service()).expect("the network is there");
    let mut bytes = [0; 16];
    service.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let (_, from) = service.recv_from(&mut bytes).expect("a datagram arrives");
    assert_eq!(from.ip(), address(net.family, PUBLIC, 1), "the source is translated");
    service.send_to(b"pong", from).expect("the network is there");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    client.recv_from(&mut bytes).expect("the answer arrives");
    client
}

fn traffic_over_ipv4_is_shown_and_committed_as_by_the_original(from: Brand, to: Brand) {
    shown_and_committed(Family::V4, Rules::NoTrack, from, to);
}

fn traffic_over_ipv6_is_shown_and_committed_as_by_the_original(from: Brand, to: Brand) {
    shown_and_committed(Family::V6, Rules::NoTrack, from, to);
}

fn traffic_over_ipv4_by_ftfw_is_shown_and_committed_as_by_the_original(from: Brand, to: Brand) {
    shown_and_committed(Family::V4, Rules::Ftfw, from, to);
}

fn traffic_over_ipv6_by_ftfw_is_shown_and_committed_as_by_the_original(from: Brand, to: Brand) {
    shown_and_committed(Family::V6, Rules::Ftfw, from, to);
}

/// The four daemons of a traffic test: the ones that are tried, and two of the original that hear the same events.
struct Nodes<'a> {
    a: Daemon<'a>,
    b: Daemon<'a>,
    model_a: Daemon<'a>,
    model_b: Daemon<'a>,
}

impl<'a> Nodes<'a> {
    fn start(net: &'a Net, rules: Rules, from: Brand, to: Brand) -> Self {
        let conf = |end, port| Conf::new(end).rules(rules).port(port);
        let start = |brand, name, end, port| net.daemon(brand, name, &conf(end, port));
        let model_b = start(Brand::Original, "model-b", End::B, 3781);
        let b = start(to, "b", End::B, 3780);
        let model_a = start(Brand::Original, "model-a", End::A, 3781);
        let a = start(from, "a", End::A, 3780);
        Self { a, b, model_a, model_b }
    }

    /// Waits until all have got so far, then compares what they show.
    fn compare(&self, what: &str, so_far: &[&str]) {
        let shows = |lines: Vec<String>| {
            so_far.iter().all(|words| service_only(lines.clone()).iter().any(|l| l.contains(words)))
        };
        let mut polls = 0;
        wait_until(what, || {
            polls += 1;
            if polls % POLLS_UNTIL_STUCK == 0 {
                self.unstick(&shows);
            }
            [&self.model_b, &self.b].iter().all(|daemon| shows(daemon.external()))
        });
        let Self { a, b, model_a, model_b } = self;
        wait_equal(what, || service_only(a.internal()), || service_only(model_a.internal()));
        wait_equal(what, || service_only(b.external()), || service_only(model_b.external()));
    }

    /// The original was seen to miss a change of a flow now and then, for good. Then both sides read their kernel
    /// again, because a flow from a reading is shown with more fields than one from events. Ours must notice by itself.
    fn unstick(&self, shows: &dyn Fn(Vec<String>) -> bool) {
        for daemon in [&self.model_a, &self.a] {
            assert!(daemon.brand() == Brand::Original || shows(daemon.internal()), "ours is stuck");
            daemon.ask(&["-R"]);
            daemon.ask(&["-B"]);
        }
    }
}

/// About five seconds.
const POLLS_UNTIL_STUCK: usize = 100;

fn shown_and_committed(family: Family, rules: Rules, from: Brand, to: Brand) {
    let net = Net::new(family);
    let nodes = Nodes::start(&net, rules, from, to);
    let (tcp, udp) = net.open_service();
    let connection = Connection::open(&net, &tcp);
    connection.talk();
    let _client = udp_exchange(&net, &udp);
    nodes.compare("both flows are shown", &["udp", "ESTABLISHED", "[ASSURED]"]);
    nodes.b.ask(&["-c"]);
    let [kernel_a, kernel_b] = [0, 1].map(|n| service_only(lines(&net.routers[n])));
    assert_eq!(kernel_a.len(), 2, "{kernel_a:#?}");
    assert_eq!(kernel_a, kernel_b);
    drop(connection);
    wait_until("the connection is closed", || {
        lines(&net.routers[0]).iter().any(|line| line.contains("TIME_WAIT"))
    });
    nodes.compare("the end of the connection is shown", &["TIME_WAIT"]);
}

/// Lines about the service: neighbour discovery and the link are tracked too. A mark of 0 is shown of flows from a
/// reading and not of flows from events, so it depends on when a daemon was ready; the matrix compares it.
fn service_only(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| line.contains(&format!("dport={PORT}")));
    lines.into_iter().map(|line| line.replace(" mark=0", "")).collect()
}

fn an_open_connection_survives_a_take_over(from: Brand, to: Brand) {
    take_over(Rules::NoTrack, from, to);
}

fn an_open_connection_survives_a_take_over_by_ftfw(from: Brand, to: Brand) {
    take_over(Rules::Ftfw, from, to);
}

fn take_over(rules: Rules, from: Brand, to: Brand) {
    let net = Net::new(Family::V4);
    let b = net.daemon(to, "b", &Conf::new(End::B).rules(rules));
    let _a = net.daemon(from, "a", &Conf::new(End::A).rules(rules));
    let (tcp, _) = net.open_service();
    let connection = Connection::open(&net, &tcp);
    connection.talk();
    wait_until("B knows the connection", || {
        service_only(b.external()).iter().any(|line| line.contains("ESTABLISHED"))
    });
    b.ask(&["-c"]);
    net.go_over(1);
    for _ in 0..10 {
        connection.talk();
    }
}
