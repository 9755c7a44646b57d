//! Traffic that makes conntrack events, on loopback only.

use std::net::{Ipv4Addr, UdpSocket};

/// Opens `count` UDP flows over loopback, one datagram each, to distinct destination addresses, numbered from `base`.
///
/// # Panics
/// When a datagram cannot be sent.
pub fn udp_flows(base: u32, count: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket on loopback");
    let _sink = UdpSocket::bind("0.0.0.0:5000").ok();
    for n in base..base + count {
        let [_, b, c, d] = (0x0001_0000 + n).to_be_bytes();
        socket
            .send_to(b"hi", (Ipv4Addr::new(127, b, c, d), 5000))
            .expect("loopback takes a datagram");
    }
}
