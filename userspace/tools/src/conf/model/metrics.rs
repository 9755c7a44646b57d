//! `Metrics`: what is served over HTTP, the endpoints, and who may use them.

use export::http::{Listen, Network};

/// `Metrics`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConf {
    /// `Listen`
    pub listen: Vec<Listen>,
    /// `Allow`; `None` lets everybody ask.
    pub allow: Option<Vec<Network>>,
    /// `PerCpu`
    pub per_cpu: PerCpu,
    /// `SeriesMax`
    pub series_max: u32,
    /// `Census`, seconds; 0 for none.
    pub census_s: u32,
    /// `ZonesMax`
    pub zones_max: u32,
    /// `Class`: names and filters.
    pub classes: Vec<(String, String)>,
}

/// Most classes in `Metrics`: each is a time series, and a walk over the table at each count.
pub const CLASSES_MAX: usize = 32;

/// Most addresses in `Metrics`.
pub const LISTEN_MAX: usize = 4;

impl Default for MetricsConf {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            allow: None,
            per_cpu: PerCpu::default(),
            series_max: 5000,
            census_s: 10,
            zones_max: 16,
            classes: Vec::new(),
        }
    }
}

/// `PerCpu`: whether each CPU's counters are exported separately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PerCpu {
    /// On machines with few CPUs.
    #[default]
    Auto,
    /// On every machine.
    On,
    /// Only their sums.
    Off,
}

impl PerCpu {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::On, Self::Off];

    /// How it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}
