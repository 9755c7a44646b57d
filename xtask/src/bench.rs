//! `cargo xtask bench`: the measurements of `benches/`.

use crate::shell;
use anyhow::Result;

/// Run the benchmarks of `benches/`.
///
/// Everything after the verb goes to the benchmarks: `cargo xtask bench table` runs those with `table` in their name.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Arguments of the benchmarks
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut cargo = shell::cargo("bench");
    shell::run(cargo.args(["--package", "benches", "--"]).args(&options.arguments))
}
