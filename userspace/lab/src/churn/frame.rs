//! The frames of made-up flows: templates in which only the client's address, and what sums over it, changes.

use ctnetlink::tuple::ipproto;

const ETHERNET: usize = 14;
/// The router's interface and the one before it.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// See [`ROUTER_MAC`].
pub const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const SERVER_V4: [u8; 4] = [172, 16, 0, 1];
const TRANSLATED_V4: [u8; 4] = [172, 17, 0, 1];
const CLIENT_PORT: u16 = 40_000;
const SERVER_PORT: u16 = 443;

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// One UDP packet: NEW.
    Datagram,
    /// A TCP handshake: NEW and two UPDATE.
    Opening,
    /// A TCP connection from SYN to the last ACK: NEW and five UPDATE.
    Whole,
    /// Empty TCP segments to and fro on connections that were opened before: no event.
    Traffic,
}

/// What kind of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// The router translates the server's address.
    pub nat: bool,
    /// Their packets.
    pub life: Life,
}

impl Shape {
    /// IPv4 without translation.
    #[must_use]
    pub const fn v4(life: Life) -> Self {
        Self { v6: false, nat: false, life }
    }

    /// The steps of a flow.
    #[must_use]
    pub fn templates(&self) -> Vec<Template> {
        steps(self.life).iter().map(|step| self.template(step)).collect()
    }

    fn template(&self, step: &Step) -> Template {
        let [client, server] = self.ends(step.reply);
        let (from, to) = if step.reply { (server, client) } else { (client, server) };
        let transport = transport(step);
        let mut bytes = [ROUTER_MAC, SENDER_MAC].concat();
        let addresses = [from.as_slice(), &to].concat();
        let mut checksums = Vec::new();
        if self.v6 {
            bytes.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend_from_slice(&(transport.bytes.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&[transport.protocol, 64]);
        } else {
            let len = 20 + transport.bytes.len() as u16;
            bytes.extend_from_slice(&[8, 0, 0x45, 0]);
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0x40, 0, 64, transport.protocol, 0, 0]);
            let base = sum(&bytes[ETHERNET..]) + sum(&addresses);
            checksums.push(Checksum { at: bytes.len() - 2, base });
        }
        let source_at = bytes.len();
        bytes.extend_from_slice(&addresses);
        let pseudo = u32::from(transport.protocol) + transport.bytes.len() as u32;
        let base = sum(&addresses) + sum(&transport.bytes) + pseudo;
        checksums.push(Checksum { at: bytes.len() + transport.checksum_at, base });
        bytes.extend_from_slice(&transport.bytes);
        // The last four bytes of the address count.
        let client_at = source_at + if step.reply { 2 * from.len() } else { from.len() } - 4;
        Template { bytes, client_at, client_high: if self.v6 { 0 } else { 10 }, checksums }
    }

    /// The client with a zero where its number goes, and the server as seen from its side.
    fn ends(&self, from_server: bool) -> [Vec<u8>; 2] {
        let translated = self.nat && from_server;
        if self.v6 {
            let at = |net: u8, host: u8| [&[0xfd, net][..], &[0; 13], &[host]].concat();
            [at(0x10, 0), at(if translated { 0x17 } else { 0x16 }, 1)]
        } else {
            let server = if translated { TRANSLATED_V4 } else { SERVER_V4 };
            [vec![0; 4], server.to_vec()]
        }
    }
}

/// A frame with a hole for the client's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The frame; zero where the number and the checksums go.
    pub bytes: Vec<u8>,
    /// Where the four bytes of the number go, in network order.
    pub client_at: usize,
    /// What the highest byte of the number is; 0 leaves it to the number.
    pub client_high: u8,
    /// What sums over the number.
    pub checksums: Vec<Checksum>,
}

/// An Internet checksum over bytes among which are those of the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where its two bytes go.
    pub at: usize,
    /// The sum of the other bytes, not folded.
    pub base: u32,
}

impl Template {
    /// The four bytes that stand for flow number `flow`, as a number.
    #[must_use]
    pub const fn client(&self, flow: u64) -> u32 {
        match self.client_high {
            0 => flow as u32,
            high => (high as u32) << 24 | (flow as u32 & 0x00ff_ffff),
        }
    }

    /// Writes the frame of flow number `flow`.
    pub fn render(&self, flow: u64, out: &mut [u8]) {
        out.copy_from_slice(&self.bytes);
        let client = self.client(flow);
        out[self.client_at..][..4].copy_from_slice(&client.to_be_bytes());
        let changing = (client >> 16) + (client & 0xffff);
        for checksum in &self.checksums {
            let value = finish(checksum.base + changing);
            out[checksum.at..][..2].copy_from_slice(&value.to_be_bytes());
        }
    }
}

/// A packet of a flow.
struct Step {
    reply: bool,
    tcp: Option<(u8, u32, u32)>,
}

mod flags {
    pub(super) const FIN: u8 = 1;
    pub(super) const SYN: u8 = 2;
    pub(super) const ACK: u8 = 16;
}

fn steps(life: Life) -> Vec<Step> {
    use flags::{ACK, FIN, SYN};
    let tcp = |reply, flags, seq, ack| Step { reply, tcp: Some((flags, seq, ack)) };
    let mut opening = vec![
        tcp(false, SYN, 1000, 0),
        tcp(true, SYN | ACK, 5000, 1001),
        tcp(false, ACK, 1001, 5001),
    ];
    match life {
        Life::Datagram => vec![Step { reply: false, tcp: None }],
        Life::Opening => opening,
        Life::Whole => {
            opening.push(tcp(false, FIN | ACK, 1001, 5001));
            opening.push(tcp(true, FIN | ACK, 5001, 1002));
            opening.push(tcp(false, ACK, 1002, 5002));
            opening
        }
        Life::Traffic => vec![tcp(false, ACK, 1001, 5001), tcp(true, ACK, 5001, 1001)],
    }
}

struct Transport {
    protocol: u8,
    bytes: Vec<u8>,
    checksum_at: usize,
}

fn transport(step: &Step) -> Transport {
    let (client, server) = (CLIENT_PORT.to_be_bytes(), SERVER_PORT.to_be_bytes());
    let mut bytes = if step.reply { [server, client] } else { [client, server] }.concat();
    match step.tcp {
        None => {
            bytes.extend_from_slice(&[0, 10, 0, 0, b'h', b'i']);
            Transport { protocol: ipproto::UDP, bytes, checksum_at: 6 }
        }
        Some((flags, seq, ack)) => {
            bytes.extend_from_slice(&u32::to_be_bytes(seq));
            bytes.extend_from_slice(&u32::to_be_bytes(ack));
            bytes.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            Transport { protocol: ipproto::TCP, bytes, checksum_at: 16 }
        }
    }
}

/// Sum of 16-bit words, not folded.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum()
}

/// Folds a sum into a checksum. 0 is written as the other zero, because to UDP it means that there is none.
const fn finish(sum: u32) -> u16 {
    let folded = (sum >> 16) + (sum & 0xffff);
    let folded = (folded >> 16) + (folded & 0xffff);
    match !(folded as u16) {
        0 => 0xffff,
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::{Life, Shape, finish, sum};

    /// What a receiver does: sums everything the checksum is over, with it in place.
    fn is_intact(frame: &[u8], v6: bool) -> bool {
        let ip = &frame[14..];
        let (header, addresses, protocol) =
            if v6 { (40, &ip[8..40], ip[6]) } else { (20, &ip[12..20], ip[9]) };
        let transport = &ip[header..];
        let pseudo = u32::from(protocol) + transport.len() as u32;
        let whole = |sum| finish(sum) == 0xffff;
        whole(sum(addresses) + pseudo + sum(transport)) && (v6 || whole(sum(&ip[..20])))
    }

    #[test]
    fn every_frame_has_right_lengths_and_checksums() {
        for life in [Life::Datagram, Life::Opening, Life::Whole, Life::Traffic] {
            for (v6, nat) in [(false, false), (false, true), (true, false), (true, true)] {
                let templates = Shape { v6, nat, life }.templates();
                let len = templates[0].bytes.len();
                for template in templates {
                    let mut frame = vec![0; len];
                    for flow in [0, 1, 0xffff, 0x00fe_dcba, 0xffff_ffff] {
                        template.render(flow, &mut frame);
                        assert!(is_intact(&frame, v6), "{life:?} v6 {v6} nat {nat} flow {flow}");
                    }
                    frame[template.client_at] ^= 1;
                    assert!(!is_intact(&frame, v6));
                }
            }
        }
    }

    #[test]
    fn both_directions_name_the_same_client() {
        let templates = Shape::v4(Life::Opening).templates();
        let mut frames = [vec![0; 54], vec![0; 54]];
        templates[0].render(0x0001_0203, &mut frames[0]);
        templates[1].render(0x0001_0203, &mut frames[1]);
        assert_eq!(frames[0][26..30], [10, 1, 2, 3]);
        assert_eq!(frames[1][30..34], [10, 1, 2, 3]);
        assert_eq!(frames[0][30..34], frames[1][26..30]);
    }

    #[test]
    fn behind_nat_the_server_answers_from_its_real_address() {
        let shape = Shape { v6: false, nat: true, life: Life::Opening };
        let templates = shape.templates();
        assert_eq!(templates[0].bytes[30..34], [172, 16, 0, 1]);
        assert_eq!(templates[1].bytes[26..30], [172, 17, 0, 1]);
    }
}
