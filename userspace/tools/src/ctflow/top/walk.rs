//! Walks over the table: the kernel's, or a daemon's.

use super::mode::Origin;
use super::sample::{Failures, Machine, Sample, Sampler};
use crate::ctflow::ops::asked::Asked;
use crate::ctflow::ops::daemon::{Came, Daemon};
use crate::ctflow::ops::kernel;
use crate::ctflow::outcome::Fault;
use crate::print::parsed;
use crate::print::status::Status;
use clap::ValueEnum;
use ctnetlink::{Detail, Flow};
use host::clock;
use host::kstat::{self, KernelStats};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The source of the flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// A daemon's feed, and the kernel's counters; without a feed, walks over the kernel's table, or over a daemon's
    /// where the kernel does not count packets and bytes
    #[default]
    Auto,
    /// A daemon's feed, or walks over its table: that costs the kernel nothing, and there are no counters
    Daemon,
    /// Walks over the kernel's table
    Kernel,
}

/// Signals between a walk and those who wait for it.
#[derive(Debug, Default)]
pub struct Signs {
    /// Walks must end.
    pub stop: AtomicBool,
    /// Flows that the walk under way has read.
    pub read: AtomicU64,
}

/// Something that samples come from.
pub trait Walk: Send {
    /// Walks over the table once; `None` if `signs` said to stop.
    ///
    /// # Errors
    /// Why there is no table to read.
    fn walk(&mut self, signs: &Signs) -> Result<Option<Sample>, Fault>;
}

/// Walks over the table of the kernel, or of a daemon.
pub struct Walker {
    /// Asks for every flow.
    asked: Asked,
    wanted: Wanted,
    daemon: Came<Daemon>,
    /// The daemon is not asked: it would not answer.
    pub is_silent: bool,
    sampler: Sampler,
    begun: Instant,
}

impl Walker {
    /// `asked` selects every flow: what is not read has no rate later.
    ///
    /// # Errors
    /// When the configuration that was named cannot be read.
    pub fn new(asked: Asked, wanted: Wanted, flows_max: usize) -> Result<Self, Fault> {
        let daemon = Daemon::find(&asked)?;
        let (sampler, begun) = (Sampler::new(flows_max), Instant::now());
        Ok(Self { asked, wanted, daemon, is_silent: false, sampler, begun })
    }

    /// Hands the flows of the kernel, with their counters, to `each`, some twice; false if `signs` said to stop.
    ///
    /// # Errors
    /// Why the kernel does not show them.
    pub fn counters(&self, signs: &Signs, mut each: impl FnMut(&Flow)) -> Result<bool, Fault> {
        let mut goes_on = true;
        kernel::shown(&self.asked, Detail::Full, |_, flow| {
            each(flow);
            goes_on = !signs.stop.load(Relaxed);
            Ok(goes_on)
        })?;
        Ok(goes_on)
    }

    /// What the daemon says about how far its table can be trusted, if it can be asked.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        match &self.daemon {
            Came::Answer(daemon) => daemon.notes(),
            Came::Elsewhere(_) => Vec::new(),
        }
    }

    fn status(&self) -> Option<Status> {
        match &self.daemon {
            Came::Answer(daemon) if !self.is_silent => daemon.status(),
            _ => None,
        }
    }

    fn ask_kernel(&mut self, signs: &Signs) -> Result<bool, Fault> {
        let sampler = &mut self.sampler;
        let mut goes_on = true;
        kernel::read(&self.asked, Detail::Full, |_, flow| {
            sampler.take(flow.clone());
            signs.read.fetch_add(1, Relaxed);
            goes_on = !signs.stop.load(Relaxed);
            Ok(goes_on)
        })?;
        Ok(goes_on)
    }

    fn ask_daemon(&mut self, signs: &Signs) -> Result<Came<Vec<String>>, Fault> {
        let daemon = match &self.daemon {
            Came::Answer(daemon) => daemon,
            Came::Elsewhere(why) => return Ok(Came::Elsewhere(why.clone())),
        };
        if self.is_silent {
            return Ok(Came::Elsewhere("the daemon does not answer".into()));
        }
        daemon.objects(|line| {
            if let Some(flow) = parsed::flow(line) {
                self.sampler.take(flow);
                signs.read.fetch_add(1, Relaxed);
            }
            !signs.stop.load(Relaxed)
        })
    }
}

impl Walk for Walker {
    fn walk(&mut self, signs: &Signs) -> Result<Option<Sample>, Fault> {
        signs.read.store(0, Relaxed);
        let mut machine = machine();
        let status = self.status();
        machine.daemon = if self.is_silent { "silent".into() } else { "none".into() };
        if let Some(status) = &status {
            machine.told(status);
        }
        let origin = match self.wanted {
            Wanted::Daemon => Origin::Daemon,
            Wanted::Auto if !machine.is_counted && status.is_some() => Origin::Daemon,
            Wanted::Auto | Wanted::Kernel => Origin::Kernel,
        };
        let at = Instant::now();
        self.sampler.begin(at.duration_since(self.begun), clock::wall_ns(), origin);
        let mut notes = Vec::new();
        let came = match origin {
            Origin::Daemon => self.ask_daemon(signs)?,
            Origin::Kernel => Came::Elsewhere(String::new()),
        };
        match came {
            Came::Answer(said) => notes = said,
            Came::Elsewhere(why) if self.wanted == Wanted::Daemon => return Err(Fault::usage(why)),
            Came::Elsewhere(why) => {
                if origin == Origin::Daemon {
                    self.sampler.begin(
                        at.duration_since(self.begun),
                        clock::wall_ns(),
                        Origin::Kernel,
                    );
                    notes.push(format!("the kernel is asked: {why}"));
                }
                self.ask_kernel(signs)?;
            }
        }
        if signs.stop.load(Relaxed) {
            return Ok(None);
        }
        // What the daemon hides or misses is not in its table.
        let is_whole = notes.is_empty();
        let sample = self.sampler.end(at.elapsed(), is_whole, machine);
        Ok(Some(Sample { notes, ..sample }))
    }
}

/// The facts about the machine. A user who may not ask the kernel may still see a daemon's table.
#[must_use]
pub fn machine() -> Machine {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let kernel = kstat::read().ok();
    let is_counted = |kernel: &KernelStats| kernel.settings.contains(&("acct", 1));
    Machine {
        host: host.trim().to_owned(),
        flows_max: kernel.as_ref().and_then(|kernel| kernel.flows_max),
        is_counted: kernel.as_ref().is_some_and(is_counted),
        failures: kernel.as_ref().map(failures),
        ..Machine::default()
    }
}

fn failures(kernel: &KernelStats) -> Failures {
    let mut sum = Failures::default();
    for (name, number) in kernel.cpus.iter().flat_map(|cpu| &cpu.values) {
        let place = match *name {
            "drop" => &mut sum.table_full,
            "early_drop" => &mut sum.evicted,
            "insert_failed" => &mut sum.insert_failed,
            "clash_resolve" => &mut sum.clash,
            "invalid" => &mut sum.invalid,
            _ => continue,
        };
        *place += u64::from(*number);
    }
    sum
}

/// Waits in small pieces, until the time is over or walks must end.
pub fn rest(time: Duration, signs: &Signs) {
    const PIECE: Duration = Duration::from_millis(50);
    let until = Instant::now() + time;
    while !signs.stop.load(Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(PIECE));
    }
}
