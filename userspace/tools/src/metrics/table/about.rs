//! The metrics themselves.

use super::{Metric, gauge, one};

/// Metrics about the metrics themselves, exported whatever is left out.
pub static ABOUT: &[Metric] = &[
    gauge("ctflow_metrics_series", &[], "Time series exported, without these four.", |s| {
        one(s.series)
    }),
    gauge(
        "ctflow_metrics_series_left_out",
        &[],
        "Time series left out, whole metrics from the end of the table, because there were more than SeriesMax.",
        |s| one(s.left_out),
    ),
    gauge("ctflow_scrape_seconds", &[], "How long it took to ask daemon and kernel.", |s| {
        one(s.took.as_secs_f64())
    }),
    gauge(
        "ctflow_scrape_incomplete",
        &[],
        "1 if the daemon's engine or the kernel did not answer within a second: what they tell is missing here.",
        |s| one(s.incomplete),
    ),
];
