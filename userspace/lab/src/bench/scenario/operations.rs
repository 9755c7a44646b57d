//! Operations by filter: deletes of a few flows out of very many, beside what `conntrack -D` takes.

use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::Lower;
use crate::bench::statistics::Goal::AtMost;
use crate::bench::subject::{Buffers, Daemon, Subject};
use crate::place::on_cpus;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One flow in so many is of the zone that is deleted.
const SHARE: u32 = 100;
/// The zone.
const ZONE: u16 = 5;
/// Ranges of addresses in the file, and flows that each of them takes.
const RANGES: u32 = 10_000;
const RANGE_FLOWS: u32 = 5;
/// How long a daemon may take to know all flows.
const PATIENCE: Duration = Duration::from_secs(120);

/// The scenario.
pub(super) fn scenario() -> Scenario {
    const ZONE_MS: &[(&str, super::Goal)] = &[("tap", AtMost(80.0)), ("netlink", AtMost(80.0))];
    const SET_MS: &[(&str, super::Goal)] = &[("tap", AtMost(500.0)), ("netlink", AtMost(500.0))];
    Scenario {
        name: "ops",
        title: "deletes by filter, program start included; original: conntrack -D, nobody: ctflow without a daemon",
        figures: vec![
            Figure::new("zone_ms", "one flow in a hundred, by zone", "ms", Lower).goals(ZONE_MS),
            Figure::new("count_ms", "counting them first", "ms", Lower),
            Figure::new("set_ms", "a file of 10,000 ranges, 50,000 flows", "ms", Lower)
                .goals(SET_MS),
        ],
        suits: |subject| match subject {
            Subject::Nobody | Subject::Original => true,
            Subject::Ours(source) => source != "hook",
            Subject::Adapting | Subject::Watcher(_) => false,
        },
        cases: |lab| lab.one(1_000_000),
        run,
    }
}

fn run(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    // Flows made without a listener would end without an event otherwise.
    router.sysctl("net/netfilter/nf_conntrack_events", "1")?;
    let zoned = case.flows / SHARE;
    let mut requests = router.requests()?;
    requests.fill(0, case.flows)?;
    requests.fill_zone(0, zoned, ZONE)?;
    let all = u64::from(case.flows + zoned);
    let mut values = Values::new();
    if *subject == Subject::Original {
        let tool = lab.options.original.with_file_name("conntrack");
        let zone = ZONE.to_string();
        let (ms, _) = timed(lab, &router, &tool, &["-D", "-w", &zone])?;
        values.insert("zone_ms", ms);
        ensure!(router.flows()? == u64::from(case.flows), "it deleted other flows than it should");
        return Ok(values);
    }
    let daemon = started(lab, subject, &router, all)?;
    let conf = daemon.as_ref().map(|daemon| daemon.conf().display().to_string());
    let whom = conf.as_deref().map_or(vec!["--kernel"], |conf| vec!["-C", conf]);
    let zone = format!("zone {ZONE}");
    let ctflow = std::env::current_exe()?;
    let ask = |verb: &[&str], filter: &str| {
        let words: Vec<&str> = verb.iter().chain(&whom).copied().chain([filter]).collect();
        timed(lab, &router, &ctflow, &words)
    };
    let (ms, count) = ask(&["count"], &zone)?;
    ensure!(count.trim() == zoned.to_string(), "it counted {} flows of {zoned}", count.trim());
    values.insert("count_ms", ms);
    values.insert("zone_ms", ask(&["delete", "--yes"], &zone)?.0);
    ensure!(router.flows()? == u64::from(case.flows), "it deleted other flows than it should");
    if let Some(daemon) = &daemon {
        daemon.settle()?;
    }
    let (set, flows) = set(lab, case)?;
    values.insert("set_ms", ask(&["delete", "--yes"], &format!("src @{set}"))?.0);
    let left = u64::from(case.flows - flows);
    ensure!(router.flows()? == left, "it deleted other flows than it should");
    if let Some(daemon) = daemon {
        daemon.stop()?;
    }
    Ok(values)
}

/// Starts the daemon, if the subject is one, and waits until it knows all flows.
fn started(lab: &Lab, subject: &Subject, router: &Router, flows: u64) -> Result<Option<Daemon>> {
    if !subject.is_daemon() {
        return Ok(None);
    }
    let daemon = lab.launch(subject, router, Buffers::LARGE, &cpus(lab))?;
    let is_exact = || daemon.figures().is_ok_and(|figures| figures.state == "exact");
    while !(is_exact() && daemon.flows("stats").is_ok_and(|held| held >= flows)) {
        if daemon.started().elapsed() > PATIENCE {
            bail!("it has not loaded the kernel's flows: {}", daemon.complaint());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.settle()?;
    Ok(Some(daemon))
}

/// No traffic runs: the subject may use both CPUs.
const fn cpus(lab: &Lab) -> [usize; 2] {
    [lab.subject_cpu, lab.generator_cpu]
}

/// Writes the file of ranges of sources; its path, and how many flows are of them.
fn set(lab: &Lab, case: &Case) -> Result<(String, u32)> {
    let ranges = RANGES.min(case.flows / RANGE_FLOWS);
    let step = case.flows / ranges;
    let mut text = String::new();
    for n in 0..ranges {
        // As the flows are made: sources from 10.0.0.0 on.
        let first = 0x0a00_0000 + n * step;
        let (first, last) =
            (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + RANGE_FLOWS - 1));
        writeln!(text, "{first}-{last}")?;
    }
    let path: PathBuf = lab.dir.join("ops.set");
    std::fs::write(&path, text)?;
    Ok((path.display().to_string(), ranges * RANGE_FLOWS))
}

/// Runs a program on the router; milliseconds from its start to its end, and what it printed.
fn timed(
    lab: &Lab,
    router: &Router,
    program: &std::path::Path,
    words: &[&str],
) -> Result<(f64, String)> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    // The original prints every flow that it deletes.
    let start = Instant::now();
    let output = on_cpus(&cpus(lab), || router.namespace.within(|| command.output()))?
        .with_context(|| format!("cannot start {}", program.display()))?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok((ms, String::from_utf8_lossy(&output.stdout).into_owned()))
}
