//! Several links of ours on one port, and who may speak on which: what comes in belongs to the link whose peer sent it.

use ctnetlink::Writer;
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, SockRef, Socket, Type};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::process::Command;
use tests::conf::{Conf, End, Own, SUBNET, Transport, subnet};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::netns::{Family, address};
use tests::stage::Stage;
use tests::wait::wait_until;
use wire::sync::v1::{Control, Stamp, encode_control};

/// Own addresses of two links that share their port.
const MIXES: [[Own; 2]; 4] = [
    [Own::None, Own::None],
    [Own::OfFirst, Own::OfFirst],
    [Own::OfCable, Own::None],
    [Own::None, Own::OfFirst],
];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Source ports are hashed when sockets share a port: with so many, each socket gets some.
const SOURCES: u64 = 24;

fn two_links(end: End, transport: Transport, family: Family, own: [Own; 2]) -> Conf {
    Conf::new(end).transport(transport).link(family).links(2).own(&own)
}

fn alive() -> [u8; 8] {
    let mut bytes = [0; 8];
    let mut writer = Writer::new(&mut bytes);
    encode_control(Control::Alive, Stamp::default(), &mut writer);
    writer.finish().expect("it is 8 bytes long");
    bytes
}

/// A number of each link: packets received and such.
fn numbers(daemon: &Daemon<'_>, name: &str) -> Vec<u64> {
    let status = daemon.status();
    let links = status["links"].as_array().expect("a list of links");
    links.iter().map(|link| link[name].as_u64().expect("a number")).collect()
}

/// Node A's address that a link with this own address listens on, for who comes through a cable.
fn listens_on(family: Family, own: Own, cable: usize) -> IpAddr {
    let cable = if own == Own::OfFirst { 0 } else { cable };
    address(family, subnet(cable), 1)
}

/// The address of node B on a cable.
fn peer(family: Family, cable: usize) -> IpAddr {
    address(family, subnet(cable), 2)
}

/// Sends a datagram from node B, from this address and a port of the kernel's choice.
fn datagram(stage: &Stage, from: IpAddr, to: SocketAddr) {
    let socket = stage.b.within(|| UdpSocket::bind((from, 0)).expect("the address is ours"));
    // While an interface comes up, there is no way to any peer.
    let _ = socket.send_to(&alive(), to);
}

/// Has something sent to one of two links until much of it has arrived, none of it at the other one. An interface takes
/// its time to come up, and a datagram is sent once.
fn only_this_link_hears(daemon: &Daemon<'_>, link: usize, send: impl Fn()) {
    let before = numbers(daemon, "received_packets");
    let heard = || numbers(daemon, "received_packets")[link] - before[link];
    wait_until("the first arrives", || {
        send();
        heard() > 0
    });
    (0..SOURCES).for_each(|_| send());
    wait_until("all arrive", || heard() >= SOURCES);
    assert_eq!(numbers(daemon, "received_packets")[1 - link], before[1 - link]);
}

/// A connection from this address to a link.
fn connection(stage: &Stage, from: IpAddr, to: SocketAddr) -> TcpStream {
    let connect = || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&to.into())?;
        std::io::Result::Ok(TcpStream::from(socket))
    };
    let mut stream = stage.b.within(|| connect().expect("A listens"));
    // One that is refused may be closed already.
    let _ = stream.write_all(&alive());
    stream
}

#[test]
fn datagrams_to_a_shared_port_belong_to_the_link_whose_peer_sent_them() {
    for (own, family) in MIXES.into_iter().flat_map(|own| FAMILIES.map(|family| (own, family))) {
        let stage = Stage::with_cables(2);
        let a = stage.ours("a", &two_links(End::A, Transport::Udp, family, own));
        for cable in [0, 1] {
            let to = SocketAddr::new(listens_on(family, own[cable], cable), 3780);
            only_this_link_hears(&a, cable, || {
                datagram(&stage, peer(family, cable), to);
            });
        }
        assert_eq!(numbers(&a, "refused"), [0; 2], "{own:?} {family:?}");
    }
}

#[test]
fn connections_to_a_shared_port_belong_to_the_link_whose_peer_made_them() {
    for (own, family) in MIXES.into_iter().flat_map(|own| FAMILIES.map(|family| (own, family))) {
        let stage = Stage::with_cables(2);
        let a = stage.ours("a", &two_links(End::A, Transport::Tcp, family, own));
        for round in 1..=SOURCES / 4 {
            for cable in [0, 1] {
                let to = SocketAddr::new(listens_on(family, own[cable], cable), 3780);
                let _stream = connection(&stage, peer(family, cable), to);
                let expected = [8 * round, 8 * (round - u64::from(cable == 0))];
                wait_until("it is read", || numbers(&a, "received_bytes") == expected);
            }
        }
        assert_eq!(numbers(&a, "refused"), [0; 2], "{own:?} {family:?}");
    }
}

/// Every mix starts, replicates, and goes on over the other link.
#[test]
fn links_on_one_port_replicate_and_take_over_from_each_other() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for family in FAMILIES {
            let stage = Stage::with_cables(2);
            let conf = |end| two_links(end, transport, family, [Own::None; 2]);
            let (b, a) = (stage.ours("b", &conf(End::B)), stage.ours("a", &conf(End::A)));
            replicates_over_both(&stage, &a, &b);
        }
    }
}

/// The first link carries some flows, and when its cable is pulled the second one carries more.
fn replicates_over_both(stage: &Stage, a: &Daemon<'_>, b: &Daemon<'_>) {
    wait_until("they hear each other", || {
        [a, b].iter().all(|node| numbers(node, "received_packets").iter().sum::<u64>() > 0)
    });
    Requests::open(&stage.a).create(&udp_flows(0..50));
    wait_until("flows arrive", || b.external().len() == 50);
    stage.plug(0, false);
    wait_until("both have changed", || [a, b].iter().all(|node| second_is_active(node)));
    Requests::open(&stage.a).create(&udp_flows(50..100));
    wait_until("flows arrive over the other", || b.external().len() == 100);
}

fn second_is_active(daemon: &Daemon<'_>) -> bool {
    daemon.status()["links"][1]["active"].as_bool().expect("true or false")
}

/// The same link-local address at the other end of two cables: the interface distinguishes them.
#[test]
fn peers_with_one_link_local_address_are_told_apart_by_their_interface() {
    let stage = Stage::with_cables(2);
    for (node, end, host) in [(&stage.a, End::A, 1), (&stage.b, End::B, 2)] {
        for cable in [0, 1] {
            let name = end.interface_to(cable);
            node.sh(&format!("ip addr add fe80::{host}/64 dev {name} nodad"));
        }
    }
    let start = |name, end| {
        let conf = two_links(end, Transport::Udp, Family::V6, [Own::None; 2]);
        let host = if end == End::A { 2 } else { 1 };
        let mut text = conf.text(stage.files.path(), name);
        for cable in [0, 1] {
            let global = address(Family::V6, subnet(cable), host).to_string();
            text = text.replace(&global, &format!("fe80::{host}"));
        }
        fs::write(stage.files.path().join(format!("{name}.conf")), text).expect("it is written");
        let program = Command::new(Brand::Ours.program());
        Daemon::start_with(program, stage.node(end), Brand::Ours, &stage.files, name)
    };
    let a = start("a", End::A);
    for cable in [0, 1] {
        let b = &stage.b;
        let name = End::B.interface_to(cable);
        let socket = b.within(|| UdpSocket::bind("[::]:0").expect("a socket"));
        let index = b.within(|| name_to_index(&socket, name).expect("it is there"));
        let to = SocketAddrV6::new("fe80::1".parse().expect("an address"), 3780, 0, index);
        only_this_link_hears(&a, cable, || drop(socket.send_to(&alive(), to)));
    }
    let b = start("b", End::B);
    replicates_over_both(&stage, &a, &b);
    assert_eq!(numbers(&a, "refused"), [0; 2]);
}

#[test]
fn multicast_links_in_one_group_and_on_one_port_are_told_apart_by_their_interface() {
    for family in FAMILIES {
        let stage = Stage::with_cables(2);
        let conf = |end| Conf::new(end).transport(Transport::Multicast).link(family).links(2);
        let a = stage.ours("a", &conf(End::A).one_group());
        for cable in [0, 1] {
            let socket = stage.b.within(|| UdpSocket::bind((peer(family, cable), 0)));
            let socket = socket.expect("the address is ours");
            let name = End::B.interface_to(cable);
            let index = stage.b.within(|| name_to_index(&socket, name).expect("it is there"));
            let to = match family {
                Family::V4 => "225.0.0.50:3780".parse().expect("an address"),
                Family::V6 => {
                    let group = "ff02::50".parse().expect("an address");
                    SocketAddr::from(SocketAddrV6::new(group, 3780, 0, index))
                }
            };
            if let IpAddr::V4(own) = peer(family, cable) {
                let socket = SockRef::from(&socket);
                socket.set_multicast_if_v4(&own).expect("the address is ours");
            }
            only_this_link_hears(&a, cable, || drop(socket.send_to(&alive(), to)));
        }
        let b = stage.ours("b", &conf(End::B).one_group());
        replicates_over_both(&stage, &a, &b);
    }
}

#[test]
fn who_is_no_peer_is_refused_counted_and_named_once() {
    for (transport, what) in [(Transport::Udp, "a datagram"), (Transport::Tcp, "a connection")] {
        for family in FAMILIES {
            let stage = Stage::new();
            let stranger = address(family, SUBNET, 9);
            let (bits, nodad) = if family == Family::V4 { (24, "") } else { (64, "nodad") };
            stage.b.sh(&format!("ip addr add {stranger}/{bits} dev vb {nodad}"));
            let conf = |end| Conf::new(end).transport(transport).link(family);
            let a = stage.ours("a", &conf(End::A));
            let to = SocketAddr::new(address(family, SUBNET, 1), 3780);
            wait_until("three are refused", || {
                match transport {
                    Transport::Tcp => drop(connection(&stage, stranger, to)),
                    _ => datagram(&stage, stranger, to),
                }
                numbers(&a, "refused")[0] >= 3
            });
            assert_eq!(numbers(&a, "received_packets"), [0]);
            assert!(a.stat(&["-s", "network"], "Unknown senders:") >= 3);
            let line = format!("refused {what} from {stranger}, ");
            wait_until("it is told", || a.log().contains(&line));
            assert_eq!(a.log().matches(&line).count(), 1, "{}", a.log());
            let b = stage.ours("b", &conf(End::B));
            Requests::open(&stage.b).create(&udp_flows(0..10));
            b.ask(&["-B"]);
            wait_until("the peer is heard", || a.external().len() == 10);
        }
    }
}

/// Two daemons would get a part of the datagrams each, and neither would notice.
#[test]
fn a_port_that_links_share_is_not_shared_with_another_program() {
    for kind in [Type::DGRAM, Type::STREAM] {
        let stage = Stage::with_cables(2);
        let other = stage.a.within(|| {
            let socket = Socket::new(Domain::IPV4, kind, None).expect("a socket");
            socket.set_reuse_port(true).expect("a socket has this");
            let at = SocketAddr::new(address(Family::V4, SUBNET, 1), 3780);
            socket.bind(&at.into()).expect("the port is free");
            socket
        });
        if kind == Type::STREAM {
            other.listen(1).expect("it is bound");
        }
        let transport = if kind == Type::STREAM { Transport::Tcp } else { Transport::Udp };
        let conf = two_links(End::A, transport, Family::V4, [Own::None; 2]);
        let path = stage.files.conf("a", &conf);
        let output = tests::daemon::run_ours(&stage.a, &["-C", path.to_str().expect("it is text")]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("0.0.0.0 port 3780") && said.contains("in use"), "{said}");
    }
}
