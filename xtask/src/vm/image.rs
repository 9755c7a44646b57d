//! The file system of a guest, as an archive the kernel unpacks into memory (`cpio`, format `newc`).

use super::tool;
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the archive is to hold, by path.
#[derive(Default)]
pub(super) struct Contents(BTreeMap<String, File>);

enum File {
    /// A copy of this one.
    Copy(PathBuf),
    /// A program with this text.
    Text(String),
}

const REGULAR: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;

impl Contents {
    /// A program, and the libraries it is linked with at the places it looks for them.
    pub(super) fn program(&mut self, from: &Path, to: &str) -> Result<()> {
        self.0.insert(to.to_owned(), File::Copy(from.to_owned()));
        // A static program has none, and says so by failing.
        let text = shell::output(Command::new("ldd").arg(from)).unwrap_or_default();
        for word in text.split_whitespace().filter(|word| word.starts_with('/')) {
            self.0.insert(word[1..].to_owned(), File::Copy(word.into()));
        }
        Ok(())
    }

    /// A program of ours, without what a debugger reads, which is most of it: the guest holds all of it in memory.
    pub(super) fn stripped(&mut self, from: &Path, to: &str, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let small = folder.join(from.file_name().context("a program has a name")?);
        tool(Command::new("strip").args(["--strip-debug", "-o"]).arg(&small).arg(from))?;
        self.program(&small, to)
    }

    /// A program out of a folder with the contents of packages, with its libraries: those of the folder, else those of
    /// this machine.
    pub(super) fn extracted(&mut self, root: &Path, from: &str, to: &str) -> Result<()> {
        const LIBRARIES: [&str; 3] =
            ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/amanda"];
        let path = LIBRARIES.map(|name| root.join(name).display().to_string()).join(":");
        let from = root.join(from);
        let text = shell::output(Command::new("ldd").arg(&from).env("LD_LIBRARY_PATH", &path))?;
        if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
            bail!("{} lacks a library: {}", from.display(), missing.trim());
        }
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let library = Path::new(library);
            let inside = library.strip_prefix(root).or_else(|_| library.strip_prefix("/"))?;
            self.0.insert(inside.display().to_string(), File::Copy(library.to_owned()));
        }
        self.0.insert(to.to_owned(), File::Copy(from));
        Ok(())
    }

    /// One file.
    pub(super) fn file(&mut self, from: &Path, to: &str) {
        self.0.insert(to.to_owned(), File::Copy(from.to_owned()));
    }

    /// Everything in a folder.
    pub(super) fn folder(&mut self, from: &Path, to: &str) -> Result<()> {
        let entries = fs::read_dir(from).with_context(|| format!("no {}", from.display()))?;
        for entry in entries {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let inside = format!("{to}/{}", name.to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.folder(&path, &inside)?;
            } else {
                self.0.insert(inside, File::Copy(path));
            }
        }
        Ok(())
    }

    /// A file, or everything in a folder, where it is here.
    pub(super) fn text(&mut self, path: &Path) -> Result<()> {
        let inside = path.strip_prefix("/").unwrap_or(path).display().to_string();
        if path.is_dir() {
            return self.folder(path, &inside);
        }
        self.0.insert(inside, File::Copy(path.to_owned()));
        Ok(())
    }

    /// A script.
    pub(super) fn script(&mut self, to: &str, text: &str) {
        self.0.insert(to.to_owned(), File::Text(text.to_owned()));
    }

    /// Writes the archive.
    pub(super) fn write(&self, to: &Path) -> Result<()> {
        let mut out = Vec::new();
        let mut known = BTreeMap::new();
        for (path, file) in &self.0 {
            for (at, _) in path.match_indices('/') {
                if known.insert(&path[..at], ()).is_none() {
                    member(&mut out, &path[..at], FOLDER, &[]);
                }
            }
            let read =
                |path: &Path| fs::read(path).with_context(|| format!("no {}", path.display()));
            let bytes = match file {
                File::Copy(path) => read(path)?,
                File::Text(text) => text.clone().into_bytes(),
            };
            member(&mut out, path, REGULAR, &bytes);
        }
        member(&mut out, "TRAILER!!!", 0, &[]);
        fs::write(to, out).with_context(|| format!("cannot write {}", to.display()))
    }
}

/// One file: 13 numbers of eight hexadecimal digits behind the magic, the name, the bytes, each padded to four bytes
/// (`Documentation/driver-api/early-userspace/buffer-format.rst`).
fn member(out: &mut Vec<u8>, path: &str, mode: u32, bytes: &[u8]) {
    let (size, name) = (bytes.len(), path.len() + 1);
    let inode = out.len();
    let numbers = [inode, mode as usize, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
    out.extend_from_slice(b"070701");
    for number in numbers {
        let _ = write!(out, "{number:08X}");
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(bytes);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
