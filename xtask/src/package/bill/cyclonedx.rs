//! A bill of materials in CycloneDX's form, version 1.5, as JSON.
//!
//! It holds no time, no random number and no path: the same sources give the same bytes.

use super::tree::{Crate, Crates, Linked};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// SHA-256 of crates from registries.
pub(super) type Checksums = BTreeMap<Crate, String>;

/// The bill of a Debian package that is made from `tree`, in which `roots` are the crates of its programs.
pub(super) fn document(package: &str, roots: &[Crate], tree: &Crates, sums: &Checksums) -> Value {
    let program = json!({
        "type": "application",
        "bom-ref": package,
        "name": package,
        "version": env!("CARGO_PKG_VERSION"),
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
    });
    let components = tree.iter().map(|(one, linked)| component(one, linked, sums.get(one)));
    let needs = |from: String, to: Vec<String>| json!({"ref": from, "dependsOn": to});
    let first = needs(package.to_owned(), roots.iter().map(purl).collect());
    let others =
        tree.iter().map(|(one, linked)| needs(purl(one), linked.needs.iter().map(purl).collect()));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": program},
        "components": components.collect::<Vec<_>>(),
        "dependencies": std::iter::once(first).chain(others).collect::<Vec<_>>(),
    })
}

fn component(one: &Crate, linked: &Linked, sum: Option<&String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(one),
        "name": one.name,
        "version": one.version,
        "purl": purl(one),
        "licenses": [{"expression": linked.licence}],
    });
    if let Some(sum) = sum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

/// The identifier of a crate (package-url).
fn purl(one: &Crate) -> String {
    format!("pkg:cargo/{}@{}", one.name, one.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_says_what_each_crate_is_and_what_it_needs() {
        let named = |name: &str| Crate { name: name.into(), version: "1.2.3".into() };
        let linked = |needs: &[&str]| Linked {
            licence: "MIT".into(),
            is_ours: false,
            needs: needs.iter().map(|name| named(name)).collect(),
        };
        let tree = Crates::from([(named("a"), linked(&["b"])), (named("b"), linked(&[]))]);
        let sums = Checksums::from([(named("b"), "5e".repeat(32))]);
        let bill = document("ctflow", &[named("a")], &tree, &sums);
        let license = json!([{"expression": "MIT"}]);
        assert_eq!(
            bill["components"],
            json!([
                {
                    "type": "library", "bom-ref": "pkg:cargo/a@1.2.3", "name": "a", "version": "1.2.3",
                    "purl": "pkg:cargo/a@1.2.3", "licenses": license,
                },
                {
                    "type": "library", "bom-ref": "pkg:cargo/b@1.2.3", "name": "b", "version": "1.2.3",
                    "purl": "pkg:cargo/b@1.2.3", "licenses": license,
                    "hashes": [{"alg": "SHA-256", "content": "5e".repeat(32)}],
                },
            ])
        );
        assert_eq!(
            bill["dependencies"],
            json!([
                {"ref": "ctflow", "dependsOn": ["pkg:cargo/a@1.2.3"]},
                {"ref": "pkg:cargo/a@1.2.3", "dependsOn": ["pkg:cargo/b@1.2.3"]},
                {"ref": "pkg:cargo/b@1.2.3", "dependsOn": []},
            ])
        );
    }
}
