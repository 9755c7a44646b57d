//! Embeds the eBPF object that `cargo xtask build` names in `CTFLOW_EBPF_OBJECT`. Without it the crate builds all
//! the same and says at run time that it carries no object.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ctflow_ebpf)");
    println!("cargo::rerun-if-env-changed=CTFLOW_EBPF_OBJECT");
    let Some(object) = env::var_os("CTFLOW_EBPF_OBJECT").map(PathBuf::from) else { return };
    println!("cargo::rerun-if-changed={}", object.display());
    let out =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("ctflow-ebpf.o");
    fs::copy(&object, &out)
        .unwrap_or_else(|e| panic!("CTFLOW_EBPF_OBJECT: cannot read {}: {e}", object.display()));
    println!("cargo::rustc-cfg=ctflow_ebpf");
}
