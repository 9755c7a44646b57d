//! bpf(2), as far as sending frames into the stack from inside the kernel takes it. (aya loads every program that
//! listens; it cannot run one over live frames.)

use host::sys::check;
use libc::{c_int, c_long};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;

/// Commands and numbers of `include/uapi/linux/bpf.h` (v6.12).
mod uapi {
    pub(super) const MAP_CREATE: i32 = 0;
    pub(super) const PROG_LOAD: i32 = 5;
    pub(super) const PROG_TEST_RUN: i32 = 10;
    pub(super) const LINK_CREATE: i32 = 28;
    pub(super) const MAP_TYPE_ARRAY: u32 = 2;
    pub(super) const PROG_TYPE_XDP: u32 = 6;
    pub(super) const ATTACH_XDP: u32 = 37;
    pub(super) const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
}

/// Bytes of a log that the verifier may fill.
const LOG_LEN: usize = 64 << 10;

/// Makes an array of one `u64` cell.
///
/// # Errors
/// As `bpf(2)`.
pub fn counter() -> io::Result<OwnedFd> {
    let mut attr = Attr::default();
    attr.set32(0, uapi::MAP_TYPE_ARRAY).set32(4, 4).set32(8, 8).set32(12, 1);
    own(attr.call(uapi::MAP_CREATE)?)
}

/// Loads an XDP program, given as instructions.
///
/// # Errors
/// As `bpf(2)`, with what the verifier says.
pub fn load(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut log = vec![0_u8; LOG_LEN];
    let mut attr = Attr::default();
    attr.set32(0, uapi::PROG_TYPE_XDP).set32(4, instructions.len() as u32);
    attr.set_pointer(8, instructions.as_ptr().cast());
    attr.set_pointer(16, c"Dual MIT/GPL".as_ptr().cast());
    attr.set32(24, 1).set32(28, LOG_LEN as u32).set_pointer(32, log.as_mut_ptr().cast());
    let loaded = attr.call(uapi::PROG_LOAD).map_err(|error| {
        let end = log.iter().position(|b| *b == 0).unwrap_or(LOG_LEN);
        let said = String::from_utf8_lossy(&log[..end]);
        let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
        io::Error::new(error.kind(), format!("{error}: {}", last.join("; ")))
    });
    own(loaded?)
}

/// Attaches an XDP program to interface `index` until the descriptor is closed.
///
/// # Errors
/// As `bpf(2)`.
pub fn attach(program: BorrowedFd<'_>, index: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr::default();
    attr.set32(0, program.as_raw_fd() as u32).set32(4, index).set32(8, uapi::ATTACH_XDP);
    own(attr.call(uapi::LINK_CREATE)?)
}

/// Runs an XDP program `count` times over copies of `frame`, and lets the kernel receive each on interface `index` as
/// the program left it, `batch` frames at a time.
///
/// # Errors
/// As `bpf(2)`: `EINVAL` before kernel 5.18.
pub fn run_live(
    program: BorrowedFd<'_>,
    frame: &[u8],
    index: u32,
    count: u32,
    batch: u32,
) -> io::Result<()> {
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, frame.len() as u32, 0, index, 0, 0];
    let mut attr = test_run(program, frame, count);
    attr.set32(40, size_of_val(&context) as u32).set_pointer(48, context.as_ptr().cast());
    attr.set32(64, uapi::TEST_XDP_LIVE_FRAMES).set32(72, batch);
    attr.call(uapi::PROG_TEST_RUN).map(drop)
}

/// Runs an XDP program once over a copy of `frame`, which is sent nowhere, and returns the result.
///
/// # Errors
/// As `bpf(2)`.
pub fn run_dry(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = vec![0_u8; frame.len()];
    let mut attr = test_run(program, frame, 1);
    attr.set32(12, out.len() as u32).set_pointer(24, out.as_mut_ptr().cast());
    attr.call(uapi::PROG_TEST_RUN)?;
    Ok(out)
}

fn test_run(program: BorrowedFd<'_>, frame: &[u8], count: u32) -> Attr {
    let mut attr = Attr::default();
    attr.set32(0, program.as_raw_fd() as u32).set32(8, frame.len() as u32);
    attr.set_pointer(16, frame.as_ptr().cast()).set32(32, count);
    attr
}

/// `union bpf_attr`, written by offset; what is not written is zero, as the kernel wants it.
#[derive(Default)]
#[repr(C, align(8))]
struct Attr([[u8; 8]; 16]);

impl Attr {
    fn set32(&mut self, offset: usize, value: u32) -> &mut Self {
        self.0.as_flattened_mut()[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn set_pointer(&mut self, offset: usize, at: *const u8) -> &mut Self {
        let value = (at.expose_provenance() as u64).to_ne_bytes();
        self.0.as_flattened_mut()[offset..offset + 8].copy_from_slice(&value);
        self
    }

    /// Every pointer in it must still be valid.
    fn call(&mut self, command: i32) -> io::Result<c_int> {
        let at = self.0.as_mut_ptr();
        // SAFETY: the attributes are `size` bytes; the callers in this file keep what they point to alive and large
        // enough.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, c_long::from(command), at, size_of::<Self>() as c_long)
        };
        check(result as c_int)
    }
}

fn own(fd: c_int) -> io::Result<OwnedFd> {
    // SAFETY: a fresh descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
