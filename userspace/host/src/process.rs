//! Being a daemon: the way into the background.

use crate::sys;
use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter, Read, Write};

/// Holds back the signals that would end the daemon before it listens to them, though they are not
/// meant to: SIGHUP, SIGUSR1 and SIGUSR2. Threads made from here on hold them back too.
///
/// # Errors
/// As `sigprocmask(2)`.
pub fn hold_signals() -> io::Result<()> {
    sys::mask_signals(&HELD, true)
}

/// Lets them through to the calling thread.
///
/// # Errors
/// As `sigprocmask(2)`.
pub fn release_signals() -> io::Result<()> {
    sys::mask_signals(&HELD, false)
}

const HELD: [i32; 3] = [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// The side of the fork on which the caller is.
#[derive(Debug)]
pub enum Fork {
    /// The process that was started; it waits for the daemon and exits.
    Parent(Parent),
    /// The daemon.
    Child(Child),
}

/// Waits for the daemon.
#[derive(Debug)]
pub struct Parent {
    /// The daemon's process id.
    pub daemon: u32,
    pipe: PipeReader,
}

impl Parent {
    /// Waits until the daemon is ready, or has ended, which is false.
    #[must_use]
    pub fn is_daemon_ready(mut self) -> bool {
        self.pipe.read_exact(&mut [0]).is_ok()
    }
}

/// Reports the start's success or failure to the parent process.
#[derive(Debug)]
pub struct Child {
    pipe: PipeWriter,
}

impl Child {
    /// Leaves the terminal (the standard streams go to `/dev/null`) and the directory, then reports to the parent that
    /// the daemon is ready. Until then, errors can be written to the terminal.
    ///
    /// # Errors
    /// As `open(2)` and `dup(2)`.
    pub fn is_ready(mut self) -> io::Result<()> {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        std::env::set_current_dir("/")?;
        self.pipe.write_all(&[1])
    }
}

/// Goes into the background: forks, and becomes a session leader in the child. Must be called before any thread exists.
///
/// # Errors
/// As `pipe(2)`, `fork(2)` and `setsid(2)`.
pub fn daemonize() -> io::Result<Fork> {
    let (reader, writer) = io::pipe()?;
    if let Some(pid) = sys::fork()? {
        return Ok(Fork::Parent(Parent { daemon: pid.unsigned_abs(), pipe: reader }));
    }
    rustix::process::setsid()?;
    Ok(Fork::Child(Child { pipe: writer }))
}

/// What this host calls itself, uname(2).
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
