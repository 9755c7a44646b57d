//! The reasons for a refused request that the engine distinguishes, by the kernel's numbers
//! (`include/uapi/asm-generic/errno-base.h` and `errno.h`, which x86, arm64 and riscv share).

/// There is no such flow, or no flow that an expectation belongs to.
pub(crate) const ENOENT: i32 = 2;
/// Another flow or expectation has that place.
pub(crate) const EEXIST: i32 = 17;
/// A value that the kernel does not take.
#[cfg(test)]
pub(crate) const EINVAL: i32 = 22;
/// The kernel has no room, as for labels in a namespace whose rules set none.
pub(crate) const ENOSPC: i32 = 28;
/// A value that is too long for what the kernel reserved.
pub(crate) const ERANGE: i32 = 34;
/// The kernel was built without that.
pub(crate) const EOPNOTSUPP: i32 = 95;
