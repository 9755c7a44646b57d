//! `ctflow metrics`: what the daemon would serve over HTTP, once, for textfile collectors.

use super::{Daemon, print};
use crate::conf;
use crate::metrics::{Limits, Sample, text};
use crate::print::status::Status;
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use export::exposition::Form;
use host::files;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};
use wire::control::Request;

/// How long the daemon may take to answer. One that is busy takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// What may be read by everybody: the collector is another user.
const MODE: u32 = 0o644;

pub(super) const MORE: &str = "\
Metrics are listed in docs/spec/metrics.md. Without a daemon that answers, the kernel's are shown, and ctflow_up 0.
  ctflow metrics --output /var/lib/prometheus/node-exporter/ctflow.prom
Exit codes: 0 shown or written, 2 nothing could be read or written.";

/// What to show, and where.
#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    daemon: Daemon,
    /// Prometheus' text format 0.0.4, or OpenMetrics 1.0
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write this file, which is replaced at once, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Ask the kernel alone
    #[arg(long)]
    no_daemon: bool,
}

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Prometheus' text format 0.0.4
    #[default]
    Text,
    /// OpenMetrics 1.0
    Openmetrics,
}

impl From<Format> for Form {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Openmetrics => Self::OpenMetrics,
        }
    }
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let began = Instant::now();
    let status = if options.no_daemon { None } else { status(&options.daemon) };
    let sample = Sample::of_system(status.as_ref().map(|status| status.pid));
    if status.is_none() && sample.kernel.is_none() {
        bail!("neither the daemon nor the kernel tells anything (is this root?)");
    }
    let sample =
        Sample { status, limits: limits(&options.daemon), took: began.elapsed(), ..sample };
    let text = text(sample, options.format.into());
    match &options.output {
        None => print(&text)?,
        Some(path) => files::replace(path, text.as_bytes(), MODE)
            .with_context(|| format!("cannot write {}", path.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The daemon's status, if it answers; otherwise a line says why it does not.
fn status(daemon: &Daemon) -> Option<Status> {
    let (answered, answer) = sync_channel(1);
    let asked = daemon.clone();
    // A thread that waits for a daemon that hangs ends with this program.
    thread::spawn(move || {
        let status = asked.ask(Request::StatsJson).and_then(|text| {
            let status = serde_json::from_str(&text);
            status
                .context("the daemon's answer is not understood (is it ours, and of this version?)")
        });
        // The receiver may be gone.
        let _ = answered.send(status);
    });
    match answer.recv_timeout(PATIENCE) {
        Ok(Ok(status)) => return Some(status),
        Ok(Err(error)) => eprintln!("ctflow: {error:#}"),
        Err(_) => eprintln!("ctflow: the daemon said nothing within {} s", PATIENCE.as_secs()),
    }
    None
}

/// The limits of the configuration, if it can be read.
fn limits(daemon: &Daemon) -> Limits {
    let name = daemon.config.display().to_string();
    let conf = conf::text(&daemon.config).ok().and_then(|text| conf::parse(&text, &name).ok());
    let metrics = conf.and_then(|(conf, _)| conf.metrics);
    metrics.as_ref().map(Limits::from).unwrap_or_default()
}
