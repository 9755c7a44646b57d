//! `cargo xtask bench`: the measurements of `benches/`.

mod cli;

use crate::shell;
use anyhow::Result;
use clap::Parser as _;

/// Run the benchmarks of `benches/`; `cargo xtask bench cli` holds `conntrack` against Debian's.
///
/// `cargo xtask bench cli --help` tells what that one takes. Everything else after the verb goes to the benchmarks:
/// `cargo xtask bench table` runs those with `table` in their name.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// `cli`, or arguments of the benchmarks
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match options.arguments.first().map(String::as_str) {
        Some("cli") => cli::run(&cli::Options::parse_from(&options.arguments)),
        _ => {
            let mut cargo = shell::cargo("bench");
            shell::run(cargo.args(["--package", "benches", "--"]).args(&options.arguments))
        }
    }
}
