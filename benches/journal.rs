//! The cost for a shard of recording the changes of the table: without a listener, and with one subscriber. `cargo
//! bench -p benches --bench journal`. Figures are per change.
//!
//! The lane holds all records of a measured pass; reading them is another thread's business and is not measured.

#[expect(dead_code, reason = "other benchmarks use the rest")]
mod sample;

use common::Instant;
use criterion::{BatchSize, Criterion, Throughput};
use ctnetlink::Change;
use engine::{Config, Engine, Input, Journal, Origin, Side, Sink, Stamp};
use std::time::Duration;

/// Flows in the table before the measured events come.
const STANDING: u32 = 100_000;
/// Events per measured pass: 1.3 MiB of records, of a lane of 2 MiB.
const EVENTS: u32 = 10_000;

/// Counts and forgets.
#[derive(Debug, Default)]
struct Nowhere(u64);

impl Sink for Nowhere {
    fn put(&mut self, parts: [&[u8]; 2]) -> bool {
        self.0 += (parts[0].len() + parts[1].len()) as u64;
        true
    }

    fn hand_over(&mut self) {}
}

fn event(event: Change, n: u32) -> Input<'static> {
    let (origin, stamp) = (Origin::Foreign, Stamp::InOrder);
    Input::Kernel { event, flow: sample::tcp_v4(n), origin, stamp }
}

fn standing() -> Engine {
    let replication =
        engine::config::Replication { has_peer: false, ..engine::config::Replication::default() };
    let config = Config { replication, flows_max: 1 << 20, ..Config::default() };
    let mut engine = Engine::new(config, Instant(0));
    (0..STANDING).for_each(|n| engine.handle(Instant(1), event(Change::New, n)));
    engine
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("journal, per event, 100k flows standing");
    group.throughput(Throughput::Elements(EVENTS.into()));
    for (name, kind, first) in [
        ("new", Change::New, STANDING),
        ("update", Change::Update, 0),
        ("destroy", Change::Destroy, 0),
    ] {
        for how in ["off", "encoded", "lane"] {
            let set_up = || {
                let mut engine = standing();
                let mut reader = None;
                let sink: Option<Box<dyn Sink>> = match how {
                    "encoded" => Some(Box::new(Nowhere::default())),
                    "lane" => {
                        let (recorder, other) = host::feed::recorder().expect("a lane");
                        reader = Some(other);
                        Some(Box::new(recorder))
                    }
                    _ => None,
                };
                let journal = sink.map(|sink| Journal::new(sink, 0, (false, false)));
                engine.listen(Side::Local, journal);
                (engine, reader)
            };
            group.bench_function(format!("{name}, {how}"), |b| {
                b.iter_batched_ref(
                    set_up,
                    |(engine, _)| {
                        for n in 0..EVENTS {
                            engine.handle(Instant(2), event(kind, first + n * 7 % STANDING));
                        }
                        engine.hand_over();
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
