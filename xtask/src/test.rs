//! `cargo xtask test`: every kind of test, in the order of what they need.

use crate::build::{self, Built, OBJECT_VARIABLE};
use crate::busy::Busy;
use crate::contrib;
use crate::cross::{Arch, Cross};
use crate::matrix::Matrix;
use crate::shell::{self, step};
use crate::tally::{self, Tally};
use crate::{lint, package, repo, setup, sim, vm};
use anyhow::{Context as _, Result, bail};
use std::cell::Cell;
use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Run the tests; the last line is `N passed, M failed, K skipped`.
///
/// Sets up and builds what is missing first. The kernel parts (all but unit and sim) need root; without it they are
/// skipped with a reason. With CI=true in the environment a part that cannot run is a failure, and the checks of
/// `cargo xtask lint` run after the tests, each counted as one test.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask test\n  cargo xtask test unit sim --seeds 20000\n  \
                        sudo -E cargo xtask test netns\n  \
                        sudo -E cargo xtask test unit vm --arch arm64"
)]
pub(crate) struct Options {
    /// Which parts, in this order whatever order they are named in [default: all but package]
    #[arg(value_enum)]
    parts: Vec<Part>,

    /// How many clusters `sim` simulates of each world, each from its own seed; ten times as many of those with
    /// everything, one in twenty of those with many flows
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u64,

    /// The first of these seeds [default: derived from the commit that is checked out]
    #[arg(long, value_name = "SEED", env = "CTFLOW_SIM_BASE")]
    base: Option<u64>,

    /// For which architecture [default: this machine's]. `unit` for arm64 runs in QEMU's user mode, `vm` on its
    /// kernels; no other part runs there. What that takes is installed when it is missing
    #[arg(long, alias = "target", value_enum)]
    arch: Option<Arch>,

    /// Keep every CPU busy by something else meanwhile: no test may depend on how fast the machine is
    #[arg(long)]
    busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Part {
    /// Every crate's own tests, property tests and examples in the documentation; needs nothing
    Unit,
    /// A simulated cluster under loss, reordering, partition and restart; needs nothing
    Sim,
    /// The running kernel in namespaces made for it: sources, codecs, what lies in contrib; needs root
    Netns,
    /// Event sources, nfct and helpers on Debian's kernels 6.1 and 6.12 in QEMU, downloaded once; needs root
    Vm,
    /// Ours beside the original conntrackd in namespaces; needs root
    Interop,
    /// Ours beside the original conntrack and nfct, command line by command line, in namespaces; needs root
    Cli,
    /// A real Prometheus and Alertmanager watch two daemons, and report each fault that is made; needs root
    Observe,
    /// keepalived moves addresses while connections talk, in namespaces; needs root
    Failover,
    /// From version 1 to version 2 with open connections, step by step, in namespaces; needs root
    Upgrade,
    /// A stranger forges messages of the peer, as fast as it can, in namespaces; needs root
    Hostile,
    /// The Debian packages, in chroots of bookworm and trixie, downloaded once; needs root, and is not run unless named
    Package,
}

impl Part {
    /// What runs for another architecture than this machine's.
    const FOREIGN: [Self; 2] = [Self::Unit, Self::Vm];
    /// What is run unless parts are named.
    const ALL: [Self; 10] = [
        Self::Unit,
        Self::Sim,
        Self::Netns,
        Self::Vm,
        Self::Interop,
        Self::Cli,
        Self::Observe,
        Self::Failover,
        Self::Upgrade,
        Self::Hostile,
    ];

    fn needs_root(self) -> bool {
        !matches!(self, Self::Unit | Self::Sim)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Sim => "sim",
            Self::Netns => "netns",
            Self::Vm => "vm",
            Self::Interop => "interop",
            Self::Cli => "cli",
            Self::Observe => "observe",
            Self::Failover => "failover",
            Self::Upgrade => "upgrade",
            Self::Hostile => "hostile",
            Self::Package => "package",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let cross = Arch::cross(options.arch)?;
    let able = if cross.is_some() { Part::FOREIGN.as_slice() } else { &Part::ALL };
    let mut parts = if options.parts.is_empty() { able.to_vec() } else { options.parts.clone() };
    parts.sort_unstable();
    parts.dedup();
    let cannot = parts.iter().find(|part| cross.is_some() && !able.contains(part));
    if let Some(part) = cannot {
        bail!("{}: only `unit` and `vm` run for another architecture", part.name());
    }
    let mut total = run_parts(&parts, options, cross.as_ref());
    if repo::is_ci() {
        total += lint::checks();
    }
    step(&format!("everything took {}", shell::took(start)));
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs parts one after the other; what cannot even be prepared is one failure.
fn run_parts(parts: &[Part], options: &Options, cross: Option<&Cross>) -> Tally {
    let built = match prepare(parts, cross) {
        Ok(built) => built,
        Err(error) => return failure("preparing the tests", &error),
    };
    // They end with this function.
    let busy = options.busy.then(Busy::begin).transpose();
    let _busy = match busy {
        Ok(busy) => busy,
        Err(error) => return failure("keeping the CPUs busy", &error),
    };
    let (mut total, mut ignored, mut account) = (Tally::default(), 0, Vec::new());
    let base = options.base.unwrap_or_else(sim::base_of_commit);
    let (built, seeds) = (built.as_ref(), (base, options.seeds));
    let run = Run { built, cross, seeds, live: Cell::default() };
    for part in parts {
        let start = Instant::now();
        step(&format!("test: {}", part.name()));
        let tally = run.part(*part).unwrap_or_else(|e| failure(part.name(), &e));
        let line = format!("{}: {tally} in {}", part.name(), shell::took(start));
        println!("{line}");
        account.push(line);
        total += tally;
        if *part == Part::Unit {
            ignored = tally.skipped;
        }
    }
    step("how long each part took");
    account.iter().for_each(|line| println!("{line}"));
    // What the unit part ignored and the netns part then ran was not skipped.
    total.skipped -= run.live.get().min(ignored);
    total
}

/// Builds what kernel tests run; nothing when none of them will.
fn prepare(parts: &[Part], cross: Option<&Cross>) -> Result<Option<Built>> {
    if !parts.iter().any(|part| part.needs_root()) || !repo::is_root() {
        return Ok(None);
    }
    setup::ensure()?;
    match cross {
        Some(cross) => build::foreign(cross, false).map(Some),
        None => build::all(false).map(Some),
    }
}

fn failure(what: &str, error: &anyhow::Error) -> Tally {
    eprintln!("error: {what}: {error:#}");
    Tally::FAILED
}

/// What the parts need to know.
struct Run<'a> {
    built: Option<&'a Built>,
    /// How tests are built and run for another architecture.
    cross: Option<&'a Cross>,
    /// The first seed of the simulation, and how many.
    seeds: (u64, u64),
    /// How many tests that other parts ignore have run.
    live: Cell<u64>,
}

impl Run<'_> {
    fn part(&self, part: Part) -> Result<Tally> {
        if part.needs_root() && self.built.is_none() {
            return skip_or_fail(part);
        }
        match part {
            Part::Unit => self.unit(),
            Part::Sim => self.sim(),
            Part::Netns => self.netns(),
            Part::Vm => self.vm(),
            Part::Interop => self.interop(),
            // The totals are of interest when all is well, too.
            Part::Cli => {
                tally::run(self.target("cli")?.args(["--features", "kernel", "--", "--nocapture"]))
            }
            // One after the other: what two clusters do to a small machine is not what is tested.
            Part::Observe => {
                let mut cargo = self.target("observe")?;
                tally::run(cargo.args(["--features", "kernel", "--", "--test-threads=1"]))
            }
            Part::Failover => self.failover(&["--skip", "upgrade::"]),
            Part::Upgrade => self.failover(&["upgrade::", "--nocapture"]),
            Part::Hostile => self.hostile(),
            Part::Package => package::test::run(self.built.context("nothing was built")?),
        }
    }

    /// The tests of all crates; for another architecture without those of this program, which runs here alone.
    fn unit(&self) -> Result<Tally> {
        let mut cargo = self.cargo_test();
        if self.cross.is_some() {
            cargo.arg("--workspace");
            ["xtask", "ctflow-ebpf", "benches", "tests"].iter().for_each(|package| {
                cargo.args(["--exclude", package]);
            });
        }
        tally::run(&mut cargo)
    }

    /// A range of seeds of its own for each commit. To repeat a run, name its base.
    fn sim(&self) -> Result<Tally> {
        let (base, count) = self.seeds;
        println!("sim: seeds {base} to {} of each world", base + count.saturating_sub(1));
        println!("sim: the same again: cargo xtask test sim --seeds {count} --base {base}");
        let mut cargo = self.target("sim")?;
        cargo.env("CTFLOW_SIM_BASE", base.to_string());
        let tally = tally::run(cargo.env("CTFLOW_SIM_SEEDS", count.to_string()))?;
        // What `cargo xtask sim` is for was not skipped.
        Ok(Tally { skipped: tally.skipped.saturating_sub(1), ..tally })
    }

    /// The matrix, and what else runs beside the original; then the outcomes as a table.
    fn interop(&self) -> Result<Tally> {
        let mut matrix = Matrix::default();
        let mut cargo = self.target("interop")?;
        // These wait for timers of the protocol most of the time.
        cargo.args(["--features", "kernel", "--", "--test-threads=4"]);
        let tally = tally::run_seeing(&mut cargo, |line| matrix.take(line))?;
        println!("{matrix}");
        Ok(tally)
    }

    /// Runs the tests with routers that these words select, one after the other.
    fn failover(&self, which: &[&str]) -> Result<Tally> {
        let mut cargo = self.target("failover")?;
        let args = ["--features", "kernel", "--", "--test-threads=1"];
        tally::run(cargo.args(args).args(which))
    }

    /// All kinds of links at once, and nothing else beside them: each of them takes a processor.
    fn hostile(&self) -> Result<Tally> {
        const SECONDS: &str = "CTFLOW_HOSTILE_S";
        let mut cargo = self.target("hostile")?;
        if repo::is_ci() && env::var_os(SECONDS).is_none() {
            cargo.env(SECONDS, "60");
        }
        tally::run(cargo.args(["--features", "kernel", "--", "--test-threads=3"]))
    }

    fn netns(&self) -> Result<Tally> {
        let mut tally = tally::run(self.target("netns")?.args(["--features", "kernel"]))?;
        tally += tally::run(self.target("alloc")?.args(["--features", "kernel"]))?;
        tally += self.live_codec()?;
        tally += contrib::run(self.built.context("nothing was built")?)?;
        Ok(tally)
    }

    /// Event sources on other kernels than this one.
    fn vm(&self) -> Result<Tally> {
        if let Some(why) = vm::obstacle() {
            println!("vm: skipped: {why}");
            return Ok(Tally::SKIPPED);
        }
        let built = self.built.context("nothing was built")?;
        let target = |name: &'static str| -> Result<_> { Ok((name, self.target(name)?)) };
        let host = Arch::of_host().context("obstacles come first")?;
        let arch = if self.cross.is_some() { Arch::Arm64 } else { host };
        vm::run(arch, built, [target("netns")?, target("cli")?, target("helpers")?])
    }

    /// The codec's requests to a live kernel, in an empty namespace that goes when they end.
    fn live_codec(&self) -> Result<Tally> {
        let test = ["--package", "ctnetlink", "--test", "kernel"];
        // Built outside: nothing can be fetched from within an empty namespace.
        shell::run(self.cargo_test().args(test).arg("--no-run"))?;
        let inner = self.cargo_test();
        let mut unshare = Command::new("unshare");
        unshare.arg("--net").arg(inner.get_program()).args(inner.get_args());
        copy_environment(&inner, &mut unshare);
        let tally = tally::run(unshare.args(test).args(["--offline", "--", "--ignored"]))?;
        self.live.set(tally.passed + tally.failed);
        Ok(tally)
    }

    /// The command for one test target of the package `tests`, which must exist.
    fn target(&self, name: &str) -> Result<Command> {
        if !has_test_target(name)? {
            bail!("no such test target: `{name}` in the package `tests`");
        }
        let mut cargo = self.cargo_test();
        cargo.args(["--package", "tests", "--test", name]);
        Ok(cargo)
    }

    fn cargo_test(&self) -> Command {
        let mut cargo =
            self.cross.map_or_else(|| shell::cargo("test"), |cross| cross.cargo("test"));
        cargo.arg("--no-fail-fast");
        if let Some(built) = self.built {
            cargo.env(OBJECT_VARIABLE, &built.object).env("CTFLOW_BIN_DIR", &built.programs);
        }
        cargo
    }
}

/// A part that root alone may run, when we are not root.
fn skip_or_fail(part: Part) -> Result<Tally> {
    if repo::is_ci() {
        bail!("needs root, and CI=true does not let it be skipped");
    }
    println!("{}: skipped: needs root (sudo -E cargo xtask test {0})", part.name());
    Ok(Tally::SKIPPED)
}

fn has_test_target(name: &str) -> Result<bool> {
    let mut cargo = shell::cargo("metadata");
    let text = shell::output(cargo.args(["--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let tests = packages.iter().filter(|package| package["name"] == "tests");
    let mut targets = tests.filter_map(|package| package["targets"].as_array()).flatten();
    Ok(targets.any(|target| target["kind"][0] == "test" && target["name"] == name))
}

fn copy_environment(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    if let Some(folder) = from.get_current_dir() {
        to.current_dir(folder);
    }
}
