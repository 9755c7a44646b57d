//! The command line of `ctflow bench`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How to measure.
#[derive(Args, Clone, Debug)]
pub(in crate::ctflow) struct Options {
    /// What to measure (see --list); everything if left out
    #[arg(value_name = "SCENARIO")]
    pub(super) scenarios: Vec<String>,
    /// List the scenarios, what each measures and against which goal, and end
    #[arg(long)]
    pub(super) list: bool,
    /// A first look: a fifth of the work, one repetition, no growth, under two minutes
    #[arg(long)]
    pub(super) quick: bool,
    /// How often each subject is measured; subjects take turns, so that a slow minute hits all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) reps: Option<u32>,
    /// How many flows, instead of what each scenario takes by itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=8_000_000))]
    pub(super) flows: Option<u32>,
    /// New flows per second in sync-paced, latency-busy, watch and every churn, which are flat out by themselves
    #[arg(long, value_name = "FLOWS/S", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: Option<u32>,
    /// How long paced traffic lasts; the number of flows follows from it
    #[arg(long, value_name = "SECONDS", conflicts_with = "flows", requires = "rate")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) duration: Option<u32>,
    /// Whom to measure, separated by commas: nobody, original, and our event sources by name
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(super) subjects: Vec<String>,
    /// Our daemon; the one beside this program if left out
    #[arg(long, value_name = "PATH")]
    pub(super) conntrackd: Option<PathBuf>,
    /// The original daemon to compare with; it is left out where it does not exist
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/conntrackd")]
    pub(super) original: PathBuf,
    /// How packets are made
    #[arg(long, value_enum, default_value_t = Way::Auto)]
    pub(super) generator: Way,
    /// CPUs of the generator and of the subject
    #[arg(long, value_name = "GENERATOR,SUBJECT", value_delimiter = ',', num_args = 1)]
    pub(super) cpus: Vec<usize>,
    /// Write everything that was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Draw the results into this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Measure although somebody else on this machine listens to conntrack events
    #[arg(long)]
    pub(super) force: bool,
}

/// How packets are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// The strongest that works here
    Auto,
    /// By the kernel itself, from an XDP program (kernel 5.18)
    Xdp,
    /// Through a packet socket
    Packet,
}

/// What stands below the options in `--help`.
pub(in crate::ctflow) const MORE: &str = "\
Needs root, iproute2 and nftables. Everything happens in network namespaces without names, which go with this program,
whatever becomes of it. The one thing it changes outside is net.netfilter.nf_conntrack_max: raised while it runs if it
is too small, put back at the end and on Ctrl-C.

How to read the table: the median of the repetitions, their [least .. greatest], how many times better than the
original, the goal, and by how much it is met or missed. \"nobody\" is the same traffic with no listener anywhere.

The kernel builds event messages for everybody as soon as anyone listens, in whatever namespace. So no other listener
may run (conntrackd, conntrack -E, ulogd): this program looks for them and refuses; --force measures all the same.
Compile jobs and the like beside it make figures worse for all subjects alike: trust ratios more than figures.

Examples:
  ctflow bench --quick                             the whole table, roughly
  ctflow bench --list                              what there is
  ctflow bench churn --reps 7                      one row, exactly
  ctflow bench churn-tcp --rate 5000 --duration 20 TCP connections from SYN to FIN, paced
  ctflow bench --subjects nobody,original,tap --json result.json --svg result.svg";
