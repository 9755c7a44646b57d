//! How this process takes a write to a pipe without a reader, and how late the timers of its threads may be.

use std::ffi::c_ulong;
use std::time::Duration;

/// Lets timers of the calling thread be late by so much, at least a nanosecond (`PR_SET_TIMERSLACK`). Threads with
/// real-time priority have none.
pub(crate) fn set_timer_slack(slack: Duration) {
    // Zero would bring back what the process began with.
    let ns = c_ulong::try_from(slack.as_nanos()).unwrap_or(c_ulong::MAX).max(1);
    let unused: c_ulong = 0;
    // SAFETY: no pointers. It cannot fail, and nothing depends on it.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns, unused, unused, unused) };
}

/// Lets a write to a pipe without a reader end this process, as it ends a C program. Rust ignores the signal
/// at the start; a process that writes to other things than its standard output, and has to go on, leaves it
/// so.
pub fn obey_sigpipe() {
    // SAFETY: the default action runs no code of this process.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Has a write to a pipe without a reader fail with `EPIPE` again.
pub fn ignore_sigpipe() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Ends this process as a write to a pipe without a reader does.
pub fn end_by_sigpipe() -> ! {
    obey_sigpipe();
    // SAFETY: no pointers.
    unsafe { libc::raise(libc::SIGPIPE) };
    // Blocked signals do not arrive: the code that shells show for it.
    std::process::exit(128 + libc::SIGPIPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_of_a_thread_are_as_late_as_they_may_be() {
        let unused: c_ulong = 0;
        // SAFETY: no pointers.
        let slack =
            || unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, unused, unused, unused, unused) };
        for (wanted, ns) in [(Duration::from_micros(3), 3000), (Duration::ZERO, 1)] {
            set_timer_slack(wanted);
            assert_eq!(slack(), ns);
        }
    }
}
