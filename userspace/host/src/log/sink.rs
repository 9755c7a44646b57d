//! The end of a log where lines are written.

use super::journal::Journal;
use super::record::Record;
use super::{Form, Level, Losses, Places, Style};
use crate::bounded::{Receiver, Sender};
use crate::files::{self, Purpose};
use crate::sys;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::sync::Arc;

/// Bytes gathered before they are written, unless nothing more is waiting.
const GATHER_LEN: usize = 64 << 10;
const NS_PER_S: u64 = 1_000_000_000;

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    /// Nanoseconds since 1970.
    pub(super) wall_ns: u64,
    pub(super) record: Record,
}

/// A job for the writer thread.
#[derive(Debug)]
pub(super) enum Job {
    /// Write it.
    Line(Line),
    /// Write to another place from here on.
    Switch(Box<Sink>),
    /// Let standard error go to the file.
    TakeStderr,
    /// Say when all before is written.
    Flush(Sender<()>),
}

/// Where lines are written. A place that fails is passed over, and its lines are counted.
#[derive(Debug)]
pub(super) struct Sink {
    form: Form,
    file: Option<File>,
    syslog: Option<i32>,
    console: bool,
    style: Style,
    journal: Option<Journal>,
    least: Level,
    losses: Arc<Losses>,
    /// Whether standard error goes to the file.
    owns_stderr: bool,
    /// Bytes for the file, and the lines they are.
    gathered: Vec<u8>,
    gathered_lines: u64,
    /// The last second and its text.
    time: (i64, String),
}

impl Sink {
    pub(super) fn open(form: Form, places: &Places, losses: Arc<Losses>) -> io::Result<Self> {
        let open = |path| files::open_for(path, Purpose::Log);
        if places.syslog.is_some() {
            sys::open_syslog();
        }
        Ok(Self {
            form,
            file: places.file.as_deref().map(open).transpose()?,
            syslog: places.syslog,
            console: places.console,
            style: places.style,
            journal: places.journal.as_deref().map(Journal::open).transpose()?,
            least: places.least,
            losses,
            owns_stderr: false,
            gathered: Vec::new(),
            gathered_lines: 0,
            time: (i64::MIN, String::new()),
        })
    }

    /// Works until no thread can log any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            self.carry_out(job);
            while self.gathered.len() < GATHER_LEN
                && let Ok(job) = jobs.try_recv()
            {
                self.carry_out(job);
            }
            self.flush();
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Line(line) => self.add(&line),
            Job::Switch(sink) => {
                self.flush();
                let owns_stderr = self.owns_stderr;
                *self = *sink;
                if owns_stderr {
                    self.take_stderr();
                }
            }
            Job::TakeStderr => self.take_stderr(),
            Job::Flush(done) => {
                self.flush();
                let _ = done.send(());
            }
        }
    }

    /// Gives the file to user `uid`, if it is a file and root's.
    pub(super) fn give_to(&self, uid: u32) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let found = file.metadata()?;
        if found.is_file() && found.uid() == 0 { fchown(file, Some(uid), None) } else { Ok(()) }
    }

    /// Lets standard error go to the file.
    pub(super) fn take_stderr(&mut self) {
        self.owns_stderr = true;
        if let Some(file) = &self.file {
            // Should it fail, last words are lost, as they were before.
            let _ = rustix::stdio::dup2_stderr(file);
        }
    }

    /// Writes a line, but into the file only with the next [`Sink::flush`].
    pub(super) fn add(&mut self, line: &Line) {
        let record = &line.record;
        if record.level < self.least {
            return;
        }
        if let Some(facility) = self.syslog {
            sys::syslog(facility | record.level.priority(), &record.text);
        }
        if let Some(journal) = &self.journal {
            match journal.send(record) {
                Ok(()) => self.losses.regain(),
                Err(_) => self.losses.lose(1),
            }
        }
        if self.file.is_none() && !self.console {
            return;
        }
        let text = self.dress(line);
        if self.console {
            let to_error = record.level >= Level::Warning;
            let _ = if to_error {
                io::stderr().write_all(text.as_bytes())
            } else {
                io::stdout().write_all(text.as_bytes())
            };
        }
        if self.file.is_some() {
            self.gathered.extend_from_slice(text.as_bytes());
            self.gathered_lines += 1;
        }
    }

    fn dress(&mut self, Line { wall_ns, record }: &Line) -> String {
        let wall_s = (wall_ns / NS_PER_S) as i64;
        if self.time.0 != wall_s {
            let text = match self.style {
                Style::Plain => sys::local_time(wall_s),
                Style::Json => sys::utc_time(wall_s),
            };
            self.time = (wall_s, text);
        }
        let time = &self.time.1;
        let Record { level, text, .. } = record;
        match (self.style, self.form) {
            (Style::Json, _) => {
                let us = wall_ns % NS_PER_S / 1000;
                record.json(&format!("{time}.{us:06}Z"))
            }
            (Style::Plain, Form::Daemon) => {
                format!("[{time}] (pid={}) [{}] {text}\n", std::process::id(), level.word())
            }
            (Style::Plain, Form::Record) => format!("{time}\t{text}\n"),
        }
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) {
        let lines = std::mem::take(&mut self.gathered_lines);
        let Some(file) = self.file.as_mut().filter(|_| lines > 0) else { return };
        match file.write_all(&self.gathered) {
            Ok(()) => self.losses.regain(),
            Err(_) => self.losses.lose(lines),
        }
        self.gathered.clear();
    }
}
