//! `conntrack -E` while new flows come flat out: a line for each, if it keeps up.

use super::churn::rates;
use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::machine;
use crate::bench::stage::Router;
use crate::bench::statistics::Better::{Higher, Lower};
use crate::bench::subject::Subject;
use crate::churn::frame::{Life, Shape};
use crate::churn::program::Range;
use crate::place::on_cpus;
use crate::sys::process::{cpu_ns, die_with_parent};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The scenario.
pub(super) fn scenario() -> Scenario {
    Scenario {
        name: "watch",
        title: "conntrack -E into a file, new UDP flows flat out",
        figures: vec![
            Figure::new("line_us", "CPU per line", "us", Lower),
            Figure::new("share", "of the flows, shown", "", Higher),
            Figure::new("kept", "new flows kept, of no listener's", "", Higher),
            Figure::new("lost", "events lost", "", Lower),
        ],
        suits: |subject| matches!(subject, Subject::Nobody | Subject::Watcher(_)),
        cases: |lab| lab.one(300_000),
        run,
    }
}

fn run(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    let shape = Shape::v4(Life::Datagram);
    let mut generator = lab.generator(&router, shape, Range::ALL, lab.rate())?;
    let out = lab.dir.join("events");
    let mut watcher = match subject {
        Subject::Nobody => None,
        _ => Some(start(lab, subject, &router, &out)?),
    };
    let run = on_cpus(&[lab.generator_cpu], || generator.run(case.flows.into(), lab.rate()))?;
    let mut values = rates(&run);
    if let Some(child) = &mut watcher {
        let used_s = rest(child)?;
        let drops = machine::drops(child.id());
        child.kill()?;
        child.wait()?;
        let lines = BufReader::new(File::open(&out)?).lines().map_while(Result::ok);
        let lines = lines.filter(|line| line.contains("src=")).count() as f64;
        values.insert("line_us", used_s * 1e6 / lines);
        values.insert("share", lines / run.flows as f64);
        values.insert("lost", drops as f64);
    }
    Ok(values)
}

/// Starts it and waits until it listens.
fn start(lab: &Lab, subject: &Subject, router: &Router, out: &Path) -> Result<Child> {
    let program = lab.program(subject);
    let mut command = Command::new(&program);
    command.arg("-E").stdin(Stdio::null()).stdout(File::create(out)?).stderr(Stdio::null());
    die_with_parent(&mut command);
    let child = on_cpus(&[lab.subject_cpu], || router.namespace.within(|| command.spawn()))?;
    let child = child.with_context(|| format!("cannot start {}", program.display()))?;
    let began = Instant::now();
    while !machine::listens(child.id(), lab.product.hears) {
        ensure!(began.elapsed() < Duration::from_secs(5), "{} does not listen", program.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}

/// Waits until it has nothing to do; the CPU time it has used, seconds.
fn rest(child: &mut Child) -> Result<f64> {
    let began = Instant::now();
    let mut last = 0;
    loop {
        let used = cpu_ns(child.id())?;
        if used - last < 5_000_000 || began.elapsed() > Duration::from_secs(60) {
            return Ok(used as f64 / 1e9);
        }
        last = used;
        std::thread::sleep(Duration::from_millis(300));
    }
}
