//! `cargo xtask public-api`: what other people's code can name of the crates that are published.
//!
//! The text of each crate stands in `xtask/public-api/`, so that the diff of a commit shows what it changes of the
//! interface. The compiler writes the interface as rustdoc JSON, whose format is unstable: the stable compiler writes
//! it where `RUSTC_BOOTSTRAP` is set, and the crate `public-api` reads it.

use crate::{repo, shell};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Compare the public interface of each published crate with its committed text (a part of `lint`).
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask public-api\n  cargo xtask public-api --bless")]
pub(crate) struct Options {
    /// Write the texts instead of comparing them; then read the diff, and raise the version if it breaks users
    #[arg(long)]
    bless: bool,
}

/// The crates that are published.
const PUBLISHED: [&str; 1] = ["ctnetlink"];

pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.bless {
        return check();
    }
    for name in PUBLISHED {
        let path = committed(name);
        let text = interface(&manifest(name), name)?;
        fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

/// Fails, with the lines that differ, if a crate's interface is not as its committed text says.
pub(crate) fn check() -> Result<()> {
    for name in PUBLISHED {
        let path = committed(name);
        let before = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        compare(name, &before, &interface(&manifest(name), name)?)?;
    }
    Ok(())
}

fn committed(name: &str) -> PathBuf {
    repo::root().join("xtask/public-api").join(name).with_extension("txt")
}

fn manifest(name: &str) -> PathBuf {
    repo::root().join("userspace").join(name).join("Cargo.toml")
}

/// The public interface of the library of the package `name`, all features on: one line per item, sorted.
fn interface(manifest: &Path, name: &str) -> Result<String> {
    let target = repo::target().join("public-api");
    let mut cargo = shell::cargo("rustdoc");
    cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", &target).arg("--quiet");
    cargo.args(["--lib", "--all-features", "--manifest-path"]).arg(manifest);
    shell::run(cargo.args(["--", "-Zunstable-options", "--output-format", "json"]))?;
    let api = public_api::Builder::from_rustdoc_json(
        target.join("doc").join(name).with_extension("json"),
    )
    .omit_blanket_impls(true)
    .omit_auto_trait_impls(true)
    .omit_auto_derived_impls(true)
    .build()
    .context("this compiler's rustdoc JSON needs another version of the crate `public-api`")?;
    Ok(api.to_string())
}

/// Fails if the texts differ; the lines that did come first, with `-` where they went and `+` where they came.
fn compare(name: &str, before: &str, now: &str) -> Result<()> {
    let missing = |from: &str, other: &str, sign: char| {
        let absent = from.lines().filter(|line| !other.lines().any(|known| known == *line));
        absent.map(|line| format!("{sign}{line}")).collect::<Vec<_>>()
    };
    let changes = [missing(before, now, '-'), missing(now, before, '+')].concat();
    if before == now {
        return Ok(());
    }
    bail!(
        "the public interface of {name} has changed; if that is meant, `cargo xtask public-api --bless`\n{}",
        changes.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The interface of a crate that has this text.
    fn of(folder: &Path, text: &str) -> String {
        fs::create_dir_all(folder.join("src")).unwrap();
        let manifest = folder.join("Cargo.toml");
        let head =
            "[package]\nname = \"small\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(&manifest, head).unwrap();
        fs::write(folder.join("src/lib.rs"), text).unwrap();
        interface(&manifest, "small").unwrap()
    }

    #[test]
    fn a_change_of_the_interface_fails_and_a_private_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let before = of(folder.path(), "pub fn length(of: &[u8]) -> u16 { of.len() as u16 }");
        let same = of(
            folder.path(),
            "pub fn length(of: &[u8]) -> u16 { hidden(of) }\nfn hidden(of: &[u8]) -> u16 { of.len() as u16 }",
        );
        assert!(compare("small", &before, &same).is_ok(), "{before}{same}");
        let wider = of(folder.path(), "pub fn length(of: &[u8]) -> usize { of.len() }");
        let error = compare("small", &before, &wider).unwrap_err().to_string();
        assert!(error.contains("\n-pub fn small::length(&[u8]) -> u16"), "{error}");
        assert!(error.contains("\n+pub fn small::length(&[u8]) -> usize"), "{error}");
        let more = of(
            folder.path(),
            "pub fn length(of: &[u8]) -> u16 { of.len() as u16 }\npub struct New;",
        );
        assert!(compare("small", &before, &more).is_err(), "an addition is a change too");
    }
}
