//! The download that must survive, and the reports of its two ends.

use super::clock::Moment;
use super::network::Node;
use super::node::Report;
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// This program, even when a build has just replaced its file.
pub(super) fn this_program() -> String {
    format!("/proc/{}/exe", std::process::id())
}

/// A role of `demo-node` on a machine.
pub(super) fn node(on: Node, role: &[&str]) -> Command {
    let mut command = on.command(this_program());
    command.arg("demo-node").args(role).stdin(Stdio::null());
    command
}

/// Reports of the two ends that wait to be read; an end that reports more waits.
const REPORTS_MAX: usize = 1000;

/// A running or ended transfer.
pub(super) struct Transfer {
    reports: Receiver<(Node, Report)>,
    reporter: SyncSender<(Node, Report)>,
    /// Bytes that came to the client.
    pub(super) bytes: u64,
    /// When the client last reported that bytes came.
    pub(super) heard: Moment,
    /// When the client heard nothing, from and to.
    pub(super) silences: Vec<(Moment, Moment)>,
    /// How it ended at the client.
    pub(super) client: Option<Report>,
    /// How it ended at the server.
    pub(super) server: Option<Report>,
}

impl Transfer {
    /// Starts the server and, when it listens, the client, which gives up after so many seconds of silence.
    pub(super) fn start(patience: u64) -> Result<Self> {
        let (reporter, reports) = sync_channel(REPORTS_MAX);
        let transfer = Self {
            reports,
            reporter,
            bytes: 0,
            heard: Moment::now(),
            silences: Vec::new(),
            client: None,
            server: None,
        };
        transfer.spawn(Node::Server, &["server"])?;
        let ready = transfer.reports.recv_timeout(Duration::from_secs(10));
        ensure!(matches!(ready, Ok((Node::Server, Report::Ready))), "the server does not listen");
        transfer.spawn(Node::Client, &["client", &patience.to_string()])?;
        Ok(transfer)
    }

    fn spawn(&self, on: Node, role: &[&str]) -> Result<()> {
        let mut child = node(on, role).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let reporter = self.reporter.clone();
        thread::spawn(move || {
            for report in lines.map_while(|line| line.ok()?.parse().ok()) {
                // The receiver is gone when the demonstration has ended.
                let _ = reporter.send((on, report));
            }
            let _ = child.wait();
        });
        Ok(())
    }

    /// Takes the reports of both ends, waiting a little when there are none.
    pub(super) fn listen(&mut self) {
        let mut patience = Duration::from_millis(20);
        loop {
            match self.reports.recv_timeout(patience) {
                Ok((on, report)) => self.take(on, report),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
            patience = Duration::ZERO;
        }
    }

    fn take(&mut self, on: Node, report: Report) {
        match report {
            Report::Ready => {}
            Report::At(at, bytes) => (self.heard, self.bytes) = (at, bytes),
            Report::Silence(from, to) => self.silences.push((from, to)),
            Report::Done(_, bytes, _) | Report::Broken(_, bytes, _) => {
                if on == Node::Client {
                    self.bytes = bytes;
                }
                let end = if on == Node::Client { &mut self.client } else { &mut self.server };
                *end = Some(report);
            }
        }
    }

    /// The client's longest silence that ended after a moment.
    pub(super) fn silence_after(&self, moment: Moment) -> Option<(Moment, Moment)> {
        let after = self.silences.iter().filter(|(_, to)| *to > moment);
        after.max_by_key(|(from, to)| to.0 - from.0).copied()
    }
}
