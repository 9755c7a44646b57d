//! What the engine adds to an event: table, order, outbox, and the message that leaves.

use crate::sample;
use common::Instant;
use criterion::{BatchSize, Criterion, Throughput};
use ctnetlink::{Change, FlowKey, Writer};
use engine::{Config, Engine, Input, Origin, Sender, Stamp};
use host::prefetch::Prefetch;
use std::hint::black_box;
use std::net::Ipv4Addr;
use wire::sync::v1::{self, Options};

/// Flows in the table before the measured events come.
const STANDING: u32 = 100_000;
/// Events per measured pass.
const EVENTS: u32 = 10_000;
/// Flows in a table that no cache holds.
const MANY: u32 = 1_000_000;

pub(crate) fn benchmarks(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine, per event, 100k flows standing");
    group.throughput(Throughput::Elements(EVENTS.into()));
    group.sample_size(10);
    for (name, event, first) in [
        ("new", Change::New, STANDING),
        ("update", Change::Update, 0),
        ("destroy", Change::Destroy, 0),
    ] {
        group.bench_function(format!("{name}, sent"), |b| {
            b.iter_batched_ref(standing, |e| feed(e, event, first, true), BatchSize::PerIteration);
        });
        group.bench_function(format!("{name}, not sent"), |b| {
            b.iter_batched_ref(standing, |e| feed(e, event, first, false), BatchSize::PerIteration);
        });
    }
    group.bench_function("a peer's update", |b| {
        let datagrams = datagrams();
        b.iter_batched_ref(
            || engine_with(Change::New, 0),
            |engine| {
                let from = Sender { link: 0, addr: Ipv4Addr::LOCALHOST.into() };
                for datagram in &datagrams {
                    let bytes = black_box(datagram);
                    engine.handle(Instant(2), Input::Datagram { from, bytes });
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    scattered(c);
}

/// Events about flows far apart in a large table: what they cost is waiting for memory.
fn scattered(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine, per event, a million flows standing");
    group.throughput(Throughput::Elements(EVENTS.into()));
    let mut engine = engine_with(Change::New, MANY);
    send(&mut engine);
    // A prime: every flow has its turn, none near the one before.
    let mut n = 0;
    let mut next = || {
        n = (n + 611_953) % MANY;
        n
    };
    let mut prefetch = Prefetch::new();
    for (how, together) in [("one by one", false), ("together", true)] {
        let mut turn = |at: u32, sent: bool, events: &[Change]| {
            let n = next();
            for &event in events {
                let (key, input) = input(event, n);
                prefetch.push(&mut engine, Instant(1), (&key, input), (None, None));
                if !together {
                    prefetch.finish(&mut engine, Instant(1), None);
                }
            }
            if sent && at.is_multiple_of(256) {
                prefetch.finish(&mut engine, Instant(1), None);
                send(&mut engine);
            }
        };
        for (name, sent) in [("update, sent", true), ("update, not sent", false)] {
            group.bench_function(format!("{name}, {how}"), |b| {
                b.iter(|| (0..EVENTS).for_each(|at| turn(at, sent, &[Change::Update])));
            });
        }
        let life = [Change::Destroy, Change::New];
        group.bench_function(format!("end and beginning, sent, {how}"), |b| {
            b.iter(|| (0..EVENTS / 2).for_each(|at| turn(at, true, &life)));
        });
    }
    group.finish();
}

fn standing() -> Engine {
    let mut engine = engine_with(Change::New, STANDING);
    send(&mut engine);
    engine
}

fn engine_with(event: Change, flows: u32) -> Engine {
    let mut engine = Engine::new(Config::default(), Instant(0));
    (0..flows).for_each(|n| handle(&mut engine, event, n));
    engine
}

fn feed(engine: &mut Engine, event: Change, first: u32, sent: bool) {
    for n in first..first + EVENTS {
        handle(engine, event, n);
        // A turn of the daemon under load takes some hundred events.
        if sent && n % 256 == 0 {
            send(engine);
        }
    }
}

fn handle(engine: &mut Engine, event: Change, n: u32) {
    engine.handle(Instant(1), black_box(input(event, n).1));
}

fn input(event: Change, n: u32) -> (FlowKey, Input<'static>) {
    let (origin, stamp, flow) = (Origin::Foreign, Stamp::InOrder, sample::tcp_v4(n));
    (flow.key(), Input::Kernel { event, flow, origin, stamp })
}

fn send(engine: &mut Engine) {
    let mut datagram = [0; 1472];
    while let Some(len) = engine.poll_transmit(Instant(1), &mut datagram) {
        black_box(&datagram[..len]);
    }
}

/// Messages about `EVENTS` flows, one a datagram.
fn datagrams() -> Vec<Vec<u8>> {
    let encode = |n: u32| {
        let mut bytes = [0; 512];
        let mut writer = Writer::new(&mut bytes);
        let stamp = v1::Stamp { seq: n + 1, ..v1::Stamp::default() };
        let options = Options { timeout: true, window_scale: false };
        v1::encode_flow(Change::Update, stamp, &sample::tcp_v4(n), options, &mut writer);
        let len = writer.finish().expect("a message is short");
        bytes[..len].to_vec()
    };
    (0..EVENTS).map(encode).collect()
}
