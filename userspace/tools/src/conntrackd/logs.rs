//! Where the daemon's lines go: its own, and those about ended flows.

pub mod reference;

use super::plan::Plan;
use crate::conf::LogJournal;
use anyhow::{Context, Result};
use host::log::record::Code;
use host::log::{Form, Level, Log, Places, journal};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The logs of a daemon.
#[derive(Clone, Debug)]
pub struct Logs {
    /// The daemon's own.
    pub log: Arc<Log>,
    /// Ended flows, in statistics mode.
    pub records: Option<Arc<Log>>,
    /// Whether the daemon's own lines go to the terminal too.
    console: bool,
}

impl Logs {
    /// Opens the logs of `plan`; `console` for the terminal too.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn open(plan: &Plan, console: bool) -> Result<Self> {
        let log = open(Form::Daemon, &places(plan, console))?;
        let records = plan.records.as_ref().map(|places| open(Form::Record, places));
        Ok(Self { log, records: records.transpose()?, console })
    }

    /// The logs of `plan` in place of these. Files are opened again, under the names they have now; one that cannot
    /// be opened is reported, and the old one stays.
    ///
    /// # Errors
    /// When there was no log of ended flows before and it cannot be opened.
    pub fn reopened(&self, plan: &Plan) -> Result<Self> {
        let log = Arc::clone(&self.log);
        if let Err(error) = log.reopen(&places(plan, self.console)) {
            log.error(format!("the log file stays as it is: {error}"));
        }
        let records = match (&self.records, &plan.records) {
            (_, None) => None,
            (Some(records), Some(places)) => {
                if let Err(error) = records.reopen(places) {
                    log.error(format!("the statistics log file stays as it is: {error}"));
                }
                Some(Arc::clone(records))
            }
            (None, Some(places)) => {
                let records = open(Form::Record, places)?;
                records.run_behind().context("starting the log's thread")?;
                Some(records)
            }
        };
        Ok(Self { log, records, console: self.console })
    }

    /// Gives files of root's to user `uid`, who opens them again at a reload.
    ///
    /// # Errors
    /// As `fchown(2)`.
    pub fn give_to(&self, uid: u32) -> io::Result<()> {
        self.all().try_for_each(|log| log.give_to(uid))
    }

    /// Has threads write them from here on.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn run_behind(&self) -> io::Result<()> {
        self.all().try_for_each(|log| log.run_behind())
    }

    /// Waits until what was logged so far is written.
    pub fn finish(&self) {
        self.all().for_each(|log| log.finish());
    }

    /// How many lines the disk did not take so far.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.all().map(|log| log.lost_total()).sum()
    }

    /// Says how many lines the disk did not take.
    pub fn log_losses(&self) {
        for log in self.all() {
            let lines = log.take_regained();
            if lines > 0 {
                let which = if Arc::ptr_eq(log, &self.log) { "log" } else { "statistics log" };
                let text = format!("{lines} lines of the {which} were lost");
                let fields = vec![("lines", lines.into())];
                self.log.record(Level::Warning, Code::LinesLost, text, fields);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Log>> {
        self.records.iter().chain([&self.log])
    }
}

/// Where the daemon's own lines go. What standard error shows in the journal is not sent there twice.
fn places(plan: &Plan, console: bool) -> Places {
    let is_there = journal::is_stderr();
    let wanted = match plan.journal {
        LogJournal::Auto => is_there && console,
        LogJournal::On => true,
        LogJournal::Off => false,
    };
    Places {
        console: console && !(wanted && is_there),
        journal: wanted.then(|| journal::SOCKET.into()),
        ..plan.log.clone()
    }
}

fn open(form: Form, places: &Places) -> Result<Arc<Log>> {
    let log = Log::open(form, places).with_context(|| {
        let path = places.file.as_deref().unwrap_or(Path::new(""));
        format!("cannot open the log file {}", path.display())
    });
    Ok(Arc::new(log?))
}
