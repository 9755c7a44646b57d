//! bpf(2), as far as aya does not offer it: programs of type NETFILTER (kernel 6.4).

use super::check;
use aya_obj::generated::bpf_insn;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ffi::CStr;
use std::io;

/// Numbers of `include/uapi/linux/bpf.h`.
const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_PROG_LOAD: u32 = 5;
const BPF_LINK_CREATE: u32 = 28;
const BPF_PROG_TYPE_NETFILTER: u32 = 32;
const BPF_NETFILTER: u32 = 45;
/// Room for what the verifier says.
const VERIFIER_LOG_LEN: usize = 1 << 20;
/// How often a program is handed in whose loading signals interrupt. Each attempt takes milliseconds.
const LOAD_ATTEMPTS: u32 = 8;

/// `union bpf_attr`, as `BPF_PROG_LOAD` reads it.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr`, as `BPF_LINK_CREATE` reads it.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    pf: u32,
    hook: u32,
    priority: i32,
    netfilter_flags: u32,
}

/// `union bpf_attr`, as `BPF_MAP_LOOKUP_ELEM` reads it.
#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Loads a program that runs at a netfilter hook. It is gone when its descriptor and its links are closed.
///
/// # Errors
/// As `bpf(2)`; where the verifier has refused it, with the end of what it said.
pub fn load_netfilter(
    program: &[bpf_insn],
    name: &CStr,
    license: &CStr,
) -> Result<OwnedFd, (io::Error, String)> {
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_NETFILTER,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        expected_attach_type: BPF_NETFILTER,
        ..ProgLoad::default()
    };
    let shown = name.to_bytes().len().min(15);
    attr.prog_name[..shown].copy_from_slice(&name.to_bytes()[..shown]);
    // SAFETY: the pointers are to live memory of the lengths given; the kernel only reads it.
    let first = match uninterrupted(|| unsafe { bpf(BPF_PROG_LOAD, &mut attr) }) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    let mut log = vec![0_u8; VERIFIER_LOG_LEN];
    (attr.log_level, attr.log_size, attr.log_buf) = (1, log.len() as u32, log.as_mut_ptr() as u64);
    // SAFETY: as above, and the kernel writes at most `log_size` bytes of text to `log_buf`.
    let _ = unsafe { bpf(BPF_PROG_LOAD, &mut attr) };
    let text = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy).unwrap_or_default();
    Err((first, last_lines(&text)))
}

/// Has a netfilter program run on every packet at this hook of the calling thread's network namespace, until the
/// descriptor is closed.
///
/// # Errors
/// As `bpf(2)`.
pub fn link_netfilter(
    program: BorrowedFd<'_>,
    family: u8,
    hook: u32,
    priority: i32,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_NETFILTER,
        flags: 0,
        pf: family.into(),
        hook,
        priority,
        netfilter_flags: 0,
    };
    // SAFETY: no pointers in it.
    unsafe { bpf(BPF_LINK_CREATE, &mut attr) }
}

/// Whether this thread, with the capabilities that are effective now, may look into maps by their descriptors. The
/// kernel checks that before it looks for the descriptor, which is none here.
#[must_use]
pub fn may_use_maps() -> bool {
    let mut attr = MapElement { map_fd: u32::MAX, ..MapElement::default() };
    // SAFETY: no pointers that the kernel reads: there is no such map.
    let outcome = unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) };
    !matches!(outcome, Err(error) if error.raw_os_error() == Some(libc::EPERM))
}

/// Makes a call again that the verifier gave up with `EAGAIN`, as it does when a signal is pending for the thread
/// (`do_check` in kernel/bpf/verifier.c at v6.12).
fn uninterrupted<T>(call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    uninterrupted_by(call, is_interruption)
}

/// Whether the verifier gave up for that reason.
#[must_use]
pub fn is_interruption(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAGAIN)
}

/// Repeats a call that failed because a signal interrupted the verifier, which `is_interruption` decides.
///
/// # Errors
/// As the call, the last time.
pub fn uninterrupted_by<T, E>(
    mut call: impl FnMut() -> Result<T, E>,
    is_interruption: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 1..LOAD_ATTEMPTS {
        match call() {
            Err(error) if is_interruption(&error) => {}
            loaded_or_refused => return loaded_or_refused,
        }
    }
    call()
}

/// # Safety
/// `attr` must be what the command reads, with valid pointers.
unsafe fn bpf<T>(command: u32, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as long as said; the descriptor is checked, and nothing else owns it.
    unsafe {
        let at = std::ptr::from_mut(attr);
        let fd = check(libc::syscall(libc::SYS_bpf, command, at, size_of::<T>()) as i32)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("processed ")).collect();
    lines[lines.len().saturating_sub(2)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(errno: i32, failing: u32) -> (u32, bool) {
        let mut made = 0;
        let outcome = uninterrupted(|| {
            made += 1;
            if made <= failing { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
        });
        (made, outcome.is_ok())
    }

    #[test]
    fn a_load_that_a_signal_interrupts_is_tried_again_for_a_while_and_a_refused_one_is_not() {
        assert_eq!(attempts(libc::EAGAIN, 3), (4, true));
        assert_eq!(attempts(libc::EAGAIN, u32::MAX), (LOAD_ATTEMPTS, false));
        assert_eq!(attempts(libc::EACCES, u32::MAX), (1, false));
    }
}
