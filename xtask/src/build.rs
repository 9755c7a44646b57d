//! `cargo xtask build`: the eBPF object, then the programs that carry it.

use crate::shell::{self, step};
use crate::toolchain::Toolchain;
use crate::{repo, setup};
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// The variable that tells userspace's build where the eBPF object is.
pub(crate) const OBJECT_VARIABLE: &str = "CTFLOW_EBPF_OBJECT";

/// Compile the eBPF object and the programs that carry it.
///
/// The object is made by Debian's rustc-web (or a rustup nightly with rust-src) and bpf-linker, in a target directory
/// of its own. The programs end in target/debug or target/release. A plain `cargo build` works too, with none of
/// these tools: the programs then carry no eBPF object and listen to netlink.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Optimised programs, in target/release
    #[arg(long)]
    release: bool,
}

/// What a build leaves.
pub(crate) struct Built {
    /// The eBPF object.
    pub(crate) object: PathBuf,
    /// The folder of the programs.
    pub(crate) programs: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<Built> {
    all(options.release)
}

/// Builds everything.
pub(crate) fn all(release: bool) -> Result<Built> {
    some(release, &[])
}

/// Builds the programs of these names; no names are all of them.
pub(crate) fn some(release: bool, names: &[&str]) -> Result<Built> {
    let object = ebpf()?;
    let start = Instant::now();
    step(&format!("build: programs ({})", if release { "release" } else { "debug" }));
    let mut cargo = shell::cargo("build");
    cargo.env(OBJECT_VARIABLE, &object);
    if release {
        cargo.arg("--release");
    }
    if !names.is_empty() {
        cargo.args(["--package", "ctflow-tools"]);
        names.iter().for_each(|name| {
            cargo.args(["--bin", name]);
        });
    }
    shell::run(&mut cargo)?;
    println!("programs built in {}", shell::took(start));
    Ok(Built { object, programs: repo::programs(release) })
}

/// Builds the eBPF object.
fn ebpf() -> Result<PathBuf> {
    let toolchain = setup::check_ebpf()?;
    let start = Instant::now();
    step("build: eBPF object");
    shell::run(&mut ebpf_command(&toolchain))?;
    let object = ebpf_target().join("bpfel-unknown-none/release/ctflow-ebpf");
    ensure!(object.is_file(), "cargo made no {}", object.display());
    println!("eBPF object built in {}", shell::took(start));
    Ok(object)
}

fn ebpf_command(toolchain: &Toolchain) -> Command {
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--package", "ctflow-ebpf", "--release", "--target", "bpfel-unknown-none"]);
    cargo.args(["-Zbuild-std=core", "--target-dir"]).arg(ebpf_target());
    cargo.env("CARGO_ENCODED_RUSTFLAGS", EBPF_FLAGS.join("\x1f"));
    cargo
}

/// Debug information becomes BTF; version 3 of the instruction set is what kernels have had since 5.1; a panic that
/// formats nothing leaves nothing for the verifier to refuse. Values on the stack have places of their own: without
/// CAP_PERFMON, the verifier refuses half of a place that held a pointer.
const EBPF_FLAGS: [&str; 7] = [
    "-Clinker=bpf-linker",
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Clink-arg=--llvm-args=-no-stack-slot-sharing",
    "-Ctarget-cpu=v3",
    "-Zunstable-options",
    "-Cpanic=immediate-abort",
];

fn ebpf_target() -> PathBuf {
    repo::target().join("ebpf")
}
