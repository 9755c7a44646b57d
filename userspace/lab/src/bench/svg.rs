//! The results as a picture: a row of bars for each figure, a line for its goal; for growth, curves.

use super::lab::Case;
use super::scenario::{Figure, Outcome};
use super::statistics::Spread;
use super::subject::Subject;
use super::table::number;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
/// Where bars begin and how long the longest is.
const BARS: (f64, f64) = (390.0, 360.0);
const BAR: f64 = 14.0;
const STEP: f64 = 20.0;
/// A plot of curves.
const PLOT: (f64, f64) = (560.0, 190.0);

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#222}.h{font-weight:600;font-size:15px}.d{fill:#666}\
.g{stroke:#222;stroke-width:1.5;stroke-dasharray:4 3;fill:none}.w{stroke:#222;stroke-opacity:.55;fill:none}\
.a{stroke:#bbb;fill:none}.e{text-anchor:end}.m{text-anchor:middle}";

/// Draws everything.
pub(super) fn draw(heading: &str, outcomes: &[Outcome]) -> String {
    let mut body = String::new();
    let mut y = MARGIN + 12.0;
    text(&mut body, MARGIN, y, "h", "ctflow bench");
    y += 20.0;
    text(&mut body, MARGIN, y, "d", heading);
    y += 20.0;
    legend(&mut body, y, outcomes);
    y += 16.0;
    for outcome in outcomes.iter().filter(|outcome| !outcome.samples.is_empty()) {
        y = if outcome.cases().len() > 1 {
            growth(&mut body, y, outcome)
        } else {
            bars(&mut body, y, outcome)
        };
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn legend(out: &mut String, y: f64, outcomes: &[Outcome]) {
    let mut subjects: Vec<&Subject> = outcomes.iter().flat_map(Outcome::subjects).collect();
    subjects.sort();
    subjects.dedup();
    let mut x = MARGIN;
    for subject in subjects {
        rectangle(out, (x, y - 10.0), (12.0, 12.0), color(subject));
        text(out, x + 18.0, y, "", subject.name());
        x += 92.0;
    }
    let _ = writeln!(out, "<path class=\"g\" d=\"M{x:.1} {:.1}v12\"/>", y - 10.0);
    text(out, x + 10.0, y, "", "goal");
    text(out, x + 60.0, y, "d", "bars: medians; thin lines: least to greatest");
}

/// One block of bars for each figure; returns where it ends.
fn bars(out: &mut String, mut y: f64, outcome: &Outcome) -> f64 {
    let case = outcome.cases()[0];
    y += 30.0;
    let title = format!("{} ({})", outcome.scenario.name, case.label);
    text(out, MARGIN, y, "h", &title);
    y += 17.0;
    text(out, MARGIN, y, "d", outcome.scenario.title);
    y += 8.0;
    // What has a goal, and what tells most; the rest is in the table.
    let figures = outcome.scenario.figures.iter().enumerate();
    let figures = figures.filter(|(at, figure)| *at == 0 || !figure.goals.is_empty());
    for (_, figure) in figures {
        let rows = rows(outcome, case, figure);
        if rows.iter().any(|(_, spread)| spread.max > 0.0) {
            y = block(out, y + 10.0, figure, &rows);
        }
    }
    y
}

type Row<'a> = (&'a Subject, Spread);

fn rows<'a>(outcome: &'a Outcome, case: &Case, figure: &Figure) -> Vec<Row<'a>> {
    let subjects = outcome.subjects().into_iter();
    subjects.filter_map(|s| Some((s, outcome.spread(case, s, figure.key)?))).collect()
}

fn block(out: &mut String, mut y: f64, figure: &Figure, rows: &[Row<'_>]) -> f64 {
    let original = rows.iter().find(|(s, _)| **s == Subject::Original).map(|(_, o)| o.median);
    let goal = |subject: &Subject| figure.goal(subject).and_then(|goal| goal.value(original));
    let longest = rows.iter().map(|(subject, spread)| spread.max.max(goal(subject).unwrap_or(0.0)));
    let scale = BARS.1 / longest.fold(f64::MIN_POSITIVE, f64::max);
    let unit = if figure.unit.is_empty() { "" } else { ", " };
    text(out, MARGIN, y + 11.0, "", &format!("{}{unit}{}", figure.title, figure.unit));
    for (subject, spread) in rows {
        let at = |value: f64| BARS.0 + value.max(0.0) * scale;
        text(out, BARS.0 - 8.0, y + 11.0, "d e", subject.name());
        rectangle(out, (BARS.0, y), (at(spread.median) - BARS.0, BAR), color(subject));
        if spread.min < spread.max {
            let (from, to, middle) = (at(spread.min), at(spread.max), y + BAR / 2.0);
            let _ = writeln!(out, "<path class=\"w\" d=\"M{from:.1} {middle:.1}H{to:.1}\"/>");
        }
        if let Some(goal) = goal(subject) {
            let _ = writeln!(
                out,
                "<path class=\"g\" d=\"M{:.1} {:.1}v{:.1}\"/>",
                at(goal),
                y - 2.0,
                BAR + 4.0
            );
        }
        text(out, BARS.0 + BARS.1 + 12.0, y + 11.0, "", &label(figure, subject, *spread, original));
        y += STEP;
    }
    y
}

fn label(figure: &Figure, subject: &Subject, spread: Spread, original: Option<f64>) -> String {
    let mut label = number(spread.median);
    let Some(verdict) = figure.goal(subject).and_then(|g| g.judge(spread.median, original)) else {
        return label;
    };
    let _ = write!(
        label,
        "  {} {}",
        if verdict.met { "meets" } else { "misses" },
        number(verdict.goal)
    );
    label
}

/// A plot for each figure, sizes along the bottom; returns where it ends.
fn growth(out: &mut String, mut y: f64, outcome: &Outcome) -> f64 {
    y += 30.0;
    text(out, MARGIN, y, "h", outcome.scenario.name);
    y += 17.0;
    text(out, MARGIN, y, "d", outcome.scenario.title);
    for figure in &outcome.scenario.figures {
        y = plot(out, y + 18.0, outcome, figure);
    }
    y
}

fn plot(out: &mut String, y: f64, outcome: &Outcome, figure: &Figure) -> f64 {
    let cases = outcome.cases();
    let subjects = outcome.subjects();
    let spreads = cases.iter().flat_map(|case| rows(outcome, case, figure));
    let top = spreads.map(|(_, spread)| spread.max).fold(0.0, f64::max);
    if top <= 0.0 {
        return y;
    }
    let unit = if figure.unit.is_empty() { "" } else { ", " };
    text(out, MARGIN, y + 4.0, "", &format!("{}{unit}{}", figure.title, figure.unit));
    let (left, floor) = (MARGIN + 70.0, y + 14.0 + PLOT.1);
    let x = |at: usize| left + PLOT.0 * (at as f64 + 0.5) / cases.len() as f64;
    let height = |value: f64| floor - PLOT.1 * value.max(0.0) / top;
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let line = height(top * part);
        let _ = writeln!(out, "<path class=\"a\" d=\"M{left:.1} {line:.1}h{:.1}\"/>", PLOT.0);
        text(out, left - 8.0, line + 4.0, "d e", &number(top * part));
    }
    for (at, case) in cases.iter().enumerate() {
        text(out, x(at), floor + 16.0, "d m", &case.label);
    }
    for subject in subjects {
        let points = cases.iter().enumerate();
        let points: Vec<(f64, Spread)> = points
            .filter_map(|(at, case)| Some((x(at), outcome.spread(case, subject, figure.key)?)))
            .collect();
        curve(out, &points, height, color(subject));
    }
    floor + 22.0
}

fn curve(out: &mut String, points: &[(f64, Spread)], y: impl Fn(f64) -> f64, color: &str) {
    let mut path = String::new();
    for (at, (x, spread)) in points.iter().enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{x:.1} {:.1}", y(spread.median));
        let (low, high) = (y(spread.min), y(spread.max));
        let _ = writeln!(out, "<path class=\"w\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>");
        let middle = y(spread.median);
        let _ =
            writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"3\" fill=\"{color}\"/>");
    }
    let _ =
        writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>");
}

/// A color for each, told apart by those who see fewer colors too.
fn color(subject: &Subject) -> &'static str {
    match subject.name() {
        "nobody" => "#b8b8b8",
        "original" => "#d55e00",
        "netlink" => "#56b4e9",
        "tap" => "#0072b2",
        "hook" => "#009e73",
        "conntrack-E" => "#e69f00",
        "our-E" => "#0072b2",
        _ => "#cc79a7",
    }
}

fn rectangle(out: &mut String, at: (f64, f64), size: (f64, f64), color: &str) {
    let ((x, y), (w, h)) = (at, size);
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"2\" fill=\"{color}\"/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Outcome, Sample, Values, all};
    use super::super::subject::Subject;
    use super::{Case, draw};

    fn outcome(name: &str, sizes: &[u32]) -> Outcome {
        let scenario = all().into_iter().find(|s| s.name == name).expect("it exists");
        let subjects = [Subject::Nobody, Subject::Original, Subject::Ours("tap".into())];
        let samples = sizes.iter().flat_map(|flows| {
            subjects.iter().map(|subject| Sample {
                case: Case::flows(*flows),
                subject: subject.clone(),
                values: Values::from([("kept", 0.5), ("rate", 1e5)]),
                disturbed: false,
            })
        });
        Outcome { samples: samples.collect(), scenario, failures: Vec::new() }
    }

    /// What every element needs: its end, and no bare sign in its text.
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let Some((tag, text)) = part.split_once('>') else { return false };
            if text.contains('>') {
                return false;
            }
            match tag.strip_prefix('/') {
                Some(name) if open.pop() != Some(name) => return false,
                None if !tag.ends_with('/') => open.push(tag.split(' ').next().unwrap_or(tag)),
                _ => {}
            }
        }
        open.is_empty()
    }

    #[test]
    fn pictures_are_well_formed_and_show_every_subject() {
        for sizes in [&[1000][..], &[1000, 10_000]] {
            let svg = draw("a < b & c", &[outcome("churn", sizes)]);
            assert!(is_well_formed(&svg), "{svg}");
            assert!(svg.contains("a &lt; b &amp; c"));
            for color in ["#b8b8b8", "#d55e00", "#0072b2"] {
                assert!(svg.matches(color).count() > 1, "{color} in legend and picture");
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
    }
}
