//! Being a daemon: the lock file, the way into the background.

use crate::sys;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
    /// There is a device, or something else that is not a file.
    #[error("lock file {0}: there is something else than a file")]
    NoFile(PathBuf),
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
        let file = loop {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600);
            let file = options.open(path).map_err(io)?;
            // It is removed in the end: nobody shall lose a device to a slip in the configuration.
            if !file.metadata().map_err(io)?.is_file() {
                return Err(LockError::NoFile(path.to_owned()));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(path.to_owned())),
                Err(e) => return Err(io(e.into())),
            }
            // Whoever held it may have removed it between the two calls: then this is a lock on a file without name,
            // which keeps nobody out.
            if is_at(&file, path).map_err(io)? {
                break file;
            }
        };
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

/// Whether the file is the one with this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
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
#[derive(Debug)]
pub enum Fork {
    /// The process that was started; it is to wait for the daemon and to exit.
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

/// Tells the parent.
#[derive(Debug)]
pub struct Child {
    pipe: PipeWriter,
}

impl Child {
    /// Leaves the terminal (the standard streams go to `/dev/null`) and the directory, then tells the parent that the
    /// daemon is ready. What goes wrong until then can be said on the terminal.
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
