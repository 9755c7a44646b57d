//! Everything that metrics are made of, at one moment.

use crate::conf::{MetricsConf, PerCpu};
use crate::print::status::Status;
use host::kstat::KernelStats;
use host::usage::Usage;
use host::{kstat, usage};
use std::time::Duration;

/// CPUs that are exported separately unless the configuration says otherwise.
pub const CPUS_AUTO: usize = 32;

/// What bounds the number of time series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether each CPU's counters are exported separately.
    pub per_cpu: PerCpu,
    /// Most time series, those about the metrics themselves apart.
    pub series_max: usize,
    /// Limit of zones that are exported separately.
    pub zones_max: usize,
}

impl Limits {
    /// Whether the counters of so many CPUs are exported separately.
    #[must_use]
    pub const fn divides(&self, cpus: usize) -> bool {
        match self.per_cpu {
            PerCpu::Auto => cpus <= CPUS_AUTO,
            PerCpu::On => true,
            PerCpu::Off => false,
        }
    }
}

impl From<&MetricsConf> for Limits {
    fn from(conf: &MetricsConf) -> Self {
        Self {
            per_cpu: conf.per_cpu,
            series_max: conf.series_max as usize,
            zones_max: conf.zones_max as usize,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&MetricsConf::default())
    }
}

/// What is known of a node; a part is `None` where it could not be asked.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The daemon's status.
    pub status: Option<Status>,
    /// The kernel's figures.
    pub kernel: Option<KernelStats>,
    /// What the daemon's process costs.
    pub usage: Option<Usage>,
    /// Whether something was asked and did not answer in time.
    pub incomplete: bool,
    /// How long asking took.
    pub took: Duration,
    /// What bounds the number of series.
    pub limits: Limits,
    /// Time series exported, without those about the metrics themselves.
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
