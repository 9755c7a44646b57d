//! Log lines, in the forms conntrackd has always written them.
//!
//! ```text
//! [Mon Nov 23 16:53:17 2026] (pid=23583) [notice] Committed 8 new entries
//! Mon Nov 23 17:08:51 2026<TAB>udp      17 src=10.9.0.1 dst=10.9.0.2 ...
//!
//!   engine's thread --line--> queue --> writer thread --> file, syslog, console
//!                       \-- full: counted
//! ```
//!
//! A disk that is slow or full must not stop replication: once [`Log::run_behind`] was called, writing a line only
//! queues it. Lines that find no room, or that the file does not take, are counted, and [`Log::take_regained`] says
//! how many they were when lines get through again.

use crate::bounded::{self, Sender};
use crate::clock;
use std::io;
use std::panic::{self, PanicHookInfo};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

pub mod record;
pub mod journal;
mod sink;

use record::{Code, Fields, Record};

use sink::{Job, Line, Sink};

/// Lines that may wait for the disk.
const QUEUE_LEN: usize = 65_536;
/// Name of the threads that write logs.
const THREAD: &str = "log";
/// How long the end of the program waits for the disk.
const FINISH_PATIENCE: Duration = Duration::from_secs(2);

/// How much a line matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Happens in normal operation.
    #[default]
    Info,
    /// A change of role, a command, a milestone.
    Notice,
    /// Something was lost or is not as asked.
    Warning,
    /// Something cannot go on.
    Error,
}

impl Level {
    /// The word in the line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "ERROR",
        }
    }

    pub(crate) const fn priority(self) -> i32 {
        match self {
            Self::Info => libc::LOG_INFO,
            Self::Notice => libc::LOG_NOTICE,
            Self::Warning => libc::LOG_WARNING,
            Self::Error => libc::LOG_ERR,
        }
    }
}

/// What a line looks like in a file. Syslog gets the text alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Time, process and level in front: the daemon's own log.
    #[default]
    Daemon,
    /// Time and a tabulator in front: the log of ended flows.
    Record,
}

/// How lines are written to the file and the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As [`Form`] says.
    #[default]
    Plain,
    /// One object of JSON a line.
    Json,
}

/// Where log lines are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// How they look in the file and on the console.
    pub style: Style,
    /// The socket of journald, where it gets them.
    pub journal: Option<PathBuf>,
    /// Lines that matter less go nowhere.
    pub least: Level,
    /// Appended to.
    pub file: Option<PathBuf>,
    /// A `LOG_*` facility number.
    pub syslog: Option<i32>,
    /// Standard output; from warnings up, standard error.
    pub console: bool,
}

impl Places {
    /// Whether lines go anywhere.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.file.is_some() || self.syslog.is_some() || self.console || self.journal.is_some()
    }
}

/// A log.
#[derive(Debug)]
pub struct Log {
    form: Form,
    sink: Mutex<Option<Sink>>,
    queue: OnceLock<Sender<Job>>,
    losses: Arc<Losses>,
}

/// Lines lost, by what became known of them.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    lost: AtomicU64,
    regained: AtomicU64,
    /// Since the log was opened, reported or not.
    total: AtomicU64,
}

impl Losses {
    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        self.total.fetch_add(lines, Ordering::Relaxed);
    }

    /// A line got through: the loss before it can be reported.
    fn regain(&self) {
        if self.lost.load(Ordering::Relaxed) > 0 {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            self.regained.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

impl Log {
    /// Opens what was asked for.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(form: Form, places: &Places) -> io::Result<Self> {
        let losses = Arc::<Losses>::default();
        let sink = Sink::open(form, places, Arc::clone(&losses))?;
        Ok(Self { form, sink: Mutex::new(Some(sink)), queue: OnceLock::new(), losses })
    }

    /// From here on, lines are written by a thread, and [`Log::line`] does not wait. Not before the fork of a daemon.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn run_behind(&self) -> io::Result<()> {
        // A thread that finds no sink behind this lock finds the queue.
        let mut held = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sink) = held.take() else { return Ok(()) };
        let (sender, jobs) = bounded::channel(QUEUE_LEN);
        thread::Builder::new().name(THREAD.into()).spawn(move || sink.run(&jobs))?;
        // Set once only: the sink was there to take.
        let _ = self.queue.set(sender);
        Ok(())
    }

    /// Opens the file again, under the name it has now, and writes to `places` from here on. Lines written before
    /// still go to the old ones.
    ///
    /// # Errors
    /// When the file cannot be opened, or the disk takes nothing; then all stays as it is.
    pub fn reopen(&self, places: &Places) -> io::Result<()> {
        let sink = Sink::open(self.form, places, Arc::clone(&self.losses))?;
        match self.queue.get() {
            Some(queue) => queue
                .send_within(FINISH_PATIENCE, Job::Switch(Box::new(sink)))
                .map_err(|_| io::ErrorKind::TimedOut.into()),
            None => {
                *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
                Ok(())
            }
        }
    }

    /// Gives the file to user `uid`, who may then open it again, if it is a file of root's. Before [`Log::run_behind`]:
    /// the thread has it afterwards.
    ///
    /// # Errors
    /// As `fchown(2)`.
    pub fn give_to(&self, uid: u32) -> io::Result<()> {
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.as_ref().map_or(Ok(()), |sink| sink.give_to(uid))
    }

    /// From here on, what is written to standard error goes to the log's file: the daemon has left
    /// its terminal, and the runtime's last words (out of memory, stack overflow) go there. Without
    /// a file nothing changes.
    pub fn take_stderr(&self) {
        if let Some(queue) = self.queue.get() {
            let _ = queue.send(Job::TakeStderr);
        } else if let Some(sink) = &mut *self.sink.lock().unwrap_or_else(PoisonError::into_inner) {
            sink.take_stderr();
        }
    }

    /// From here on, every panic of every thread is a line of this log, besides what is written to
    /// standard error.
    pub fn report_panics(self: &Arc<Self>) {
        let log = Arc::clone(self);
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            log.record(Level::Error, Code::Panic, describe(info), Fields::new());
            // The process may end with this thread. The thread that writes the log cannot wait for
            // itself.
            if thread::current().name() != Some(THREAD) {
                log.finish();
            }
            before(info);
        }));
    }

    /// Waits until what was logged so far is written, or the disk has had its time.
    pub fn finish(&self) {
        let Some(queue) = self.queue.get() else { return };
        let (done, is_done) = bounded::channel(1);
        if queue.send_within(FINISH_PATIENCE, Job::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FINISH_PATIENCE);
        }
    }

    /// Lines that were lost before the last one that got through, and were not reported yet.
    #[must_use]
    pub fn take_regained(&self) -> u64 {
        self.losses.regained.swap(0, Ordering::Relaxed)
    }

    /// Lines that were lost since the log was opened, reported or not.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.losses.total.load(Ordering::Relaxed)
    }

    /// Writes a line everywhere.
    pub fn line(&self, level: Level, text: &str) {
        self.record(level, Code::Message, text, Fields::new());
    }

    /// Writes a line with what it says to machines.
    pub fn record(&self, level: Level, code: Code, text: impl AsRef<str>, fields: Fields) {
        let record = Record { level, code, text: text.as_ref().to_owned(), fields };
        let line = Line { wall_ns: clock::wall_ns(), record };
        if self.queue.get().is_none()
            && let Some(sink) = &mut *self.sink.lock().unwrap_or_else(PoisonError::into_inner)
        {
            sink.add(&line);
            sink.flush();
            return;
        }
        if self.queue.get().is_some_and(|queue| queue.send(Job::Line(line)).is_err()) {
            self.losses.lose(1);
        }
    }

    /// Writes a line that says what happened in normal operation.
    pub fn info(&self, text: impl AsRef<str>) {
        self.line(Level::Info, text.as_ref());
    }

    /// Writes a line about a milestone.
    pub fn notice(&self, text: impl AsRef<str>) {
        self.line(Level::Notice, text.as_ref());
    }

    /// Writes a line about a loss.
    pub fn warning(&self, text: impl AsRef<str>) {
        self.line(Level::Warning, text.as_ref());
    }

    /// Writes a line about a failure.
    pub fn error(&self, text: impl AsRef<str>) {
        self.line(Level::Error, text.as_ref());
    }
}

/// Thread, place and message of a panic, on one line.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without name");
    let message = info.payload_as_str().unwrap_or("no message").replace('\n', "; ");
    match info.location() {
        Some(place) => format!("thread {name} panicked at {place}: {message}"),
        None => format!("thread {name} panicked: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_line_with_thread_place_and_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let places = Places { file: Some(path.clone()), ..Places::default() };
        let log = Arc::new(Log::open(Form::Daemon, &places).unwrap());
        log.run_behind().unwrap();
        log.report_panics();
        let body = || panic!("the sky\nfell");
        let thread = thread::Builder::new().name("shard-7".into()).spawn(body).unwrap();
        assert!(thread.join().is_err());
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("[ERROR] thread shard-7 panicked at "), "{text}");
        assert!(text.contains("log.rs:") && text.contains(": the sky; fell\n"), "{text}");
    }

    #[test]
    fn lines_below_the_level_go_nowhere_and_json_is_for_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = Some(path.clone());
        let places = Places { file: file.clone(), least: Level::Warning, ..Places::default() };
        let log = Log::open(Form::Daemon, &places).unwrap();
        log.notice("no");
        log.warning("yes");
        log.reopen(&Places { style: Style::Json, file: file.clone(), ..Places::default() })
            .unwrap();
        log.record(Level::Info, Code::Ready, "now", vec![("n", 7.into())]);
        let text = std::fs::read_to_string(path).unwrap();
        let [plain, json] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(plain.ends_with(&format!("(pid={}) [warning] yes", std::process::id())), "{plain}");
        let (ts, rest) = json.split_once("Z\"").unwrap();
        assert_eq!(rest, r#","level":"info","code":"ready","msg":"now","n":7}"#);
        assert_eq!(ts.len(), r#"{"ts":"2026-11-28T14:03:27.123456"#.len(), "{ts}");
    }

    #[test]
    fn a_file_that_takes_nothing_loses_lines_and_they_are_told_when_another_takes_some() {
        let full = Places { file: Some("/dev/full".into()), ..Places::default() };
        let log = Log::open(Form::Record, &full).unwrap();
        log.run_behind().unwrap();
        (0..10).for_each(|n| log.info(format!("line {n}")));
        log.finish();
        assert_eq!(log.take_regained(), 0, "nothing got through yet");
        log.reopen(&Places { file: Some("/dev/null".into()), ..Places::default() }).unwrap();
        log.info("through");
        log.finish();
        assert_eq!(log.take_regained(), 10);
        assert_eq!(log.take_regained(), 0);
        assert_eq!(log.lost_total(), 10);
    }
}
