//! What the language accepts, refuses, and says about it.

mod errors;
mod examples;
mod meaning;
mod table;

use super::diagnostic::{Diagnostic, Found, Source};
use super::{Conf, parse, parser};
use std::path::PathBuf;

/// A configuration whose text must be without fault and without warning.
fn clean(text: &str) -> Conf {
    match parse(text, "test.conf") {
        Ok((conf, warnings)) if warnings.is_empty() => conf,
        Ok((_, found)) | Err(found) => panic!("{}", rendered(&found, text)),
    }
}

/// Everything found in the text.
fn found(text: &str) -> Found {
    match parse(text, "test.conf") {
        Ok((_, found)) | Err(found) => found,
    }
}

/// What the grammar alone says of the text.
fn syntax(text: &str) -> Found {
    parser::parse(&Source::new("test.conf", text)).1.finish()
}

fn rendered(found: &[Diagnostic], text: &str) -> String {
    let each: Vec<_> = found.iter().map(|diagnostic| diagnostic.render(text, false)).collect();
    each.join("\n\n")
}

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a file of the repository with what it should hold; with `UPDATE=1`, writes it.
fn up_to_date(path: &str, wanted: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).position(|(a, b)| a != b);
    assert!(
        found == wanted,
        "{} is stale (first difference in line {:?}); run: UPDATE=1 cargo test -p ctflow-tools",
        path.display(),
        differs.map(|line| line + 1),
    );
}

#[test]
fn the_reference_says_what_the_table_says() {
    up_to_date("docs/spec/conf.md", &super::reference::markdown());
}

#[test]
fn the_reference_of_the_log_says_what_the_codes_say() {
    up_to_date("docs/spec/log.md", &crate::conntrackd::logs::reference::markdown());
}
