//! The bill of materials: which crates are linked into the programs of a package, of which version, with which checksum
//! and licence, and which needs which.
//!
//! ```text
//!   cargo tree, programs    --\
//!   cargo tree, eBPF object ---+--> crates --> CycloneDX (JSON), and the licences in `copyright`
//!   Cargo.lock --checksums-----'
//! ```
//!
//! The standard library is not a crate of Cargo.lock, and not listed.

mod tree;

mod cyclonedx;

mod check;

pub(super) use check::check;

use crate::{repo, shell};
use anyhow::Result;
use cyclonedx::Checksums;
use std::collections::BTreeMap;
use std::fs;
use tree::{Crate, Crates};

/// The crate of all programs.
const PROGRAMS: &str = "ctflow-tools";
/// The crate of the eBPF object, which the programs carry, and the target it is compiled for.
const OBJECT: (&str, &str) = ("ctflow-ebpf", "bpfel-unknown-none");

/// What a package is made from.
pub(super) struct Bill {
    crates: Crates,
    checksums: Checksums,
}

impl Bill {
    /// The bill of programs that do not call these direct dependencies of [`PROGRAMS`].
    pub(super) fn of(without: &[&str]) -> Result<Self> {
        let mut crates = tree::linked(PROGRAMS, &shell::host()?, without)?;
        for (one, linked) in tree::linked(OBJECT.0, OBJECT.1, &[])? {
            crates.entry(one).or_default().add(linked);
        }
        Ok(Self { crates, checksums: checksums()? })
    }

    /// The bill of the package of that name, in CycloneDX's form.
    pub(super) fn text(&self, package: &str) -> Result<String> {
        let is_root = |one: &&Crate| [PROGRAMS, OBJECT.0].contains(&one.name.as_str());
        let roots: Vec<_> = self.crates.keys().filter(is_root).cloned().collect();
        let bill = cyclonedx::document(package, &roots, &self.crates, &self.checksums);
        Ok(serde_json::to_string_pretty(&bill)? + "\n")
    }

    /// The crates from elsewhere, by their licence.
    pub(super) fn by_licence(&self) -> BTreeMap<&str, Vec<String>> {
        let mut found = BTreeMap::<_, Vec<_>>::new();
        for (one, linked) in self.crates.iter().filter(|(_, linked)| !linked.is_ours) {
            let name = format!("{} {}", one.name, one.version);
            found.entry(linked.licence.as_str()).or_default().push(name);
        }
        found
    }
}

/// SHA-256 of the crates of registries, which Cargo.lock lists.
fn checksums() -> Result<Checksums> {
    let lock = fs::read_to_string(repo::root().join("Cargo.lock"))?;
    let value = |part: &str, name: &str| {
        let line = part.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        line.map(|text| text.trim_matches('"').to_owned())
    };
    let of = |part: &str| {
        let one = Crate { name: value(part, "name")?, version: value(part, "version")? };
        Some((one, value(part, "checksum")?))
    };
    Ok(lock.split("[[package]]").filter_map(of).collect())
}
