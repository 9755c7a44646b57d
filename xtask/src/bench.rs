//! `cargo xtask bench`: the measurements of `benches/`.

mod cli;
mod count;
mod versus;
mod nfct;
mod nodes;

use crate::shell;
use anyhow::Result;
use clap::Parser as _;

/// Run the benchmarks of `benches/`; `bench cli`, `bench nfct` and `bench versus` hold the programs against the
/// originals, and `bench count` counts instructions.
///
/// `cargo xtask bench cli --help`, and so on, lists what those take: `cli` is about `conntrack`, `versus` about the
/// daemon, `nodes` about nodes of version 2, `count` about what an event costs, whatever else the machine does.
/// Everything else after the verb goes to the benchmarks of the parts: `cargo xtask bench table` runs those with
/// `table` in their name.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// `cli`, `nfct`, `nodes`, `versus`, `count`, or arguments of the benchmarks
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match options.arguments.first().map(String::as_str) {
        Some("cli") => cli::run(&cli::Options::parse_from(&options.arguments)),
        Some("count") => count::run(&count::Options::parse_from(&options.arguments)),
        Some("nfct") => nfct::run(&nfct::Options::parse_from(&options.arguments)),
        Some("nodes") => nodes::run(&nodes::Options::parse_from(&options.arguments)),
        Some("versus") => versus::run(&versus::Options::parse_from(&options.arguments)),
        _ => {
            let mut cargo = shell::cargo("bench");
            shell::run(cargo.args(["--package", "benches", "--"]).args(&options.arguments))
        }
    }
}
