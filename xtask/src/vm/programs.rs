//! Real programs that speak what helpers watch, for a guest. They are taken out of Debian's packages and not installed:
//! their services would start on this machine.

use super::tool;
use crate::shell::{self, step};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages that bring them. What these depend on is fetched, too, unless this machine has it.
const PACKAGES: [&str; 16] = [
    "vsftpd",
    "lftp",
    "tftp-hpa",
    "tftpd-hpa",
    "rpcbind",
    "libtirpc-common",
    "avahi-daemon",
    "ldnsutils",
    "minidlna",
    "gupnp-tools",
    "dnsmasq-base",
    "isc-dhcp-client",
    "sane-utils",
    "amanda-common",
    "amanda-server",
    "amanda-client",
];
/// What is taken out of them, into the guest's `bin`.
pub(super) const PROGRAMS: [&str; 15] = [
    "usr/sbin/vsftpd",
    "usr/bin/lftp",
    "usr/bin/tftp",
    "usr/sbin/in.tftpd",
    "sbin/rpcbind",
    "usr/bin/rpcinfo",
    "usr/sbin/avahi-daemon",
    "usr/bin/drill",
    "usr/sbin/minidlnad",
    "usr/bin/gssdp-discover",
    "usr/sbin/dnsmasq",
    "sbin/dhclient",
    "usr/sbin/saned",
    "usr/bin/scanimage",
    "usr/sbin/amservice",
];
/// What others look for where the package has it.
pub(super) const IN_PLACE: [&str; 6] = [
    "usr/lib/x86_64-linux-gnu/sane/libsane-net.so.1",
    "usr/lib/x86_64-linux-gnu/sane/libsane-test.so.1",
    "usr/lib/amanda/amandad",
    "usr/lib/amanda/ambind",
    "usr/lib/amanda/sendbackup",
    "usr/lib/amanda/runtar",
];
/// What they read.
pub(super) const TEXTS: [&str; 3] =
    ["etc/netconfig", "etc/amanda-security.conf", "etc/sane.d/test.conf"];
/// Users that they become.
pub(super) const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nftp:x:100:100::/:/bin/false\n\
    tftp:x:101:101::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n\
    _rpc:x:102:65534::/:/bin/false\navahi:x:103:103::/:/bin/false\n\
    backup:x:34:34::/var/lib/amanda:/bin/sh\n";
/// Their groups.
pub(super) const GROUP: &str =
    "root:x:0:\nftp:x:100:\ntftp:x:101:\navahi:x:103:\nbackup:x:34:\nnogroup:x:65534:\n";
/// The ends of `tests/helpers`, inner and outer: Amanda wants names, and saned that of the machine.
pub(super) const HOSTS: &str = "127.0.0.1 localhost\n10.99.1.1 client\n10.99.2.77 client-outer\n\
    10.99.2.1 server\n10.99.1.99 server-outer\n";
/// What the package's scripts would have done, for Amanda: folders of its user, who may make a backup, and that `tar`
/// runs as root.
pub(super) const PREPARE: &str = "echo localhost >/proc/sys/kernel/hostname
mkdir -p /var/lib/amanda/gnutar-lists /var/log/amanda /tmp/amanda /dev/shm
mount -t tmpfs shm /dev/shm
echo 'client root sendbackup' >/var/lib/amanda/.amandahosts
echo 'client-outer root sendbackup' >>/var/lib/amanda/.amandahosts
chmod 600 /var/lib/amanda/.amandahosts
chown -R backup:backup /var/lib/amanda /var/log/amanda /tmp/amanda
chmod u+s /usr/lib/amanda/runtar /usr/lib/amanda/ambind";

/// The folder with the packages' contents: that of last time, if it has them all.
pub(super) fn fetch(folder: &Path) -> Result<PathBuf> {
    let home = folder.join("programs");
    let (root, done) = (home.join("root"), home.join("complete"));
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
        step("vm: fetching programs that helpers watch");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        if download(&home).is_err() {
            // The lists may be missing or out of date.
            tool(Command::new("apt-get").arg("update"))?;
            download(&home)?;
        }
        for entry in fs::read_dir(&home)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                tool(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&root))?;
                fs::remove_file(&path)?;
            }
        }
        fs::write(&done, wanted)?;
    }
    Ok(root)
}

/// Downloads the packages, and those that their installation would bring (`Inst NAME ...`, as apt-get says).
fn download(home: &Path) -> Result<()> {
    let mut simulated = Command::new("apt-get");
    simulated.args(["install", "--simulate", "--no-install-recommends"]).args(PACKAGES);
    let said = shell::output(&mut simulated)?;
    let needed = said.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    let needed = needed.filter(|name| !PACKAGES.contains(name));
    tool(Command::new("apt-get").arg("download").args(PACKAGES).args(needed).current_dir(home))
}
