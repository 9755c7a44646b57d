//! The compilers that make the eBPF object: a rustc with the sources of `core`, and `bpf-linker`.
//!
//! Two are good: Debian's `rustc-web` with `rust-web-src`, or a rustup nightly with `rust-src`. Debian's comes first,
//! because its LLVM is the one the linker is built with.

use crate::shell;
use std::path::Path;
use std::process::Command;

/// The bpf-linker that is known to work, and the least that is accepted.
pub(crate) const LINKER: [u32; 3] = [0, 13, 0];

/// Debian's compiler, and what documents and tests examples with it.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
pub(crate) const DEBIAN_RUSTDOC: &str = "/usr/bin/rustdoc";
const LIBRARY: &str = "lib/rustlib/src/rust/library/core";

/// A rustc that can build `core` for targets that have no standard library.
pub(crate) enum Toolchain {
    /// Debian's `/usr/bin/rustc`.
    Debian,
    /// `rustup run nightly`.
    Nightly,
}

impl Toolchain {
    /// The one this machine has.
    pub(crate) fn find() -> Option<Self> {
        let debian = Path::new("/usr").join(LIBRARY).is_dir() && Path::new(DEBIAN_RUSTC).is_file();
        if debian { Some(Self::Debian) } else { nightly_has_sources().then_some(Self::Nightly) }
    }

    /// A cargo that compiles with this toolchain.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        let mut cargo = match self {
            Self::Debian => shell::cargo(verb),
            Self::Nightly => nightly_cargo(verb),
        };
        if matches!(self, Self::Debian) {
            // Its clippy and its wrappers belong to the other compiler.
            cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            cargo.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
        }
        cargo
    }
}

/// Whether a `bpf-linker` that is new enough is there and runs.
pub(crate) fn has_linker() -> bool {
    let version = shell::output(Command::new("bpf-linker").arg("--version"));
    version.ok().and_then(|text| parse_version(&text)).is_some_and(|found| found >= LINKER)
}

fn nightly_has_sources() -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["run", "nightly", "rustc", "--print", "sysroot"]).env("RUSTUP_AUTO_INSTALL", "0");
    shell::output(&mut rustup).is_ok_and(|path| Path::new(path.trim()).join(LIBRARY).is_dir())
}

fn nightly_cargo(verb: &str) -> Command {
    let mut rustup = Command::new("rustup");
    shell::forget_outer_cargo(&mut rustup);
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"] {
        rustup.env_remove(name);
    }
    rustup.args(["run", "nightly", "cargo", verb]).current_dir(crate::repo::root());
    rustup
}

/// The numbers in `bpf-linker 0.13.0`.
fn parse_version(text: &str) -> Option<[u32; 3]> {
    let number = text.split_whitespace().nth(1)?;
    let release = number.split(['-', '+']).next()?;
    let mut parts = release.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("bpf-linker 0.13.0\n"), Some([0, 13, 0]));
        assert!(parse_version("bpf-linker 0.9.15").unwrap() < super::LINKER);
        assert!(parse_version("bpf-linker 1.0.0-rc.1").unwrap() > super::LINKER);
        assert_eq!(parse_version("bpf-linker"), None);
    }
}
