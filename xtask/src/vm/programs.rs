//! Programs of a guest that are not ours: its tools, the original, and real programs that speak what helpers watch. The
//! last are taken out of Debian's packages and not installed: their services would start on this machine.

use super::image::{Contents, Libraries};
use super::machine::Machine;
use crate::apt::{self, Apt};
use crate::shell::{self, step};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

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
const PROGRAMS: [&str; 15] = [
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
const IN_PLACE: [&str; 6] = [
    "usr/lib/x86_64-linux-gnu/sane/libsane-net.so.1",
    "usr/lib/x86_64-linux-gnu/sane/libsane-test.so.1",
    "usr/lib/amanda/amandad",
    "usr/lib/amanda/ambind",
    "usr/lib/amanda/sendbackup",
    "usr/lib/amanda/runtar",
];
/// The configuration files that the programs read.
const TEXTS: [&str; 3] = ["etc/netconfig", "etc/amanda-security.conf", "etc/sane.d/test.conf"];
/// Users that they become.
const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nftp:x:100:100::/:/bin/false\n\
    tftp:x:101:101::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n\
    _rpc:x:102:65534::/:/bin/false\navahi:x:103:103::/:/bin/false\n\
    backup:x:34:34::/var/lib/amanda:/bin/sh\n";
/// Their groups.
const GROUP: &str =
    "root:x:0:\nftp:x:100:\ntftp:x:101:\navahi:x:103:\nbackup:x:34:\nnogroup:x:65534:\n";
/// The ends of `tests/helpers`, inner and outer: Amanda wants names, and saned that of the machine.
const HOSTS: &str = "127.0.0.1 localhost\n10.99.1.1 client\n10.99.2.77 client-outer\n\
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

/// Programs of Debian that a guest runs.
const TOOLS: [&str; 8] = ["busybox", "ip", "nft", "conntrack", "nfct", "curl", "tar", "setpriv"];
/// What is called `iptables` there, as by Debian's alternatives.
const IPTABLES: &str = "iptables-nft";
/// The extensions that `iptables` loads for the rules of tests.
const EXTENSIONS: [&str; 4] = ["CT", "standard", "tcp", "udp"];
/// The packages of those, of the original, and of what ours are linked with.
const USERLAND: [&str; 11] = [
    "busybox-static",
    "iproute2",
    "nftables",
    "iptables",
    "util-linux",
    "conntrack",
    "nfct",
    "curl",
    "tar",
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
            Apt::native().download_needed(&PACKAGES, home)?;
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
        contents.program(&self.find(IPTABLES)?, "bin/iptables")?;
        for program in PROGRAMS {
            let name = program.rsplit('/').next().unwrap_or(program);
            contents.program(&extracted.join(program), &format!("bin/{name}"))?;
        }
        for program in IN_PLACE {
            let program = program.replace("x86_64-linux-gnu", machine.triplet);
            contents.program(&extracted.join(&program), &program)?;
        }
        for text in TEXTS {
            contents.text(extracted, Path::new(text))?;
        }
        let root = if *foreign { extracted } else { Path::new("/") };
        contents.program(&root.join(ORIGINAL), ORIGINAL)?;
        for name in EXTENSIONS {
            let path = format!("usr/lib/{}/xtables/libxt_{name}.so", machine.triplet);
            contents.program(&root.join(&path), &path)?;
        }
        let helpers = format!("usr/lib/{}/conntrack-tools", machine.triplet);
        contents.text(root, Path::new(&helpers))?;
        contents.script("etc/passwd", PASSWD);
        contents.script("etc/group", GROUP);
        contents.script("etc/hosts", HOSTS);
        // Without it, names are asked for by DNS, and not of the file.
        contents.script("etc/nsswitch.conf", "hosts: files\n");
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
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
        step("vm: fetching programs for the guest");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        get(&home, &root)?;
        fs::write(&done, wanted)?;
    }
    Ok(root)
}
