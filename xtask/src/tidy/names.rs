//! No name with three meanings: how often the crates that others build on define a type of one name.

use super::{code, is_test};
use std::collections::BTreeMap;
use std::path::Path;

/// Their sources.
const CRATES: [&str; 6] = [
    "common/src/",
    "userspace/ctnetlink/src/",
    "userspace/wire/src/",
    "userspace/engine/src/",
    "userspace/host/src/",
    "userspace/export/src/",
];

/// So many types may have one name: where they meet, the module's name in front distinguishes them.
const MEANINGS_MAX: usize = 2;

/// Names that say the same of everything they are in.
const CONVENTIONAL: [(&str, &str); 4] = [
    ("Settings", "what a module is opened with"),
    ("Parts", "what a thread is made of"),
    ("Header", "what comes first in a message of a protocol"),
    ("Kind", "which of those that a module is about"),
];

/// Types defined more often than they may be; `files` are all of the repository, by name.
pub(super) fn ambiguous<'a>(files: impl Iterator<Item = (String, &'a str)>) -> Vec<String> {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for (file, text) in files {
        let counts =
            CRATES.iter().any(|krate| file.starts_with(krate)) && !is_test(Path::new(&file));
        for (at, line) in code(text).filter(|_| counts) {
            if let Some(name) = defined(line) {
                places.entry(name.to_owned()).or_default().push(format!("{file}:{}", at + 1));
            }
        }
    }
    let is_conventional = |name: &str| CONVENTIONAL.iter().any(|(allowed, _)| *allowed == name);
    let many = places
        .iter()
        .filter(|(name, places)| places.len() > MEANINGS_MAX && !is_conventional(name));
    many.map(|(name, places)| {
        format!("`{name}` has {} meanings: {}", places.len(), places.join(", "))
    })
    .collect()
}

/// The public type that a line defines.
fn defined(line: &str) -> Option<&str> {
    let (kind, rest) = line.strip_prefix("pub ")?.split_once(' ')?;
    if !["struct", "enum", "trait", "type", "union"].contains(&kind) {
        return None;
    }
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: [(&str, &str); 3]) -> usize {
        ambiguous(files.into_iter().map(|(file, text)| (file.to_owned(), text))).len()
    }

    #[test]
    fn three_types_of_one_name_are_found_and_two_are_not() {
        let [a, b] = ["common/src/a.rs", "userspace/host/src/b.rs"];
        let text = "pub struct Place<'a> {\n}\n";
        assert_eq!(
            found([(a, text), (b, text), ("userspace/wire/src/c.rs", "pub type Place = u8;\n")]),
            1
        );
        assert_eq!(
            found([(a, text), (b, text), ("userspace/wire/src/c.rs", "struct Place;\n")]),
            0
        );
        assert_eq!(found([(a, text), (b, text), ("userspace/tools/src/c.rs", text)]), 0);
        assert_eq!(found([(a, text), (b, text), ("userspace/host/src/b/tests.rs", text)]), 0);
        let conventional = "pub enum Kind {\n}\n";
        assert_eq!(found([(a, conventional), (b, conventional), (a, conventional)]), 0);
    }
}
