//! What must hold of a bill, whatever made it.

use super::tree::Crate;
use crate::repo;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;

/// Crates that are linked into some program of each package, or into the eBPF object inside.
const LINKED: [&str; 7] =
    ["aya", "aya-ebpf", "ctflow-ebpf", "ctflow-engine", "ring", "rustix", "tokio"];

/// Crates of Cargo.lock that are in no program: a macro, and what macros, build scripts, tests, benchmarks, `xtask`,
/// other operating systems and `--diagnostics` need.
const NOT_LINKED: [&str; 9] = [
    "aya-log-ebpf",
    "cc",
    "criterion",
    "libfuzzer-sys",
    "proptest",
    "public-api",
    "serde_derive",
    "syn",
    "windows-sys",
];

/// Checks a bill of a package whose programs do not call the crates in `without`.
pub(in crate::package) fn check(text: &str, without: &[&str]) -> Result<()> {
    let bill: Value = serde_json::from_str(text).context("the bill is no JSON")?;
    ensure!(bill["bomFormat"] == "CycloneDX" && bill["specVersion"] == "1.5", "another format");
    ensure!(!text.contains(&*repo::root().to_string_lossy()), "it says where it was made");
    let components = bill["components"].as_array().context("the bill names nothing")?;
    let has = |name: &str| components.iter().any(|one| one["name"] == name);
    for wanted in LINKED {
        ensure!(has(wanted), "{wanted} is not listed");
    }
    for unwanted in NOT_LINKED.iter().chain(without) {
        ensure!(!has(unwanted), "{unwanted} is listed, and in no program");
    }
    each_is_described(components)?;
    references_exist(&bill, components)
}

/// Each crate has a licence, and the checksum that Cargo.lock has.
fn each_is_described(components: &[Value]) -> Result<()> {
    let sums = super::checksums()?;
    for one in components {
        let word = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let sum = one["hashes"][0]["content"].as_str();
        let known = sums.get(&Crate { name: word("name"), version: word("version") });
        ensure!(sum == known.map(String::as_str), "{}: {sum:?}, not {known:?}", one["purl"]);
        ensure!(sum.is_none_or(|sum| sum.len() == 64), "{}: no SHA-256", one["purl"]);
        let licence = one["licenses"][0]["expression"].as_str();
        ensure!(licence.is_some_and(|licence| !licence.is_empty()), "{}: no licence", one["purl"]);
    }
    Ok(())
}

/// What needs something, and what it needs, is listed; each crate but the package itself is needed by something.
fn references_exist(bill: &Value, components: &[Value]) -> Result<()> {
    let listed: BTreeSet<_> = components.iter().filter_map(|one| one["bom-ref"].as_str()).collect();
    ensure!(listed.len() == components.len(), "two components have one name");
    let depends = bill["dependencies"].as_array().context("nothing needs anything")?;
    ensure!(depends.len() == components.len() + 1, "not all say what they need");
    let mut needed = BTreeSet::new();
    for one in depends {
        for need in one["dependsOn"].as_array().into_iter().flatten() {
            needed.insert(need.as_str().unwrap_or_default());
        }
    }
    let differ: Vec<_> = listed.symmetric_difference(&needed).collect();
    ensure!(differ.is_empty(), "needed and not listed, or the other way round: {differ:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Bill, checksums};
    use super::*;
    use crate::package::{PACKAGES, Package};

    fn bill(package: &Package) -> String {
        Bill::of(package.without).unwrap().text(package.name).unwrap()
    }

    #[test]
    fn the_bill_of_each_package_holds_and_a_wrong_one_is_noticed() {
        for package in &PACKAGES {
            let good = bill(package);
            check(&good, package.without).unwrap();
            for (what, by) in [
                ("\"CycloneDX\"", "\"SPDX\""),
                ("\"name\": \"rustix\"", "\"name\": \"rusty\""),
                ("\"name\": \"itoa\"", "\"name\": \"proptest\""),
                ("\"content\": \"", "\"content\": \"0"),
                ("\"expression\": \"", "\"id\": \""),
                ("pkg:cargo/aya-ebpf@", "pkg:cargo/aya-eppf@"),
            ] {
                assert!(good.contains(what), "{what}");
                let bad = good.replacen(what, by, 1);
                assert!(check(&bad, package.without).is_err(), "{what}");
            }
        }
    }

    #[test]
    fn what_draws_on_terminals_is_in_the_bill_of_ctflow_alone() {
        let [ctflow, tools] = &PACKAGES;
        let error = check(&bill(ctflow), tools.without).unwrap_err();
        assert_eq!(error.to_string(), "crossterm is listed, and in no program");
        let error = check(&bill(tools), &["rustix"]).unwrap_err();
        assert_eq!(error.to_string(), "rustix is listed, and in no program");
    }

    /// A crate that Cargo.lock does not have could not be listed by mistake.
    #[test]
    fn the_crates_that_must_be_absent_could_be_there() {
        let known = checksums().unwrap();
        let without = PACKAGES.iter().flat_map(|package| package.without);
        for name in NOT_LINKED.iter().chain(without) {
            assert!(known.keys().any(|one| one.name == *name), "{name}");
        }
    }
}
