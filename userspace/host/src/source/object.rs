//! The eBPF object that this build carries, and its parts by name.

use super::SourceError;
use crate::sys::{self, bpf};
use aya::Ebpf;
use aya::maps::Map;
use aya::programs::ProgramError;
use rustix::fd::{AsFd, BorrowedFd};

/// Capability numbers (`include/uapi/linux/capability.h`).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

#[cfg(ctflow_ebpf)]
pub(super) static OBJECT: Option<&[u8]> =
    Some(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ctflow-ebpf.o")));
#[cfg(not(ctflow_ebpf))]
pub(super) static OBJECT: Option<&[u8]> = None;

/// Whether this build carries the eBPF object.
#[must_use]
pub(super) const fn has_object() -> bool {
    OBJECT.is_some()
}

/// Whether this process may load programs.
pub(super) fn may_load() -> bool {
    sys::has_capability(CAP_BPF) || sys::has_capability(CAP_SYS_ADMIN)
}

/// The descriptor of a map of the kinds the object has.
pub(super) fn map_fd(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}

pub(super) fn map_of(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, SourceError> {
    ebpf.take_map(name).ok_or_else(|| missing(name))
}

pub(super) fn missing(name: &'static str) -> SourceError {
    load_error(format!("the object has no {name}"))
}

pub(super) fn load_error(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SourceError {
    SourceError::Load(error.into())
}

/// Loads a program, which takes several attempts where signals come in meanwhile.
pub(super) fn load_program(
    load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), SourceError> {
    let is_interruption = |error: &ProgramError| match error {
        ProgramError::LoadError { io_error, .. } => bpf::is_interruption(io_error),
        _ => false,
    };
    bpf::uninterrupted_by(load, is_interruption).map_err(load_error)
}
