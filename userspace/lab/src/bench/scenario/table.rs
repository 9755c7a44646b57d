//! The table: what a flow takes, whether it is right after a burst, and after a start on a living firewall.

use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::Lower;
use crate::bench::statistics::Goal::AtMost;
use crate::bench::subject::{Buffers, Daemon, Subject};
use crate::churn::frame::{Life, Shape};
use crate::churn::program::Range;
use crate::place::on_cpus;
use anyhow::Result;
use std::time::{Duration, Instant};
use wire::control::Request;

const NONE: &[(&str, super::Goal)] =
    &[("hook", AtMost(0.0)), ("tap", AtMost(0.0)), ("netlink", AtMost(0.0))];
const SMALL: &[(&str, super::Goal)] = &[("hook", AtMost(160.0)), ("tap", AtMost(160.0))];

/// The scenarios.
pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "memory",
            title: "memory of the daemon with that many IPv4 flows in its table",
            figures: vec![
                Figure::new("whole_bytes", "resident and eBPF memory per flow", "bytes", Lower)
                    .goals(SMALL),
                Figure::new("grown_bytes", "what it grew by, per flow", "bytes", Lower),
                Figure::new("empty_mb", "resident when empty", "MB", Lower),
                Figure::new("kernel_mb", "eBPF maps and programs", "MB", Lower),
            ],
            suits: Subject::is_daemon,
            cases: |lab| lab.one(1_000_000),
            run: memory,
        },
        Scenario {
            name: "burst",
            title: "all flows flushed at once, event buffers of the size the original documents",
            figures: vec![
                Figure::new("stale", "flows it still holds when it rests", "", Lower),
                Figure::new("stale_later", "and seconds later, not asked to repair", "", Lower)
                    .goals(NONE),
                Figure::new("equal_s", "until its table equals the kernel's", "s", Lower),
                Figure::new("lost", "events the kernel dropped", "", Lower),
                Figure::new("cpu_us", "daemon's CPU per flow", "us", Lower),
            ],
            suits: Subject::is_daemon,
            cases: |lab| lab.one(300_000),
            run: burst,
        },
        Scenario {
            name: "zombies",
            title: "flows older than every listener, of whose end the kernel tells nobody",
            figures: vec![
                Figure::new("stale", "flows it still holds after they have ended", "", Lower)
                    .goals(NONE),
                Figure::new("equal_s", "until its table equals the kernel's", "s", Lower),
                Figure::new("after_reload", "and after -R", "", Lower).goals(NONE),
            ],
            suits: Subject::is_daemon,
            cases: |lab| vec![Case::flows(lab.options.flows.unwrap_or(10_000))],
            run: zombies,
        },
    ]
}

fn memory(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    let Some(daemon) = lab.alone(subject, &router, Buffers::LARGE, &[lab.subject_cpu])? else {
        return Ok(Values::new());
    };
    let empty = daemon.resident();
    // Packets make the flows: the hook does not see requests.
    let mut generator = lab.generator(&router, Shape::v4(Life::Datagram), Range::ALL, None)?;
    on_cpus(&[lab.generator_cpu], || generator.run(case.flows.into(), None))?;
    daemon.settle()?;
    let held = daemon.flows("stats")? as f64;
    let (full, kernel) = (daemon.resident(), daemon.kernel_memory());
    let whole = full.saturating_sub(daemon.shared()) + kernel;
    let values = Values::from([
        ("whole_bytes", whole as f64 / held),
        ("grown_bytes", full.saturating_sub(empty) as f64 / held),
        ("empty_mb", empty as f64 / 1e6),
        ("kernel_mb", kernel as f64 / 1e6),
        ("flows", held),
    ]);
    daemon.stop()?;
    Ok(values)
}

fn burst(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    // Flows made without a listener would end without an event otherwise.
    router.sysctl("net/netfilter/nf_conntrack_events", "1")?;
    let mut requests = router.requests()?;
    requests.fill(0, case.flows)?;
    let Some(daemon) = lab.alone(subject, &router, Buffers::DEFAULT, &[lab.subject_cpu])? else {
        return Ok(Values::new());
    };
    let (drops, cpu) = (daemon.drops(), daemon.cpu_s()?);
    let start = Instant::now();
    requests.flush()?;
    daemon.settle()?;
    let stale = difference(&router, &daemon)?;
    let cpu_us = (daemon.cpu_s()? - cpu) * 1e6 / f64::from(case.flows);
    let lost = daemon.drops() - drops;
    let equal = until_equal(&router, &daemon, start, lab.patience())?;
    let values = Values::from([
        ("lost", lost as f64),
        ("stale", stale as f64),
        ("stale_later", difference(&router, &daemon)? as f64),
        ("cpu_us", cpu_us),
        ("equal_s", equal),
    ]);
    daemon.stop()?;
    Ok(values)
}

fn zombies(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    let events = "net/netfilter/nf_conntrack_events";
    // As if they were older than the first listener, even where others listen on this machine.
    router.sysctl(events, "0")?;
    let mut requests = router.requests()?;
    requests.fill(0, case.flows)?;
    router.sysctl(events, "2")?;
    let Some(daemon) = lab.alone(subject, &router, Buffers::LARGE, &[lab.subject_cpu])? else {
        return Ok(Values::new());
    };
    let start = Instant::now();
    requests.flush()?;
    let equal = until_equal(&router, &daemon, start, lab.patience())?;
    let stale = difference(&router, &daemon)?;
    daemon.ask(Request::Reload)?;
    std::thread::sleep(Duration::from_secs(1));
    daemon.settle()?;
    let after = difference(&router, &daemon)?;
    daemon.stop()?;
    let values = [("stale", stale as f64), ("equal_s", equal), ("after_reload", after as f64)];
    Ok(Values::from(values))
}

/// Flows that only one of kernel and daemon has, according to their counts.
fn difference(router: &Router, daemon: &Daemon) -> Result<u64> {
    Ok(router.flows()?.abs_diff(daemon.flows("stats")?))
}

/// Seconds since `start` until the difference is none; not a number when that does not come.
fn until_equal(
    router: &Router,
    daemon: &Daemon,
    start: Instant,
    patience: Duration,
) -> Result<f64> {
    while start.elapsed() < patience {
        if difference(router, daemon)? == 0 {
            return Ok(start.elapsed().as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(f64::NAN)
}
