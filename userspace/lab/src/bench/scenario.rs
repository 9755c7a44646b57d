//! What is measured: the rows of the table, each with its subjects, its figures and its goals.

use super::lab::{Case, Lab};
use super::quiet::Disturbance;
use super::statistics::{Better, Goal, Spread};
use super::subject::Subject;
use anyhow::Result;
use std::collections::BTreeMap;

mod churn;
mod beginnings;
mod contended;
mod table;
mod sync;
mod latency;
mod packet;
mod start;
mod growth;
mod watch;
mod operations;

/// What one measurement of one subject gave, by figure.
pub(super) type Values = BTreeMap<&'static str, f64>;

/// One row of the table.
pub(super) struct Scenario {
    /// How it is asked for.
    pub(super) name: &'static str,
    /// The activity that is measured.
    pub(super) title: &'static str,
    /// The figures that it yields, most important first.
    pub(super) figures: Vec<Figure>,
    /// Whether it can measure a subject.
    pub(super) suits: fn(&Subject) -> bool,
    /// Sizes it is repeated at, for those that show growth; else one.
    pub(super) cases: fn(&Lab) -> Vec<Case>,
    /// Measures one subject once.
    pub(super) run: fn(&Lab, &Subject, &Case) -> Result<Values>,
}

impl Scenario {
    /// One that measures daemons alone.
    pub(super) fn of_daemons(
        (name, title): (&'static str, &'static str),
        figures: Vec<Figure>,
        cases: fn(&Lab) -> Vec<Case>,
        run: fn(&Lab, &Subject, &Case) -> Result<Values>,
    ) -> Self {
        Self { name, title, figures, suits: Subject::is_daemon, cases, run }
    }

    /// Whether it shows how something grows, or another kind of traffic: no part of a first look.
    pub(super) fn is_deeper(&self) -> bool {
        self.name.starts_with("growth-") || self.name.starts_with("churn-")
    }
}

/// Something that a scenario measures.
#[derive(Debug)]
pub(super) struct Figure {
    /// Its key in [`Values`] and in JSON.
    pub(super) key: &'static str,
    /// Name of the figure.
    pub(super) title: &'static str,
    /// Its unit; empty for ratios.
    pub(super) unit: &'static str,
    /// Whether less or more is better.
    pub(super) better: Better,
    /// Goals, by the name of the subject.
    pub(super) goals: &'static [(&'static str, Goal)],
}

impl Figure {
    /// A figure without a goal.
    pub(super) const fn new(
        key: &'static str,
        title: &'static str,
        unit: &'static str,
        better: Better,
    ) -> Self {
        Self { key, title, unit, better, goals: &[] }
    }

    /// With goals.
    pub(super) const fn goals(mut self, goals: &'static [(&'static str, Goal)]) -> Self {
        self.goals = goals;
        self
    }

    /// The goal of a subject.
    pub(super) fn goal(&self, subject: &Subject) -> Option<Goal> {
        let named = |(name, _): &&(&str, Goal)| *name == subject.name();
        self.goals.iter().find(named).map(|(_, goal)| *goal)
    }
}

/// Everything there is, in order of importance.
pub(super) fn all() -> Vec<Scenario> {
    let mut all = churn::scenarios();
    all.extend(table::scenarios());
    all.extend(sync::scenarios());
    all.extend(latency::scenarios());
    all.extend(growth::scenarios());
    all.push(watch::scenario());
    all.extend([
        beginnings::scenario(),
        contended::scenario(),
        packet::scenario(),
        start::scenario(),
        operations::scenario(),
    ]);
    all.sort_by_key(|scenario| ORDER.iter().position(|name| *name == scenario.name));
    all
}

/// In order of importance.
const ORDER: &[&str] = &[
    "churn",
    "contended",
    "memory",
    "burst",
    "zombies",
    "sync-paced",
    "latency",
    "latency-busy",
    "commit",
    "bulk",
    "packets",
    "start",
    "watch",
    "ops",
    "churn-tcp",
    "churn-v6",
    "churn-nat",
    "churn-beginnings",
    "growth-flows",
    "growth-rings",
    "growth-shards",
    "growth-latency",
];

/// What came of a scenario.
pub(super) struct Outcome {
    /// The scenario.
    pub(super) scenario: Scenario,
    /// Repetition after repetition: size, subject, what was measured.
    pub(super) samples: Vec<Sample>,
    /// What could not be measured, and why.
    pub(super) failures: Vec<String>,
}

/// One measurement.
pub(super) struct Sample {
    pub(super) case: Case,
    pub(super) subject: Subject,
    pub(super) values: Values,
    /// Disturbances during the measurement.
    pub(super) disturbed: Vec<Disturbance>,
}

impl Outcome {
    /// The sizes, in the order they were measured.
    pub(super) fn cases(&self) -> Vec<&Case> {
        let mut cases: Vec<&Case> = Vec::new();
        for sample in &self.samples {
            if !cases.contains(&&sample.case) {
                cases.push(&sample.case);
            }
        }
        cases
    }

    /// Measurements that something disturbed.
    pub(super) fn disturbed(&self) -> usize {
        self.samples.iter().filter(|sample| !sample.disturbed.is_empty()).count()
    }

    /// The subjects, in their order.
    pub(super) fn subjects(&self) -> Vec<&Subject> {
        let mut subjects: Vec<&Subject> = self.samples.iter().map(|s| &s.subject).collect();
        subjects.sort();
        subjects.dedup();
        subjects
    }

    /// Every value of a figure.
    pub(super) fn values(&self, case: &Case, subject: &Subject, key: &str) -> Vec<f64> {
        let of = self.samples.iter().filter(|s| s.case == *case && s.subject == *subject);
        of.filter_map(|sample| sample.values.get(key).copied()).collect()
    }

    /// The median of the subject that one of ours is compared with.
    pub(super) fn rival(&self, case: &Case, subject: &Subject, key: &str) -> Option<f64> {
        Some(self.spread(case, &subject.rival()?, key)?.median)
    }

    /// Its median and spread.
    pub(super) fn spread(&self, case: &Case, subject: &Subject, key: &str) -> Option<Spread> {
        Spread::of(&self.values(case, subject, key))
    }
}

#[cfg(test)]
mod tests {
    use super::{ORDER, all};

    #[test]
    fn every_scenario_has_its_place_and_can_be_told_apart() {
        let names: Vec<_> = all().iter().map(|scenario| scenario.name).collect();
        assert!(names.iter().all(|name| ORDER.contains(name)), "{names:?}");
        for scenario in all() {
            assert_eq!(names.iter().filter(|name| **name == scenario.name).count(), 1);
            let mut keys: Vec<_> = scenario.figures.iter().map(|figure| figure.key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), scenario.figures.len(), "{}", scenario.name);
        }
    }
}
