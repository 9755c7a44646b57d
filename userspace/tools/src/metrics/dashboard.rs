//! The dashboard for Grafana, written from the table: a row of verdicts, then a row for each group with a panel for
//! each metric. `contrib/grafana/ctflow.json` is its text.

use super::table::{Metric, groups};
use export::exposition::{Kind, unit};
use serde_json::{Value, json};

/// Version of the format: Grafana 10.
const SCHEMA: u32 = 39;
/// Columns of Grafana's grid.
const COLUMNS: usize = 24;
/// Panels side by side in a group's row.
const BESIDE: usize = 3;
/// Heights, in the grid's units.
const HEIGHT: usize = 7;
const HEIGHT_OF_VERDICTS: usize = 4;
/// Selects the series by the variables at the top of the dashboard.
const CHOSEN: &str = r#"{job=~"$job",instance=~"$instance"}"#;

/// What is looked at first: title, expression, and the value that is good; without one, the number is shown.
const VERDICTS: [(&str, &str, Option<u8>); 6] = [
    ("Daemon answers", "ctflow_up", Some(1)),
    ("Ready to take over", "ctflow_ready", Some(1)),
    ("Table exact", r#"ctflow_table_state{state="exact"}"#, Some(1)),
    ("Kernel's table", "ctflow_kernel_flows / ctflow_kernel_flows_max", None),
    ("Peer silent", "ctflow_peer_silence_seconds", None),
    ("Event source fell back", "ctflow_source_fallback", Some(0)),
];

/// `contrib/grafana/ctflow.json`.
///
/// # Panics
/// Never: numbers and texts become JSON.
#[must_use]
pub fn json_text() -> String {
    let mut dashboard = Dashboard::default();
    dashboard.row("Verdict");
    dashboard.verdicts();
    for (title, metrics) in groups() {
        dashboard.row(title);
        dashboard.group(metrics);
    }
    let dashboard = json!({
        "uid": "ctflow",
        "title": "ctflow",
        "description": "Generated from the table of metrics: UPDATE=1 cargo test -p ctflow-tools metrics",
        "tags": ["ctflow", "conntrack"],
        "schemaVersion": SCHEMA,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus"},
            variable("job", "label_values(ctflow_up, job)"),
            variable("instance", "label_values(ctflow_up{job=~\"$job\"}, instance)"),
        ]},
        "panels": dashboard.panels,
    });
    let text = serde_json::to_string_pretty(&dashboard);
    text.expect("numbers and texts become JSON") + "\n"
}

/// A choice at the top of the dashboard.
fn variable(name: &str, query: &str) -> Value {
    json!({
        "name": name,
        "type": "query",
        "datasource": datasource(),
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": true,
        "includeAll": true,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    })
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// What a panel of a metric shows.
#[must_use]
pub fn expression(metric: &Metric) -> String {
    let name = metric.series_name();
    match metric.kind {
        Kind::Gauge => format!("{name}{CHOSEN}"),
        Kind::Counter => format!("rate({name}{CHOSEN}[$__rate_interval])"),
        Kind::Histogram => format!(
            "histogram_quantile(0.99, sum by (instance, le) (rate({name}_bucket{CHOSEN}[$__rate_interval])))"
        ),
    }
}

/// Puts the chosen instances into an expression of [`VERDICTS`].
fn chosen(expression: &str) -> String {
    let words = expression.split(' ').map(|word| match word.split_once('{') {
        None if word.starts_with("ctflow_") => format!("{word}{CHOSEN}"),
        None => word.to_owned(),
        Some((name, rest)) => format!("{name}{},{rest}", CHOSEN.trim_end_matches('}')),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Panels, from the top to the bottom.
#[derive(Default)]
struct Dashboard {
    panels: Vec<Value>,
    y: usize,
}

impl Dashboard {
    fn row(&mut self, title: &str) {
        let at = json!({"h": 1, "w": COLUMNS, "x": 0, "y": self.y});
        self.push(json!({"type": "row", "title": title, "collapsed": false, "gridPos": at}));
        self.y += 1;
    }

    fn verdicts(&mut self) {
        let width = COLUMNS / VERDICTS.len();
        for (at, (title, expression, good)) in VERDICTS.into_iter().enumerate() {
            let place = json!({"h": HEIGHT_OF_VERDICTS, "w": width, "x": at * width, "y": self.y});
            let unit = match expression {
                share if share.contains(" / ") => "percentunit",
                time if time.ends_with("_seconds") => "s",
                _ => "none",
            };
            let mappings = good.map(|good| {
                let word = |is_good| {
                    if is_good {
                        json!({"text": "yes", "color": "green"})
                    } else {
                        json!({"text": "no", "color": "red"})
                    }
                };
                // Where 0 is good, 1 is the word that is read: it fell back.
                let of = |value: u8| match good {
                    1 => word(value == 1),
                    _ if value == 1 => json!({"text": "yes", "color": "orange"}),
                    _ => json!({"text": "no", "color": "green"}),
                };
                json!([{"type": "value", "options": {"0": of(0), "1": of(1)}}])
            });
            self.push(json!({
                "type": "stat",
                "title": title,
                "datasource": datasource(),
                "gridPos": place,
                "targets": [target(&chosen(expression), "{{instance}}")],
                "fieldConfig": {
                    "defaults": {"unit": unit, "mappings": mappings.unwrap_or_else(|| json!([]))},
                    "overrides": [],
                },
            }));
        }
        self.y += HEIGHT_OF_VERDICTS;
    }

    fn group(&mut self, metrics: &[Metric]) {
        let width = COLUMNS / BESIDE;
        for (at, metric) in metrics.iter().enumerate() {
            let (x, down) = (at % BESIDE * width, at / BESIDE * HEIGHT);
            let place = json!({"h": HEIGHT, "w": width, "x": x, "y": self.y + down});
            let labels = metric.labels.iter().map(|label| format!(" {{{{{label}}}}}"));
            let legend = format!("{{{{instance}}}}{}", labels.collect::<String>());
            self.push(json!({
                "type": "timeseries",
                "title": metric.series_name(),
                "description": metric.help,
                "datasource": datasource(),
                "gridPos": place,
                "targets": [target(&expression(metric), &legend)],
                "fieldConfig": {"defaults": {"unit": shown_unit(metric)}, "overrides": []},
            }));
        }
        self.y += metrics.len().div_ceil(BESIDE) * HEIGHT;
    }

    fn push(&mut self, mut panel: Value) {
        panel["id"] = (self.panels.len() + 1).into();
        self.panels.push(panel);
    }
}

fn target(expression: &str, legend: &str) -> Value {
    json!({"expr": expression, "legendFormat": legend, "refId": "A"})
}

/// Grafana's name of a panel's unit.
fn shown_unit(metric: &Metric) -> &'static str {
    match (unit(metric.name).1, metric.kind) {
        (Some("seconds"), Kind::Counter) => "percentunit",
        (Some("seconds"), _) if metric.name.contains("_time_seconds") => "dateTimeFromNow",
        (Some("seconds"), _) => "s",
        (Some("bytes"), Kind::Counter) => "Bps",
        (Some("bytes"), _) => "bytes",
        (Some("ratio"), _) => "percentunit",
        (_, Kind::Counter) => "ops",
        _ => "short",
    }
}
