//! What one event, one message, one flow costs. `cargo xtask bench`, or `cargo bench -p benches --bench bench`.
//!
//! Figures are per item. The rival of the event decoder is netlink-packet-netfilter on the same captured events; it
//! takes fewer attributes and builds owned values, so the comparison favours neither: it is what a user would have.

#[path = "../userspace/ctnetlink/src/message/tests/vectors.rs"]
#[expect(dead_code, reason = "the unit tests of `wire` use the rest")]
mod vectors;
mod codec;
mod engine_cost;
mod sample;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    codec::benchmarks(&mut criterion);
    engine_cost::benchmarks(&mut criterion);
    criterion.final_summary();
}
