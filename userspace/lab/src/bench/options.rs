//! How to measure: what the command line of `ctflow bench` says, which `tools` reads and explains.

use crate::churn::Method;
use std::path::PathBuf;

/// How to run the measurements.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of the scenarios; none are all of them.
    pub scenarios: Vec<String>,
    /// Only list the scenarios.
    pub list: bool,
    /// A fifth of the work, one repetition, no growth.
    pub quick: bool,
    /// How often each subject is measured.
    pub reps: Option<u32>,
    /// How many flows, instead of what each scenario takes by itself.
    pub flows: Option<u32>,
    /// New flows per second, where traffic can be paced.
    pub rate: Option<u32>,
    /// How long paced traffic lasts, seconds; the number of flows follows from it.
    pub duration: Option<u32>,
    /// Names of the subjects; none are all that exist here.
    pub subjects: Vec<String>,
    /// Our daemon; the one beside this program if left out.
    pub conntrackd: Option<PathBuf>,
    /// The original daemon.
    pub original: PathBuf,
    /// How packets are made; the strongest method that works here if left out.
    pub generator: Option<Method>,
    /// CPUs of the generator and of the subject.
    pub cpus: Vec<usize>,
    /// Where everything that was measured goes, as JSON.
    pub json: Option<PathBuf>,
    /// Where the drawing goes, as SVG.
    pub svg: Option<PathBuf>,
    /// A JSON file of an earlier run, to be drawn; nothing is measured.
    pub from: Option<PathBuf>,
    /// How often a measurement that something disturbed is repeated.
    pub again: u32,
    /// Measure although another process on this machine listens to conntrack events.
    pub force: bool,
}
