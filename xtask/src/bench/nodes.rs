//! `cargo xtask bench nodes`: nodes of replication, version 2, beside the goals of its specification.

use crate::{build, repo, shell};
use anyhow::{Result, ensure};

/// Measure nodes of replication, version 2, in namespaces, and print the figures beside their goals.
///
/// Needs root. Scenarios: wan, bulk, sync-paced, mesh; all of them take about three minutes.
#[derive(clap::Parser)]
#[command(name = "cargo xtask bench nodes", bin_name = "cargo xtask bench nodes")]
pub(super) struct Options {
    /// What to measure; everything if left out
    scenarios: Vec<String>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    ensure!(repo::is_root(), "`cargo xtask bench nodes` makes namespaces, which needs root");
    let built = build::some(true, &["conntrackd", "ctflow"])?;
    let mut cargo = shell::cargo("bench");
    cargo.env(build::OBJECT_VARIABLE, &built.object).env("CTFLOW_BIN_DIR", &built.programs);
    cargo.args(["--package", "tests", "--features", "kernel", "--bench", "nodes", "--"]);
    shell::run(cargo.args(&options.scenarios))
}
