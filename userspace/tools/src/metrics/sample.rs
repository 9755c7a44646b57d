//! Everything that metrics are made of, at one moment.

use crate::print::status::Status;
use host::kstat::KernelStats;
use host::usage::Usage;
use host::{kstat, usage};
use std::time::Duration;

/// Whether counters of CPUs are told one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PerCpu {
    /// Where there are at most [`CPUS_AUTO`].
    #[default]
    Auto,
    /// Always.
    On,
    /// Only their sums.
    Off,
}

/// CPUs that are told one by one unless the configuration says otherwise.
pub const CPUS_AUTO: usize = 32;

impl PerCpu {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::On, Self::Off];

    /// How it is written in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// Whether so many CPUs are told one by one.
    #[must_use]
    pub const fn divides(self, cpus: usize) -> bool {
        match self {
            Self::Auto => cpus <= CPUS_AUTO,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// What bounds the number of time series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether counters of CPUs are told one by one.
    pub per_cpu: PerCpu,
    /// Most time series, those about the metrics themselves apart.
    pub series_max: usize,
    /// Most zones that are told one by one.
    pub zones_max: usize,
}

impl Limits {
    /// `SeriesMax` where it is not given.
    pub const SERIES_MAX: u32 = 5000;
    /// `ZonesMax` where it is not given.
    pub const ZONES_MAX: u32 = 16;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_cpu: PerCpu::default(),
            series_max: Self::SERIES_MAX as usize,
            zones_max: Self::ZONES_MAX as usize,
        }
    }
}

/// What is known of a node; a part is `None` where it could not be asked.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// What the daemon tells.
    pub status: Option<Status>,
    /// What the kernel tells.
    pub kernel: Option<KernelStats>,
    /// What the daemon's process costs.
    pub usage: Option<Usage>,
    /// Whether something was asked and did not answer in time.
    pub incomplete: bool,
    /// How long asking took.
    pub took: Duration,
    /// What bounds the number of series.
    pub limits: Limits,
    /// Time series told, without those about the metrics themselves.
    pub series: u64,
    /// Time series left out because of [`Limits::series_max`].
    pub left_out: u64,
}

impl Sample {
    /// Asks the kernel, in this thread's network namespace, and looks at the process `pid`.
    #[must_use]
    pub fn of_system(pid: Option<u32>) -> Self {
        let kernel = kstat::read();
        Self {
            incomplete: kernel.is_err(),
            kernel: kernel.ok(),
            usage: pid.map(usage::of),
            ..Self::default()
        }
    }
}
