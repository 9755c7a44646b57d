//! Sends unrequested messages.

use ctnetlink::flow::HelperName;
use ctnetlink::{Change, Flow, Writer};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tests::conf::{End, SUBNET, Transport};
use tests::netns::{Family, Namespace, address};
use tests::stage::Stage;
use wire::sync::v1::{
    Account, Control, Flags, Message, Messages, Options, Stamp, decode, encode_control, encode_flow,
};

/// Where the flows come from that the forger makes up; no other flow does.
const MADE_UP: [u8; 4] = [203, 0, 113, 0];
/// The address of a stranger on the link.
const STRANGER: u8 = 66;
const PORT: u16 = 3780;
const DATAGRAM_LEN_MAX: usize = 1472;

/// A thread that attacks both ends of the link.
pub(crate) struct Forger(JoinHandle<u64>);

impl Forger {
    /// Begins to attack over `transport`, for so long.
    pub(crate) fn start(
        stage: &Stage,
        transport: Transport,
        samples: Vec<Vec<u8>>,
        work: Duration,
    ) -> Self {
        let own = stranger(stage);
        let nodes: [Namespace; 2] =
            [&stage.a, &stage.b].map(|node| node.within(Namespace::current));
        let end = Instant::now() + work;
        Self(thread::spawn(move || {
            let pieces = Pieces::new(samples);
            match transport {
                // Strangers are not heard there, so the forger speaks in the name of the peer.
                Transport::Udp => {
                    let ways = [1, 0].map(|from: usize| {
                        nodes[from].enter();
                        (socket(both_ends()[from].ip()), both_ends()[1 - from])
                    });
                    send_datagrams(pieces, &ways, end)
                }
                Transport::Multicast => {
                    nodes[0].enter();
                    let group = SocketAddr::from(([225, 0, 0, 50], PORT));
                    send_datagrams(pieces, &[(socket(own), group)], end)
                }
                Transport::Tcp => connect(pieces, &nodes, end),
            }
        }))
    }

    /// Waits for its end; how many pieces it sent.
    pub(crate) fn join(self) -> u64 {
        self.0.join().expect("the forger ends by itself")
    }
}

fn both_ends() -> [SocketAddr; 2] {
    [1, 2].map(|host| SocketAddr::new(address(Family::V4, SUBNET, host), PORT))
}

/// Gives the stranger's address to the interface of node A.
fn stranger(stage: &Stage) -> IpAddr {
    let own = address(Family::V4, SUBNET, STRANGER);
    stage.a.sh(&format!("ip addr add {own}/24 dev {}", End::A.interface()));
    own
}

fn socket(own: IpAddr) -> UdpSocket {
    UdpSocket::bind((own, 0)).expect("the address is ours")
}

/// Has a stranger ask node A for everything that often. Returns the bytes it sent.
pub(crate) fn ask_as_stranger(stage: &Stage, times: u32) -> u64 {
    let own = stranger(stage);
    let to = both_ends()[0];
    stage.a.within(move || {
        let socket = socket(own);
        let mut sent = 0;
        for n in 0..times {
            let stamp = Stamp { seq: 1000 + n, flags: Flags::empty() };
            let mut bytes = Vec::new();
            append(&mut bytes, |w| encode_control(Control::Resync, stamp, w));
            sent += socket.send_to(&bytes, to).expect("a datagram is sent") as u64;
            thread::sleep(Duration::from_micros(200));
        }
        sent
    })
}

fn send_datagrams(mut pieces: Pieces, ways: &[(UdpSocket, SocketAddr)], end: Instant) -> u64 {
    let mut sent = 0;
    while Instant::now() < end {
        for _ in 0..64 {
            let piece = pieces.next();
            let (socket, to) = &ways[pieces.random() as usize % ways.len()];
            // A full queue of the interface is no reason to stop.
            sent += u64::from(socket.send_to(&piece, to).is_ok());
        }
    }
    sent
}

/// Connects in the name of the peer, says something, and goes or stays.
fn connect(mut pieces: Pieces, nodes: &[Namespace; 2], end: Instant) -> u64 {
    let (mut sent, mut held) = (0, Vec::new());
    while Instant::now() < end {
        let at = pieces.random() as usize % 2;
        nodes[1 - at].enter();
        let to = both_ends()[at];
        let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_secs(1)) else {
            continue;
        };
        stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a socket has this");
        for _ in 0..pieces.random() % 64 {
            if stream.write_all(&pieces.next()).is_err() {
                break;
            }
            sent += 1;
        }
        if pieces.random().is_multiple_of(4) {
            held.push(stream);
            held.drain(..held.len().saturating_sub(50));
        }
    }
    sent
}

/// What is sent, one piece after the other, from a seed that is always the same.
struct Pieces {
    samples: Vec<Vec<u8>>,
    state: u64,
}

impl Pieces {
    const fn new(samples: Vec<Vec<u8>>) -> Self {
        Self { samples, state: 0x2545_f491_4f6c_dd1d }
    }

    /// Marsaglia's xorshift.
    const fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn next(&mut self) -> Vec<u8> {
        match self.random() % 10 {
            0 => self.noise(),
            1 | 2 => self.sample(),
            3..=6 => self.damaged(),
            7 => self.flows(),
            _ => self.controls(),
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let len = self.random() as usize % DATAGRAM_LEN_MAX;
        (0..len).map(|_| self.random() as u8).collect()
    }

    /// What the peer said, once more.
    fn sample(&mut self) -> Vec<u8> {
        let at = self.random() as usize % self.samples.len();
        self.samples[at].clone()
    }

    /// What the peer might have said of flows it does not have, with some bytes changed.
    fn damaged(&mut self) -> Vec<u8> {
        let sample = self.sample();
        let mut bytes = elsewhere(&sample, self.random() as u8);
        for _ in 0..=self.random() % 8 {
            let at = self.random() as usize % bytes.len();
            bytes[at] = self.random() as u8;
        }
        if self.random().is_multiple_of(8) {
            bytes.truncate(self.random() as usize % bytes.len());
        }
        // Damage may have made it one of the peer's flows after all.
        let flows = Messages::datagram(&bytes).flatten().filter_map(|raw| decode(&raw).ok());
        let harmless = flows.into_iter().all(|message| match message {
            Message::Flow { flow, .. } => flow.orig.src[0] == MADE_UP[0],
            _ => true,
        });
        if harmless { bytes } else { self.noise() }
    }

    /// A number that is near those the peers use, or any.
    fn stamp(&mut self) -> Stamp {
        let sample = self.sample();
        let near = Messages::datagram(&sample).flatten().next().map_or(0, |raw| raw.header.seq);
        let seq = match self.random() % 4 {
            0 => self.random() as u32,
            1 => near.wrapping_add(self.random() as u32 % 16),
            _ => near.wrapping_add(self.random() as u32 % 100_000),
        };
        let flags = Flags::from_bits_truncate(self.random() as u8);
        let greets = self.random().is_multiple_of(4);
        Stamp { seq, flags: if greets { flags } else { Flags::empty() } }
    }

    /// Flows as large as they can be, begun and ended.
    fn flows(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let stamp = self.stamp();
        for n in 0..1 + self.random() as u32 % 12 {
            let mut flow = Flow::new(tests::ctnetlink::udp(self.random() as u32 & 0xf_ffff).orig);
            flow.orig.src[..4].copy_from_slice(&MADE_UP);
            flow.orig.src[3] = self.random() as u8;
            flow.reply = flow.orig.inverted();
            if self.random().is_multiple_of(4) {
                flow.extra_mut().labels = Some(vec![self.random() as u32 | 1; 256]);
                flow.extra_mut().helper = HelperName::from_bytes(b"\x1b[2J\n\r\x07x");
            }
            let change = [Change::New, Change::Update, Change::Destroy][self.random() as usize % 3];
            let stamp = Stamp { seq: stamp.seq.wrapping_add(n), ..stamp };
            let options = Options { timeout: true, window_scale: true };
            append(&mut bytes, |w| encode_flow(change, stamp, &flow, options, w));
        }
        bytes
    }

    /// As many control messages as fit.
    fn controls(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut stamp = self.stamp();
        let step = [0, 1, 2, 5000][self.random() as usize % 4];
        let from = self.stamp().seq;
        let to = from.wrapping_add(self.random() as u32 % 50_000);
        let control = [
            Control::Resync,
            Control::Alive,
            Control::Settled(Some(Account {
                exact: true,
                whole: true,
                injects: false,
                transfer: Some(from),
                flows: Some(to),
            })),
            Control::Ack { from, to },
            Control::Nack { from, to },
        ][self.random() as usize % 5];
        while bytes.len() < DATAGRAM_LEN_MAX - 16 {
            append(&mut bytes, |w| encode_control(control, stamp, w));
            stamp.seq = stamp.seq.wrapping_add(step);
        }
        bytes
    }
}

/// The datagram with all flows moved to other addresses.
fn elsewhere(datagram: &[u8], last: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for raw in Messages::datagram(datagram).flatten() {
        let stamp = Stamp { seq: raw.header.seq, flags: raw.header.flags };
        match decode(&raw) {
            Ok(Message::Flow { change, mut flow }) => {
                flow.orig.src[..4].copy_from_slice(&MADE_UP);
                flow.orig.src[3] = last;
                flow.reply = flow.orig.inverted();
                let options = Options { timeout: true, window_scale: true };
                append(&mut bytes, |w| encode_flow(change, stamp, &flow, options, w));
            }
            Ok(Message::Control(control)) => {
                append(&mut bytes, |w| encode_control(control, stamp, w));
            }
            _ => {}
        }
    }
    if bytes.is_empty() { vec![0; 8] } else { bytes }
}

fn append(bytes: &mut Vec<u8>, put: impl Fn(&mut Writer<'_>)) {
    let mut count = Writer::counting();
    put(&mut count);
    let at = bytes.len();
    bytes.resize(at + count.position(), 0);
    put(&mut Writer::new(&mut bytes[at..]));
}
