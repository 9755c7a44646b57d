//! Starting on a firewall that is full of flows.

use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::{Higher, Lower};
use crate::bench::statistics::Goal::{AtLeast, AtMost};
use crate::bench::subject::{Buffers, Subject};
use anyhow::{Result, bail};
use std::time::Duration;
use wire::control::Request;

/// The scenario.
pub(super) fn scenario() -> Scenario {
    Scenario {
        name: "start",
        title: "start with that many flows in the kernel",
        figures: vec![
            Figure::new(
                "loaded_us",
                "until -s tells of all, per flow (2 s for 500 k)",
                "us",
                Lower,
            )
            .goals(&[
                ("hook", AtMost(4.0)),
                ("tap", AtMost(4.0)),
                ("netlink", AtMost(4.0)),
            ]),
            Figure::new("loaded_s", "until -s tells of all", "s", Lower),
            Figure::new("answers_s", "until -s answers anything", "s", Lower),
            Figure::new("says_loading", "whether it says meanwhile that it loads", "", Higher)
                .goals(&[("hook", AtLeast(1.0)), ("tap", AtLeast(1.0)), ("netlink", AtLeast(1.0))]),
            Figure::new("cpu_us", "CPU per flow", "us", Lower),
        ],
        suits: Subject::is_daemon,
        cases: |lab| lab.one(500_000),
        run,
    }
}

fn run(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    router.requests()?.fill(0, case.flows)?;
    let daemon = lab.launch(subject, &router, Buffers::LARGE, &[lab.subject_cpu])?;
    let (mut answered, mut loading) = (f64::NAN, false);
    let seconds = || daemon.started().elapsed().as_secs_f64();
    let loaded = loop {
        if let Ok(answer) = daemon.ask(Request::Stats) {
            if answered.is_nan() && !answer.is_empty() {
                answered = seconds();
            }
            loading |= answer.contains("loading");
            loading |= daemon.figures().is_ok_and(|figures| figures.state == "loading");
        }
        if daemon.flows("stats").is_ok_and(|flows| flows >= case.flows.into()) {
            break seconds();
        }
        if seconds() > 60.0 {
            bail!("it has not loaded the kernel's flows within a minute");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    daemon.settle()?;
    let values = Values::from([
        ("loaded_us", loaded * 1e6 / f64::from(case.flows)),
        ("loaded_s", loaded),
        ("answers_s", answered),
        ("says_loading", f64::from(u8::from(loading))),
        ("cpu_us", daemon.cpu_s()? * 1e6 / f64::from(case.flows)),
    ]);
    daemon.stop()?;
    Ok(values)
}
