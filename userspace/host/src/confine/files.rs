//! Confinement by landlock: a daemon that serves reaches the directories of the files that its configuration names, and
//! what the system's libraries read; nothing else, whatever its user and its capabilities allow.
//!
//! ```text
//!   configuration --Uses--> directories --restrict_self--> this thread, and all that it starts
//!                     `--allows--> a reload asks before it opens a file
//! ```
//!
//! Directories, not files: logrotate and editors put a new file in the place of the old one, and a lock file, a log or
//! a socket is made and removed by its name. Landlock takes away and never gives back, so a file elsewhere that a
//! reload names needs a restart. What is open stays open.

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};
use std::fs;
use std::path::{Path, PathBuf};

/// The newest interface whose rights are asked for (Linux 6.10); an older kernel takes those that it knows.
const INTERFACE: ABI = ABI::V5;
/// Directories that the C library, `modprobe` and this daemon read: settings and counters of the kernel, BTF, shared
/// libraries, time zones, names of connection labels.
const SYSTEM: [&str; 10] = [
    "/proc",
    "/sys",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc/modprobe.d",
    "/etc/xtables",
];
/// Files of `/etc` that the C library reads. They are these very files: one that is put in the place of another
/// later is out of reach ([`crate::privilege`] remembers names for that case).
const OF_LIBRARY: [&str; 8] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/services",
    "/etc/protocols",
    "/dev/urandom",
];

/// What the daemon does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Reads it.
    Read,
    /// Makes it and appends to it.
    Log,
    /// Makes it, writes it and removes it: a lock file, a socket.
    Keep,
}

/// What a daemon may do with files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Vec<(PathBuf, Use)>);

/// What the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// The daemon is confined.
    Yes,
    /// This kernel has no landlock, or was started without it.
    No,
}

impl Allowed {
    /// Allows `wanted` of the file at `path` and of those beside it. A device is allowed alone.
    pub fn add(&mut self, path: &Path, wanted: Use) {
        for place in places(path) {
            if !self.0.contains(&(place.clone(), wanted)) {
                self.0.push((place, wanted));
            }
        }
    }

    /// Whether a file of this path is allowed.
    #[must_use]
    pub fn allows(&self, path: &Path, wanted: Use) -> bool {
        let is_allowed = |place: &PathBuf| {
            let mut ours = self.0.iter().filter(|(_, what)| what.includes(wanted));
            let is_read =
                wanted == Use::Read && (SYSTEM.iter().any(|folder| place.starts_with(folder)));
            is_read || ours.any(|(allowed, _)| place.starts_with(allowed))
        };
        places(path).iter().all(is_allowed)
    }

    /// The directories, and devices, for `wanted`.
    pub fn of(&self, wanted: Use) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(move |(_, what)| *what == wanted).map(|(path, _)| path.as_path())
    }

    /// Restricts the calling thread, and those that it will start. `may_run`: it may run the system's programs
    /// (`modprobe`). What does not exist is passed over.
    ///
    /// # Errors
    /// What the kernel refused; the thread is as it was then.
    pub fn restrict_self(&self, may_run: bool) -> Result<Enforced, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let run = if may_run { read | AccessFs::Execute } else { read };
        let system = SYSTEM.iter().map(|path| (Path::new(path), run));
        let files = OF_LIBRARY.iter().map(|path| (Path::new(path), read));
        let program = std::env::current_exe().unwrap_or_default();
        let null = (Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile);
        let others = [(program.as_path(), read), null];
        let ours = self.0.iter().map(|(path, wanted)| (path.as_path(), wanted.rights()));
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let mut ruleset = ruleset.handle_access(AccessFs::from_all(INTERFACE))?.create()?;
        for (path, rights) in system.chain(files).chain(others).chain(ours) {
            let Ok(opened) = PathFd::new(path) else { continue };
            let of_files = AccessFs::from_file(INTERFACE);
            let rights = if path.is_dir() { rights } else { rights & of_files };
            ruleset = ruleset.add_rule(PathBeneath::new(opened, rights))?;
        }
        let outcome = ruleset.restrict_self()?.ruleset;
        Ok(if outcome == RulesetStatus::NotEnforced { Enforced::No } else { Enforced::Yes })
    }
}

impl Use {
    fn rights(self) -> BitFlags<AccessFs> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let log = read | AccessFs::WriteFile | AccessFs::MakeReg;
        match self {
            Self::Read => read,
            Self::Log => log,
            Self::Keep => log | AccessFs::Truncate | AccessFs::MakeSock | AccessFs::RemoveFile,
        }
    }

    fn includes(self, other: Self) -> bool {
        self.rights().contains(other.rights())
    }
}

/// The directories in which a file lies: that of its name, and that of the file that a symbolic link leads to. Of what
/// is no regular file and no socket (`/dev/null`), itself.
fn places(path: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt as _;
    let is_device = fs::metadata(path).is_ok_and(|found| {
        let kind = found.file_type();
        kind.is_char_device() || kind.is_block_device() || kind.is_fifo()
    });
    if is_device {
        return vec![path.to_owned()];
    }
    let folder = |path: &Path| path.parent().map_or_else(|| path.to_owned(), Path::to_owned);
    let named = folder(path);
    let mut places = vec![fs::canonicalize(&named).unwrap_or(named)];
    if let Ok(target) = fs::canonicalize(path).map(|target| folder(&target))
        && !places.contains(&target)
    {
        places.push(target);
    }
    places
}

#[cfg(test)]
mod tests;
