//! Daemons under test: ours and the original, started in a namespace, asked through their own clients.

use crate::conf::Conf;
use crate::netns::Namespace;
use crate::wait::{wait_for, wait_or_tell, wait_until};
use host::control::framed;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use wire::control::framed::{Ask, Verb};

/// Seconds that a program may take to end by itself.
const CLIENT_PATIENCE_S: &str = "30";
/// The thread of our daemon that writes its log.
const LOG_THREAD: &str = "log";

/// The maker of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brand {
    /// `conntrackd` of this workspace, from `CTFLOW_BIN_DIR` or the directory the tests were built into.
    Ours,
    /// Debian's, which `cargo xtask setup` installs.
    Original,
}

impl Brand {
    /// The program's file.
    ///
    /// # Panics
    /// When it does not exist.
    #[must_use]
    pub fn program(self) -> PathBuf {
        let path = match self {
            Self::Ours => bin_dir().join("conntrackd"),
            Self::Original => PathBuf::from("/usr/sbin/conntrackd"),
        };
        assert!(path.exists(), "{} is missing: cargo xtask setup, cargo build", path.display());
        path
    }
}

fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CTFLOW_BIN_DIR") {
        return dir.into();
    }
    let test = std::env::current_exe().expect("a test knows its file");
    // target/debug/deps/netns-0123
    test.ancestors().nth(2).expect("tests are built into target/PROFILE/deps").to_owned()
}

/// Where daemons keep their files, removed after the test.
#[derive(Debug)]
pub struct Files(tempfile::TempDir);

impl Files {
    /// An empty directory.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("ctflow-").tempdir().expect("a temporary directory"))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a configuration; its path.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn conf(&self, name: &str, conf: &Conf) -> PathBuf {
        let path = self.path().join(format!("{name}.conf"));
        fs::write(&path, conf.text(self.path(), name)).expect("a configuration is written");
        path
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

/// A running daemon. It is killed when this goes.
#[derive(Debug)]
pub struct Daemon<'a> {
    namespace: &'a Namespace,
    brand: Brand,
    /// `DIR/NAME.`, to which endings are added.
    stem: String,
    child: Child,
}

impl<'a> Daemon<'a> {
    /// Writes the configuration, starts the daemon in the foreground and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(
        namespace: &'a Namespace,
        brand: Brand,
        files: &Files,
        name: &str,
        conf: &Conf,
    ) -> Self {
        let program = brand.program();
        let command = Command::new(program);
        Self::start_through(command, namespace, brand, files, name, conf)
    }

    /// As [`Daemon::start`], with a command that already has words before the daemon's own.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_through(
        command: Command,
        namespace: &'a Namespace,
        brand: Brand,
        files: &Files,
        name: &str,
        conf: &Conf,
    ) -> Self {
        let _ = files.conf(name, conf);
        Self::start_with(command, namespace, brand, files, name)
    }

    /// As [`Daemon::start_through`], with the configuration that lies in `NAME.conf`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_with(
        mut command: Command,
        namespace: &'a Namespace,
        brand: Brand,
        files: &Files,
        name: &str,
    ) -> Self {
        let stem = format!("{}/{name}.", files.path().display());
        let child = Self::launch(&mut command, namespace, &stem);
        let mut daemon = Self { namespace, brand, stem, child };
        daemon.wait_until_up();
        daemon
    }

    fn launch(command: &mut Command, namespace: &Namespace, stem: &str) -> Child {
        command.arg("-C").arg(format!("{stem}conf"));
        let out = |suffix| File::create(format!("{stem}{suffix}")).expect("a file for output");
        command.stdin(Stdio::null()).stdout(out("out")).stderr(out("err"));
        namespace.within(|| command.spawn().expect("the daemon can be started"))
    }

    /// Kills it hard and starts it again, with another configuration.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self, conf: &Conf) {
        self.kill_hard();
        // What the original leaves behind keeps it from starting.
        let _ = fs::remove_file(self.path("lock"));
        let path = self.path("conf");
        let (dir, name) = (path.parent(), path.file_stem().and_then(|name| name.to_str()));
        let text = conf.text(dir.expect("it lies in one"), name.expect("it has one"));
        fs::write(&path, text).expect("a configuration is written");
        let mut command = Command::new(self.brand.program());
        self.child = Self::launch(&mut command, self.namespace, &self.stem);
        self.wait_until_up();
    }

    /// Starts it again after it has ended, or is about to, with another configuration of which this is the text; `@`
    /// stands for its stem.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart_with(&mut self, conf: &str) {
        self.child.wait().expect("the daemon is our child");
        let stem = self.stem.trim_end_matches('.').to_owned();
        fs::write(self.path("conf"), conf.replace('@', &stem)).expect("a configuration is written");
        let mut command = Command::new(self.brand.program());
        self.child = Self::launch(&mut command, self.namespace, &self.stem);
        self.wait_until_up();
    }

    fn wait_until_up(&mut self) {
        wait_until("the daemon answers", || {
            if let Some(status) = self.child.try_wait().expect("the daemon is our child") {
                let (said, log) = (self.file("err"), self.log());
                panic!("{:?} ended: {status}\n{said}\n{log}", self.brand);
            }
            self.try_ask(&["-s"]).status.success()
        });
    }

    /// The maker of its program.
    #[must_use]
    pub const fn brand(&self) -> Brand {
        self.brand
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The path of its file with this ending (`lock`, `sock`, `log`, `conf`).
    #[must_use]
    pub fn path(&self, ending: &str) -> PathBuf {
        PathBuf::from(format!("{}{ending}", self.stem))
    }

    /// The text of that file.
    #[must_use]
    pub fn file(&self, ending: &str) -> String {
        fs::read_to_string(self.path(ending)).unwrap_or_default()
    }

    /// The daemon's status for machines.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask(&["-s", "json"])).expect("a status in JSON")
    }

    /// Policy and priority of one of its threads: fields 41 and 40 of proc_pid_stat(5). `None` without such a thread.
    #[must_use]
    pub fn scheduling(&self, thread: &str) -> Option<String> {
        let stat = self.thread_stat(thread)?;
        let words: Vec<_> = stat.split(' ').collect();
        Some(format!("{}/{}", words[40], words[39]))
    }

    /// The line of proc_pid_stat(5) about one of its threads. `None` without such a thread.
    fn thread_stat(&self, thread: &str) -> Option<String> {
        self.thread_stats().find(|stat| stat.contains(&format!("({thread})")))
    }

    /// The lines of proc_pid_stat(5) about its threads.
    fn thread_stats(&self) -> impl Iterator<Item = String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten();
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok())
    }

    /// Whether the thread that writes our log has nothing to write: it sleeps until there is something.
    fn log_is_written(&self) -> bool {
        let stat = self.thread_stat(LOG_THREAD);
        stat.is_none_or(|stat| stat.contains(&format!("({LOG_THREAD}) S")))
    }

    /// Waits until its log has these words.
    ///
    /// # Panics
    /// When it never does; shows the log.
    pub fn wait_to_say(&self, words: &str) {
        let said = || {
            let log = self.file("log");
            if log.contains(words) { Ok(()) } else { Err(log) }
        };
        wait_or_tell(said, |log| format!("never said: {words}\n{log}"));
    }

    /// Its log, from the start.
    #[must_use]
    pub fn log(&self) -> String {
        wait_until("the log is written", || self.log_is_written());
        self.file("log")
    }

    /// Runs its client.
    ///
    /// # Panics
    /// When the client cannot be started.
    #[must_use]
    pub fn try_ask(&self, args: &[&str]) -> Output {
        // A client that is never answered is a failure, not a test that hangs.
        let mut client = Command::new("timeout");
        client.arg(CLIENT_PATIENCE_S).arg(self.brand.program());
        client.arg("-C").arg(self.path("conf")).args(args);
        // The original looks up the interfaces of the configuration in its client too.
        self.namespace.within(|| client.output().expect("the client can be started"))
    }

    /// Runs a program of ours that asks it, `conntrackd` or `ctflow`, with `out` for standard output.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn ask_into(&self, program: &str, args: &[&str], out: Stdio) -> Output {
        let mut client = Command::new(Brand::Ours.program().with_file_name(program));
        client.args(args).arg("-C").arg(self.path("conf")).stdout(out).stderr(Stdio::piped());
        self.namespace.within(|| client.output().expect("the client can be started"))
    }

    /// Has ours publish how it is: statistics are what it published, up to a quarter of a second ago while it is busy.
    /// It publishes before it answers a question about its table.
    fn have_published(&self) {
        if self.brand == Brand::Ours {
            // A daemon that does not take it, as one for helpers alone, says so in an answer, too.
            let _ = framed::ask(&self.path("sock"), "", &Ask::new(Verb::Count), |_| Ok(()));
        }
    }

    /// What its client prints.
    ///
    /// # Panics
    /// When the client fails.
    pub fn ask(&self, args: &[&str]) -> String {
        if args.first() == Some(&"-s") {
            self.have_published();
        }
        let output = self.try_ask(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?} {args:?}: {said}\n{}", self.brand, self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Lines of `-i`, sorted, without ages.
    #[must_use]
    pub fn internal(&self) -> Vec<String> {
        without_ages(&self.ask(&["-i"]))
    }

    /// Lines of `-e`, sorted, without ages.
    #[must_use]
    pub fn external(&self) -> Vec<String> {
        without_ages(&self.ask(&["-e"]))
    }

    /// Lines of `-i expect`, sorted, without ages.
    #[must_use]
    pub fn internal_expectations(&self) -> Vec<String> {
        without_ages(&self.ask(&["-i", "expect"]))
    }

    /// Lines of `-e expect`, sorted, without ages.
    #[must_use]
    pub fn external_expectations(&self) -> Vec<String> {
        without_ages(&self.ask(&["-e", "expect"]))
    }

    /// A number of our statistics: the one behind `label` in what `args` print.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn stat(&self, args: &[&str], label: &str) -> u64 {
        let text = self.ask(args);
        let line = text.lines().find(|line| line.trim_start().starts_with(label));
        let line = line.unwrap_or_else(|| panic!("no line {label} in\n{text}"));
        let value = line.trim_start()[label.len()..].split_whitespace().next();
        value.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no number in {line}"))
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Panics
    /// When it is not our child any more.
    pub fn kill_hard(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("a killed daemon ends");
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Stops all its threads, and waits until none runs any more: the signal alone leaves them time to go on.
    ///
    /// # Panics
    /// When it has ended, or a thread goes on.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
        wait_until("its threads are stopped", || {
            self.thread_stats()
                .all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
        });
    }

    /// Has another configuration read; until the log says these words once more.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn reload(&self, text: &str, words: &str) {
        let before = self.log().matches(words).count();
        // At once: clients read it too.
        fs::write(self.path("new"), text).expect("a configuration is written");
        fs::rename(self.path("new"), self.path("conf")).expect("it is there");
        self.signal(rustix::process::Signal::HUP);
        wait_until(words, || self.log().matches(words).count() > before);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait_for("the daemon ends", || self.child.try_wait().expect("it is our child"))
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// When it is not our child any more.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Bytes of memory it has in use.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn memory(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("it runs");
        let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok());
        pages.expect("the second word is the resident set") * 4096
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let (said, log) = (self.file("err"), self.log());
            eprintln!("--- {} ({:?})\n{said}{log}", self.stem, self.brand);
        }
    }
}

/// Runs our program with arguments to its end, inside of `namespace`. One that does not end gives code 124.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run_ours(namespace: &Namespace, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg(CLIENT_PATIENCE_S).arg(Brand::Ours.program()).args(args);
    namespace.within(|| command.output().expect("it can be started"))
}

/// Runs our program `ctflow` with arguments to its end, inside of `namespace`.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run_ctflow(namespace: &Namespace, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg(CLIENT_PATIENCE_S).arg(bin_dir().join("ctflow")).args(args);
    namespace.within(|| command.output().expect("it can be started"))
}

fn without_ages(text: &str) -> Vec<String> {
    let strip = |line: String, words: &str| {
        let Some((head, tail)) = line.split_once(words) else { return line };
        let rest = tail.split_once(']').map_or("", |(_, rest)| rest);
        format!("{head}{rest}")
    };
    let strip = |line: &str| strip(strip(line.to_owned(), " [expires in "), " [active since ");
    let mut lines: Vec<_> = text.lines().map(strip).collect();
    lines.sort();
    lines
}
