//! What the daemon answers over HTTP: metrics, readiness, health.

use super::serve::Service;
use crate::metrics::{self, Limits, Sample};
use crate::print::stats::Report;
use crate::print::status::{Status, readiness};
use export::exposition::Form;
use export::http::Answers;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

/// How long the engine may take to report its state.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a sample is good for others who ask.
const FRESH: Duration = Duration::from_secs(1);

/// What answers are made of.
#[derive(Debug)]
pub struct Endpoint {
    service: Arc<Service>,
    limits: Limits,
    /// The last sample, and when it was taken. A client that asks while one is taken waits for that one.
    kept: Mutex<Option<(Instant, Sample)>>,
}

impl Endpoint {
    /// Answers for `service`.
    #[must_use]
    pub fn new(service: Arc<Service>, limits: Limits) -> Self {
        Self { service, limits, kept: Mutex::default() }
    }

    /// The state of the engine, unless it does not answer in time.
    async fn report(&self) -> Option<Report> {
        timeout(PATIENCE, self.service.report()).await.ok()?.ok()
    }

    async fn sample(&self) -> Sample {
        let mut kept = self.kept.lock().await;
        if let Some((taken, sample)) = &*kept
            && taken.elapsed() < FRESH
        {
            return sample.clone();
        }
        let began = Instant::now();
        let pid = Some(std::process::id());
        let system = spawn_blocking(move || Sample::of_system(pid));
        let (report, system) = tokio::join!(self.report(), system);
        // The task can only have panicked.
        let mut sample =
            system.unwrap_or_else(|_| Sample { incomplete: true, ..Sample::default() });
        sample.status = report.as_ref().map(Status::of);
        sample.incomplete |= sample.status.is_none();
        sample.limits = self.limits;
        sample.took = began.elapsed();
        *kept = Some((Instant::now(), sample.clone()));
        sample
    }
}

impl Answers for Endpoint {
    async fn metrics(&self, form: Form) -> String {
        metrics::text(self.sample().await, form)
    }

    async fn ready(&self) -> Result<(), Vec<String>> {
        let Some(report) = self.report().await else {
            return Err(vec!["the engine does not answer".into()]);
        };
        let texts = |reasons: Vec<crate::print::status::NotReady>| {
            reasons.iter().map(|reason| reason.text().to_owned()).collect()
        };
        readiness(&report.snapshot).map_err(texts)
    }

    async fn is_healthy(&self) -> bool {
        self.report().await.is_some()
    }
}
