//! The file system of a guest, as an archive the kernel unpacks into memory (`cpio`, format `newc`).

use super::machine::Machine;
use crate::apt::tool;
use crate::{cross, shell};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the libraries of a guest's programs are found.
#[derive(Clone)]
pub(super) struct Libraries {
    pub(super) machine: &'static Machine,
    /// What was taken out of packages: its libraries go before those of this machine.
    pub(super) root: PathBuf,
    /// Whether everything is under that root: the programs of this machine are for another architecture.
    pub(super) foreign: bool,
}

impl Libraries {
    /// The libraries of a program: where it looks for each, and where that is here.
    fn of(&self, program: &Path) -> Result<Vec<(String, PathBuf)>> {
        let root = &self.root;
        let triplet = self.machine.triplet;
        let folders = ["lib", "usr/lib"].map(|lib| root.join(lib).join(triplet));
        // Amanda keeps its own in a folder below.
        let [lib, usr] = folders.map(|path| path.display().to_string());
        let path = format!("{lib}:{usr}:{usr}/amanda");
        let mut command = if self.foreign {
            // The guest's own dynamic linker, in QEMU's user mode.
            let mut emulator = Command::new(cross::EMULATOR);
            let linker = root.join(self.machine.linker);
            emulator.arg(linker).args(["--library-path", &path, "--list"]);
            emulator
        } else {
            let mut ldd = Command::new("ldd");
            ldd.env("LD_LIBRARY_PATH", &path);
            ldd
        };
        // A static program has none, and says so by failing.
        let text = shell::output(command.arg(program)).unwrap_or_default();
        if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
            bail!("{} lacks a library: {}", program.display(), missing.trim());
        }
        let here = text
            .split_whitespace()
            .map(Path::new)
            .filter(|word| if self.foreign { word.starts_with(root) } else { word.is_absolute() });
        let placed = here.map(|library| {
            let inside = library.strip_prefix(root).or_else(|_| library.strip_prefix("/"))?;
            Ok((inside.display().to_string(), library.to_owned()))
        });
        placed.collect()
    }
}

/// The files of the archive, by path.
pub(super) struct Contents {
    files: BTreeMap<String, File>,
    libraries: Libraries,
}

enum File {
    /// A copy of this one.
    Copy(PathBuf),
    /// A program with this text.
    Text(String),
}

const REGULAR: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;

impl Contents {
    /// An empty archive.
    pub(super) const fn new(libraries: Libraries) -> Self {
        Self { files: BTreeMap::new(), libraries }
    }

    /// A program, and the libraries it is linked with at the places it looks for them.
    pub(super) fn program(&mut self, from: &Path, to: &str) -> Result<()> {
        for (inside, here) in self.libraries.of(from)? {
            self.files.insert(inside, File::Copy(here));
        }
        self.files.insert(to.to_owned(), File::Copy(from.to_owned()));
        Ok(())
    }

    /// A program of ours, without what a debugger reads, which is most of it: the guest holds all of it in memory.
    pub(super) fn stripped(&mut self, from: &Path, to: &str, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let small = folder.join(from.file_name().context("a program has a name")?);
        let Libraries { machine, foreign, .. } = &self.libraries;
        let strip = if *foreign { format!("{}-strip", machine.triplet) } else { "strip".into() };
        tool(Command::new(strip).args(["--strip-debug", "-o"]).arg(&small).arg(from))?;
        self.program(&small, to)
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
                self.files.insert(inside, File::Copy(path));
            }
        }
        Ok(())
    }

    /// A file, or everything in a folder, where it is under this root.
    pub(super) fn text(&mut self, root: &Path, path: &Path) -> Result<()> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let (here, inside) = (root.join(inside), inside.display().to_string());
        if here.is_dir() {
            return self.folder(&here, &inside);
        }
        self.files.insert(inside, File::Copy(here));
        Ok(())
    }

    /// A script.
    pub(super) fn script(&mut self, to: &str, text: &str) {
        self.files.insert(to.to_owned(), File::Text(text.to_owned()));
    }

    /// Writes the archive.
    pub(super) fn write(&self, to: &Path) -> Result<()> {
        let mut out = Vec::new();
        let mut known = BTreeMap::new();
        for (path, file) in &self.files {
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
