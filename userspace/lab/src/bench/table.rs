//! The results as text.

use super::lab::Case;
use super::quiet::Disturbance;
use super::scenario::{Figure, Outcome};
use super::statistics::Spread;
use super::subject::Subject;
use std::fmt::Write;

/// The table of one scenario.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    let scenario = &outcome.scenario;
    for case in outcome.cases() {
        let _ = writeln!(out, "{}  {}: {}", scenario.name, case.label, scenario.title);
        for figure in &scenario.figures {
            let rows = rows(outcome, case, figure);
            for (at, row) in rows.iter().enumerate() {
                let title = if at == 0 { heading(figure) } else { String::new() };
                let _ = writeln!(out, "  {title:<38} {row}");
            }
        }
    }
    for (disturbance, count) in disturbances(outcome) {
        let all = outcome.samples.len();
        let _ = writeln!(out, "  WARNING: in {count} of {all} measurements {disturbance}");
    }
    for failure in &outcome.failures {
        let _ = writeln!(out, "  not measured: {failure}");
    }
    out
}

fn heading(figure: &Figure) -> String {
    match figure.unit {
        "" => figure.title.to_owned(),
        unit => format!("{}, {unit}", figure.title),
    }
}

fn rows(outcome: &Outcome, case: &Case, figure: &Figure) -> Vec<String> {
    let subjects = outcome.subjects().into_iter();
    let row = |subject: &Subject| {
        let spread = outcome.spread(case, subject, figure.key)?;
        let rival = outcome.rival(case, subject, figure.key);
        let mut row = format!("{subject:<11} {:>9}", number(spread.median));
        let range = match spread {
            Spread { min, max, .. } if min < max => format!("[{} .. {}]", number(min), number(max)),
            _ => String::new(),
        };
        let _ = write!(row, " {range:<23}");
        let ratio = rival.and_then(|rival| figure.better.ratio(spread.median, rival));
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{} x", number(ratio)));
        let _ = write!(row, " {ratio:>8}  {}", verdict(figure, subject, spread.median, rival));
        Some(row.trim_end().to_owned())
    };
    subjects.filter_map(row).collect()
}

fn verdict(figure: &Figure, subject: &Subject, value: f64, original: Option<f64>) -> String {
    let Some(goal) = figure.goal(subject) else { return String::new() };
    let Some(verdict) = goal.judge(value, original) else { return String::new() };
    let word = if verdict.met { "met" } else { "missed" };
    let by = match verdict.by {
        Some(by) if by >= 0.005 => format!(" by {:.0} %", by * 100.0),
        Some(_) => String::new(),
        None if verdict.met => String::new(),
        None => format!(" by {}", number(value - verdict.goal)),
    };
    format!("{} {}: {word}{by}", goal.sign(), number(verdict.goal))
}

/// What disturbed measurements of a scenario, at its worst, and how many of them.
fn disturbances(outcome: &Outcome) -> Vec<(String, usize)> {
    let all = || outcome.samples.iter().flat_map(|sample| &sample.disturbed);
    let taken = all().filter_map(|what| match what {
        Disturbance::Others(cpus) => Some(*cpus),
        _ => None,
    });
    let taken: Vec<f64> = taken.collect();
    let mut found = Vec::new();
    if let Some(most) = taken.iter().copied().reduce(f64::max) {
        let text = format!("others took CPUs, {most:.2} on average in the worst");
        found.push((text, taken.len()));
    }
    let changed = all().filter(|what| matches!(what, Disturbance::Speed(_))).count();
    if changed > 0 {
        found.push(("a CPU changed its speed".to_owned(), changed));
    }
    let company = |what: &&Disturbance| matches!(what, Disturbance::Company(_));
    let listened = all().filter(company).count();
    if let Some(who) = all().find(company) {
        found.push((who.to_string(), listened));
    }
    found
}

/// Whether the figures of a run can be trusted, and how many measurements were repeated for it.
pub(super) fn trust(outcomes: &[Outcome], repeated: u32) -> String {
    let all: usize = outcomes.iter().map(|outcome| outcome.samples.len()).sum();
    let disturbed: usize = outcomes.iter().map(Outcome::disturbed).sum();
    let again = match repeated {
        0 => String::new(),
        n => format!(", {n} more were repeated"),
    };
    match disturbed {
        0 => format!("nothing disturbed the {all} measurements{again}\n"),
        n => format!(
            "DO NOT TRUST THESE FIGURES: {n} of {all} measurements were disturbed{again}; ratios within a repetition \
             suffer less\n"
        ),
    }
}

/// The number of packets of a flow from which a program on each packet costs more than a message for each event: the
/// hook's cost of a packet, held against the tap's cost of a flow.
pub(super) fn break_even(outcomes: &[Outcome]) -> String {
    let median = |scenario: &str, subject: &str, key| {
        let outcome = outcomes.iter().find(|outcome| outcome.scenario.name == scenario)?;
        let case = *outcome.cases().first()?;
        let subject = Subject::Ours(subject.to_owned());
        Some(outcome.spread(case, &subject, key)?.median)
    };
    let Some(cost_ns) = median("packets", "hook", "cost_ns") else { return String::new() };
    let mut out = String::new();
    for (scenario, flow) in [("churn", "UDP flow"), ("churn-tcp", "TCP connection")] {
        let packet_us = |subject| median(scenario, subject, "packet_us");
        let (Some(hook), Some(tap)) = (packet_us("hook"), packet_us("tap")) else { continue };
        let saved_ns = (tap - hook) * 1000.0;
        let (saved, cost) = (number(saved_ns), number(cost_ns));
        let _ = write!(
            out,
            "break-even, {flow}: the hook saves {saved} ns over the tap and costs {cost} ns a packet: "
        );
        let _ = match saved_ns / cost_ns {
            _ if cost_ns <= 0.0 => writeln!(out, "no cost was seen"),
            packets => writeln!(out, "cheaper up to {} packets", number(packets.max(0.0))),
        };
    }
    out
}

/// A number with three digits that count, or all of a large one.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 99.95 => grouped(value.round() as i64),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// `1,234,567`
fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = if value < 0 { String::from("-") } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::lab::Case;
    use super::super::quiet::Disturbance;
    use super::super::scenario::{Outcome, Sample, Values, all};
    use super::super::subject::Subject;
    use super::{number, text, trust};

    #[test]
    fn a_table_says_what_disturbed_it() {
        let sample = |disturbed| Sample {
            case: Case::flows(1000),
            subject: Subject::Nobody,
            values: Values::from([("rate", 1e5)]),
            disturbed,
        };
        let company = Disturbance::Company("ulogd (pid 7)".into());
        let disturbed =
            [vec![Disturbance::Others(0.5)], vec![Disturbance::Others(1.25), company], vec![]];
        let scenario = all().swap_remove(0);
        let samples = disturbed.map(sample).into();
        let mut outcome = Outcome { scenario, samples, failures: Vec::new() };
        let table = text(&outcome);
        for line in [
            "WARNING: in 2 of 3 measurements others took CPUs, 1.25 on average in the worst",
            "WARNING: in 1 of 3 measurements ulogd (pid 7) listened too",
        ] {
            assert!(table.contains(line), "{table}");
        }
        let verdict = trust(std::slice::from_ref(&outcome), 4);
        let expected = "2 of 3 measurements were disturbed, 4 more were repeated";
        assert!(verdict.contains(expected), "{verdict}");
        outcome.samples.drain(..2);
        assert_eq!(trust(&[outcome], 0), "nothing disturbed the 1 measurements\n");
    }

    #[test]
    fn numbers_are_short_and_exact_enough() {
        let texts =
            [0.0, 0.61, 1.0, 9.994, 43.21, 464.4, 99.96, 355_000.0, -1_234_567.0].map(number);
        let wanted = ["0", "0.610", "1.00", "9.99", "43.2", "464", "100", "355,000", "-1,234,567"];
        assert_eq!(texts, wanted);
    }
}
