//! Confinement by seccomp: system calls that a serving daemon never makes are refused, so that an attacker who takes
//! it over through a datagram cannot make them either. Which files it may reach, [`files`] says.
//!
//! The filter names what is refused, not what is allowed: what the C library and the runtime call changes from version
//! to version, and a firewall that dies of a new one is worse. A call that is refused fails with `EPERM`. Filters are
//! inherited by threads, so [`confine`] must run before the first one is started.

pub mod files;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// Namespaces and mounts, other processes, the machine as a whole, who one is, and parts of the kernel that
/// are large and of no use here.
const NEVER: [libc::c_long; 51] = [
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_mknodat,
    libc::SYS_personality,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_perf_event_open,
];

/// Programs and modules: a reload of a daemon that keeps its rights may have `modprobe` load what a new `Helper` needs.
const WITH_RIGHTS: [libc::c_long; 4] =
    [libc::SYS_execve, libc::SYS_execveat, libc::SYS_init_module, libc::SYS_finit_module];

/// What loads something into the kernel, or makes a map there (`enum bpf_cmd`, `include/uapi/linux/bpf.h`):
/// `MAP_CREATE`, `PROG_LOAD`, `BTF_LOAD`. Using what is open goes on.
const LOADING: [u64; 3] = [0, 5, 18];

/// Families of sockets that a daemon opens.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Refuses the calling thread, and those that it will start, what a daemon never asks for. `may_load_nothing`: nor will
/// it run programs, or load modules or eBPF programs, as a reload of a daemon that has all rights may.
///
/// # Errors
/// What the kernel or this architecture lacks.
pub fn confine(may_load_nothing: bool) -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(&program(may_load_nothing)?)
}

fn program(may_load_nothing: bool) -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        NEVER.into_iter().map(|call| (call, Vec::new())).collect();
    let is = |argument, op, value| SeccompCondition::new(argument, Len::Dword, op, value);
    // A family that is none of them.
    let mut none_of = Vec::new();
    for family in FAMILIES {
        none_of.push(is(0, Op::Ne, family as u64)?);
    }
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(none_of)?]);
    if may_load_nothing {
        rules.extend(WITH_RIGHTS.map(|call| (call, Vec::new())));
        let mut loads = Vec::new();
        for command in LOADING {
            loads.push(SeccompRule::new(vec![is(0, Op::Eq, command)?])?);
        }
        rules.insert(libc::SYS_bpf, loads);
    }
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::thread;

    fn opens(family: libc::c_int) -> bool {
        let family = rustix::net::AddressFamily::from_raw(family as u16);
        rustix::net::socket(family, rustix::net::SocketType::RAW, None).is_ok()
            || rustix::net::socket(family, rustix::net::SocketType::DGRAM, None).is_ok()
    }

    #[test]
    fn what_a_daemon_never_asks_for_is_refused_and_the_rest_goes_on() {
        // The filter is that of one thread and of those that it starts.
        let confined = thread::spawn(|| {
            assert!(Command::new("/bin/true").status().is_ok(), "before");
            confine(true).expect("this kernel has seccomp");
            let refused = Command::new("/bin/true").status().expect_err("no program may be run");
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
            assert!(!opens(libc::AF_PACKET) && !opens(libc::AF_ALG));
            assert!(opens(libc::AF_NETLINK));
            UdpSocket::bind("127.0.0.1:0").expect("sockets go on");
            UnixStream::pair().expect("and those");
            fs::read_to_string("/proc/thread-self/status").expect("files go on")
        });
        let status = confined.join().expect("nothing is wrong");
        assert!(status.contains("Seccomp:\t2"), "{status}");
        assert!(Command::new("/bin/true").status().is_ok(), "other threads are as they were");
    }

    #[test]
    fn a_daemon_that_keeps_its_rights_may_load_programs() {
        let [all, less] = [true, false].map(|nothing| program(nothing).expect("it compiles").len());
        assert!(all > less);
    }
}
