//! How the figures move with the work: more flows in the tables, more CPUs that report, more threads that listen.

use super::churn::{Start, run as churn};
use super::contended::everywhere;
use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::{Higher, Lower};
use crate::bench::subject::{Buffers, Subject};
use crate::churn::frame::{Life, Shape};
use anyhow::Result;
use host::place;

const RINGS_MAX: usize = 8;
/// The setting that says how many threads listen.
const SHARDS: &str = "Shards";

/// The scenarios.
pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "growth-flows",
            title: "new UDP flows, flat out, until the table holds so many",
            figures: vec![
                Figure::new("kept_cpu", "kept of no listener's, by CPU time", "", Higher),
                Figure::new("packet_us", "packet path's CPU per flow", "us", Lower),
                Figure::new("event_us", "daemon's CPU per event", "us", Lower),
                Figure::new("flow_bytes", "memory grown by, per flow", "bytes", Lower),
            ],
            suits: Subject::is_no_watcher,
            cases: |_| [10_000, 100_000, 1_000_000].map(Case::flows).to_vec(),
            run: |lab, subject, case| churn(lab, subject, case, Shape::v4(Life::Datagram)),
        },
        Scenario {
            name: "growth-rings",
            title: "new UDP flows, flat out from so many CPUs, each of which has a ring",
            figures: figures(),
            suits: Subject::is_no_watcher,
            cases: |lab| {
                let rings = 1..=place::cpus().len().min(RINGS_MAX);
                rings.map(|n| numbered(lab, n, "ring")).collect()
            },
            run: rings,
        },
        Scenario {
            name: "growth-shards",
            title: "new UDP flows, flat out from all CPUs, so many threads that listen",
            figures: figures(),
            suits: |subject| subject.is_ours() && subject.is_daemon(),
            cases: |lab| [1, 2, 4, 8].map(|n| numbered(lab, n, "shard")).to_vec(),
            run: shards,
        },
    ]
}

fn figures() -> Vec<Figure> {
    vec![
        Figure::new("rate", "new flows, all CPUs together", "/s", Higher),
        Figure::new("event_us", "daemon's CPU per event", "us", Lower),
        Figure::new("lost", "events lost", "", Lower),
    ]
}

fn numbered(lab: &Lab, extra: usize, what: &str) -> Case {
    let flows = lab.flows(600_000);
    let plural = if extra == 1 { "" } else { "s" };
    Case { label: format!("{extra} {what}{plural}"), flows, extra: extra as u32 }
}

fn rings(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let cpus = place::cpus();
    measure(lab, subject, case.flows, &cpus[..case.extra as usize], "")
}

fn shards(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let setting = format!(" {SHARDS} {}\n", case.extra);
    measure(lab, subject, case.flows, &place::cpus(), &setting)
}

/// Traffic from these CPUs, the daemon on all of them.
fn measure(
    lab: &Lab,
    subject: &Subject,
    flows: u32,
    senders: &[usize],
    setting: &str,
) -> Result<Values> {
    let router = Router::new(false)?;
    let daemon = lab.tuned(subject, &router, Buffers::LARGE, &place::cpus(), setting)?;
    let before = daemon.as_ref().map(Start::of).transpose()?;
    let runs = everywhere(lab, &router, senders, flows / senders.len() as u32)?;
    let rate = runs.iter().map(|run| run.flows as f64 / run.wall_s).sum();
    let mut values = Values::from([("rate", rate)]);
    if let (Some(daemon), Some(before)) = (daemon, before) {
        daemon.settle_for_good()?;
        before.account(&daemon, &mut values)?;
        daemon.stop()?;
    }
    Ok(values)
}
