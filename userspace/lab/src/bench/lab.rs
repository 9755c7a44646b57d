//! What every measurement needs: where the programs are, which CPUs are whose, how much work is asked for.

use super::options::Options;
use super::product::Product;
use super::stage::Router;
use super::subject::{Brand, Buffers, Daemon, Role, Setup, Subject};
use crate::churn::frame::Shape;
use crate::churn::program::Range;
use crate::churn::{Generator, Method};
use anyhow::{Context, Result, bail, ensure};
use host::place;
use std::path::PathBuf;
use std::time::Duration;

/// A size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    /// For people: `100 k flows`.
    pub(super) label: String,
    /// How many flows.
    pub(super) flows: u32,
    /// Whatever else varies.
    pub(super) extra: u32,
}

impl Case {
    /// A number of flows.
    pub(super) fn flows(flows: u32) -> Self {
        let label = match flows {
            n if n >= 1_000_000 && n % 100_000 == 0 => format!("{} M flows", f64::from(n) / 1e6),
            n if n >= 1000 => format!("{} k flows", f64::from(n) / 1e3),
            n => format!("{n} flows"),
        };
        Self { label, flows, extra: 0 }
    }
}

/// The subjects to measure.
pub(super) fn subjects(options: &Options, product: &Product) -> Result<Vec<Subject>> {
    let all = Subject::all(&product.sources);
    let names: Vec<&str> = all.iter().map(Subject::name).collect();
    for asked in &options.subjects {
        let known = names.contains(&asked.as_str());
        ensure!(known, "there is no subject {asked} (there are {})", names.join(", "));
    }
    let beside = options.original.with_file_name("conntrack");
    let exists = |subject: &Subject| match subject {
        Subject::Original => options.original.is_file(),
        Subject::Watcher(Brand::Original) => beside.is_file(),
        _ => true,
    };
    let wanted = |subject: &Subject| match &options.subjects[..] {
        [] => exists(subject),
        names => names.iter().any(|name| name == subject.name()),
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// The laboratory.
#[derive(Debug)]
pub(super) struct Lab {
    /// What was asked for.
    pub(super) options: Options,
    /// What is measured, beside the original.
    pub(super) product: Product,
    /// Where daemons keep their files.
    pub(super) dir: PathBuf,
    /// Our daemon.
    ours: PathBuf,
    /// How packets are made.
    pub(super) method: Method,
    /// The CPU of the generator.
    pub(super) generator_cpu: usize,
    /// The CPU of the daemon.
    pub(super) subject_cpu: usize,
}

impl Lab {
    /// Sets it up, with `dir` for files.
    pub(super) fn new(options: Options, product: Product, dir: PathBuf) -> Result<Self> {
        let ours = match &options.conntrackd {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("conntrackd"),
        };
        ensure!(ours.is_file(), "our daemon is not at {} (--conntrackd PATH)", ours.display());
        let available = place::cpus();
        let at = |index: usize| options.cpus.get(index).copied().or(available.get(index).copied());
        let generator_cpu = at(0).context("this process may run on no CPU")?;
        let subject_cpu = at(1).unwrap_or(generator_cpu);
        for cpu in [generator_cpu, subject_cpu] {
            ensure!(available.contains(&cpu), "there is no CPU {cpu} (of {available:?})");
        }
        let router = Router::new(false)?;
        let best = Generator::best(router.cable()).context("no packets can be made here")?;
        let method = match options.generator {
            None => best,
            Some(Method::Xdp) if best != Method::Xdp => bail!("XDP live frames need kernel 5.18"),
            Some(method) => method,
        };
        Ok(Self { options, product, dir, ours, method, generator_cpu, subject_cpu })
    }

    /// Leaves out the sources that do not work here, and says why, unless they were asked for.
    pub(super) fn available(&self, subjects: Vec<Subject>) -> Result<Vec<Subject>> {
        let mut available = Vec::new();
        for subject in subjects {
            match self.try_out(&subject) {
                Ok(()) => available.push(subject),
                Err(error) if self.options.subjects.is_empty() => {
                    eprintln!("ctflow: {subject} is left out: {error:#}");
                }
                Err(error) => return Err(error.context(format!("{subject} does not work here"))),
            }
        }
        Ok(available)
    }

    fn try_out(&self, subject: &Subject) -> Result<()> {
        if !subject.is_daemon() {
            return Ok(());
        }
        let router = Router::new(false)?;
        let cpus = [self.subject_cpu];
        let Some(daemon) = self.alone(subject, &router, Buffers::DEFAULT, &cpus)? else {
            return Ok(());
        };
        if subject.is_ours() {
            let source = daemon.figures()?.source;
            ensure!(
                source == subject.name(),
                "the daemon took {source} instead: {}",
                daemon.complaint()
            );
        }
        daemon.stop()
    }

    /// How often each is measured.
    pub(super) fn reps(&self) -> u32 {
        self.options.reps.unwrap_or(if self.options.quick { 1 } else { 3 })
    }

    /// How many flows a scenario works with that by itself would take `whole`.
    pub(super) fn flows(&self, whole: u32) -> u32 {
        let Options { flows, rate, duration, quick, .. } = &self.options;
        match (flows, rate, duration) {
            (Some(flows), ..) => *flows,
            (None, Some(rate), Some(seconds)) => rate.saturating_mul(*seconds),
            _ if *quick => whole / 5,
            _ => whole,
        }
    }

    /// How long to wait for what may never come.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(if self.options.quick { 4 } else { 10 })
    }

    /// The one size of a scenario that does not show growth.
    pub(super) fn one(&self, whole: u32) -> Vec<Case> {
        vec![Case::flows(self.flows(whole))]
    }

    /// Flows per second, if traffic is paced.
    pub(super) fn rate(&self) -> Option<f64> {
        self.options.rate.map(f64::from)
    }

    /// A generator of the kind that suits the rate: the strongest flat out, a packet socket for paced traffic.
    pub(super) fn generator<'a>(
        &self,
        router: &'a Router,
        shape: Shape,
        range: Range,
        rate: Option<f64>,
    ) -> Result<Generator<'a>> {
        let method = if rate.is_some() { Method::Packet } else { self.method };
        Ok(Generator::open(method, shape, router.cable(), range)?)
    }

    /// The program of a subject.
    pub(super) fn program(&self, subject: &Subject) -> PathBuf {
        match subject {
            Subject::Ours(_) | Subject::Adapting | Subject::Nobody => self.ours.clone(),
            Subject::Original => self.options.original.clone(),
            Subject::Watcher(Brand::Ours) => self.ours.with_file_name("conntrack"),
            Subject::Watcher(Brand::Original) => self.options.original.with_file_name("conntrack"),
        }
    }

    /// Starts a subject in statistics mode and waits for it; `None` for the subject without a listener.
    pub(super) fn alone(
        &self,
        subject: &Subject,
        router: &Router,
        buffers: Buffers,
        cpus: &[usize],
    ) -> Result<Option<Daemon>> {
        self.tuned(subject, router, buffers, cpus, "")
    }

    /// Starts a daemon alone, with more settings for ours.
    pub(super) fn tuned(
        &self,
        subject: &Subject,
        router: &Router,
        buffers: Buffers,
        cpus: &[usize],
        settings: &str,
    ) -> Result<Option<Daemon>> {
        if *subject == Subject::Nobody {
            return Ok(None);
        }
        let mut setup = self.setup(subject, "alone", Role::Alone, buffers);
        setup.settings = settings;
        let mut daemon = setup.launch(&router.namespace, cpus)?;
        daemon.wait_until_ready()?;
        daemon.settle()?;
        Ok(Some(daemon))
    }

    /// Starts a subject in statistics mode.
    pub(super) fn launch(
        &self,
        subject: &Subject,
        router: &Router,
        buffers: Buffers,
        cpus: &[usize],
    ) -> Result<Daemon> {
        let setup = self.setup(subject, "alone", Role::Alone, buffers);
        setup.launch(&router.namespace, cpus)
    }

    /// Starts a subject that replicates, as host 1 or 2 of the link, perhaps straight into the kernel, and waits for
    /// it; with more settings for ours.
    pub(super) fn replicating(
        &self,
        subject: &Subject,
        router: &Router,
        (host, direct): (u8, bool),
        cpus: &[usize],
        settings: &str,
    ) -> Result<Daemon> {
        let name = if host == 1 { "a" } else { "b" };
        let role = Role::Replicates { host, direct };
        let mut setup = self.setup(subject, name, role, Buffers::LARGE);
        setup.settings = settings;
        let mut daemon = setup.launch(&router.namespace, cpus)?;
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// How a subject is started, with its files under `name`.
    pub(super) fn setup<'a>(
        &'a self,
        subject: &'a Subject,
        name: &'a str,
        role: Role,
        buffers: Buffers,
    ) -> Setup<'a> {
        Setup {
            program: self.program(subject),
            product: &self.product,
            subject,
            dir: &self.dir,
            name,
            role,
            buffers,
            settings: "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Case;

    #[test]
    fn sizes_are_short() {
        let labels = [640, 10_000, 600_000, 1_000_000, 2_500_000].map(|n| Case::flows(n).label);
        assert_eq!(labels, ["640 flows", "10 k flows", "600 k flows", "1 M flows", "2.5 M flows"]);
    }
}
