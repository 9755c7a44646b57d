//! Links the unwinder of GCC into the programs, where the compiler has it as an archive.
//!
//! The shared one, `libgcc_s.so.1`, asks the processor for all it can whenever a program starts, and under a hypervisor
//! each answer takes long: a tenth of a millisecond of the one that `conntrack -C` takes.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// What the linker reads instead of the shared library.
const SCRIPT: &str = "INPUT(-lgcc_eh)\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value == wanted);
    let gnu = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let native = env::var("HOST").ok() == env::var("TARGET").ok();
    let (Some(out), true) = (env::var_os("OUT_DIR"), gnu && native && has_archive()) else {
        return;
    };
    if fs::write(Path::new(&out).join("libgcc_s.so"), SCRIPT).is_ok() {
        println!("cargo::rustc-link-search=native={}", Path::new(&out).display());
    }
}

/// Whether the C compiler, which links for rustc, has the archive: it answers with a path if so.
fn has_archive() -> bool {
    let asked = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output();
    asked.is_ok_and(|output| output.stdout.contains(&b'/'))
}
