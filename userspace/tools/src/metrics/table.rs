//! The table of metrics. What stands further down goes first when there are too many series.

use super::sample::Sample;
use crate::print::status::Status;
use export::exposition::{Family, Kind, Series, Value};

mod about;
mod census;
mod daemon;
mod events;
mod failures;
mod feed;
mod flows;
mod helpers;
mod kernel;
mod links;
mod peers;
mod replication;

pub use about::ABOUT;

/// All metrics but those about the metrics themselves, in the order of their export, with what each group of them is
/// about.
static GROUPS: [(&str, &[Metric]); 11] = [
    ("The daemon", daemon::METRICS),
    ("The kernel", kernel::METRICS),
    ("Tables of flows", flows::METRICS),
    ("Events", events::METRICS),
    ("Failures", failures::METRICS),
    ("The feed", feed::METRICS),
    ("Replication", replication::METRICS),
    ("Links", links::METRICS),
    ("Peers of replication, version 2", peers::METRICS),
    ("Helpers in user space", helpers::METRICS),
    ("Flows by zone and state", census::METRICS),
];

/// Every metric, in the order of their export.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    groups().flat_map(|(_, metrics)| metrics)
}

/// Groups of metrics with their titles, in the order of their export; those about the metrics come last.
pub fn groups() -> impl Iterator<Item = (&'static str, &'static [Metric])> {
    GROUPS.into_iter().chain([("The metrics themselves", ABOUT)])
}

/// The metrics that give way where there are too many series: all but the last group.
pub(super) fn bounded() -> impl Iterator<Item = &'static Metric> {
    GROUPS.iter().flat_map(|(_, metrics)| *metrics)
}

/// One row: a metric, and where its values come from.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, without the `_total` of counters. A unit stands at its end.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// The meaning of the metric, and what to do about it.
    pub help: &'static str,
    get: fn(&Sample) -> Vec<Series>,
}

impl Metric {
    /// Its series in a sample.
    #[must_use]
    pub fn of(&self, sample: &Sample) -> Family {
        let Self { name, kind, labels, help, get } = *self;
        Family { name, kind, labels, help, series: get(sample) }
    }

    /// The name of its series; of a histogram, what `_bucket`, `_sum` and `_count` are added to.
    #[must_use]
    pub fn series_name(&self) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{suffix}", self.name)
    }
}

/// How rows are written.
type Labels = &'static [&'static str];
type Get = fn(&Sample) -> Vec<Series>;

const fn gauge(name: &'static str, labels: Labels, help: &'static str, get: Get) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help, get }
}

const fn counter(name: &'static str, labels: Labels, help: &'static str, get: Get) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help, get }
}

const fn histogram(name: &'static str, labels: Labels, help: &'static str, get: Get) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help, get }
}

/// A series with these labels' values.
fn with<const N: usize>(labels: [&str; N], value: impl Into<Value>) -> Series {
    Series { labels: labels.map(str::to_owned).to_vec(), value: value.into() }
}

/// The one series of a metric without labels.
fn one(value: impl Into<Value>) -> Vec<Series> {
    vec![with([], value)]
}

/// The one series of a metric without labels, if there is a value.
fn maybe(value: Option<impl Into<Value>>) -> Vec<Series> {
    value.map(one).unwrap_or_default()
}

/// The one series of a metric without labels, from the daemon's status.
fn told<V: Into<Value>>(sample: &Sample, get: impl FnOnce(&Status) -> V) -> Vec<Series> {
    maybe(sample.status.as_ref().map(get))
}

/// Series from the daemon's status.
fn many(sample: &Sample, get: impl FnOnce(&Status) -> Vec<Series>) -> Vec<Series> {
    sample.status.as_ref().map(get).unwrap_or_default()
}
