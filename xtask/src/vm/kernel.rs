//! Kernels: fetched once, kept under `target/vm`.

use crate::apt::{Apt, tool};
use crate::shell::step;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// `uname -r`
    pub(crate) version: String,
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// The folder of its modules, as far as they are needed: what conntrack is made of.
    pub(crate) modules: PathBuf,
}

/// What is taken out of the package.
const WANTED: [&str; 9] = [
    "./boot/vmlinuz-*",
    "./lib/modules/*/modules.*",
    "./lib/modules/*/kernel/net/netfilter/*",
    "./lib/modules/*/kernel/net/ipv4/netfilter/*",
    "./lib/modules/*/kernel/net/ipv6/netfilter/*",
    "./lib/modules/*/kernel/lib/*crc32c*",
    "./lib/modules/*/kernel/crypto/crc32c*",
    "./lib/modules/*/kernel/arch/*/crypto/crc32c*",
    "./lib/modules/*/kernel/drivers/net/veth*",
];

/// The kernel called `name`: the one that Debian's `package` stands for, or the one of last time.
pub(crate) fn fetch(apt: &Apt, folder: &Path, name: &str, package: &str) -> Result<Kernel> {
    let (home, done) = (folder.join(name), folder.join(name).join("complete"));
    if !done.exists() {
        step(&format!("vm: fetching Linux {name}"));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        apt.download_newest(package, &home)?;
        let deb = only(&home)?;
        extract(&deb, &home)?;
        fs::remove_file(&deb)?;
        fs::write(&done, "")?;
    }
    let image = only(&home.join("boot"))?;
    let modules = only(&home.join("lib/modules"))?;
    let version = modules.file_name().context("it has a name")?.to_string_lossy().into_owned();
    Ok(Kernel { version, image, modules })
}

fn extract(deb: &Path, home: &Path) -> Result<()> {
    let script =
        "dpkg-deb --fsys-tarfile \"$0\" | tar -x -C \"$1\" --wildcards --no-anchored \"${@:2}\"";
    let mut bash = Command::new("bash");
    bash.args(["-o", "pipefail", "-c", script]).arg(deb).arg(home).args(WANTED);
    // A pattern that matches nothing is an error to tar; whether all is there shows at once.
    let _ = tool(&mut bash);
    // The guest's depmod and modprobe know no compression.
    tool(Command::new("sh").args([
        "-c",
        "find \"$0\" -name '*.ko.xz' -exec xz -d {} +",
        &home.display().to_string(),
    ]))
}

/// The only thing in a folder.
fn only(folder: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?.next();
    Ok(entry.with_context(|| format!("nothing in {}", folder.display()))??.path())
}
