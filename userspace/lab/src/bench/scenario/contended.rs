//! Traffic on both CPUs: the daemon gets what the packets leave it, as on a busy firewall.

use super::churn::Start;
use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::{Higher, Lower};
use crate::bench::statistics::Goal::{AtLeast, AtMost};
use crate::bench::subject::{Buffers, Subject};
use crate::churn::frame::{Life, Shape};
use crate::churn::program::Range;
use crate::churn::{Run, WINDOW};
use crate::place::on_cpus;
use anyhow::{Result, anyhow};
use std::thread;

fn figures() -> Vec<Figure> {
    vec![
        Figure::new("rate", "new flows, all CPUs together", "/s", Higher)
            .goals(&[("hook", AtLeast(300_000.0))]),
        Figure::new("kept", "of no listener's", "", Higher),
        Figure::new("event_us", "daemon's CPU per event", "us", Lower),
        Figure::new("lost", "events lost", "", Lower)
            .goals(&[("hook", AtMost(0.0)), ("tap", AtMost(0.0))]),
        Figure::new("missing", "flows missing in its table", "", Lower),
    ]
}

/// The scenario.
pub(super) fn scenario() -> Scenario {
    Scenario {
        name: "contended",
        title: "new UDP flows, flat out from two CPUs at once, the daemon on both as well",
        figures: figures(),
        suits: Subject::is_no_watcher,
        cases: |lab| lab.one(1_000_000),
        run,
    }
}

fn run(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    let cpus = [lab.generator_cpu, lab.subject_cpu];
    let daemon = lab.alone(subject, &router, Buffers::LARGE, &cpus)?;
    let before = daemon.as_ref().map(Start::of).transpose()?;
    let share = case.flows / 2;
    let runs = everywhere(lab, &router, &cpus, share)?;
    let flows: u64 = runs.iter().map(|run| run.flows).sum();
    let rate = runs.iter().map(|run| run.flows as f64 / run.wall_s).sum();
    let mut values = Values::from([("rate", rate)]);
    if let (Some(daemon), Some(before)) = (daemon, before) {
        daemon.settle_for_good()?;
        before.account(&daemon, &mut values)?;
        values.insert("missing", router.flows()?.abs_diff(daemon.flows("stats")?) as f64);
        daemon.stop()?;
    }
    values.insert("flows", flows as f64);
    Ok(values)
}

/// One generator on each CPU, all at once, each with flows of its own.
pub(super) fn everywhere(
    lab: &Lab,
    router: &Router,
    cpus: &[usize],
    flows: u32,
) -> Result<Vec<Run>> {
    let mut generators = Vec::new();
    for at in 0..cpus.len() {
        let range = Range { base: at as u32 * flows.next_multiple_of(WINDOW), ..Range::ALL };
        generators.push(lab.generator(router, Shape::v4(Life::Datagram), range, None)?);
    }
    thread::scope(|scope| {
        let started: Vec<_> = generators
            .iter_mut()
            .zip(cpus)
            .map(|(generator, cpu)| {
                scope.spawn(move || on_cpus(&[*cpu], || generator.run(flows.into(), None)))
            })
            .collect();
        let ended = started
            .into_iter()
            .map(|thread| Ok(thread.join().map_err(|_| anyhow!("a generator panicked"))??));
        ended.collect()
    })
}
