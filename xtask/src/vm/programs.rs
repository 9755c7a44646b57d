//! Programs of a guest that are not ours: its tools, the original, and real programs that speak what helpers watch. The
//! last are taken out of Debian's packages and not installed: their services would start on this machine.

use super::image::{Contents, Libraries};
use super::machine::Machine;
use crate::apt::{self, Apt};
use crate::shell::{self, step};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Packages, and the libraries of theirs that no other program here brings.
const PACKAGES: [&str; 7] =
    ["vsftpd", "tftp-hpa", "tftpd-hpa", "rpcbind", "libwrap0", "libtirpc3", "libtirpc-common"];
/// What is taken out of them.
const PROGRAMS: [&str; 5] =
    ["usr/sbin/vsftpd", "usr/bin/tftp", "usr/sbin/in.tftpd", "sbin/rpcbind", "usr/bin/rpcinfo"];
/// What they read.
const TEXTS: [&str; 1] = ["etc/netconfig"];
/// Users that they become.
const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nftp:x:100:100::/:/bin/false\n\
    tftp:x:101:101::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n\
    _rpc:x:102:65534::/:/bin/false\n";
/// Their groups.
const GROUP: &str = "root:x:0:\nftp:x:100:\ntftp:x:101:\nnogroup:x:65534:\n";

/// Programs of Debian that a guest runs.
const TOOLS: [&str; 6] = ["busybox", "ip", "nft", "conntrack", "nfct", "curl"];
/// The packages of those, of the original, and of what ours are linked with.
const USERLAND: [&str; 8] = [
    "busybox-static",
    "iproute2",
    "nftables",
    "conntrack",
    "nfct",
    "curl",
    "conntrackd",
    "libgcc-s1",
];
/// The original.
const ORIGINAL: &str = "usr/sbin/conntrackd";
/// Where programs lie under a root.
const FOLDERS: [&str; 4] = ["bin", "usr/bin", "sbin", "usr/sbin"];

/// The programs of a guest that are not ours, and their libraries.
pub(super) struct Userland(Libraries);

impl Userland {
    /// This machine's own programs, and what it need not have installed.
    pub(super) fn native(folder: &Path, machine: &'static Machine) -> Result<Self> {
        let root = fetch(folder, |home, root| {
            Apt::native().download(&PACKAGES, home)?;
            apt::extract_all(home, root)
        })?;
        Ok(Self(Libraries { machine, root, foreign: false }))
    }

    /// Everything out of packages of another architecture.
    pub(super) fn foreign(folder: &Path, machine: &'static Machine, apt: &Apt) -> Result<Self> {
        let packages = [USERLAND.as_slice(), PACKAGES.as_slice()].concat();
        let root = fetch(folder, |_, root| apt.extract_closure(&packages, root))?;
        Ok(Self(Libraries { machine, root, foreign: true }))
    }

    /// A guest with all of it.
    pub(super) fn packed(&self) -> Result<Contents> {
        let Libraries { root: extracted, machine, foreign } = &self.0;
        let mut contents = Contents::new(self.0.clone());
        for tool in TOOLS {
            contents.program(&self.find(tool)?, &format!("bin/{tool}"))?;
        }
        for program in PROGRAMS {
            let name = program.rsplit('/').next().unwrap_or(program);
            contents.program(&extracted.join(program), &format!("bin/{name}"))?;
        }
        for text in TEXTS {
            contents.text(extracted, Path::new(text))?;
        }
        let root = if *foreign { extracted } else { Path::new("/") };
        contents.program(&root.join(ORIGINAL), ORIGINAL)?;
        let helpers = format!("usr/lib/{}/conntrack-tools", machine.triplet);
        contents.text(root, Path::new(&helpers))?;
        contents.script("etc/passwd", PASSWD);
        contents.script("etc/group", GROUP);
        Ok(contents)
    }

    fn find(&self, tool: &str) -> Result<PathBuf> {
        let Libraries { root, foreign, .. } = &self.0;
        let found = if *foreign {
            let mut places = FOLDERS.iter().map(|folder| root.join(folder).join(tool));
            places.find(|place| place.is_file())
        } else {
            shell::find(tool)
        };
        found.with_context(|| format!("no {tool}"))
    }
}

/// The folder with the contents of packages: that of last time, if there is one. `get` has one folder for packages, and
/// one to unpack them into.
fn fetch(folder: &Path, get: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let home = folder.join("programs");
    let (root, done) = (home.join("root"), home.join("complete"));
    if !done.exists() {
        step("vm: fetching programs for the guest");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        get(&home, &root)?;
        fs::write(&done, "")?;
    }
    Ok(root)
}
