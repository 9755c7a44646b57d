//! What one event, one message, one flow costs. `cargo xtask bench`, or `cargo bench -p benches --bench bench`.
//!
//! Figures are per item. The decoder of kernel events has a benchmark of its own, `ctnetlink.rs`.

mod codec;
mod engine_cost;
mod query_cost;
mod sample;
mod secure;

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
    query_cost::benchmarks(&mut criterion);
    secure::benchmarks(&mut criterion);
    criterion.final_summary();
}
