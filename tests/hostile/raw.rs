//! Datagrams as they are on the cable: those that come are seen, and those that go have whatever source is wanted.

use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};
use tests::mesh::PORT;
use tests::netns::Namespace;
use tests::wait::wait_until;

const IP_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// Sees all datagrams that come to the port of version 2 in a namespace.
pub(crate) struct Tap(Socket);

impl Tap {
    pub(crate) fn open(namespace: &Namespace) -> Self {
        let kind = i32::from((libc::ETH_P_IP as u16).to_be());
        let open = || Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(kind)));
        let socket = namespace.within(|| open().expect("root may listen"));
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a socket takes a timeout");
        Self(socket)
    }

    /// What comes, until there are `count` datagrams of the protocol's kind `first`.
    pub(crate) fn record(&mut self, first: u8, count: usize) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        wait_until("datagrams come", || {
            let end = Instant::now() + Duration::from_secs(1);
            while seen.len() < count && Instant::now() < end {
                seen.extend(self.next().filter(|bytes| bytes[0] == first));
            }
            seen.len() == count
        });
        seen
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = [0; 2048];
        let len = self.0.read(&mut bytes).ok()?;
        let (head, text) = bytes[..len].split_at_checked(IP_LEN + UDP_LEN)?;
        let to = u16::from_be_bytes([head[IP_LEN + 2], head[IP_LEN + 3]]);
        let is_ours = head[0] == 0x45 && head[9] == libc::IPPROTO_UDP as u8 && to == PORT;
        (is_ours && !text.is_empty()).then(|| text.to_vec())
    }
}

/// Sends datagrams of any source.
pub(crate) struct Spoof {
    socket: Socket,
    to: SocketAddrV4,
    packet: Vec<u8>,
}

impl Spoof {
    /// From a namespace that has a route to `to`.
    pub(crate) fn open(namespace: &Namespace, to: Ipv4Addr) -> Self {
        let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)));
        let socket = namespace.within(|| open().expect("root may forge"));
        Self { socket, to: SocketAddrV4::new(to, PORT), packet: Vec::new() }
    }

    /// Whether the cable had room.
    pub(crate) fn send(&mut self, from: SocketAddrV4, text: &[u8]) -> bool {
        let (len, udp_len) = (IP_LEN + UDP_LEN + text.len(), UDP_LEN + text.len());
        let packet = &mut self.packet;
        packet.clear();
        // The kernel fills in checksum and identification.
        packet.extend([0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0, 0, 64]);
        packet.extend([libc::IPPROTO_UDP as u8, 0, 0]);
        packet.extend(from.ip().octets());
        packet.extend(self.to.ip().octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(PORT.to_be_bytes());
        // No checksum.
        packet.extend([(udp_len >> 8) as u8, udp_len as u8, 0, 0]);
        packet.extend(text);
        self.socket.send_to(packet, &SocketAddr::from(self.to).into()).is_ok()
    }
}
