//! Packets of flows that have no news: what a program on every packet costs, and from which length of flows on that is
//! more than a message for every event.

use super::{Figure, Scenario, Values};
use crate::ctflow::bench::lab::{Case, Lab};
use crate::ctflow::bench::stage::Router;
use crate::ctflow::bench::statistics::Better::{Higher, Lower};
use crate::ctflow::bench::statistics::Goal::{AtLeast, AtMost};
use crate::ctflow::bench::subject::{Buffers, Subject};
use anyhow::Result;
use host::churn::frame::{Life, Shape};
use host::churn::program::Range;
use host::place::on_cpus;

/// Established connections that the packets belong to, a power of two.
const FLOWS: u32 = 4096;

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
    let router = Router::new(false)?;
    let range = Range { flows: Some(FLOWS), ..Range::ALL };
    let open = |life| lab.generator(&router, Shape::v4(life), range, None);
    let daemon = lab.alone(subject, &router, Buffers::LARGE, &[lab.subject_cpu])?;
    let cpu = [lab.generator_cpu];
    on_cpus(&cpu, || anyhow::Ok(open(Life::Opening)?.run(FLOWS.into(), None)?))?;
    let mut traffic = open(Life::Traffic)?;
    // Once for every flow, so that whatever has to be learned of it has been.
    on_cpus(&cpu, || traffic.run(FLOWS.into(), None))?;
    let run = on_cpus(&cpu, || traffic.run((case.flows / 2).into(), None))?;
    let packets = run.packets as f64;
    if let Some(daemon) = daemon {
        daemon.stop()?;
    }
    Ok(Values::from([("rate", packets / run.wall_s), ("packet_ns", run.cpu_s * 1e9 / packets)]))
}
