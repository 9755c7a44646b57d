//! CPUs kept busy by something else, for tests that must not depend on how fast a machine is just now.
//!
//! Each CPU gets a process that computes for ever. All end with their parent: [`Busy`] ends them when it is dropped,
//! Ctrl-C reaches the whole process group, and the kernel ends them when their parent is gone.

use crate::shell::{own_program, step};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::process::{Child, Command, Stdio};

/// Name of the hidden verb that computes.
const VERB: &str = "spin";

/// What the hidden verb takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Process id of the parent
    parent: i32,
}

/// Processes that compute.
pub(crate) struct Busy(Vec<Child>);

impl Busy {
    /// One for each CPU there is, of the same priority as the tests.
    pub(crate) fn begin() -> Result<Self> {
        let cpus = std::thread::available_parallelism().context("how many CPUs?")?.get();
        step(&format!("{cpus} processes keep the CPUs busy"));
        let mut busy = Self(Vec::new());
        for _ in 0..cpus {
            let mut spin = Command::new(own_program());
            spin.args([VERB, &std::process::id().to_string()]).stdin(Stdio::null());
            busy.0.push(spin.spawn().context("cannot start a process that computes")?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The child may have ended already, which is as well.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Computes until the parent ends it, or has ended itself.
pub(crate) fn spin(options: &Options) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("a signal of the parent's end")?;
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != options.parent) {
        bail!("whoever started this has ended");
    }
    loop {
        std::hint::spin_loop();
    }
}
