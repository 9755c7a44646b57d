//! Both directions of both versions of the sync protocol.

use crate::sample;
use criterion::Criterion;
use ctnetlink::{Change, Flow, Writer};
use std::hint::black_box;
use wire::sync::v1::{self, Options, Stamp};
use wire::sync::v2::frame::FlowsFlags;
use wire::sync::v2::{Canonical, Claim, Datagram, DigestKey, Frame, Frames, Head, What};

const OPTIONS: Options = Options { timeout: true, window_scale: false };

pub(crate) fn benchmarks(c: &mut Criterion) {
    encode_messages(c);
    decode_messages(c);
    datagrams(c);
    prints(c);
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

/// Bytes that a sealed datagram has left on a path of 1,500 over IPv4.
const DATAGRAM_LEN: usize = 1_500 - 20 - 8 - 16 - 16;

/// Fills a datagram with as many of these flows as fit: how many, and how long it is.
fn fill(bytes: &mut [u8], flows: &[Flow]) -> (usize, usize) {
    let mut datagram = Datagram::new(bytes, &Head::default()).expect("a head fits");
    let mut count = 0;
    for flow in flows {
        let claim = Claim { version: count as u64 + 1, what: What::New, ..Claim::default() };
        let canonical = Canonical::of(flow).expect("it is known");
        if !datagram.flow(FlowsFlags::empty(), &claim, &canonical) {
            break;
        }
        count += 1;
    }
    (count, datagram.len())
}

/// A full datagram of version 2. The figure is of all its records; the name says how many they are.
fn datagrams(c: &mut Criterion) {
    let mut group = c.benchmark_group("sync v2, full datagram");
    for (name, _) in kinds() {
        let flows: Vec<_> = (0..200).map(|n| of_kind(name, n * 300)).collect();
        let mut bytes = [0; DATAGRAM_LEN];
        let (count, len) = fill(&mut bytes, &flows);
        group.bench_function(format!("encode {count} of {name}"), |b| {
            b.iter(|| fill(&mut bytes, black_box(&flows)));
        });
        group.bench_function(format!("decode {count} of {name}"), |b| {
            b.iter(|| {
                let (_, mut frames) =
                    Frames::of(black_box(&bytes[..len])).expect("a head is there");
                let Some(Ok(Frame::Flows { records, .. })) = frames.next() else { return 0 };
                records.flatten().filter(|record| record.to_flow().mark == 0).count()
            });
        });
    }
    group.finish();
}

/// The two hashes that a change of a flow costs.
fn prints(c: &mut Criterion) {
    let mut group = c.benchmark_group("sync v2, id and print");
    let key = DigestKey([7; 16]);
    for (name, flow) in kinds() {
        group.bench_function(name, |b| {
            b.iter(|| {
                let canonical = Canonical::of(black_box(&flow)).expect("it is known");
                let id = key.id(&canonical.key);
                (id, key.print(id, &canonical))
            });
        });
    }
    group.finish();
}

fn of_kind(name: &str, n: u32) -> Flow {
    match name {
        "TCP over IPv4" => sample::tcp_v4(n),
        "TCP over IPv6" => sample::tcp_v6(n),
        _ => sample::tcp_v4_nat(n),
    }
}
