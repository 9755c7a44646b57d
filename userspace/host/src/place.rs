//! The CPUs on which a thread runs.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;

/// CPUs this thread may run on.
#[must_use]
pub(crate) fn allowed() -> CpuSet {
    sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new())
}

/// CPUs this thread may run on, by number.
#[must_use]
pub fn cpus() -> Vec<usize> {
    let set = allowed();
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// These CPUs, as the kernel takes them.
pub(crate) fn set_of(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    set
}

/// Binds the calling thread to these CPUs.
///
/// # Errors
/// As `sched_setaffinity(2)`.
pub fn bind(cpus: &[usize]) -> io::Result<()> {
    bind_to(&set_of(cpus))
}

/// Binds the calling thread to these CPUs, without taking memory.
///
/// # Errors
/// As `sched_setaffinity(2)`.
pub(crate) fn bind_to(cpus: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(None, cpus)?)
}
