//! Real programs that speak what helpers watch, for a guest. They are taken out of Debian's packages and not installed:
//! their services would start on this machine.

use super::tool;
use crate::shell::step;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages, and the libraries of theirs that no other program here brings.
const PACKAGES: [&str; 7] =
    ["vsftpd", "tftp-hpa", "tftpd-hpa", "rpcbind", "libwrap0", "libtirpc3", "libtirpc-common"];
/// What is taken out of them.
pub(super) const PROGRAMS: [&str; 5] =
    ["usr/sbin/vsftpd", "usr/bin/tftp", "usr/sbin/in.tftpd", "sbin/rpcbind", "usr/bin/rpcinfo"];
/// What they read.
pub(super) const TEXTS: [&str; 1] = ["etc/netconfig"];
/// Users that they become.
pub(super) const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nftp:x:100:100::/:/bin/false\n\
    tftp:x:101:101::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n\
    _rpc:x:102:65534::/:/bin/false\n";
/// Their groups.
pub(super) const GROUP: &str = "root:x:0:\nftp:x:100:\ntftp:x:101:\nnogroup:x:65534:\n";

/// The folder with the packages' contents: that of last time, if there is one.
pub(super) fn fetch(folder: &Path) -> Result<PathBuf> {
    let home = folder.join("programs");
    let (root, done) = (home.join("root"), home.join("complete"));
    if !done.exists() {
        step("vm: fetching programs that helpers watch");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let get =
            || tool(Command::new("apt-get").arg("download").args(PACKAGES).current_dir(&home));
        if get().is_err() {
            // The lists may be missing or out of date.
            tool(Command::new("apt-get").arg("update"))?;
            get()?;
        }
        for entry in fs::read_dir(&home)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                tool(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&root))?;
                fs::remove_file(&path)?;
            }
        }
        fs::write(&done, "")?;
    }
    Ok(root)
}
