//! `cargo xtask lint`: everything that is wrong with the text, whatever it does.

use crate::build::OBJECT_VARIABLE;
use crate::shell::{self, step};
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::{build, ledger, public_api, repo, tidy};
use anyhow::{Context as _, Result};
use std::process::ExitCode;
use std::time::Instant;

/// Check form and house rules: rustfmt, clippy, the no_std proof, tidy, the ledger of deviations, the interface of what
/// is published, and that the eBPF object, if it was built, logs nothing.
///
/// The no_std proof compiles ctnetlink, wire and engine for a target that has no std, so that sockets, clocks and files
/// cannot have crept in.
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<ExitCode> {
    let total = checks();
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Check = fn() -> Result<()>;

/// Every check, each counted as one test.
pub(crate) fn checks() -> Tally {
    let checks: [(&str, Check); 8] = [
        ("fmt", fmt),
        ("tidy", tidy::check),
        ("ledger", ledger::check),
        ("clippy", clippy),
        ("no_std", no_std),
        ("no alloc", no_alloc),
        ("public api", public_api::check),
        ("no log in the object", build::check_log),
    ];
    let mut total = Tally::default();
    for (name, check) in checks {
        let start = Instant::now();
        step(&format!("lint: {name}"));
        match check() {
            Ok(()) => total += Tally::PASSED,
            Err(error) => {
                eprintln!("error: {name}: {error:#}");
                total += Tally::FAILED;
            }
        }
        println!("{name}: {}", shell::took(start));
    }
    total
}

fn fmt() -> Result<()> {
    shell::run(shell::cargo("fmt").args(["--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut cargo = shell::cargo("clippy");
    cargo.args(["--workspace", "--exclude", "ctflow-ebpf", "--all-targets", "--all-features"]);
    let object = repo::target().join("ebpf/bpfel-unknown-none/release/ctflow-ebpf");
    if object.is_file() {
        cargo.env(OBJECT_VARIABLE, object);
    }
    shell::run(cargo.args(["--", "-D", "warnings"]))
}

fn no_std() -> Result<()> {
    let toolchain = Toolchain::find()
        .context("needs a rustc with the sources of core; `cargo xtask setup` gets one")?;
    let mut cargo = toolchain.cargo("build");
    cargo.args([
        "--package",
        "ctnetlink",
        "--package",
        "ctflow-wire",
        "--package",
        "ctflow-engine",
    ]);
    cargo.args(["-Zbuild-std=core,alloc", "--target", "x86_64-unknown-none", "--target-dir"]);
    shell::run(cargo.arg(repo::target().join("no-std")))
}

/// The part of ctnetlink that the eBPF programs use must not allocate.
fn no_alloc() -> Result<()> {
    let mut cargo = shell::cargo("clippy");
    cargo.args(["--package", "ctnetlink", "--no-default-features"]);
    shell::run(cargo.args(["--", "-D", "warnings"]))
}
