//! Standard output with the buffering of C's stdio.
//!
//! Scripts read both streams through one pipe (`conntrack -D 2>&1 | head -n1`) and depend on their order. To a pipe or
//! a file, output goes in whole blocks of 4 KiB; the rest follows at exit, after earlier stderr output. To a terminal
//! it goes line by line. Rust's buffer is not used because it ends blocks at line ends.
//!
//! If the reader closes the pipe, the program ends silently, as a C program does on `SIGPIPE`
//! (`host::sys::process::obey_sigpipe`). [`flush`] reports any other write error; the program's work is done
//! regardless.

use host::sys::error_name;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{LazyLock, Mutex, MutexGuard};

/// `st_blksize` of pipes and of nearly every file, which is what stdio takes.
const BLOCK: usize = 4096;

/// Bytes to gather before they are written: as many blocks at once, of which a reader sees no difference.
pub const PIECE: usize = 64 << 10;

/// Where it goes, unbuffered. Descriptors 0 to 2 are always open in a Rust program.
static TARGET: LazyLock<io::Result<File>> =
    LazyLock::new(|| io::stdout().as_fd().try_clone_to_owned().map(File::from));
static IS_TERMINAL: LazyLock<bool> = LazyLock::new(|| io::stdout().is_terminal());
static STATE: Mutex<State> =
    Mutex::new(State { waiting: Vec::new(), failed: None, is_reported: false });

struct State {
    /// Less than a block, except while a caller is adding to it.
    waiting: Vec<u8>,
    /// The first write that failed; nothing is written after it.
    failed: Option<io::Error>,
    is_reported: bool,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Adds bytes.
pub fn put(bytes: &[u8]) {
    let mut out = take();
    out.extend_from_slice(bytes);
    write_blocks(&mut out);
    give(out);
}

/// Takes the bytes that wait, for a caller that adds many and gives them back.
#[must_use]
pub fn take() -> Vec<u8> {
    std::mem::take(&mut state().waiting)
}

/// Gives back what [`take`] took and the caller has not written.
pub fn give(out: Vec<u8>) {
    state().waiting = out;
}

/// Whether to write every line as soon as it is complete.
#[must_use]
pub fn is_terminal() -> bool {
    *IS_TERMINAL
}

/// Writes as much as stdio would have written, and leaves the rest in `out`.
pub fn write_blocks(out: &mut Vec<u8>) {
    let len = if is_terminal() { out.len() } else { out.len() - out.len() % BLOCK };
    write(&out[..len]);
    out.drain(..len);
}

/// Writes all of `out`.
///
/// # Errors
/// The first write that failed, now or before, as `write error: CAUSE`; it is reported once.
pub fn write_all(out: &mut Vec<u8>) -> io::Result<()> {
    write(out);
    out.clear();
    let mut state = state();
    let was_reported = state.is_reported;
    state.is_reported = state.failed.is_some();
    match state.failed.as_ref().filter(|_| !was_reported) {
        Some(error) => {
            Err(io::Error::new(error.kind(), format!("write error: {}", error_name(error))))
        }
        None => Ok(()),
    }
}

/// Writes whole blocks of what waits: to be called before anything goes to stderr.
pub fn settle() {
    let mut out = take();
    write_blocks(&mut out);
    give(out);
}

/// Writes all that waits.
///
/// # Errors
/// As [`write_all`].
pub fn flush() -> io::Result<()> {
    write_all(&mut take())
}

fn write(bytes: &[u8]) {
    let mut state = state();
    if bytes.is_empty() || state.failed.is_some() {
        return;
    }
    let written = match &*TARGET {
        Ok(target) => (&mut &*target).write_all(bytes),
        Err(error) => Err(io::Error::from(error.kind())),
    };
    state.failed = written.err();
}
