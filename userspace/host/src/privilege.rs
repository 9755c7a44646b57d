//! Least privilege: the user that the daemon switches to after it has opened everything, and the capability it keeps.
//!
//! ```text
//!   root, all capabilities --open sources, links, logs, locks--> become() --> NAME, CAP_NET_ADMIN --> threads
//! ```
//!
//! Credentials and capabilities are per thread, and new threads inherit them (credentials(7)): call
//! [`Identity::become_it`] before the first thread starts.
//!
//! The kernel checks `CAP_NET_ADMIN` on every netlink request, so the daemon keeps it. Creating eBPF programs and maps
//! needs `CAP_BPF`; using open descriptors needs no capability since Linux 5.19 (commit c8644cd0efe7, "bpf: refine
//! kernel.unprivileged_bpf_disabled behaviour"). The daemon tests older kernels and keeps `CAP_BPF` where they need it.

mod names;

use crate::sys::{self, Scheduling};
use names::account;
use nix::errno::Errno as NixErrno;
use nix::unistd::User as Account;
use rustix::fs::{Access, AtFlags, CWD, Gid, Uid, accessat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::io;
use std::path::Path;

/// The user of the package `ctflow`, which [`User::Auto`] takes if there is such a user.
pub const PACKAGE_USER: &str = "ctflow";
/// The largest capability number that fits into the kernel's sets.
const CAPABILITY_MAX: u32 = 63;

/// The user that the configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// [`PACKAGE_USER`], if that user exists and the daemon began as root or as that user; else nothing changes.
    #[default]
    Auto,
    /// The user of this name; `root` changes nothing.
    Named(String),
}

/// The user and group that the configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The user.
    pub user: User,
    /// The group; `None` is the user's own.
    pub group: Option<String>,
}

/// Why the daemon does not become another user.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The user database has no such user.
    #[error("User {0}: there is no such user")]
    NoUser(String),
    /// The group database has no such group.
    #[error("Group {0}: there is no such group")]
    NoGroup(String),
    /// The databases cannot be read.
    #[error("looking up {0}: {1}")]
    Lookup(String, NixErrno),
    /// The file of the database cannot be read any more.
    #[error(
        "looking up {0}: {1} is another file than the one that landlock lets the daemon read: restart the daemon"
    )]
    Hidden(String, &'static str),
    /// Another user than root cannot become a third one.
    #[error("User {0}: only root can become another user")]
    NotRoot(String),
    /// A system call failed.
    #[error("becoming user {name}: {what}: {cause}")]
    Refused {
        /// The user.
        name: String,
        /// The step that failed.
        what: &'static str,
        /// What the kernel said.
        cause: Errno,
    },
}

/// A user that the daemon becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
    /// Whether the daemon goes on as root, with a warning, where it may not become this user.
    optional: bool,
}

impl Wish {
    /// The user to become; `None` where nothing changes.
    ///
    /// # Errors
    /// When there is no such user or group, or the databases cannot be read.
    pub fn resolve(&self) -> Result<Option<Identity>, PrivilegeError> {
        self.resolve_as(geteuid().as_raw(), &account)
    }

    fn resolve_as(
        &self,
        euid: u32,
        account: &dyn Fn(&str) -> Result<Option<Account>, PrivilegeError>,
    ) -> Result<Option<Identity>, PrivilegeError> {
        let (name, optional) = match &self.user {
            User::Auto => (PACKAGE_USER, true),
            User::Named(name) => (name.as_str(), false),
        };
        let found = account(name)?;
        let gid = self.group.as_deref().map(group).transpose()?;
        let Some(found) = found else {
            return if optional { Ok(None) } else { Err(PrivilegeError::NoUser(name.to_owned())) };
        };
        let uid = found.uid.as_raw();
        if uid == 0 || optional && euid != 0 && euid != uid {
            return Ok(None);
        }
        let gid = gid.unwrap_or(found.gid.as_raw());
        Ok(Some(Identity { name: name.to_owned(), uid, gid, optional }))
    }

    /// The user whose lock files a daemon takes over besides root's and its own: a daemon that was killed left them.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        let name = match &self.user {
            User::Named(name) if name != "root" => name,
            User::Named(_) | User::Auto => PACKAGE_USER,
        };
        account(name).ok().flatten().map(|account| account.uid.as_raw())
    }
}

fn group(name: &str) -> Result<u32, PrivilegeError> {
    group_named(name)?.ok_or_else(|| PrivilegeError::NoGroup(name.to_owned()))
}

/// The number of a group; `None` if there is none of that name.
///
/// # Errors
/// When the database cannot be read.
pub fn group_named(name: &str) -> Result<Option<u32>, PrivilegeError> {
    Ok(names::group(name)?.map(|group| group.gid.as_raw()))
}

/// What the daemon is left with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// `CAP_NET_ADMIN`.
    NetAdmin,
    /// `CAP_NET_ADMIN` and `CAP_BPF`: this kernel requires the latter for using a map.
    NetAdminAndBpf,
}

impl Identity {
    /// Whether the daemon may become this user. One that [`User::Auto`] found is passed over where it may not.
    ///
    /// # Errors
    /// When the configuration names the user and the daemon may not.
    pub fn is_possible(&self) -> Result<bool, PrivilegeError> {
        if geteuid().as_raw() == self.uid {
            return Ok(true);
        }
        let needs = CapabilitySet::SETUID | CapabilitySet::SETGID;
        let possible = capabilities(None).is_ok_and(|sets| sets.effective.contains(needs));
        if possible || self.optional {
            return Ok(possible);
        }
        Err(PrivilegeError::NotRoot(self.name.clone()))
    }

    /// Has the calling thread become this user, with `CAP_NET_ADMIN` alone, an empty bounding set, and without a way
    /// back. Threads that run already keep what they have.
    ///
    /// # Errors
    /// The step that the kernel refused; the thread may then have given up some of its rights.
    pub fn become_it(&self) -> Result<Kept, PrivilegeError> {
        let refused =
            |what| move |cause| PrivilegeError::Refused { name: self.name.clone(), what, cause };
        empty_bounding_set().map_err(refused("emptying the bounding set"))?;
        if geteuid().as_raw() != self.uid {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            set_thread_groups(&[]).map_err(refused("leaving the supplementary groups"))?;
            set_thread_res_gid(gid, gid, gid).map_err(refused("taking the group"))?;
            set_keep_capabilities(true).map_err(refused("keeping capabilities"))?;
            set_thread_res_uid(uid, uid, uid).map_err(refused("taking the user"))?;
            set_keep_capabilities(false).map_err(refused("keeping capabilities"))?;
        }
        // Kernels before 4.3 have no ambient set.
        let _ = clear_ambient_capability_set();
        set_no_new_privs(true).map_err(refused("no_new_privs"))?;
        keep_capabilities().map_err(refused("giving up capabilities"))
    }
}

/// Empties the bounding set, if the thread may. One that may not has no capability to add to its sets either.
fn empty_bounding_set() -> Result<(), Errno> {
    if !capabilities(None)?.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for number in 0..=CAPABILITY_MAX {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The last one that this kernel knows was the one before.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives up everything but what the daemon goes on to need.
fn keep_capabilities() -> Result<Kept, Errno> {
    let permitted = capabilities(None)?.permitted;
    let keep = |effective: CapabilitySet, permitted: CapabilitySet| {
        let inheritable = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective, permitted, inheritable })
    };
    let net_admin = CapabilitySet::NET_ADMIN & permitted;
    let bpf = CapabilitySet::BPF & permitted;
    keep(net_admin, net_admin | bpf)?;
    if bpf.is_empty() || sys::bpf::may_use_maps() {
        keep(net_admin, net_admin)?;
        return Ok(Kept::NetAdmin);
    }
    keep(net_admin | bpf, net_admin | bpf)?;
    Ok(Kept::NetAdminAndBpf)
}

/// Allows real-time scheduling of threads, as `scheduling` says, without `CAP_SYS_NICE`: by the limit
/// `RLIMIT_RTPRIO`, so that a reload can schedule new threads so. A process without `CAP_SYS_RESOURCE` needs the
/// limit from the service manager (`LimitRTPRIO=`).
pub fn allow_real_time(scheduling: Scheduling) {
    let priority = match scheduling {
        Scheduling::Ordinary => return,
        Scheduling::RoundRobin(priority) | Scheduling::Fifo(priority) => u64::from(priority),
    };
    let Rlimit { current, maximum } = getrlimit(Resource::Rtprio);
    // `None` is no limit.
    if current.is_some_and(|limit| limit < priority) {
        let maximum = maximum.map(|limit| limit.max(priority));
        let _ = setrlimit(Resource::Rtprio, Rlimit { current: Some(priority), maximum });
    }
}

/// An intended use of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To read the file.
    Read,
    /// To write to the file, or to create it.
    Write,
    /// To remove it.
    Remove,
}

/// Whether the calling thread may do this at `path`.
#[must_use]
pub fn may(wanted: Use, path: &Path) -> bool {
    let ask = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS);
    let directory = path.parent().unwrap_or(path);
    match wanted {
        Use::Read => ask(path, Access::READ_OK).is_ok(),
        Use::Write => match ask(path, Access::WRITE_OK) {
            Err(Errno::NOENT) => ask(directory, Access::WRITE_OK).is_ok(),
            other => other.is_ok(),
        },
        Use::Remove => {
            let own = geteuid().as_raw();
            let owns = |path: &Path| owner(path).is_ok_and(|uid| uid == own);
            ask(directory, Access::WRITE_OK).is_ok()
                && (!is_sticky(directory) || owns(path) || owns(directory))
        }
    }
}

fn owner(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::symlink_metadata(path)?.uid())
}

/// Whether the owner of a file alone may remove it from this directory.
#[must_use]
pub fn is_sticky(directory: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const STICKY: u32 = 0o1000;
    std::fs::metadata(directory).is_ok_and(|found| found.permissions().mode() & STICKY != 0)
}

#[cfg(test)]
mod tests;
