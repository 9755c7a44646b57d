//! Decoding kernel events and both directions of the sync protocol.

use crate::{sample, vectors};
use criterion::{Criterion, Throughput};
use ctnetlink::{Detail, Flow, Message, Messages, Writer};
use netlink_packet_core::NetlinkMessage;
use netlink_packet_netfilter::NetfilterMessage;
use std::hint::black_box;
use wire::sync::v1::{self, Change, Options, Stamp};

const OPTIONS: Options = Options { timeout: true, window_scale: false };

pub(crate) fn benchmarks(c: &mut Criterion) {
    decode_events(c);
    encode_messages(c);
    decode_messages(c);
}

fn decode_events(c: &mut Criterion) {
    let events = flow_events();
    let mut group = c.benchmark_group("event decode, per event");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("wire: view and flow", |b| {
        b.iter(|| events.iter().for_each(|event| drop(black_box(decode(event)))));
    });
    group.bench_function("netlink-packet-netfilter: owned message", |b| {
        b.iter(|| {
            for event in &events {
                let message = NetlinkMessage::<NetfilterMessage>::deserialize(black_box(event));
                drop(black_box(message));
            }
        });
    });
    group.finish();
}

/// The captured flow events that both decoders take.
fn flow_events() -> Vec<Vec<u8>> {
    let bytes = vectors::EVENTS.iter().map(|vector| {
        let (digits, _) = vector.hex.as_bytes().as_chunks::<2>();
        let byte = |d: &[u8; 2]| {
            let text = str::from_utf8(d).expect("vectors are ASCII");
            u8::from_str_radix(text, 16).expect("vectors are hexadecimal")
        };
        digits.iter().map(byte).collect::<Vec<u8>>()
    });
    let both = |event: &Vec<u8>| {
        decode(event).is_some() && NetlinkMessage::<NetfilterMessage>::deserialize(event).is_ok()
    };
    bytes.filter(both).collect()
}

fn decode(event: &[u8]) -> Option<Flow> {
    let raw = Messages::new(event).next()?.ok()?;
    match ctnetlink::decode(&raw) {
        Ok(Message::Flow { flow, .. }) => Some(flow.to_flow(Detail::State)),
        _ => None,
    }
}

fn encode_messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("sync encode, per message");
    for (name, flow) in kinds() {
        let mut bytes = [0; 512];
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut writer = Writer::new(&mut bytes);
                let flow = black_box(&flow);
                v1::encode_flow(Change::Update, Stamp::default(), flow, OPTIONS, &mut writer);
                writer.finish()
            });
        });
    }
    group.finish();
}

fn decode_messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("sync decode, per message");
    for (name, flow) in kinds() {
        let mut bytes = [0; 512];
        let mut writer = Writer::new(&mut bytes);
        v1::encode_flow(Change::Update, Stamp::default(), &flow, OPTIONS, &mut writer);
        let len = writer.finish().expect("a message is short");
        group.bench_function(name, |b| {
            b.iter(|| {
                let raw = v1::Messages::datagram(black_box(&bytes[..len])).next();
                raw.and_then(Result::ok).and_then(|raw| v1::decode(&raw).ok())
            });
        });
    }
    group.finish();
}

fn kinds() -> [(&'static str, Flow); 3] {
    [
        ("TCP over IPv4", sample::tcp_v4(1)),
        ("TCP over IPv4, source NAT", sample::tcp_v4_nat(1)),
        ("TCP over IPv6", sample::tcp_v6(1)),
    ]
}
