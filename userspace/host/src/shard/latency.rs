//! How long events wait from the kernel to their handling.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Waits beyond this count as this.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Upper bounds of the buckets that metrics have, microseconds.
pub const LATENCY_BOUNDS_US: [u64; 16] = [
    10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000,
];

/// Quantiles of what events waited. Only the tap knows when an event happened; without it there are no samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Samples: the oldest event of each turn, so that the figures err to the slow side.
    pub samples: u64,
    /// Median, microseconds.
    pub p50_us: u64,
    /// 99th percentile, microseconds.
    pub p99_us: u64,
    /// Largest, microseconds.
    pub max_us: u64,
    /// Samples of at most each of [`LATENCY_BOUNDS_US`] and more than the one before, and samples above all.
    pub buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// All samples added, microseconds.
    pub sum_us: u64,
}

/// Waits, of the first event of each turn.
#[derive(Debug)]
pub(super) struct Waits {
    /// All latencies, in microseconds.
    all: Histogram<u64>,
    /// How many were no longer than a bound and longer than the one before; the last ones were longer than all.
    buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Waits {
    pub(super) fn new() -> Self {
        let all = Histogram::new_with_bounds(1, LATENCY_MAX_US, 2);
        let all = all.expect("the bounds are constants that fit");
        Self { all, buckets: [0; LATENCY_BOUNDS_US.len() + 1], sum_us: 0 }
    }

    pub(super) fn record(&mut self, waited: Duration) {
        let us = waited.as_micros() as u64;
        self.all.saturating_record(us);
        self.buckets[LATENCY_BOUNDS_US.partition_point(|bound| *bound < us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    pub(super) fn report(&self) -> Latency {
        Latency {
            samples: self.all.len(),
            p50_us: self.all.value_at_quantile(0.5),
            p99_us: self.all.value_at_quantile(0.99),
            max_us: self.all.max(),
            buckets: self.buckets,
            sum_us: self.sum_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let mut waits = Waits::new();
        for us in [0, 10, 11, 1_000_000, 1_000_001, 70_000_000] {
            waits.record(Duration::from_micros(us));
        }
        let report = waits.report();
        let filled = report.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        let filled: Vec<_> = filled.map(|(at, count)| (at, *count)).collect();
        assert_eq!(filled, [(0, 2), (1, 1), (15, 1), (16, 2)]);
        assert_eq!((report.samples, report.sum_us), (6, 72_000_022));
    }
}
