//! `cargo xtask setup`: what this repository needs from a machine, and getting it.
//!
//! Needs are found by the file that is used, not by a package's name, so that a check takes milliseconds and is right
//! on any distribution; only installing knows Debian.

use crate::repo;
use crate::shell::{self, step};
use crate::toolchain::{self, Toolchain};
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Make a Debian 12 machine ready to build, test and demonstrate everything.
///
/// Installs only what is missing: Debian packages with apt-get (as root) and bpf-linker with cargo (about 75 s).
/// When nothing is missing it says so at once and touches nothing.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only say what is missing; exit status 1 when something is
    #[arg(long)]
    check: bool,
}

/// Debian packages by the program that shows they are there.
const PROGRAMS: [(&str, &str); 12] = [
    ("cc", "build-essential"),
    ("conntrack", "conntrack"),
    ("conntrackd", "conntrackd"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("keepalived", "keepalived"),
    ("nfct", "nfct"),
    ("nft", "nftables"),
    ("prometheus", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("tmux", "tmux"),
    ("unshare", "util-linux"),
];

/// The rustc whose sources of `core` are packaged.
const RUSTC: [&str; 2] = ["rustc-web", "rust-web-src"];

/// What bpf-linker is built with, by a file of each.
const LINKER_LIBRARIES: [(&str, &str); 4] = [
    ("/usr/lib/llvm-22/bin/llvm-config", "llvm-22-dev"),
    ("/usr/lib/llvm-22/lib/libPolly.a", "libpolly-22-dev"),
    ("/usr/include/zstd.h", "libzstd-dev"),
    ("/usr/bin/pkg-config", "pkg-config"),
];

/// Packages and files that are missing.
struct Missing {
    packages: Vec<&'static str>,
    linker: bool,
}

impl Missing {
    fn find() -> Self {
        let absent = PROGRAMS.iter().filter(|(program, _)| shell::find(program).is_none());
        let mut packages: Vec<_> = absent.map(|(_, package)| *package).collect();
        if Toolchain::find().is_none() {
            packages.extend(RUSTC);
        }
        let linker = !toolchain::has_linker();
        if linker {
            let absent = LINKER_LIBRARIES.iter().filter(|(file, _)| !Path::new(file).exists());
            packages.extend(absent.map(|(_, package)| *package));
        }
        Self { packages, linker }
    }

    fn is_nothing(&self) -> bool {
        self.packages.is_empty() && !self.linker
    }

    /// The commands that would get it, one a line.
    fn remedy(&self) -> String {
        let mut lines = Vec::new();
        if !self.packages.is_empty() {
            let packages = self.packages.join(" ");
            lines.push(format!("apt-get install --no-install-recommends {packages}"));
        }
        if self.linker {
            lines.push(shell::line(&linker_install()));
            lines.push(
                "  (with LLVM_SYS_221_PREFIX=/usr/lib/llvm-22 \
                        RUSTFLAGS='-L /usr/lib/llvm-22/lib' in its environment)"
                    .into(),
            );
        }
        format!("  {}", lines.join("\n  "))
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let missing = Missing::find();
    if missing.is_nothing() {
        println!("setup: nothing is missing");
        return Ok(());
    }
    if options.check {
        bail!(
            "something is missing; `cargo xtask setup` gets it, or do it by hand:\n{}",
            missing.remedy()
        );
    }
    install(&missing)
}

/// Sets up what is missing, silently when nothing is.
pub(crate) fn ensure() -> Result<()> {
    let missing = Missing::find();
    if missing.is_nothing() { Ok(()) } else { install(&missing) }
}

/// An error that says what building the eBPF object lacks, when it lacks something.
pub(crate) fn check_ebpf() -> Result<Toolchain> {
    let toolchain = Toolchain::find();
    match toolchain {
        Some(toolchain) if toolchain::has_linker() => Ok(toolchain),
        _ => bail!(
            "the eBPF object needs tools that are missing; `cargo xtask setup` gets them, or do it by hand:\n{}",
            Missing::find().remedy()
        ),
    }
}

fn install(missing: &Missing) -> Result<()> {
    let remedy = missing.remedy();
    if !missing.packages.is_empty() {
        if !is_debian() {
            bail!("this is not a Debian; install what these Debian commands would:\n{remedy}");
        }
        if !repo::is_root() {
            bail!("packages are missing and only root may install them:\n{remedy}");
        }
        install_packages(&missing.packages)?;
    }
    if missing.linker {
        install_linker()?;
    }
    let still = Missing::find();
    if !still.is_nothing() {
        bail!(
            "installed, and yet not found (is the bin folder of cargo install on PATH?):\n{}",
            still.remedy()
        );
    }
    Ok(())
}

/// Sees that Debian's rustc is there, which can be given the standard library of another architecture.
pub(crate) fn ensure_rustc() -> Result<()> {
    if matches!(Toolchain::find(), Some(Toolchain::Debian)) {
        Ok(())
    } else {
        install_packages(&RUSTC)
    }
}

/// Sees that some more programs are there, which only one part of the tests needs: each with its Debian package.
pub(crate) fn ensure_programs(programs: &[(&str, &'static str)]) -> Result<()> {
    let absent = programs.iter().filter(|(program, _)| shell::find(program).is_none());
    let packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    if packages.is_empty() { Ok(()) } else { install_packages(&packages) }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let start = Instant::now();
    step(&format!("setup: installing {}", packages.join(" ")));
    shell::run(apt_get().args(["-q", "update"]))?;
    let _policy = Policy::set()?;
    let install = ["-q", "install", "--yes", "--no-install-recommends"];
    shell::run(apt_get().args(install).args(packages))?;
    println!("packages installed in {}", shell::took(start));
    for service in ["conntrackd", "keepalived"] {
        if packages.contains(&service) {
            warn_of_a_started_service(service);
        }
    }
    Ok(())
}

fn install_linker() -> Result<()> {
    let start = Instant::now();
    step("setup: building bpf-linker 0.13.0 (about 75 s on two cores)");
    shell::run(&mut linker_install())?;
    println!("bpf-linker installed in {}", shell::took(start));
    Ok(())
}

fn linker_install() -> Command {
    let mut cargo = shell::cargo("install");
    cargo.args(["bpf-linker", "--version", "0.13.0", "--locked", "--force"]);
    cargo.args(["--no-default-features", "--features", "llvm-22"]);
    cargo.env("LLVM_SYS_221_PREFIX", "/usr/lib/llvm-22");
    cargo.env("RUSTFLAGS", "-L /usr/lib/llvm-22/lib").env_remove("CARGO_ENCODED_RUSTFLAGS");
    // Not into our target directory: half of it would be LLVM bindings that no other build needs.
    cargo.env_remove("CARGO_TARGET_DIR");
    cargo
}

/// Keeps Debian's packages from starting the services they bring, while it lives: see invoke-rc.d(8).
struct Policy {
    /// Whether the file is ours.
    ours: bool,
}

impl Policy {
    const PATH: &str = "/usr/sbin/policy-rc.d";

    /// A policy that is there already stays.
    fn set() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        if Path::new(Self::PATH).exists() {
            return Ok(Self { ours: false });
        }
        // 101: the action is forbidden.
        fs::write(Self::PATH, "#!/bin/sh\nexit 101\n")?;
        let policy = Self { ours: true };
        fs::set_permissions(Self::PATH, fs::Permissions::from_mode(0o755))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(Self::PATH);
        }
    }
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && shell::find("apt-get").is_some()
}

/// Debian starts the services it installs where an init runs; conntrackd would listen to every test's flows.
fn warn_of_a_started_service(name: &str) {
    if let Some(pid) = running(name) {
        eprintln!(
            "warning: installing {name} started it as a service (process {pid}); \
             `systemctl disable --now {name}` ends that"
        );
    }
}

fn running(program: &str) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut found = processes.filter(|process| {
        fs::read_to_string(process.path().join("comm")).is_ok_and(|name| name.trim() == program)
    });
    found.next().map(|process| process.file_name().to_string_lossy().into_owned())
}
