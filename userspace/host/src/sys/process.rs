//! What a write to a pipe without a reader does to this process.

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
