//! What a life of a flow costs from the record of a source to the message of the peer, for counting instructions and
//! cache misses under valgrind: `cargo xtask bench count`.
//!
//! ```text
//!   count SOURCE FLOWS          SOURCE: netlink, tap (records hold the same messages), hook
//! ```
//!
//! So many flows stand in the table. Then flows far apart in it end and begin again, each life with as many records
//! as the source reports of it. Only [`measured`] counts.

#[path = "../userspace/ctnetlink/src/message/tests/vectors.rs"]
#[expect(dead_code, reason = "the unit tests of `ctnetlink` use the rest")]
mod vectors;

use common::Instant;
use common::hook::{BODY_LEN, PacketRecord};
use engine::{Config, Engine, Origin, Stamp};
use host::hear::{Ears, Hearing};
use host::source::Heard;
use std::env;
use std::hint::black_box;

/// Lives that are counted.
const LIVES: u32 = 4096;
/// Records of a turn.
const TURN: u32 = 256;
/// A prime: every flow has its turn, none near the one before.
const STRIDE: u32 = 611_953;
/// Clock ticks of the kernel per second.
const HZ: u32 = 250;

/// Where the client's address lies in a message about TCP over IPv4: source of the original direction, destination of
/// the reply.
const CLIENT: [usize; 2] = [32, 92];
/// Where an attribute `CTA_ID` begins, in bytes: length 8, number 12.
const ID: [u8; 4] = [8, 0, 12, 0];

/// A record of a source.
enum Record {
    Message(Vec<u8>),
    Packet(PacketRecord),
}

/// The records of a source about the life of a connection.
struct Life {
    records: Vec<Record>,
    stamped: bool,
}

impl Life {
    /// The records of that source. The hook sees packets, and reports ends by message.
    fn new(source: &str) -> Self {
        let message = |name| Record::Message(message(name));
        let packet = |state, status| Record::Packet(packet(state, status));
        let records = match source {
            "netlink" | "tap" => vec![
                message("tcp begins"),
                message("tcp is answered"),
                message("tcp is established"),
                message("tcp is over"),
            ],
            "hook" => vec![
                packet(1, 0x1_80),
                packet(2, 0x1_8a),
                packet(3, 0x1_8e),
                message("tcp is over"),
            ],
            other => panic!("{other}: expected netlink, tap or hook"),
        };
        Self { records, stamped: source != "netlink" }
    }
}

/// A captured message about a TCP connection over IPv4.
fn message(name: &str) -> Vec<u8> {
    let vector = vectors::EVENTS.iter().find(|vector| vector.name == name).expect("it is there");
    let (digits, _) = vector.hex.as_bytes().as_chunks::<2>();
    let byte = |d: &[u8; 2]| {
        u8::from_str_radix(str::from_utf8(d).expect("ASCII"), 16).expect("hexadecimal")
    };
    digits.iter().map(byte).collect()
}

/// A packet of such a connection.
fn packet(state: u8, status: u32) -> PacketRecord {
    let direction = |src: [u8; 4], dst: [u8; 4], ports: [u8; 4]| {
        let mut bytes = [0; 36];
        bytes[..4].copy_from_slice(&src);
        bytes[16..20].copy_from_slice(&dst);
        bytes[32..].copy_from_slice(&ports);
        bytes
    };
    let (client, server) = ([127, 0, 0, 1], [127, 0, 0, 1]);
    let mut protocol = [0; 12];
    protocol[0] = state;
    PacketRecord {
        orig: direction(client, server, [0x9c, 0x40, 0x13, 0x88]),
        reply: direction(server, client, [0x13, 0x88, 0x9c, 0x40]),
        status,
        ticks_left: 120 * HZ,
        mark: 0,
        secmark: 0,
        state: protocol,
        zone: 0,
        zone_dir: 0,
        family: 2,
        proto: 6,
        ext: 0,
        reserved: [0; 6],
    }
}

/// The record, as of flow number `n`, into `bytes`; what it is.
fn written<'a>(record: &Record, n: u32, bytes: &'a mut Vec<u8>) -> Heard<'a> {
    let [_, b, c, d] = n.to_be_bytes();
    let client = [10, b, c, d];
    bytes.clear();
    match record {
        Record::Message(message) => {
            bytes.extend_from_slice(message);
            CLIENT.iter().for_each(|at| bytes[*at..*at + 4].copy_from_slice(&client));
            if let Some(at) = bytes.windows(4).position(|four| four == ID) {
                bytes[at + 4..at + 8].copy_from_slice(&n.to_be_bytes());
            }
            Heard::Message(bytes)
        }
        Record::Packet(packet) => {
            let mut packet = *packet;
            packet.orig[..4].copy_from_slice(&client);
            packet.reply[16..20].copy_from_slice(&client);
            bytes.extend_from_slice(&laid_out(&packet));
            Heard::Packet(bytes)
        }
    }
}

/// The record as the program in the kernel writes it.
fn laid_out(packet: &PacketRecord) -> [u8; BODY_LEN] {
    let mut bytes = [0; BODY_LEN];
    bytes[..36].copy_from_slice(&packet.orig);
    bytes[36..72].copy_from_slice(&packet.reply);
    bytes[72..76].copy_from_slice(&packet.status.to_ne_bytes());
    bytes[76..80].copy_from_slice(&packet.ticks_left.to_ne_bytes());
    bytes[88..100].copy_from_slice(&packet.state);
    (bytes[103], bytes[104]) = (packet.family, packet.proto);
    bytes
}

/// An engine, and what feeds it.
struct Listener {
    engine: Engine,
    hearing: Hearing,
    now: u64,
}

impl Listener {
    fn hear(&mut self, heard: Heard<'_>, stamped: bool) {
        self.now += 1000;
        let now = Instant(self.now);
        let stamp = if stamped { Stamp::At(now) } else { Stamp::InOrder };
        let mut ears = Ears { origin: |_| Origin::Foreign, ends: None };
        self.hearing.take(&mut self.engine, now, (heard, stamp), &mut ears);
    }

    /// The end of a turn: hands in what was received, and sends what the engine has to send.
    fn turn(&mut self) {
        let now = Instant(self.now);
        let mut ears = Ears { origin: |_: u32| Origin::Foreign, ends: None };
        self.hearing.finish(&mut self.engine, now, &mut ears);
        let mut datagram = [0; 1472];
        while let Some(len) = self.engine.poll_transmit(now, &mut datagram) {
            black_box(&datagram[..len]);
        }
        while let Some(token) = self.engine.poll_kernel().map(|op| op.token) {
            self.engine.handle(now, engine::Input::KernelSettled { token });
        }
        while self.engine.poll_event().is_some() {}
    }
}

/// Lives of flows far apart: what is counted.
#[inline(never)]
fn measured(listener: &mut Listener, life: &Life, lives: &[(u32, Vec<Vec<u8>>)]) -> u32 {
    let mut records = 0;
    for (_, bytes) in lives {
        for (record, bytes) in life.records.iter().zip(bytes) {
            let heard = match record {
                Record::Message(_) => Heard::Message(bytes),
                Record::Packet(_) => Heard::Packet(bytes),
            };
            listener.hear(heard, life.stamped);
            records += 1;
            if records % TURN == 0 {
                listener.turn();
            }
        }
    }
    listener.turn();
    records
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [source, flows] = arguments.as_slice() else {
        panic!("expected SOURCE FLOWS");
    };
    let flows: u32 = flows.parse().expect("FLOWS is a number");
    let life = Life::new(source);
    let config = Config { flows_max: flows as usize + LIVES as usize, ..Config::default() };
    let (engine, hearing) = (Engine::new(config, Instant(0)), Hearing::new(HZ));
    let mut listener = Listener { engine, hearing, now: 1 };
    listener.turn();
    listener.engine.handle(Instant(2), engine::Input::DumpDone { complete: true });
    let mut bytes = Vec::new();
    for n in 0..flows {
        // How far a standing flow has come costs those that are counted nothing.
        let heard = written(&life.records[0], n, &mut bytes);
        listener.hear(heard, life.stamped);
        if n % TURN == 0 {
            listener.turn();
        }
    }
    listener.turn();
    // Flows that end first; then those that begin in their place.
    let lives: Vec<(u32, Vec<Vec<u8>>)> = (0..LIVES)
        .map(|at| {
            let n = (at * (STRIDE % flows)) % flows;
            let bytes = life.records.iter().map(|record| {
                let mut bytes = Vec::new();
                let _ = written(record, n, &mut bytes);
                bytes
            });
            (n, bytes.collect())
        })
        .collect();
    let end = life.records.len() - 1;
    for (n, _) in &lives {
        let heard = written(&life.records[end], *n, &mut bytes);
        listener.hear(heard, life.stamped);
    }
    listener.turn();
    let records = measured(&mut listener, &life, &lives);
    assert_eq!(listener.hearing.malformed, 0);
    println!("{records} records");
}
