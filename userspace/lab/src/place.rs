//! Where a thread runs: its network namespace, its CPUs, its rank.
//!
//! Namespaces have no names here. One lives as long as a process holds it open or runs in it, so nothing is left
//! behind, whatever becomes of the program that made it.

use crate::sys;
use host::place::bind;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use std::fs::File;
use std::io;

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
}

impl Namespace {
    /// Makes one. The calling thread stays where it is.
    ///
    /// # Errors
    /// As `unshare(2)`: `EPERM` without `CAP_SYS_ADMIN`.
    pub fn new() -> io::Result<Self> {
        let home = Self::current()?;
        sys::process::new_network_namespace()?;
        let made = Self::current();
        home.enter()?;
        made
    }

    /// The one the calling thread is in.
    ///
    /// # Errors
    /// Without `/proc`.
    pub fn current() -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/thread-self/ns/net")?.into() })
    }

    /// Where other processes find it, as long as this one holds it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Moves the calling thread into it.
    ///
    /// # Errors
    /// As `setns(2)`.
    pub fn enter(&self) -> io::Result<()> {
        sys::process::enter_namespace(self.file.as_fd())
    }

    /// Does something inside of it, on the calling thread: sockets opened there and processes started there belong to
    /// it from then on.
    ///
    /// # Errors
    /// As `setns(2)`; what `body` returns is its own affair.
    pub fn within<R>(&self, body: impl FnOnce() -> R) -> io::Result<R> {
        let home = Self::current()?;
        self.enter()?;
        let result = body();
        home.enter()?;
        Ok(result)
    }
}

/// Does something on these CPUs, if the system lets us; processes and threads started meanwhile stay on them.
pub fn on_cpus<R>(cpus: &[usize], body: impl FnOnce() -> R) -> R {
    let before = sched_getaffinity(None);
    // A CPU that has gone offline costs precision, not the measurement.
    let _ = bind(cpus);
    let result = body();
    if let Ok(before) = before {
        let _ = sched_setaffinity(None, &before);
    }
    result
}

/// Outranks stray jobs of the machine from here on, if the system lets us; so does what is started afterwards.
pub fn outrank() {
    let _ = rustix::process::setpriority_process(None, -10);
}
