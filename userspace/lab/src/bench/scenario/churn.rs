//! New flows as fast as they come: what a listener leaves of the kernel's rate, and what an event costs it.

use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::{Higher, Lower};
use crate::bench::statistics::Goal::{self, AtLeast, AtMost};
use crate::bench::subject::{Buffers, Daemon, Subject};
use crate::churn::Run;
use crate::churn::frame::{Life, Shape};
use crate::churn::program::Range;
use crate::place::on_cpus;
use anyhow::{Result, ensure};
use std::time::Duration;

/// What a listener leaves of the rate. `kept` is a part of the rate without a listener; it is worked out from `rate`
/// when both are known.
pub(super) fn kept(goals: &'static [(&'static str, Goal)]) -> [Figure; 4] {
    [
        Figure::new("kept", "new flows kept, of no listener's", "", Higher).goals(goals),
        Figure::new("kept_cpu", "the same by the packet path's CPU time", "", Higher),
        Figure::new("rate", "new flows", "/s", Higher),
        Figure::new("packet_us", "packet path's CPU per flow", "us", Lower),
    ]
}

fn figures() -> Vec<Figure> {
    let mut figures = Vec::from(kept(&[("hook", AtLeast(0.95)), ("tap", AtLeast(0.75))]));
    figures.extend([
        Figure::new("event_us", "daemon's CPU per event", "us", Lower)
            .goals(&[("hook", AtMost(0.6)), ("tap", AtMost(0.6))]),
        Figure::new("heard_p50_us", "kernel to table, sampled, p50", "us", Lower),
        Figure::new("heard_p99_us", "p99", "us", Lower),
        Figure::new("heard_max_us", "greatest", "us", Lower),
        Figure::new("lost", "events lost", "", Lower)
            .goals(&[("hook", AtMost(0.0)), ("tap", AtMost(0.0))]),
        Figure::new("missing", "flows missing in its table", "", Lower),
    ]);
    figures
}

const UDP: Shape = Shape::v4(Life::Datagram);
const TCP: Shape = Shape::v4(Life::Whole);
const V6: Shape = Shape { v6: true, ..UDP };
const NAT: Shape = Shape { nat: true, ..UDP };

/// One for each kind of flows.
pub(super) fn scenarios() -> Vec<Scenario> {
    let scenario = |name, title, cases, run| Scenario {
        name,
        title,
        figures: figures(),
        suits: Subject::is_no_watcher,
        cases,
        run,
    };
    vec![
        scenario(
            "churn",
            "new UDP flows through a router, flat out from one CPU, the daemon on another",
            |lab| lab.one(1_000_000),
            |lab, subject, case| run(lab, subject, case, UDP),
        ),
        scenario(
            "churn-tcp",
            "TCP connections from SYN to the last ACK (six events), flat out, then a flush (the seventh)",
            |lab| lab.one(100_000),
            |lab, subject, case| run(lab, subject, case, TCP),
        ),
        scenario(
            "churn-v6",
            "new UDP flows over IPv6, flat out",
            |lab| lab.one(400_000),
            |lab, subject, case| run(lab, subject, case, V6),
        ),
        scenario(
            "churn-nat",
            "new UDP flows whose destination the router translates, flat out",
            |lab| lab.one(300_000),
            |lab, subject, case| run(lab, subject, case, NAT),
        ),
    ]
}

pub(super) fn run(lab: &Lab, subject: &Subject, case: &Case, shape: Shape) -> Result<Values> {
    let router = Router::new(shape.nat)?;
    let mut generator = lab.generator(&router, shape, Range::ALL, lab.rate())?;
    let daemon = lab.alone(subject, &router, Buffers::LARGE, &[lab.subject_cpu])?;
    let before = daemon.as_ref().map(Start::of).transpose()?;
    let flows = case.flows.into();
    let run = on_cpus(&[lab.generator_cpu], || generator.run(flows, lab.rate()))?;
    let mut values = rates(&run);
    let made = router.flows()?;
    ensure!(made >= run.flows, "only {made} of {} flows were made", run.flows);
    if let (Some(daemon), Some(before)) = (&daemon, &before) {
        daemon.settle_for_good()?;
        let mine = daemon.flows("stats")?;
        values.insert("missing", made.abs_diff(mine) as f64);
        values.insert(
            "flow_bytes",
            daemon.resident().saturating_sub(before.resident) as f64 / mine as f64,
        );
        if shape.life == Life::Whole {
            router.requests()?.flush()?;
            std::thread::sleep(Duration::from_millis(100));
            daemon.settle_for_good()?;
        }
        before.account(daemon, &mut values)?;
    }
    if let Some(daemon) = daemon {
        daemon.stop()?;
    }
    Ok(values)
}

/// The rates that the generator measured.
pub(super) fn rates(run: &Run) -> Values {
    let flows = run.flows as f64;
    Values::from([("rate", flows / run.wall_s), ("packet_us", run.cpu_s * 1e6 / flows)])
}

/// What a daemon's counters said before.
pub(super) struct Start {
    cpu_s: f64,
    events: u64,
    drops: u64,
    resident: u64,
}

impl Start {
    pub(super) fn of(daemon: &Daemon) -> Result<Self> {
        Ok(Self {
            events: daemon.events()?,
            drops: daemon.drops(),
            resident: daemon.resident(),
            cpu_s: daemon.cpu_s()?,
        })
    }

    /// Adds what it has used and lost since.
    pub(super) fn account(&self, daemon: &Daemon, values: &mut Values) -> Result<()> {
        let cpu_s = daemon.cpu_s()? - self.cpu_s;
        let events = daemon.events()? - self.events;
        values.insert("events", events as f64);
        values.insert("event_us", cpu_s * 1e6 / events as f64);
        values.insert("lost", (daemon.drops() - self.drops) as f64);
        // Only our daemon reports this, and only where the kernel says when an event happened.
        if let Some(figures) = daemon.figures().ok().filter(|figures| figures.heard_max_us > 0) {
            values.insert("heard_p50_us", figures.heard_p50_us as f64);
            values.insert("heard_p99_us", figures.heard_p99_us as f64);
            values.insert("heard_max_us", figures.heard_max_us as f64);
        }
        Ok(())
    }
}
