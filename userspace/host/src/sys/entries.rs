//! Many entries of a BPF map with one system call, which aya has no method for.
#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use super::check;
use aya::maps::MapData;
use libc::c_int;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::io;

/// Numbers of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const BPF_MAP_LOOKUP_BATCH: c_int = 24;
const BPF_MAP_UPDATE_BATCH: c_int = 26;
/// Entries asked for at once.
const ROOM: usize = 4096;

/// A hash map with keys of `K` bytes and values of 64 bits.
#[derive(Debug)]
pub struct Entries<const K: usize> {
    fd: OwnedFd,
}

/// The part of `union bpf_attr` that batches use.
#[repr(C)]
struct Attr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

impl<const K: usize> Entries<K> {
    /// Reads the entries of this map.
    ///
    /// # Errors
    /// When its keys or values have other lengths.
    pub fn of(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        if info.key_size() as usize != K || info.value_size() as usize != size_of::<u64>() {
            return Err(io::Error::other("keys or values of the map have another length"));
        }
        Ok(Self { fd: map.fd().as_fd().try_clone_to_owned()? })
    }

    /// Hands out all entries. What comes and goes meanwhile may be among them or not.
    ///
    /// # Errors
    /// As `bpf(2)`.
    pub fn read(&self, mut sink: impl FnMut(&[u8; K], u64)) -> io::Result<()> {
        let (mut room, mut cursor, mut begun) = (ROOM, 0_u32, false);
        loop {
            let (mut keys, mut values) = (vec![[0_u8; K]; room], vec![0_u64; room]);
            let at = &raw mut cursor as u64;
            let mut attr = Attr {
                in_batch: if begun { at } else { 0 },
                out_batch: at,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: room as u32,
                map_fd: self.fd.as_raw_fd() as u32,
                elem_flags: 0,
                flags: 0,
            };
            let len = size_of::<Attr>();
            // SAFETY: the kernel reads `attr` and the cursor, and writes the cursor and at most `room` keys and values,
            // which have these lengths (`of`). All of them outlive the call.
            let result =
                unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attr, len) };
            let error = check(result as c_int).err().and_then(|e| e.raw_os_error());
            match error {
                // A bucket has more entries than there was room for.
                Some(libc::ENOSPC) => {
                    room *= 2;
                    continue;
                }
                // ENOENT: these were the last ones.
                None | Some(libc::ENOENT) => {}
                Some(other) => return Err(io::Error::from_raw_os_error(other)),
            }
            let got = (attr.count as usize).min(room);
            keys[..got].iter().zip(&values).for_each(|(key, value)| sink(key, *value));
            if error.is_some() {
                return Ok(());
            }
            begun = true;
        }
    }
}

/// Puts maps into an array of maps, all of them with one call: `inner[n]` at place `keys[n]`.
///
/// # Errors
/// As `bpf(2)`: kernels that know no such call for arrays of maps refuse it. Some may have been put in.
pub fn set_inner_maps(
    array: BorrowedFd<'_>,
    keys: &[u32],
    inner: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let descriptors: Vec<u32> = inner.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    let count = keys.len().min(descriptors.len());
    let mut attr = Attr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: descriptors.as_ptr() as u64,
        count: count as u32,
        map_fd: array.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    let at = &raw mut attr;
    // SAFETY: keys and values are arrays of `count` numbers of 32 bits, as the map has them, and outlive the call.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_BATCH, at, size_of::<Attr>()) as c_int
    })?;
    // The kernel says how many it has taken.
    if attr.count as usize == count { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
