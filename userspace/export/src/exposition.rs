//! Metrics as text: OpenMetrics 1.0, and the older text format 0.0.4 of Prometheus. The caller that makes the
//! [`Family`] values decides which metrics there are.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelValue, LabelValueEncoder, MetricEncoder, NoLabelSet,
    prometheus_text, text,
};

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

/// A text format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Version 0.0.4 of Prometheus' own format.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// The `Content-Type` of an answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The form that a client prefers that sends this `Accept` header; text where it does not care.
    #[must_use]
    pub fn preferred(accept: &str) -> Self {
        let weight = |wanted: &str| {
            let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
            let weights = ranges.filter_map(|mut range| {
                let is_wanted = range.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
                let given = range.find_map(|parameter| parameter.strip_prefix("q="));
                is_wanted.then(|| given.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
            });
            weights.fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Self::OpenMetrics } else { Self::Text }
    }
}

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, and begins at 0 when the daemon does. Its series end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// Its word in both formats.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// A number.
    Real(f64),
    /// Counts by size.
    Histogram {
        /// The sum of all sizes.
        sum: f64,
        /// Upper bounds, rising, and how many are not above this one but above the one before. The last bound is
        /// infinite.
        buckets: Vec<(f64, u64)>,
    },
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Whole(flag.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// A value with the values of its family's labels, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// One for each of [`Family::labels`].
    pub labels: Vec<String>,
    /// The value.
    pub value: Value,
}

impl Series {
    /// How many time series a scraper makes of it.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.value {
            Value::Whole(_) | Value::Real(_) => 1,
            // Each bucket, sum and count.
            Value::Histogram { buckets, .. } => buckets.len() + 2,
        }
    }

    /// Always false.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// All series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name, without `_total`. One that ends in `_seconds`, `_bytes` or `_ratio` has this unit.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// The meaning of the metric, on one line.
    pub help: &'static str,
    /// The series.
    pub series: Vec<Series>,
}

impl Family {
    /// How many time series a scraper makes of it.
    #[must_use]
    pub fn series_len(&self) -> usize {
        self.series.iter().map(Series::len).sum()
    }
}

/// Takes whole families away from the end until at most `max` time series are left; returns how many series went.
pub fn cut(families: &mut Vec<Family>, max: usize) -> usize {
    let mut total: usize = families.iter().map(Family::series_len).sum();
    let mut gone = 0;
    while total > max
        && let Some(family) = families.pop()
    {
        total -= family.series_len();
        gone += family.series_len();
    }
    gone
}

/// The unit at the end of a name, and what stands before it.
#[must_use]
pub fn unit(name: &str) -> (&str, Option<&'static str>) {
    let units = ["seconds", "bytes", "ratio"];
    let found = units.into_iter().find_map(|unit| {
        let rest = name.strip_suffix(unit)?.strip_suffix('_')?;
        Some((rest, Some(unit)))
    });
    found.unwrap_or((name, None))
}

/// The families as text. One without series is left out.
#[must_use]
pub fn render(families: Vec<Family>, form: Form) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut out = String::new();
    let written = match form {
        Form::Text => prometheus_text::encode(&mut out, &registry),
        Form::OpenMetrics => text::encode(&mut out, &registry),
    };
    // Nothing but writing to a string can fail.
    written.unwrap_or_default();
    out
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in self.0.iter().filter(|family| !family.series.is_empty()) {
            let (name, unit) = unit(family.name);
            let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
            let kind = family.kind.metric_type();
            let mut encoder = encoder.encode_descriptor(name, family.help, unit.as_ref(), kind)?;
            for series in &family.series {
                let values = series.labels.iter().map(|value| Text(value));
                let labels: Vec<_> = family.labels.iter().copied().zip(values).collect();
                if labels.is_empty() {
                    put(&mut encoder, family.kind, &series.value)?;
                } else {
                    put(&mut encoder.encode_family(&labels)?, family.kind, &series.value)?;
                }
            }
        }
        Ok(())
    }
}

/// A label's value.
#[derive(Debug)]
struct Text<'a>(&'a str);

impl EncodeLabelValue for Text<'_> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

fn put(encoder: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(n)) => encoder.encode_counter::<NoLabelSet, _, u64>(n, None),
        (Kind::Counter, Value::Real(n)) => encoder.encode_counter::<NoLabelSet, _, u64>(n, None),
        (_, Value::Whole(n)) => encoder.encode_gauge(n),
        (_, Value::Real(n)) => encoder.encode_gauge(n),
        (_, Value::Histogram { sum, buckets }) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Vec<Family> {
        let series = |labels: &[&str], value| Series {
            labels: labels.iter().map(ToString::to_string).collect(),
            value,
        };
        let of = |name, kind, labels, series| Family { name, kind, labels, help: "Help.", series };
        let buckets = vec![(0.001, 2), (0.01, 0), (f64::INFINITY, 1)];
        vec![
            of("x_up", Kind::Gauge, &[], vec![series(&[], Value::Whole(1))]),
            of("x_cpu_seconds", Kind::Counter, &[], vec![series(&[], Value::Real(1.5))]),
            of(
                "x_drop",
                Kind::Counter,
                &["cpu"],
                vec![
                    series(&["0"], Value::Whole(u64::MAX)),
                    series(&["a\"\\\nb"], Value::Whole(2)),
                ],
            ),
            of(
                "x_wait_seconds",
                Kind::Histogram,
                &[],
                vec![series(&[], Value::Histogram { sum: 2.5, buckets })],
            ),
            of("x_none", Kind::Gauge, &["peer"], Vec::new()),
        ]
    }

    #[test]
    fn the_text_format_says_of_counters_what_they_are_called() {
        let wanted = r#"# HELP x_up Help.
# TYPE x_up gauge
x_up 1
# HELP x_cpu_seconds_total Help.
# TYPE x_cpu_seconds_total counter
x_cpu_seconds_total 1.5
# HELP x_drop_total Help.
# TYPE x_drop_total counter
x_drop_total{cpu="0"} 18446744073709551615
x_drop_total{cpu="a\"\\\nb"} 2
# HELP x_wait_seconds Help.
# TYPE x_wait_seconds histogram
x_wait_seconds_bucket{le="0.001"} 2
x_wait_seconds_bucket{le="0.01"} 2
x_wait_seconds_bucket{le="+Inf"} 3
x_wait_seconds_sum 2.5
x_wait_seconds_count 3
"#;
        assert_eq!(render(families(), Form::Text), wanted);
    }

    #[test]
    fn openmetrics_has_units_and_an_end() {
        let text = render(families(), Form::OpenMetrics);
        assert!(text.contains("# TYPE x_drop counter\nx_drop_total{cpu=\"0\"} "), "{text}");
        assert!(text.contains("# UNIT x_wait_seconds seconds\n"), "{text}");
        assert!(text.contains("x_wait_seconds_bucket{le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.ends_with("# EOF\n") && !text.contains("x_none"), "{text}");
    }

    #[test]
    fn too_many_series_cost_whole_families_from_the_end() {
        // 1 + 1 + 2 + 5 + 0
        for (max, left, gone) in [(9, 5, 0), (8, 3, 5), (4, 3, 5), (3, 2, 7), (0, 0, 9)] {
            let mut all = families();
            assert_eq!((cut(&mut all, max), all.len()), (gone, left), "at most {max}");
        }
    }

    #[test]
    fn the_form_is_the_one_that_the_client_prefers() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, form) in [
            (prometheus, Form::OpenMetrics),
            ("", Form::Text),
            ("*/*", Form::Text),
            ("text/plain", Form::Text),
            ("text/plain, application/openmetrics-text; q=0.5", Form::Text),
            ("Application/OpenMetrics-Text", Form::OpenMetrics),
            ("application/openmetrics-text;q=0", Form::Text),
            ("application/openmetrics-text;q=x,;;,=", Form::Text),
        ] {
            assert_eq!(Form::preferred(accept), form, "{accept}");
        }
    }
}
