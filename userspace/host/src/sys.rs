//! System calls that rustix and socket2 do not offer, one safe function each.
#![expect(unsafe_code, reason = "this is where the system calls are")]

use libc::{c_int, c_void, socklen_t};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ffi::{CStr, CString};
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub mod bpf;
mod batch;
pub mod clock;
mod entries;
mod memory;
pub mod interface;
pub mod process;
mod steer;
mod wiped;

pub use batch::Batch;
pub use entries::{Entries, set_inner_maps};
pub use memory::fetch;
pub(crate) use process::set_timer_slack;
pub use steer::steer_by_byte;
pub use wiped::Wiped;

/// Opens a non-blocking netlink socket of this family (`NETLINK_NETFILTER`, `NETLINK_ROUTE`).
///
/// # Errors
/// As `socket(2)`.
pub fn netlink_socket(family: c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the descriptor is checked, and nothing else owns it yet.
    unsafe {
        let fd = check(libc::socket(libc::AF_NETLINK, kind, family))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Binds a netlink socket to a port id the kernel chooses, joining `groups` (bit `n - 1` is group `n`), and returns
/// that port id.
///
/// # Errors
/// As `bind(2)` and `getsockname(2)`.
pub fn netlink_bind(fd: BorrowedFd<'_>, groups: u32) -> io::Result<u32> {
    // SAFETY: `sockaddr_nl` is plain data, and the length passed is its size.
    unsafe {
        let mut addr: libc::sockaddr_nl = zeroed();
        addr.nl_family = libc::AF_NETLINK as u16;
        addr.nl_groups = groups;
        let mut len = size_of::<libc::sockaddr_nl>() as socklen_t;
        let at = (&raw mut addr).cast::<libc::sockaddr>();
        check(libc::bind(fd.as_raw_fd(), at, len))?;
        check(libc::getsockname(fd.as_raw_fd(), at, &raw mut len))?;
        Ok(addr.nl_pid)
    }
}

/// Sets an integer socket option.
///
/// # Errors
/// As `setsockopt(2)`.
pub fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let at = (&raw const value).cast::<c_void>();
    let len = size_of::<c_int>() as socklen_t;
    // SAFETY: `at` points to a live `c_int` of `len` bytes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, at, len) }).map(drop)
}

/// Reads an integer socket option.
///
/// # Errors
/// As `getsockopt(2)`.
pub fn option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    let at = (&raw mut value).cast::<c_void>();
    // SAFETY: `at` points to a live `c_int` of `len` bytes.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, at, &raw mut len) })?;
    Ok(value)
}

/// Messages the kernel could not queue on this socket since it was made: `SK_MEMINFO_DROPS` of `SO_MEMINFO`
/// (kernel 4.12, `include/uapi/linux/sock_diag.h`).
///
/// # Errors
/// As `getsockopt(2)`.
pub fn socket_drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    const SK_MEMINFO_DROPS: usize = 8;
    let mut info = [0_u32; SK_MEMINFO_DROPS + 1];
    let mut len = size_of_val(&info) as socklen_t;
    let at = info.as_mut_ptr().cast::<c_void>();
    let name = libc::SO_MEMINFO;
    // SAFETY: `at` points to `len` writable bytes.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, at, &raw mut len) })?;
    Ok(info[SK_MEMINFO_DROPS])
}

/// Whether an error only says "not now".
#[must_use]
pub fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A memory-mapped array of `u64` cells shared with an eBPF program.
#[derive(Debug)]
pub struct Cells {
    at: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the cells are atomics in shared memory; the mapping lives until drop.
unsafe impl Send for Cells {}

impl Cells {
    /// Maps the first `len` values of the mmapable array map `fd`.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let bytes = len * size_of::<u64>();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let none = std::ptr::null_mut();
        // SAFETY: a fresh mapping chosen by the kernel; the result is checked before use.
        let at = unsafe { libc::mmap(none, bytes, access, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { at, len })
    }

    /// Writes a cell; a full barrier.
    pub fn set(&self, index: usize, value: u64) {
        assert!(index < self.len, "a cell exists for every ring");
        // SAFETY: the index is inside the mapping, which is page-aligned.
        unsafe { self.at.add(index).as_ref() }.swap(value, Ordering::SeqCst);
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length and is not used afterwards.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len * size_of::<u64>()) };
    }
}

/// How far the two ends of an eBPF ring buffer are: the first two pages of its mapping, which hold one number each.
#[derive(Debug)]
pub struct RingEnds {
    at: NonNull<AtomicUsize>,
    page: usize,
}

// SAFETY: both numbers are read as atomics; the mapping lives until drop.
unsafe impl Send for RingEnds {}

impl RingEnds {
    /// Maps them, of the ring buffer `fd`, to be read only.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let (page, none) = (rustix::param::page_size(), std::ptr::null_mut());
        let (access, fd) = (libc::PROT_READ, fd.as_raw_fd());
        // SAFETY: a fresh mapping chosen by the kernel; the result is checked before use.
        let at = unsafe { libc::mmap(none, 2 * page, access, libc::MAP_SHARED, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { at, page })
    }

    /// Bytes that were put in and not taken out.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let number = |page: usize| {
            // SAFETY: both pages are mapped, and each begins with an aligned number.
            let at = unsafe { self.at.byte_add(page * self.page).as_ref() };
            at.load(Ordering::Acquire)
        };
        // The one that is taken from first: it never is ahead of the other.
        let taken = number(0);
        number(1).wrapping_sub(taken)
    }
}

impl Drop for RingEnds {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length and is not used afterwards.
        unsafe { libc::munmap(self.at.as_ptr().cast(), 2 * self.page) };
    }
}

/// Forks: `Ok(None)` in the child, `Ok(Some(pid))` in the parent.
///
/// Must be called while the process has one thread, since only the calling one survives in the child.
///
/// # Errors
/// As `fork(2)`.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: single-threaded by contract, so the child may run ordinary code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Local time as `asctime` prints it, without the newline: `Mon Nov 23 16:53:17 2026`.
#[must_use]
pub fn local_time(wall_s: i64) -> String {
    formatted_time(wall_s, false, c"%a %b %e %H:%M:%S %Y")
}

/// Time in UTC, as RFC 3339 writes it, without a fraction and the `Z`: `2026-11-28T14:03:27`.
#[must_use]
pub fn utc_time(wall_s: i64) -> String {
    formatted_time(wall_s, true, c"%Y-%m-%dT%H:%M:%S")
}

fn formatted_time(wall_s: i64, utc: bool, format: &CStr) -> String {
    let mut text = [0_u8; 64];
    // SAFETY: `tm` is plain data filled by localtime_r or gmtime_r; strftime writes at most the given number of bytes.
    let len = unsafe {
        let mut tm = MaybeUninit::<libc::tm>::zeroed();
        if utc {
            libc::gmtime_r(&raw const wall_s, tm.as_mut_ptr());
        } else {
            libc::localtime_r(&raw const wall_s, tm.as_mut_ptr());
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), tm.as_ptr())
    };
    String::from_utf8_lossy(&text[..len]).into_owned()
}

/// Sends one line to syslog; `priority` is a facility and a level, or'ed.
pub fn syslog(priority: c_int, text: &str) {
    let Ok(text) = CString::new(text.replace('\0', " ")) else { return };
    // SAFETY: a constant format and a terminated string.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
}

/// Opens syslog with the identity conntrackd has always used.
pub fn open_syslog() {
    // SAFETY: the identity is a constant that lives for the whole program, as openlog requires.
    unsafe { libc::openlog(c"conntrack-tools".as_ptr(), libc::LOG_PID, libc::LOG_DAEMON) };
}

/// How a thread is scheduled, see sched(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// As everybody else.
    Ordinary,
    /// In real time, round robin, with this priority.
    RoundRobin(u8),
    /// In real time, first in, first out, with this priority.
    Fifo(u8),
}

/// Schedules the calling thread.
///
/// # Errors
/// As `sched_setscheduler(2)`.
pub fn set_scheduling(scheduling: Scheduling) -> io::Result<()> {
    let (policy, priority) = match scheduling {
        Scheduling::Ordinary => (libc::SCHED_OTHER, 0),
        Scheduling::RoundRobin(priority) => (libc::SCHED_RR, priority),
        Scheduling::Fifo(priority) => (libc::SCHED_FIFO, priority),
    };
    let param = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: 0 is the calling thread; the parameter lives through the call.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const param) }).map(drop)
}

/// Waits until every program that ran on any CPU when this was called has ended (`MEMBARRIER_CMD_GLOBAL` of
/// membarrier(2) waits for a grace period of RCU, inside of which eBPF programs run).
///
/// # Errors
/// As `membarrier(2)`; kernels with `nohz_full` CPUs refuse.
pub fn wait_for_programs() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: c_int = 1;
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    check(result as c_int).map(drop)
}

/// Whether this thread has capability number `cap` in its effective set.
#[must_use]
pub fn has_capability(cap: u32) -> bool {
    std::fs::read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .is_some_and(|caps| caps >> cap & 1 == 1)
}

/// Bytes of memory of this machine, or what the cgroup of this process may use of it if that is
/// less; `None` where the kernel does not say.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    let group = std::fs::read_to_string("/proc/self/cgroup").ok();
    let group =
        group.and_then(|text| Some(text.lines().find_map(|l| l.strip_prefix("0::"))?.to_owned()));
    let limit = group.and_then(|path| {
        std::fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max"))
            .ok()?
            .trim()
            .parse()
            .ok()
    });
    Some((kib << 10).min(limit.unwrap_or(u64::MAX)))
}

/// The system's text for an error, without the number that Rust appends, as the original's messages show it.
#[must_use]
pub fn error_name(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// How many flows the kernel tracks in this network namespace; `None` where it does not say.
#[must_use]
pub fn flow_count() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").ok()?;
    text.trim().parse().ok()
}

/// The raw number of a descriptor, for the calls that take one.
#[must_use]
pub fn raw(fd: &impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// What a system call returned, or the error it left in `errno` where that is negative.
///
/// # Errors
/// The system call's.
pub fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Keeps SIGINT and SIGTERM from ending the process, and returns a descriptor that becomes readable when one comes.
///
/// # Errors
/// As `sigprocmask(2)` and `signalfd(2)`.
pub fn stop_signals() -> io::Result<OwnedFd> {
    // SAFETY: `sigset_t` is plain data, initialised by `sigemptyset`; the descriptor is checked, and nothing else
    // owns it.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Holds back signals from the calling thread, or lets them through.
///
/// # Errors
/// As `sigprocmask(2)`.
pub fn mask_signals(signals: &[c_int], hold: bool) -> io::Result<()> {
    let how = if hold { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: `sigset_t` is plain data, initialised by `sigemptyset`.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        check(libc::sigprocmask(how, &raw const set, std::ptr::null_mut())).map(drop)
    }
}

/// Moves this thread into the network namespace of this name, as `ip netns` knows it.
///
/// # Errors
/// When there is none, or we may not.
pub fn enter_network_namespace(name: &str) -> io::Result<()> {
    if name.is_empty() || name.contains('/') || name == ".." {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let file = std::fs::File::open(format!("/run/netns/{name}"))?;
    // SAFETY: no pointers.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}
