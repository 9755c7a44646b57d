//! Packets of flows that have no news: what a program on every packet costs, and from which length of flows on that is
//! more than a message for every event.

use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::{Higher, Lower};
use crate::bench::statistics::Goal::{AtLeast, AtMost};
use crate::bench::statistics::Spread;
use crate::bench::subject::{Buffers, Daemon, Subject};
use crate::churn::frame::{Life, Shape};
use crate::churn::program::Range;
use crate::churn::{Generator, Run};
use crate::place::on_cpus;
use anyhow::Result;

/// Established connections that the packets belong to, a power of two.
const FLOWS: u32 = 4096;

/// Pieces of the traffic with and without a listener, in turn: what a packet costs differs more from second to second
/// than by a listener.
const PAIRS: u32 = 8;

/// The scenario.
pub(super) fn scenario() -> Scenario {
    Scenario {
        name: "packets",
        title: "packets of established connections, forwarded flat out",
        figures: vec![
            Figure::new("kept", "packets forwarded, of no listener's", "", Higher)
                .goals(&[("hook", AtLeast(0.99))]),
            Figure::new("cost_ns", "more CPU per packet than without listener", "ns", Lower)
                .goals(&[("hook", AtMost(25.0))]),
            Figure::new("rate", "packets", "/s", Higher),
            Figure::new("packet_ns", "CPU per packet", "ns", Lower),
        ],
        suits: Subject::is_no_watcher,
        cases: |lab| {
            let packets = lab.flows(3_000_000);
            let label = format!("{} k packets", packets / 1000);
            vec![Case { label, ..Case::flows(packets) }]
        },
        run,
    }
}

fn run(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let cpu = [lab.generator_cpu];
    let stages = [Stage::new(lab, subject)?, Stage::new(lab, &Subject::Nobody)?];
    let mut roads = Vec::new();
    for stage in &stages {
        roads.push(on_cpus(&cpu, || stage.road(lab))?);
    }
    // Two packets, there and back, are a flow to the generator.
    let piece = u64::from(case.flows / 2 / PAIRS);
    let mut pairs = Vec::new();
    for turn in 0..PAIRS {
        let mut pair = [Run::default(); 2];
        // The subject that was second before is first now.
        let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        for at in order {
            pair[at] = on_cpus(&cpu, || roads[at].run(piece, None))?;
        }
        pairs.push(pair);
    }
    drop(roads);
    for daemon in stages.into_iter().filter_map(|stage| stage.daemon) {
        daemon.stop()?;
    }
    Ok(values(&pairs))
}

/// How those that were listened to stand to those that were not.
fn values(pairs: &[[Run; 2]]) -> Values {
    let rate = |run: &Run| run.packets as f64 / run.wall_s;
    let packet_ns = |run: &Run| run.cpu_s * 1e9 / run.packets as f64;
    let median = |figure: &dyn Fn(&[Run; 2]) -> f64| {
        let values: Vec<f64> = pairs.iter().map(figure).collect();
        Spread::of(&values).map_or(f64::NAN, |spread| spread.median)
    };
    Values::from([
        ("rate", median(&|[with, _]| rate(with))),
        ("packet_ns", median(&|[with, _]| packet_ns(with))),
        ("kept", median(&|[with, without]| rate(with) / rate(without))),
        ("cost_ns", median(&|[with, without]| packet_ns(with) - packet_ns(without))),
    ])
}

/// A router, and who listens on it. Programs see packets of their own network namespace alone.
struct Stage {
    router: Router,
    daemon: Option<Daemon>,
}

impl Stage {
    fn new(lab: &Lab, subject: &Subject) -> Result<Self> {
        let router = Router::new(false)?;
        let daemon = lab.alone(subject, &router, Buffers::LARGE, &[lab.subject_cpu])?;
        Ok(Self { router, daemon })
    }

    /// Packets of connections that have been established.
    fn road(&self, lab: &Lab) -> Result<Generator<'_>> {
        let range = Range { flows: Some(FLOWS), ..Range::ALL };
        let open = |life| lab.generator(&self.router, Shape::v4(life), range, None);
        open(Life::Opening)?.run(FLOWS.into(), None)?;
        let mut traffic = open(Life::Traffic)?;
        // One packet of every flow, so that the daemon has learned all that it has to learn of the flows.
        traffic.run(FLOWS.into(), None)?;
        Ok(traffic)
    }
}
