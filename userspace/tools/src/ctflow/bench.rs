//! `ctflow bench`: conntrack churn, and what listening to it costs. Its command line, and what `lab`, which measures,
//! has to know of the configuration language and of the statistics.

use crate::conf;
use crate::conf::schema::{Keyword, Kind};
use crate::conntrackd::plan::Plan;
use crate::doctor::facts::Listener;
use crate::doctor::gather::Root;
use crate::doctor::gather::processes::{self, Heard};
use crate::print::status::Status;
use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use host::source::Settings;
use lab::bench::{self, DaemonFigures, Product};
use lab::churn::Method;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How to measure.
#[derive(Args, Clone, Debug)]
pub(super) struct Options {
    /// What to measure (see --list); everything if left out
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// List the scenarios, what each measures and against which goal, and end
    #[arg(long)]
    list: bool,
    /// A first look: a fifth of the work, one repetition, no growth, under two minutes
    #[arg(long)]
    quick: bool,
    /// How often each subject is measured; subjects take turns, so that a slow minute hits all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    reps: Option<u32>,
    /// How many flows, instead of what each scenario takes by itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=8_000_000))]
    flows: Option<u32>,
    /// New flows per second in sync-paced, latency-busy, watch and every churn, which are flat out by themselves
    #[arg(long, value_name = "FLOWS/S", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How long paced traffic lasts; the number of flows follows from it
    #[arg(long, value_name = "SECONDS", conflicts_with = "flows", requires = "rate")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3600))]
    duration: Option<u32>,
    /// Subjects to measure, separated by commas: `nobody`, `original`, and our event sources by name
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    subjects: Vec<String>,
    /// Our daemon; the one beside this program if left out
    #[arg(long, value_name = "PATH")]
    conntrackd: Option<PathBuf>,
    /// The original daemon to compare with; it is left out where it does not exist
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/conntrackd")]
    original: PathBuf,
    /// How packets are made
    #[arg(long, value_enum, default_value_t = Way::Auto)]
    generator: Way,
    /// CPUs of the generator and of the subject
    #[arg(long, value_name = "GENERATOR,SUBJECT", value_delimiter = ',', num_args = 1)]
    cpus: Vec<usize>,
    /// Write everything that was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the results into this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Draw what an earlier run has written as JSON, and measure nothing
    #[arg(long, value_name = "FILE", requires = "svg", conflicts_with_all = ["json", "list"])]
    from: Option<PathBuf>,
    /// How often a measurement is repeated that something disturbed: other programs' CPU time, another listener, a CPU
    /// that changes its speed; ten times as many in the whole run at most
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=10))]
    again: u32,
    /// Measure although another process on this machine listens to conntrack events
    #[arg(long)]
    force: bool,
}

/// How packets are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// The strongest that works here
    Auto,
    /// By the kernel itself, from an XDP program (kernel 5.18)
    Xdp,
    /// Through a packet socket
    Packet,
}

/// What stands below the options in `--help`.
pub(super) const MORE: &str = "\
Needs root, iproute2 and nftables. Everything happens in network namespaces without names, which go with this program,
whatever becomes of it. The one thing it changes outside is net.netfilter.nf_conntrack_max: raised while it runs if it
is too small, put back at the end and on Ctrl-C.

How to read the table: the median of the repetitions, their [least .. greatest], how many times better than the
original, the goal, and by how much it is met or missed. \"nobody\" is the same traffic with no listener anywhere.

The kernel builds event messages for everybody as soon as anyone listens, in whatever namespace. So no other listener
may run (conntrackd, conntrack -E, ulogd): this program looks for them and refuses; --force measures all the same.
What else disturbs a measurement is looked for in each: other programs or guests that took more than a tenth of a CPU, a
CPU whose speed has changed by a tenth. Such a measurement is repeated (--again), and if that does not help either, the
table and the last line say that its figures can not be trusted. They are worse for all subjects alike: ratios suffer
less.

Examples:
  ctflow bench --quick                             the whole table, roughly
  ctflow bench --list                              what there is
  ctflow bench churn --reps 7                      one row, exactly
  ctflow bench churn-tcp --rate 5000 --duration 20 TCP connections from SYN to FIN, paced
  ctflow bench --subjects nobody,original,tap --json result.json --svg result.svg";

/// Runs the measurements.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    bench::run(&options.as_lab_takes_them(), product(), &mut super::print)
}

impl Options {
    fn as_lab_takes_them(&self) -> bench::Options {
        let Self {
            scenarios,
            list,
            quick,
            reps,
            flows,
            rate,
            duration,
            subjects,
            conntrackd,
            original,
            generator,
            cpus,
            json,
            svg,
            from,
            again,
            force,
        } = self.clone();
        bench::Options {
            scenarios,
            list,
            quick,
            reps,
            flows,
            rate,
            duration,
            subjects,
            conntrackd,
            original,
            generator: generator.method(),
            cpus,
            json,
            svg,
            from,
            again,
            force,
        }
    }
}

impl Way {
    const fn method(self) -> Option<Method> {
        match self {
            Self::Auto => None,
            Self::Xdp => Some(Method::Xdp),
            Self::Packet => Some(Method::Packet),
        }
    }
}

/// Our daemon, as the configuration language, the statistics and the doctor's readers know it. A source that is new in
/// the language is measured without being named here.
fn product() -> Product {
    let sources = Keyword::anywhere("EventSource")
        .into_iter()
        .flat_map(Keyword::params)
        .flat_map(|param| match param.kind {
            Kind::Choice { words, .. } => words,
            _ => &[],
        })
        .map(|choice| choice.name)
        .filter(|name| *name != "auto")
        .collect();
    Product { sources, source_settings, figures, listeners, hears }
}

fn source_settings(text: &str) -> Result<Settings> {
    let (conf, _) = conf::parse(text, "alone.conf").map_err(|errors| anyhow!("{errors:?}"))?;
    Ok(Plan::from(&conf).source)
}

fn figures(answer: &str) -> Result<DaemonFigures> {
    let Status { events, work, .. } = serde_json::from_str(answer)?;
    Ok(DaemonFigures {
        source: events.source,
        state: work.state,
        heard_p50_us: events.latency_p50_us,
        heard_p99_us: events.latency_p99_us,
        heard_max_us: events.latency_max_us,
    })
}

fn listeners() -> Vec<String> {
    let found = processes::listeners(Root::new(Path::new("/"))).unwrap_or_default();
    let word = |listener: Listener| match listener.pid {
        Some(pid) => format!("{} (pid {pid})", listener.name),
        None => listener.name,
    };
    found.into_iter().map(word).collect()
}

fn hears(line: &str) -> bool {
    Heard::parse(line).is_some()
}

#[cfg(test)]
mod tests {
    use super::{figures, product, source_settings};
    use crate::conf;
    use crate::print::status::Status;
    use host::source::Choice;
    use lab::bench::subject::{Buffers, Role, Setup, Subject};
    use std::path::Path;

    fn configuration(subject: &Subject, role: Role, settings: &str) -> String {
        let setup = Setup {
            program: "conntrackd".into(),
            product: &product(),
            subject,
            dir: Path::new("/tmp"),
            name: "a",
            role,
            buffers: Buffers::DEFAULT,
            settings,
        };
        setup.configuration()
    }

    #[test]
    fn every_source_of_the_language_is_a_subject() {
        let sources = product().sources;
        assert!(sources.contains(&"netlink") && sources.contains(&"tap"), "{sources:?}");
        assert!(!sources.contains(&"auto"), "auto is one of the others");
        let subjects = Subject::all(&sources);
        for source in sources {
            assert!(subjects.contains(&Subject::Ours(source.into())), "{source}");
        }
    }

    #[test]
    fn configurations_are_valid() {
        let ours = Subject::Ours("netlink".into());
        // As the scenario that counts shards sets them.
        for settings in ["", " Shards 2\n"] {
            let text = configuration(&ours, Role::Alone, settings);
            assert!(conf::parse(&text, "a.conf").is_ok(), "{text}");
        }
        let text = configuration(&ours, Role::Replicates { host: 2, direct: true }, "");
        assert!(conf::parse(&text, "a.conf").is_ok(), "{text}");
    }

    #[test]
    fn a_source_without_a_daemon_is_opened_as_the_configuration_says() {
        let text = configuration(&Subject::Ours("tap".into()), Role::Alone, "");
        let settings = source_settings(&text).expect("a valid configuration");
        assert_eq!(settings.choice, Choice::Tap);
        assert_eq!(settings.buffer_bytes, Some(2 << 20));
        assert!(source_settings("General {").is_err());
    }

    #[test]
    fn what_scenarios_ask_for_is_read_from_the_statistics() {
        let mut status = Status::default();
        status.events.source = "hook".into();
        status.work.state = "exact".into();
        status.events.latency_p50_us = 1;
        status.events.latency_p99_us = 2;
        status.events.latency_max_us = 3;
        let text = serde_json::to_string(&status).expect("numbers and text");
        let read = figures(&text).expect("our own statistics");
        assert_eq!((read.source.as_str(), read.state.as_str()), ("hook", "exact"));
        assert_eq!((read.heard_p50_us, read.heard_p99_us, read.heard_max_us), (1, 2, 3));
        assert!(figures("").is_err(), "the original answers nothing");
    }
}
