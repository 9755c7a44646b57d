//! Processes and namespaces, as a program needs them that measures others.

use host::sys::check;
use libc::{c_int, c_ulong};
use rustix::fd::{AsRawFd, BorrowedFd};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Moves this thread into a new network namespace, which goes when no process is in it or holds it open.
///
/// # Errors
/// As `unshare(2)`: `EPERM` without `CAP_SYS_ADMIN`.
pub fn new_network_namespace() -> io::Result<()> {
    // SAFETY: no pointers; the descriptors stay as they are.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Moves this thread into the network namespace behind `fd`.
///
/// # Errors
/// As `setns(2)`.
pub fn enter_namespace(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Has the kernel kill the command's process when the thread that starts it ends, however it ends.
pub fn die_with_parent(command: &mut Command) {
    let prepare = || {
        let signal = libc::SIGKILL as c_ulong;
        // SAFETY: no pointers; prctl(2) may be called between fork and exec.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) }).map(drop)
    };
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}

/// CPU time that all threads of a process have used, ended ones included, nanoseconds.
///
/// # Errors
/// When there is no such process.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is writable; the call returns its error instead of setting errno.
    let failed = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    read_clock(clock)
}

/// CPU time that this thread has used, nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

fn read_clock(clock: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Lets sleeps of this thread end on time instead of up to 50 us later (`PR_SET_TIMERSLACK`).
pub fn sleep_exactly() {
    let one: c_ulong = 1;
    // SAFETY: no pointers. It cannot fail, and nothing depends on it.
    let _: c_int = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, one, 0, 0, 0) };
}
