//! Metrics: what a node counts, for scrapers and textfile collectors.
//!
//! ```text
//!   published ------> Status ---+
//!   netlink, sysctl -> KernelStats --> Sample --table-----> families --cut to SeriesMax--> text
//!   /proc/PID ------> Usage ----+
//! ```
//!
//! One table says what there is ([`table`]): the endpoint, `ctflow metrics`, `docs/spec/metrics.md`, the dashboard and
//! the checks of the alert rules are made from it.

pub mod sample;
pub mod table;
pub mod reference;
pub mod dashboard;

pub use sample::{Limits, Sample};

use export::exposition::{Family, Form, cut, render};

/// The metrics of a sample, as text.
#[must_use]
pub fn text(sample: Sample, form: Form) -> String {
    render(families(sample), form)
}

/// The metrics of a sample: those of the [`table`] that have values, no more series than its limits say; then those
/// about the metrics themselves.
#[must_use]
pub fn families(mut sample: Sample) -> Vec<Family> {
    let mut all: Vec<_> = table::bounded().map(|row| row.of(&sample)).collect();
    all.retain(|family| !family.series.is_empty());
    sample.left_out = cut(&mut all, sample.limits.series_max) as u64;
    sample.series = all.iter().map(Family::series_len).sum::<usize>() as u64;
    all.extend(table::ABOUT.iter().map(|row| row.of(&sample)));
    all
}

#[cfg(test)]
mod tests;
