//! `cargo xtask build`: the eBPF object, then the programs that carry it.

use crate::cross::{Arch, Cross};
use crate::shell::{self, step};
use crate::toolchain::Toolchain;
use crate::{repo, setup};
use anyhow::{Context as _, Result, ensure};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The variable that passes the path of the eBPF object to userspace's build.
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
    /// eBPF programs that log what they refuse and lose, in programs that write that to standard error;
    /// in target/diagnostics
    #[arg(long, conflicts_with = "release")]
    diagnostics: bool,
    /// For which architecture [default: this machine's]. Programs for arm64 end in target/aarch64; what building them
    /// takes is installed when it is missing
    #[arg(long, value_enum, conflicts_with = "diagnostics")]
    target: Option<Arch>,
}

/// What a build leaves.
pub(crate) struct Built {
    /// The eBPF object.
    pub(crate) object: PathBuf,
    /// The folder of the programs.
    pub(crate) programs: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<Built> {
    match Arch::cross(options.target)? {
        Some(cross) => foreign(&cross, options.release),
        None if options.diagnostics => diagnostics(),
        None => all(options.release),
    }
}

/// Builds the programs for another architecture. The eBPF object is the same: every kernel of ours is little-endian.
pub(crate) fn foreign(cross: &Cross, release: bool) -> Result<Built> {
    let object = ebpf(&ebpf_target(), false)?;
    let start = Instant::now();
    step(&format!("build: programs for arm64 ({})", if release { "release" } else { "debug" }));
    let mut cargo = cross.cargo("build");
    cargo.env(OBJECT_VARIABLE, &object).args(["--package", "ctflow-tools"]);
    if release {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    println!("programs built in {}", shell::took(start));
    Ok(Built { object, programs: cross.programs(release) })
}

/// Builds the programs with everything that logs, in a folder of its own, so that tests and packages never take them by
/// mistake.
fn diagnostics() -> Result<Built> {
    let folder = repo::target().join("diagnostics");
    let object = ebpf(&folder.join("ebpf"), true)?;
    let start = Instant::now();
    step("build: programs (diagnostics)");
    let mut cargo = shell::cargo("build");
    cargo.env(OBJECT_VARIABLE, &object).args(["--package", "ctflow-tools"]);
    cargo.args(["--features", "diagnostics", "--target-dir"]).arg(&folder);
    shell::run(&mut cargo)?;
    println!("programs built in {}", shell::took(start));
    Ok(Built { object, programs: folder.join("debug") })
}

/// Builds everything.
pub(crate) fn all(release: bool) -> Result<Built> {
    some(release, &[])
}

/// Builds the programs of these names; no names are all of them.
pub(crate) fn some(release: bool, names: &[&str]) -> Result<Built> {
    let object = ebpf(&ebpf_target(), false)?;
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

/// Builds optimised programs for packages, in a folder of their own: no path of this machine is left in them.
pub(crate) fn for_package() -> Result<Built> {
    let folder = repo::target().join("package/build");
    let object = ebpf(&ebpf_target(), false)?;
    let start = Instant::now();
    step("build: programs (for packages)");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("no home folder")?;
    let map = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let flags = [
        map(&home, "/usr/src/cargo"),
        map(repo::root(), "/usr/src/ctflow"),
        "-Clink-arg=-Wl,--build-id=sha1".to_owned(),
    ];
    let mut cargo = shell::cargo("build");
    cargo.env(OBJECT_VARIABLE, &object).env_remove("RUSTFLAGS");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.args(["--release", "--locked", "--package", "ctflow-tools", "--target-dir"]).arg(&folder);
    shell::run(&mut cargo)?;
    println!("programs built in {}", shell::took(start));
    Ok(Built { object, programs: folder.join("release") })
}

/// Builds the eBPF object in this folder.
fn ebpf(target: &Path, diagnostics: bool) -> Result<PathBuf> {
    let toolchain = setup::check_ebpf()?;
    let start = Instant::now();
    step("build: eBPF object");
    let mut cargo = ebpf_command(&toolchain, target);
    if diagnostics {
        cargo.args(["--features", "diagnostics"]);
    }
    shell::run(&mut cargo)?;
    let object = target.join("bpfel-unknown-none/release/ctflow-ebpf");
    // The build of `host` takes the second object from beside the first one.
    for made in [&object, &object.with_file_name("ctflow-failure")] {
        ensure!(made.is_file(), "cargo made no {}", made.display());
    }
    let logs = has_log(&object)?;
    ensure!(logs == diagnostics, "{}: {}", object.display(), wrong_log(logs));
    println!("eBPF object built in {}", shell::took(start));
    Ok(object)
}

/// Checks that the object that programs are released with, if it was built, has nothing that logs.
pub(crate) fn check_log() -> Result<()> {
    let object = ebpf_target().join("bpfel-unknown-none/release/ctflow-ebpf");
    ensure!(!object.is_file() || !has_log(&object)?, "{}: {}", object.display(), wrong_log(true));
    Ok(())
}

fn has_log(object: &Path) -> Result<bool> {
    let bytes = fs::read(object).with_context(|| format!("reading {}", object.display()))?;
    Ok(names_log(&bytes))
}

/// Whether an object names the map that aya-log-ebpf writes lines into.
fn names_log(object: &[u8]) -> bool {
    object.windows(LOG_MAP.len()).any(|bytes| bytes == LOG_MAP)
}

/// The name of that map.
const LOG_MAP: &[u8] = b"AYA_LOGS";

const fn wrong_log(logs: bool) -> &'static str {
    if logs {
        "it has the map of lines, which belongs to diagnostics builds alone"
    } else {
        "it has no map of lines, although it is to log"
    }
}

fn ebpf_command(toolchain: &Toolchain, target: &Path) -> Command {
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--package", "ctflow-ebpf", "--release", "--target", "bpfel-unknown-none"]);
    cargo.args(["-Zbuild-std=core", "--target-dir"]).arg(target);
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

#[cfg(test)]
mod tests {
    use super::{LOG_MAP, names_log};

    #[test]
    fn an_object_that_logs_is_told_from_one_that_does_not() {
        let object = |name: &[u8]| [b"\x7fELF.maps\0".as_slice(), name, b"\0COUNTERS"].concat();
        assert!(names_log(&object(LOG_MAP)));
        assert!(!names_log(&object(b"AYA_LOG")));
        assert!(!names_log(b""));
    }
}
