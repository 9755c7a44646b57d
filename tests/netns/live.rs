//! Events captured live, each read by two decoders that know nothing of each other, and by both sources: what comes
//! through the tap is what netlink delivers, byte for byte.

#[path = "../../userspace/ctnetlink/tests/support/reference.rs"]
mod reference;

use ctnetlink::uapi::subsystem;
use ctnetlink::{Change, Message, Messages, decode};
use host::source::{Choice, Heard, Settings, Source};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use tests::conntrack::insert_catalogue;
use tests::ctnetlink::{Requests, udp_flows};
use tests::netns::{self, Namespace};
use tests::wait::wait_until;

/// Addresses of the service, and of its translated double.
const SERVICES: [&str; 4] = ["127.0.0.1:7000", "127.0.0.9:7000", "[::1]:7000", "[fd99::9]:7000"];

const RULES: &str = "
table inet t {
    chain apart {
        type filter hook output priority raw;
        udp dport 7007 ct zone set 7
        udp sport 7007 ct zone set 7
    }
    chain paint { type filter hook output priority 0; udp dport 7000 ct mark set 5; }
    chain before {
        type nat hook output priority -100;
        ip daddr 127.0.0.9 dnat ip to 127.0.0.1
        ip6 daddr fd99::9 dnat ip6 to [::1]
    }
    chain behind { type nat hook postrouting priority srcnat; udp dport 7001 snat ip to 127.0.0.5; }
}
";

fn open(choice: Choice) -> Source {
    let settings = Settings { choice, buffer_bytes: Some(64 << 20), ..Settings::default() };
    Source::open(&settings).expect("the source opens").0
}

/// Messages by their bytes, each with how often it came.
type Seen = BTreeMap<Vec<u8>, u32>;

fn drain(source: &mut Source, seen: &mut Seen) {
    let mut sink = |heard: Heard<'_>, _| {
        let bytes = heard.message().expect("both hand out messages");
        *seen.entry(bytes.to_vec()).or_insert(0) += 1;
    };
    while source.drain(4096, &mut sink).expect("draining works") > 0 {}
}

/// Real traffic of every kind loopback can carry, then flows of every kind there is, their change and their end.
fn make_events() {
    netns::run("ip", &["addr", "add", "fd99::9/128", "dev", "lo", "nodad"]);
    netns::nft(RULES);
    let [v4, _, v6, _] = SERVICES.map(|at| at.parse::<SocketAddr>().expect("an address"));
    let listeners = [v4, v6].map(|at| TcpListener::bind(at).expect("a listener"));
    for listener in listeners {
        thread::spawn(move || {
            let (mut end, _) = listener.accept().expect("a connection");
            let mut heard = [0; 2];
            end.read_exact(&mut heard).expect("something is said");
            end.write_all(&heard).expect("the other end listens");
        });
    }
    for at in [SERVICES[1], SERVICES[3]] {
        let mut end = TcpStream::connect(at).expect("the service answers");
        end.write_all(b"hi").expect("the connection stands");
        end.read_exact(&mut [0; 2]).expect("an echo");
    }
    for (at, port) in [v4, v6].into_iter().flat_map(|at| [7000, 7001, 7007].map(|p| (at, p))) {
        let (here, there) = (SocketAddr::new(at.ip(), 0), SocketAddr::new(at.ip(), port));
        let server = UdpSocket::bind(there).expect("a socket");
        let client = UdpSocket::bind(here).expect("a socket");
        client.send_to(b"hi", there).expect("loopback takes a datagram");
        let (_, from) = server.recv_from(&mut [0; 2]).expect("it arrives");
        server.send_to(b"hi", from).expect("loopback takes a datagram");
    }
    let here = Namespace::current();
    insert_catalogue(&here);
    let mut requests = Requests::open(&here);
    let flows = udp_flows(0..100);
    requests.create(&flows);
    requests.update(&flows);
    netns::run("conntrack", &["-F"]);
}

#[test]
fn both_sources_hand_out_the_same_bytes_and_both_decoders_read_the_same() {
    netns::enter_new();
    let (mut tap, mut plain) = (open(Choice::Tap), open(Choice::Netlink));
    make_events();
    let (mut tapped, mut delivered) = (Seen::new(), Seen::new());
    // The kernel may still be closing connections.
    wait_until("the tap hands out the same bytes as netlink", || {
        drain(&mut tap, &mut tapped);
        drain(&mut plain, &mut delivered);
        tapped == delivered
    });
    assert_eq!((tap.account().lost, plain.account().lost), (0, 0));
    let mut kinds = [0; 3];
    for raw in delivered.keys().flat_map(|bytes| Messages::new(bytes)) {
        let raw = raw.expect("the kernel frames its messages");
        assert_eq!(raw.header.subsystem(), subsystem::CTNETLINK);
        let (theirs, ours) = reference::compare(&raw);
        assert_eq!(theirs, ours);
        match decode(&raw).expect("we read what the kernel says") {
            Message::Flow { event: Change::New, .. } => kinds[0] += 1,
            Message::Flow { event: Change::Update, .. } => kinds[1] += 1,
            Message::Flow { event: Change::Destroy, .. } => kinds[2] += 1,
            other => panic!("not a flow: {other:?}"),
        }
    }
    let [new, update, destroy] = kinds;
    assert!(new > 130 && update > 10 && destroy > 130, "{kinds:?}");
}
