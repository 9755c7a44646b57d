//! Failures: from a plan to the task that reports them.

use super::plan::Plan;
use crate::conf::{FailuresConf, Report};
use anyhow::{Context, Result};
use export::failures::{Failures, Parts};
use host::log::Log;
use host::source::failure::Probes;
use std::sync::Arc;
use std::time::Duration;

/// Loads the programs that the plan asks for; `None` where failures are not reported. A program that cannot be loaded
/// does not stop the daemon: the log says so, and the kernel's counters supply the rest.
#[must_use]
pub fn open(plan: &Plan, log: &Arc<Log>) -> Option<Parts> {
    let FailuresConf { report, events_per_second, log_every_s } = plan.failures?;
    let probes = (report != Report::Off).then(|| Probes::open(events_per_second));
    let probes = match probes {
        None => None,
        Some(Ok(probes)) => {
            for missing in probes.missing() {
                log.notice(format!("Failures: cannot look at {missing}"));
            }
            Some(probes)
        }
        Some(Err(error)) => {
            let error = error.on_one_line();
            let text = format!("Failures: the kernel's counters alone tell of them: {error}");
            if report == Report::On {
                log.warning(text);
            } else {
                log.notice(text);
            }
            None
        }
    };
    let log_every = Duration::from_secs(log_every_s.into());
    Some(Parts { probes, log_every, log: Arc::clone(log) })
}

/// Starts the task, on the runtime of who calls this.
///
/// # Errors
/// When the ring cannot be waited for.
pub fn start(parts: Option<Parts>) -> Result<Option<Failures>> {
    parts.map(Failures::start).transpose().context("waiting for failures")
}
