//! What a filter costs for each row of a table that no cache holds.

use crate::sample;
use common::Instant;
use criterion::{Criterion, Throughput};
use ctnetlink::flow::Status;
use ctnetlink::tuple::FAMILY_IPV4;
use engine::flows::table::{FlowTable, Notes};
use engine::interval::{Addresses, Intervals};
use engine::query::{Expr, Program, Scope, Term, Which, scan};
use std::hint::black_box;

/// Flows in the table.
const FLOWS: u32 = 1_000_000;
/// Prefixes of the set.
const PREFIXES: u32 = 10_000;

pub(crate) fn benchmarks(c: &mut Criterion) {
    let mut table = FlowTable::new(FLOWS as usize, 1);
    for n in 0..FLOWS {
        table.insert(sample::tcp_v4(n), Notes::default()).expect("there is room");
    }
    let mut group = c.benchmark_group("filter, per row, a million flows");
    group.throughput(Throughput::Elements(FLOWS.into()));
    group.sample_size(10);
    for (name, expr) in filters() {
        let program = Program::new(&expr).expect("it is small");
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut matched = 0_u64;
                scan(black_box(&table), &program, 0..table.slots(), Instant(1), |_| {
                    matched += 1;
                    true
                });
                matched
            });
        });
    }
    group.finish();
}

fn filters() -> Vec<(&'static str, Expr)> {
    let one = |number: u16| Intervals::new([(number, number)]);
    let zone = Term::Zone { scope: Scope::Any, set: one(5) };
    let port = Term::Port { scope: Scope::Orig, which: Which::Dst, set: one(1) };
    // All four must be tested: the last one decides.
    let four = [
        Term::Family(FAMILY_IPV4),
        Term::Proto(Intervals::new([(6, 6)])),
        Term::Status(Status::all()),
        port,
    ];
    // Every other /24, so that looking one up always goes to the end.
    let prefixes = (0..PREFIXES).map(|n| (n << 9, n << 9 | 0xff));
    let set = Addresses { v4: Intervals::new(prefixes), ..Addresses::default() };
    let set = Term::Address { scope: Scope::Orig, which: Which::Src, set };
    vec![
        ("a zone", Expr::Term(zone)),
        ("four tests", Expr::And(four.into_iter().map(Expr::Term).collect())),
        ("a set of 10,000 prefixes", Expr::Term(set)),
    ]
}
