//! The results as JSON.

use super::lab::Case;
use super::machine::Machine;
use super::scenario::{Figure, Outcome};
use super::statistics::Better;
use super::subject::Subject;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the format; fields may be added under the same number.
const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    version: &'static str,
    /// The command line, word by word.
    command: Vec<String>,
    /// Seconds since 1970.
    began_s: u64,
    machine: &'a Machine,
    generator: &'static str,
    repetitions: u32,
    scenarios: Vec<Scenario<'a>>,
}

#[derive(Serialize)]
struct Scenario<'a> {
    name: &'static str,
    title: &'static str,
    /// Measurements beside which somebody else listened.
    disturbed: usize,
    failures: &'a [String],
    figures: Vec<Entry<'a>>,
    samples: Vec<Sample<'a>>,
}

/// One figure of one subject at one size.
#[derive(Serialize)]
struct Entry<'a> {
    figure: &'static str,
    title: &'static str,
    unit: &'static str,
    better: &'static str,
    case: &'a str,
    flows: u32,
    subject: &'a str,
    median: f64,
    min: f64,
    max: f64,
    /// How many times better than the original.
    ratio: Option<f64>,
    goal: Option<f64>,
    met: Option<bool>,
}

#[derive(Serialize)]
struct Sample<'a> {
    case: &'a str,
    subject: &'a str,
    disturbed: bool,
    /// What was not to be had is left out.
    values: BTreeMap<&'static str, f64>,
}

/// What stands at the head of every report.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) machine: &'a Machine,
    pub(super) generator: &'static str,
    pub(super) repetitions: u32,
    pub(super) began_s: u64,
}

impl<'a> Report<'a> {
    /// The report of these outcomes.
    pub(super) fn new(head: Head<'a>, outcomes: &'a [Outcome]) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            began_s: head.began_s,
            machine: head.machine,
            generator: head.generator,
            repetitions: head.repetitions,
            scenarios: outcomes.iter().map(scenario).collect(),
        }
    }

    /// Its text.
    pub(super) fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

fn scenario(outcome: &Outcome) -> Scenario<'_> {
    let mut figures = Vec::new();
    for case in outcome.cases() {
        for figure in &outcome.scenario.figures {
            let subjects = outcome.subjects().into_iter();
            figures.extend(subjects.filter_map(|subject| entry(outcome, case, figure, subject)));
        }
    }
    let samples = outcome.samples.iter().map(|sample| Sample {
        case: &sample.case.label,
        subject: sample.subject.name(),
        disturbed: sample.disturbed,
        values: sample
            .values
            .iter()
            .filter(|(_, v)| v.is_finite())
            .map(|(k, v)| (*k, *v))
            .collect(),
    });
    Scenario {
        name: outcome.scenario.name,
        title: outcome.scenario.title,
        disturbed: outcome.disturbed(),
        failures: &outcome.failures,
        figures,
        samples: samples.collect(),
    }
}

fn entry<'a>(
    outcome: &Outcome,
    case: &'a Case,
    figure: &Figure,
    subject: &'a Subject,
) -> Option<Entry<'a>> {
    let spread = outcome.spread(case, subject, figure.key)?;
    let rival = outcome.rival(case, subject, figure.key);
    let verdict = figure.goal(subject).and_then(|goal| goal.judge(spread.median, rival));
    Some(Entry {
        figure: figure.key,
        title: figure.title,
        unit: figure.unit,
        better: match figure.better {
            Better::Lower => "lower",
            Better::Higher => "higher",
        },
        case: &case.label,
        flows: case.flows,
        subject: subject.name(),
        median: spread.median,
        min: spread.min,
        max: spread.max,
        ratio: rival.and_then(|rival| figure.better.ratio(spread.median, rival)),
        goal: verdict.map(|verdict| verdict.goal),
        met: verdict.map(|verdict| verdict.met),
    })
}
