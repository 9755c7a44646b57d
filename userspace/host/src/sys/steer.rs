//! Chooses which of several sockets on one port receives a datagram.

use super::check;
use libc::{c_void, sock_filter, sock_fprog, socklen_t};
use rustix::fd::{AsRawFd, BorrowedFd};
use std::io;

/// `BPF_LD | BPF_B | BPF_ABS` and `BPF_RET | BPF_A` (`include/uapi/linux/bpf_common.h`).
const LOAD_BYTE: u16 = 0x30;
const RETURN_LOADED: u16 = 0x16;

/// Has the byte at `offset` of a UDP payload choose among the sockets that share this one's address and port
/// (`SO_REUSEPORT`), in the order in which they were bound; for the whole group. Where there is no such byte, the first
/// socket gets the datagram; where the byte is not below their number, the kernel chooses by addresses and ports.
///
/// # Errors
/// As `setsockopt(2)`, `SO_ATTACH_REUSEPORT_CBPF` in `socket(7)`; kernel 4.5.
pub fn steer_by_byte(fd: BorrowedFd<'_>, offset: u32) -> io::Result<()> {
    let mut program = [
        sock_filter { code: LOAD_BYTE, jt: 0, jf: 0, k: offset },
        sock_filter { code: RETURN_LOADED, jt: 0, jf: 0, k: 0 },
    ];
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let len = size_of::<sock_fprog>() as socklen_t;
    let at = (&raw const program).cast::<c_void>();
    let name = libc::SO_ATTACH_REUSEPORT_CBPF;
    // SAFETY: `at` points to a live program of `len` bytes, whose instructions live, too; the kernel copies them.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, at, len) }).map(drop)
}
