//! Embeds the eBPF object that `cargo xtask build` names in `CTFLOW_EBPF_OBJECT`, and the one of failures beside it.
//! Without them the crate builds all the same and says at run time that it carries no object.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ctflow_ebpf)");
    println!("cargo::rerun-if-env-changed=CTFLOW_EBPF_OBJECT");
    let Some(object) = env::var_os("CTFLOW_EBPF_OBJECT").map(PathBuf::from) else { return };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let failure = object.with_file_name("ctflow-failure");
    for (from, to) in [(object, "ctflow-ebpf.o"), (failure, "ctflow-failure.o")] {
        println!("cargo::rerun-if-changed={}", from.display());
        fs::copy(&from, out.join(to))
            .unwrap_or_else(|e| panic!("CTFLOW_EBPF_OBJECT: cannot read {}: {e}", from.display()));
    }
    println!("cargo::rustc-cfg=ctflow_ebpf");
}
