//! Files the daemon opens by a name from its configuration.
//!
//! It runs as root, and some of these names lie in directories other users may write to. So no open
//! follows a link, waits for the other end of a FIFO, or hands out a file of the wrong kind; what
//! the daemon creates only its owner can read, whatever the umask is.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, CWD, Mode, OFlags, fchmod, open};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The mode of every file the daemon creates.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Seconds a pipe given as the configuration may stay silent.
const PIPE_PATIENCE_S: i64 = 5;
/// A lock file is never longer, bytes: it holds a process id.
const LOCK_LEN_MAX: u64 = 32;

/// What a file is for, which decides what may lie at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Lines are appended to it: a file, or a character device such as `/dev/null`.
    Log,
    /// The file is locked, overwritten with a process id and removed at the end: a file of ours, or of
    /// root.
    Lock {
        /// The user that the daemon becomes or may have been before, whose file it may be too.
        owner: Option<u32>,
    },
}

/// Opens the file at `path`, or creates it with mode 0600. The mode of a file that exists stays.
///
/// # Errors
/// When something of another kind is there, or as `open(2)`.
pub fn open_for(path: &Path, purpose: Purpose) -> io::Result<File> {
    let access = match purpose {
        Purpose::Log => OFlags::WRONLY | OFlags::APPEND,
        Purpose::Lock { .. } => OFlags::RDWR,
    };
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    loop {
        match open(path, flags | OFlags::CREATE | OFlags::EXCL, PRIVATE) {
            Ok(fd) => {
                // The umask may have taken away more than others' rights.
                fchmod(&fd, PRIVATE)?;
                return Ok(fd.into());
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match open(path, flags, Mode::empty()) {
            Ok(fd) => {
                let file = File::from(fd);
                acceptable(&file.metadata()?, purpose)?;
                return Ok(file);
            }
            // Removed since it was found to exist.
            Err(Errno::NOENT) => {}
            Err(error) => {
                // What is there says more than the error does (ELOOP, ENXIO).
                if let Ok(found) = std::fs::symlink_metadata(path) {
                    acceptable(&found, purpose)?;
                }
                return Err(error.into());
            }
        }
    }
}

/// Puts `bytes` into a file of this name and mode, in place of one that is there: a reader of the name finds all of
/// the old bytes or all of the new ones. They are written beside it first, to `.NAME.PID`.
///
/// # Errors
/// As `open(2)`, `write(2)` and `rename(2)`; nothing is left behind then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::IsADirectory)?;
    let beside = format!(".{}.{}", name.to_string_lossy(), std::process::id());
    let beside = path.with_file_name(beside);
    // A process of this number may have been killed here.
    let _ = std::fs::remove_file(&beside);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(open(&beside, flags, PRIVATE)?);
    let written = file
        .write_all(bytes)
        .and_then(|()| Ok(fchmod(&file, Mode::from_raw_mode(mode))?))
        .and_then(|()| std::fs::rename(&beside, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// Whether [`open_for`] would succeed, as far as a look at the path shows; nothing is created or opened.
///
/// # Errors
/// Why it would fail. Where this process lacks the rights to look or to write, it cannot decide and
/// returns no error.
pub fn examine(path: &Path, purpose: Purpose) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => acceptable(&found, purpose).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    let place = path.parent().unwrap_or(path);
    let outcome = found.and_then(|exists| {
        let place = if exists && purpose == Purpose::Log { path } else { place };
        Ok(rustix::fs::accessat(CWD, place, Access::WRITE_OK, rustix::fs::AtFlags::EACCESS)?)
    });
    match outcome {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

fn acceptable(found: &Metadata, purpose: Purpose) -> io::Result<()> {
    let kind = found.file_type();
    let refuse = |why: &str| Err(io::Error::new(ErrorKind::InvalidInput, why));
    if kind.is_symlink() {
        return refuse("there is a symbolic link, which is not followed");
    }
    if kind.is_char_device() && purpose == Purpose::Log {
        return Ok(());
    }
    if !kind.is_file() {
        return refuse("there is something else than a file");
    }
    if found.nlink() > 1 {
        return refuse("the file has several names (hard links)");
    }
    let Purpose::Lock { owner } = purpose else { return Ok(()) };
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != 0 && found.uid() != own && Some(found.uid()) != owner {
        return refuse("the file belongs to another user");
    }
    if found.len() > LOCK_LEN_MAX {
        return refuse("there is a file that is no lock file");
    }
    Ok(())
}

/// Reads a whole file, or what a pipe delivers, of at most `len_max` bytes. Links are followed:
/// nothing is written.
///
/// # Errors
/// When it is longer, when a pipe stays silent for five seconds, or as `open(2)` and `read(2)`.
pub fn read(path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(open(path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    let mut limited = (&file).take(len_max + 1);
    loop {
        match limited.read_to_end(&mut bytes) {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait_readable(&file)?,
            Err(error) => return Err(error),
        }
    }
    if bytes.is_empty() && file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "nobody writes to this pipe"));
    }
    if bytes.len() as u64 > len_max {
        let why = format!("it is longer than {} MiB", len_max >> 20);
        return Err(io::Error::new(ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

fn wait_readable(file: &File) -> io::Result<()> {
    let patience = Timespec { tv_sec: PIPE_PATIENCE_S, tv_nsec: 0 };
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&patience))? {
        0 => Err(io::Error::new(ErrorKind::TimedOut, "nothing came through this pipe")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
