//! How soon the peer learns of a new flow: from its first packet to the datagram on the link, probe by probe. Beside
//! traffic, what that costs too: the longer events gather, the cheaper they are and the later they are sent.

use super::sync::Pair;
use super::{Figure, Goal, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::LINK;
use crate::bench::statistics::Better::{Higher, Lower};
use crate::bench::statistics::Goal::AtMost;
use crate::bench::subject::Subject;
use crate::churn::frame::{Life, Shape};
use crate::churn::probe::Probe;
use crate::churn::program::Range;
use crate::place::on_cpus;
use anyhow::{Result, anyhow, ensure};
use hdrhistogram::Histogram;
use std::thread;
use std::time::Duration;

/// Numbers of probes begin here, beyond those of traffic.
const FIRST: u32 = 0x00e0_0000;
/// Between two probes, at most; they come at odd times, so that they do not keep step with anything.
const GAP_US: u64 = 3000;
/// New flows per second beside the probes.
const BUSY: f64 = 100_000.0;
const PATIENCE: Duration = Duration::from_secs(1);
/// The setting that says how long events gather, and lengths that are tried, microseconds.
const SETTING: &str = "EventLatency";
const LENGTHS_US: [u32; 9] = [0, 10, 25, 50, 100, 200, 400, 800, 1600];

fn figures(
    middle: &'static [(&'static str, Goal)],
    tail: &'static [(&'static str, Goal)],
) -> Vec<Figure> {
    vec![
        Figure::new("p50_us", "packet to datagram, p50", "us", Lower).goals(middle),
        Figure::new("p90_us", "p90", "us", Lower),
        Figure::new("p99_us", "p99", "us", Lower).goals(tail),
        Figure::new("p999_us", "p99.9", "us", Lower),
        Figure::new("max_us", "greatest", "us", Lower),
        Figure::new("heard_p50_us", "until the probe has read it, p50", "us", Lower),
        Figure::new("heard_p99_us", "p99", "us", Lower),
        Figure::new("told", "of the probes, told within a second", "", Higher),
    ]
}

/// The scenarios.
pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::of_daemons(
            (
                "latency",
                "one new flow every few milliseconds on an idle router: packet to datagram on the link",
            ),
            figures(
                &[("hook", AtMost(45.0)), ("tap", AtMost(45.0))],
                &[("hook", AtMost(100.0)), ("tap", AtMost(100.0))],
            ),
            |lab| vec![probes(lab)],
            alone,
        ),
        Scenario::of_daemons(
            ("latency-busy", "the same beside 100,000 other new flows per second (or --rate)"),
            busy_figures(),
            |lab| vec![probes(lab)],
            |lab, subject, case| beside_traffic(lab, subject, case, ""),
        ),
        Scenario {
            name: "growth-latency",
            title: "the same, events gathering for so long (EventLatency): what latency costs",
            figures: busy_figures(),
            suits: |subject| subject.is_ours() && subject.is_daemon(),
            cases: |lab| LENGTHS_US.map(|us| gathering(lab, us)).to_vec(),
            run: |lab, subject, case| {
                let setting = format!(" {SETTING} {}\n", case.extra);
                beside_traffic(lab, subject, case, &setting)
            },
        },
    ]
}

fn probes(lab: &Lab) -> Case {
    let probes = if lab.options.quick { 200 } else { 1000 };
    Case { label: format!("{probes} probes"), ..Case::flows(probes) }
}

fn gathering(lab: &Lab, us: u32) -> Case {
    Case { label: format!("{us} us"), extra: us, ..probes(lab) }
}

fn busy_figures() -> Vec<Figure> {
    let mut figures = figures(&[], &[("hook", AtMost(2500.0)), ("tap", AtMost(2500.0))]);
    figures.push(Figure::new("event_us", "CPU of the daemon per event", "us", Lower));
    figures
}

fn alone(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let pair = start(lab, subject, "")?;
    let mut probe = Probe::open(pair.a.cable(), LINK)?;
    let took = probe_all(&mut probe, case.flows)?;
    pair.stop()?;
    Ok(percentiles(&took, case.flows))
}

fn start(lab: &Lab, subject: &Subject, settings: &str) -> Result<Pair> {
    let cpus = [lab.generator_cpu, lab.subject_cpu];
    Pair::tuned(lab, subject, true, [&cpus, &cpus], (0, settings))
}

fn beside_traffic(lab: &Lab, subject: &Subject, case: &Case, settings: &str) -> Result<Values> {
    let rate = lab.rate().unwrap_or(BUSY);
    let pair = start(lab, subject, settings)?;
    let mut probe = Probe::open(pair.a.cable(), LINK)?;
    // Long enough for all probes, with the time that slow answers take.
    let seconds = f64::from(case.flows) * GAP_US as f64 / 1e6 * 1.2;
    let shape = Shape::v4(Life::Datagram);
    let mut generator = lab.generator(&pair.a, shape, Range::ALL, Some(rate))?;
    let before = pair.daemons[0].cpu_s()?;
    let (took, sent) = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            on_cpus(&[lab.generator_cpu], || generator.run((rate * seconds) as u64, Some(rate)))
        });
        thread::sleep(Duration::from_millis(100));
        let took = probe_all(&mut probe, case.flows);
        let run = traffic.join().map_err(|_| anyhow!("the generator panicked"))??;
        took.map(|took| (took, run.flows))
    })?;
    pair.daemons[0].settle()?;
    let used = pair.daemons[0].cpu_s()? - before;
    pair.stop()?;
    let mut values = percentiles(&took, case.flows);
    values.insert("event_us", used * 1e6 / (sent + u64::from(case.flows)) as f64);
    Ok(values)
}

/// How long probes took, nanoseconds.
struct Histograms {
    on_link: Histogram<u64>,
    heard: Histogram<u64>,
}

fn probe_all(probe: &mut Probe, probes: u32) -> Result<Histograms> {
    let mut all = Histograms { on_link: Histogram::new(3)?, heard: Histogram::new(3)? };
    let mut misses = 0;
    for at in 0..probes {
        match probe.time(FIRST + at, PATIENCE)? {
            Some(took) => {
                all.on_link.record(took.on_link.as_nanos() as u64)?;
                all.heard.record(took.heard.as_nanos() as u64)?;
            }
            None => misses += 1,
        }
        // A daemon that sends nothing must not take all day.
        ensure!(misses < 20 || all.heard.len() > misses, "the peer does not receive new flows");
        // A cheap sequence that visits all gaps (the golden ratio).
        let gap = u64::from(at).wrapping_mul(0x9e37_79b9) % GAP_US;
        thread::sleep(Duration::from_micros(GAP_US / 2 + gap / 2));
    }
    Ok(all)
}

fn percentiles(took: &Histograms, probes: u32) -> Values {
    let at =
        |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    Values::from([
        ("p50_us", at(&took.on_link, 0.5)),
        ("p90_us", at(&took.on_link, 0.9)),
        ("p99_us", at(&took.on_link, 0.99)),
        ("p999_us", at(&took.on_link, 0.999)),
        ("max_us", took.on_link.max() as f64 / 1e3),
        ("heard_p50_us", at(&took.heard, 0.5)),
        ("heard_p99_us", at(&took.heard, 0.99)),
        ("told", took.heard.len() as f64 / f64::from(probes)),
    ])
}
