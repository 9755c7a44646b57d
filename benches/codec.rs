//! Both directions of the sync protocol.

use crate::sample;
use criterion::Criterion;
use ctnetlink::{Flow, Writer};
use std::hint::black_box;
use wire::sync::v1::{self, Change, Options, Stamp};

const OPTIONS: Options = Options { timeout: true, window_scale: false };

pub(crate) fn benchmarks(c: &mut Criterion) {
    encode_messages(c);
    decode_messages(c);
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
