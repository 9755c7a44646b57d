//! Programs for arm64, built on an x86-64 machine, and their tests, run here by QEMU's user mode.
//!
//! ```text
//!   apt for arm64 --libstd-rust-web-dev--> target/aarch64/sysroot --\
//!   Debian's rustc-web (of the same version)                         +--> target/aarch64/aarch64-unknown-linux-gnu/
//!   gcc-aarch64-linux-gnu: linker, C compiler, glibc ---------------/            |
//!                                                         qemu-aarch64-static <--' cargo test
//! ```
//!
//! rustup's toolchain has a standard library for this machine alone, and no other can be fetched for it from a Debian
//! mirror: so Debian's compiler builds, with the standard library that Debian built for arm64.

use crate::apt::{self, Apt};
use crate::shell::{self, step};
use crate::toolchain::{DEBIAN_RUSTC, DEBIAN_RUSTDOC};
use crate::{repo, setup};
use anyhow::{Context as _, Result, bail, ensure};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An architecture that programs are built and tested for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    /// x86-64
    #[value(aliases = ["x86_64", "x86-64"])]
    Amd64,
    /// AArch64, little-endian
    #[value(alias = "aarch64")]
    Arm64,
}

impl Arch {
    /// The architecture of this machine, where it is one of ours.
    pub(crate) fn of_host() -> Option<Self> {
        match env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// What building for it takes beyond what building here takes: nothing where it is this machine's.
    pub(crate) fn cross(asked: Option<Self>) -> Result<Option<Cross>> {
        match asked {
            None => Ok(None),
            Some(_) if asked == Self::of_host() => Ok(None),
            Some(Self::Arm64) if Self::of_host() == Some(Self::Amd64) => Cross::ready().map(Some),
            Some(_) => bail!("from {} nothing is built for other machines", env::consts::ARCH),
        }
    }
}

/// The target, as rustc calls it.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The C compiler, which links, too.
const COMPILER: &str = "aarch64-linux-gnu-gcc";
/// QEMU's user mode.
pub(crate) const EMULATOR: &str = "qemu-aarch64-static";
/// The C library of the target, which Debian's cross compiler links with.
const LIBRARY: &str = "/usr/aarch64-linux-gnu";
/// What is installed for this alone, by a file of each package.
const PROGRAMS: [(&str, &str); 4] = [
    (COMPILER, "gcc-aarch64-linux-gnu"),
    ("/usr/aarch64-linux-gnu/include/stdio.h", "libc6-dev-arm64-cross"),
    (EMULATOR, "qemu-user-static"),
    ("dpkg-deb", "dpkg"),
];

/// A machine that is ready to build for arm64.
pub(crate) struct Cross {
    /// The folder of everything that is built for it.
    folder: PathBuf,
    /// The standard library.
    sysroot: PathBuf,
}

impl Cross {
    /// Gets what is missing.
    fn ready() -> Result<Self> {
        setup::ensure_rustc()?;
        setup::ensure_programs(&PROGRAMS)?;
        let folder = repo::target().join("aarch64");
        let sysroot = sysroot(&folder)?;
        Ok(Self { folder, sysroot })
    }

    /// A cargo that builds for arm64 and runs what it has built.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        let mut cargo = shell::cargo(verb);
        cargo.args(["--target", TARGET, "--target-dir"]).arg(&self.folder);
        // Debian's compiler, without rustup's wrappers.
        cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTDOC", DEBIAN_RUSTDOC);
        let unset = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"];
        unset.iter().for_each(|name| {
            cargo.env_remove(name);
        });
        let flags = format!("--sysroot={}", self.sysroot.display());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", &flags).env("CARGO_ENCODED_RUSTDOCFLAGS", &flags);
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", COMPILER);
        cargo.env("CC_aarch64_unknown_linux_gnu", COMPILER);
        let runner = format!("{EMULATOR} -L {LIBRARY}");
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
        cargo
    }

    /// The folder of its programs.
    pub(crate) fn programs(&self, release: bool) -> PathBuf {
        self.folder.join(TARGET).join(if release { "release" } else { "debug" })
    }
}

/// An apt that knows arm64's packages.
pub(crate) fn apt() -> Result<Apt> {
    Apt::foreign(&repo::target().join("aarch64/apt"), "arm64")
}

/// The folder with the standard library for arm64 that fits this machine's rustc: that of last time, if it fits.
fn sysroot(folder: &Path) -> Result<PathBuf> {
    let (home, done) = (folder.join("sysroot"), folder.join("sysroot/version"));
    let version = shell::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${Version}",
        "rustc-web",
    ]))?;
    let root = home.join("usr");
    if fs::read_to_string(&done).is_ok_and(|known| known == version) {
        return Ok(root);
    }
    step("setup: fetching the standard library for arm64");
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    // Another build of the same version would be refused: its hashes are others.
    let package = format!("libstd-rust-web-dev={version}");
    apt()?.download(&[&package], &home)?;
    apt::extract_all(&home, &home)?;
    let library = root.join("lib/rustlib").join(TARGET);
    ensure!(library.is_dir(), "libstd-rust-web-dev {version} has no {}", library.display());
    fs::write(&done, version)?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::{Arch, Cross, TARGET};
    use clap::ValueEnum as _;
    use std::ffi::OsStr;

    #[test]
    fn both_names_of_an_architecture_are_understood() {
        for name in ["arm64", "aarch64"] {
            assert_eq!(Arch::from_str(name, false).unwrap(), Arch::Arm64, "{name}");
        }
        assert_eq!(Arch::from_str("x86_64", false).unwrap(), Arch::Amd64);
    }

    #[test]
    fn building_for_this_machine_takes_nothing_more() {
        assert!(Arch::cross(None).unwrap().is_none());
        assert!(Arch::cross(Arch::of_host()).unwrap().is_none());
    }

    #[test]
    fn what_is_built_for_arm64_lies_apart() {
        let cross = Cross { folder: "/target/aarch64".into(), sysroot: "/sysroot".into() };
        let cargo = cross.cargo("build");
        let words: Vec<_> = cargo.get_args().collect();
        let expected = ["build", "--target", TARGET, "--target-dir", "/target/aarch64"];
        assert_eq!(words, expected.map(OsStr::new));
        assert!(cross.programs(true).ends_with("aarch64-unknown-linux-gnu/release"));
    }
}
