//! The results as JSON.

use super::lab::Case;
use super::machine::Machine;
use super::scenario::{Figure, Outcome};
use super::statistics::Better;
use super::subject::Subject;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the format; fields may be added under the same number.
const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Serialize, Deserialize)]
pub(super) struct Report {
    schema: u32,
    version: String,
    /// The command line, word by word.
    command: Vec<String>,
    /// Seconds since 1970.
    began_s: u64,
    pub(super) machine: Machine,
    generator: String,
    repetitions: u32,
    pub(super) scenarios: Vec<Scenario>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) title: String,
    /// Measurements that something disturbed.
    disturbed: usize,
    failures: Vec<String>,
    pub(super) figures: Vec<Entry>,
    samples: Vec<Sample>,
}

/// One figure of one subject at one size.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) figure: String,
    pub(super) title: String,
    /// Empty for ratios and counts.
    pub(super) unit: String,
    pub(super) better: Better,
    pub(super) case: String,
    flows: u32,
    pub(super) subject: String,
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// How many times better than the original.
    ratio: Option<f64>,
    pub(super) goal: Option<f64>,
    pub(super) met: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct Sample {
    case: String,
    subject: String,
    disturbed: bool,
    /// The causes of the disturbances, in words.
    #[serde(default)]
    disturbances: Vec<String>,
    /// What was not to be had is left out.
    values: BTreeMap<String, f64>,
}

/// What stands at the head of every report.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) machine: &'a Machine,
    pub(super) generator: &'static str,
    pub(super) repetitions: u32,
    pub(super) began_s: u64,
}

impl Report {
    /// The report of these outcomes.
    pub(super) fn new(head: Head<'_>, outcomes: &[Outcome]) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: std::env::args().collect(),
            began_s: head.began_s,
            machine: head.machine.clone(),
            generator: head.generator.to_owned(),
            repetitions: head.repetitions,
            scenarios: outcomes.iter().map(scenario).collect(),
        }
    }

    /// Reads one that was written.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let report: Self = serde_json::from_str(text)?;
        ensure!(report.schema == SCHEMA, "the format has number {}", report.schema);
        Ok(report)
    }

    /// Its text.
    pub(super) fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

fn scenario(outcome: &Outcome) -> Scenario {
    let mut figures = Vec::new();
    for case in outcome.cases() {
        for figure in &outcome.scenario.figures {
            let subjects = outcome.subjects().into_iter();
            figures.extend(subjects.filter_map(|subject| entry(outcome, case, figure, subject)));
        }
    }
    let samples = outcome.samples.iter().map(|sample| Sample {
        case: sample.case.label.clone(),
        subject: sample.subject.name().to_owned(),
        disturbed: !sample.disturbed.is_empty(),
        disturbances: sample.disturbed.iter().map(ToString::to_string).collect(),
        values: sample
            .values
            .iter()
            .filter(|(_, v)| v.is_finite())
            .map(|(k, v)| ((*k).to_owned(), *v))
            .collect(),
    });
    Scenario {
        name: outcome.scenario.name.to_owned(),
        title: outcome.scenario.title.to_owned(),
        disturbed: outcome.disturbed(),
        failures: outcome.failures.clone(),
        figures,
        samples: samples.collect(),
    }
}

fn entry(outcome: &Outcome, case: &Case, figure: &Figure, subject: &Subject) -> Option<Entry> {
    let spread = outcome.spread(case, subject, figure.key)?;
    let rival = outcome.rival(case, subject, figure.key);
    let verdict = figure.goal(subject).and_then(|goal| goal.judge(spread.median, rival));
    Some(Entry {
        figure: figure.key.to_owned(),
        title: figure.title.to_owned(),
        unit: figure.unit.to_owned(),
        better: figure.better,
        case: case.label.clone(),
        flows: case.flows,
        subject: subject.name().to_owned(),
        median: spread.median,
        min: spread.min,
        max: spread.max,
        ratio: rival.and_then(|rival| figure.better.ratio(spread.median, rival)),
        goal: verdict.map(|verdict| verdict.goal),
        met: verdict.map(|verdict| verdict.met),
    })
}
