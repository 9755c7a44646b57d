//! Being a daemon: the lock file, the way into the background.

use crate::sys;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Why a daemon may not run.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody holds the lock.
    #[error("lock file {0} is held: another instance is running")]
    Held(PathBuf),
    /// Somebody answers on the control socket.
    #[error("a daemon answers on {0}: another instance is running")]
    Answering(PathBuf),
    /// The file cannot be made.
    #[error("lock file {0}: {1}")]
    Io(PathBuf, io::Error),
}

/// The lock file, held while this lives and removed after.
///
/// The lock is the kernel's, not the file's existence: a file left behind by a daemon that was killed is taken over.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    file: File,
    owner: u32,
}

impl LockFile {
    /// Takes the lock. `control` is the control socket's path: conntrackd locks by the file's existence alone, so a
    /// live one is recognised by its answering there.
    ///
    /// # Errors
    /// When another instance runs, or the file cannot be made.
    pub fn take(path: &Path, control: Option<&Path>) -> Result<Self, LockError> {
        let io = |e| LockError::Io(path.to_owned(), e);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(path.to_owned())),
            Err(e) => return Err(io(e.into())),
        }
        if let Some(control) = control.filter(|c| UnixStream::connect(c).is_ok()) {
            return Err(LockError::Answering(control.to_owned()));
        }
        let mut lock = Self { path: path.to_owned(), file, owner: 0 };
        lock.sign().map_err(io)?;
        Ok(lock)
    }

    /// Writes the process id into the file; again after a fork.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn sign(&mut self) -> io::Result<()> {
        self.owner = std::process::id();
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", self.owner)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // The parent of a daemon holds a copy of this and must leave the file to its child.
        if self.owner == std::process::id() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Which side of the fork one is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The process that was started; it is to exit.
    Parent,
    /// The daemon.
    Child,
}

/// Goes into the background: forks, and in the child becomes a session leader with the standard streams on
/// `/dev/null`. Must be called before any thread exists.
///
/// # Errors
/// As `fork(2)`, `setsid(2)` and `open(2)`.
pub fn daemonize() -> io::Result<Fork> {
    if sys::fork()?.is_some() {
        return Ok(Fork::Parent);
    }
    rustix::process::setsid()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(Fork::Child)
}
