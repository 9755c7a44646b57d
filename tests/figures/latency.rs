//! From a packet that begins a flow at an idle node to the datagram that shows it to the peer: version 1, version 2.
//!
//! ```text
//!   A: packet over loopback --> conntrack --> daemon --> datagram ==cable==> B: packet socket
//!      began                                                                    heard
//! ```

use crate::Figure;
use crate::scenario::{is_equal, until};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests::conf::{Conf, End};
use tests::mesh::{Mesh, PORT, name};
use tests::netns::{Family, Namespace};
use tests::stage::Stage;

/// Packets that are measured.
const SAMPLES: u32 = 500;
/// Between two of them: the node is idle again.
const PAUSE: Duration = Duration::from_millis(17);
/// A datagram that comes later is no answer to the packet.
const LATE: Duration = Duration::from_millis(12);
/// Of IPv4 and UDP: where the protocol stands, and the destination port behind a head without options.
const PROTOCOL_AT: usize = 9;
const PORT_AT: usize = 22;

/// What arrives in a namespace over IPv4.
fn arrivals(node: &Namespace) -> Socket {
    node.within(|| {
        let all = Protocol::from(i32::from((libc::ETH_P_IP as u16).to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(all)).expect("root may");
        socket.set_nonblocking(true).expect("it is ours");
        socket
    })
}

/// The next datagram to this port; false where none waits.
fn heard(arrivals: &mut Socket, port: u16) -> bool {
    let mut packet = [0; 2048];
    loop {
        match arrivals.read(&mut packet) {
            Ok(len) => {
                let head = &packet[..len.min(packet.len())];
                let to = head.get(PORT_AT..PORT_AT + 2);
                let is_udp = head.get(PROTOCOL_AT) == Some(&(libc::IPPROTO_UDP as u8));
                if is_udp && to == Some(&port.to_be_bytes()[..]) {
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the packet socket: {error}"),
        }
    }
}

/// Middle and 99th of a hundred, of packets of node A whose datagrams arrive at B.
fn measure(a: &Namespace, b: &Namespace, port: u16) -> [Duration; 2] {
    let mut arrivals = arrivals(b);
    let socket = a.within(|| UdpSocket::bind("127.0.0.1:0").expect("a socket on loopback"));
    let mut times = Vec::new();
    for n in 0..SAMPLES {
        sleep(PAUSE);
        while heard(&mut arrivals, port) {}
        let [_, _, high, low] = n.to_be_bytes();
        let began = Instant::now();
        socket.send_to(b"hi", (Ipv4Addr::new(127, 9, high, low), 5000)).expect("loopback takes it");
        while began.elapsed() < LATE {
            if heard(&mut arrivals, port) {
                times.push(began.elapsed());
                break;
            }
        }
    }
    assert!(times.len() > SAMPLES as usize / 2, "{} datagrams were heard", times.len());
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

pub(crate) fn latency() -> Vec<Figure> {
    let first = {
        let stage = Stage::new();
        let b = stage.ours("b", &Conf::new(End::B).protocol("FTFW"));
        let a = stage.ours("a", &Conf::new(End::A).protocol("FTFW"));
        a.ask(&["-n"]);
        b.ask(&["-n"]);
        until("they meet", || [&a, &b].iter().all(|node| node.status()["ready"] == true));
        measure(&stage.a, &stage.b, 3780)
    };
    let mesh = Mesh::new(2, Family::V4);
    let [_a, b] = [0, 1].map(|node| mesh.start(node, ""));
    until("they meet", || is_equal(&b, &name(0), 0));
    let second = measure(&mesh.nodes[0], &mesh.nodes[1], PORT);
    let us = |[p50, p99]: [Duration; 2]| format!("{} / {} us", p50.as_micros(), p99.as_micros());
    vec![
        ("packet to datagram, idle, p50 / p99: version 1".into(), "", us(first)),
        ("the same: version 2, sealed".into(), "3 us more (p50)", us(second)),
    ]
}
