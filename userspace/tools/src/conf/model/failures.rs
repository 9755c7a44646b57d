//! `Failures`: the reports of what the kernel refuses, drops and evicts.

use super::log::words;

words!(
    /// `Report` of `Failures`
    Report { Auto "auto", On "on", Off "off", }
);

/// `Failures`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailuresConf {
    /// `Report`
    pub report: Report,
    /// `EventsPerSecond`: for each reason and CPU.
    pub events_per_second: u32,
    /// `LogEvery`, seconds.
    pub log_every_s: u32,
}

impl Default for FailuresConf {
    fn default() -> Self {
        Self { report: Report::default(), events_per_second: 100, log_every_s: 60 }
    }
}
