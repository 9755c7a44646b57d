//! Nothing: the benchmarks are `bench.rs` and `memory.rs`. `cargo xtask bench` runs them.
