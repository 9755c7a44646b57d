//! Every map of the tap and of the hook. Names and capacities are those of `common::maps`.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use common::filter::{FilterConfig, Numbers, Subject};
use common::{counter, hook, maps as shape};
use ctnetlink::FlowKey;

/// `BPF_F_MMAPABLE` (`include/uapi/linux/bpf.h`): user space writes the cells without a system call.
const MMAPABLE: usize = 1 << 10;

/// `BPF_F_NO_PREALLOC`: memory is taken when there is something to keep.
const NO_PREALLOC: usize = 1;

/// Stand-in for the rings the loader makes; the kernel compares all but the size with it.
type Ring = RingBuf<u64, 4096>;

/// More than is read from it at once.
const READ_MAX: usize = 24;
/// As much of a message as is looked at: what a filter asks for lies in front of what can be long.
pub const SCRATCH_LEN: usize = 512;

/// A message that is being judged on this CPU. The stack has no room for it.
#[repr(C)]
pub struct Scratch {
    /// 1 while it is in use. A message that comes in an interrupt meanwhile is not judged.
    pub busy: u64,
    /// The start of the message.
    pub bytes: Message,
    /// The fields of the message.
    pub subject: Subject,
    /// Never written, so all zero. Copying this is done in place; to clear memory, the compiler calls a loop, which the
    /// kernel refuses to who may load programs but not read its memory (no `CAP_PERFMON`).
    pub nothing: Subject,
}

/// As much of a message as is looked at.
#[repr(C, align(8))]
pub struct Message(pub [u8; SCRATCH_LEN + READ_MAX]);

/// A ring for each CPU that is or has been online, filled in by the loader.
#[btf_map]
pub static RINGS: ArrayOfMaps<Ring, { shape::RINGS_MAX as usize }> = ArrayOfMaps::new();

/// Outcomes, per CPU.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { counter::COUNT as usize }> = PerCpuArray::new();

/// 1 while the reader of that CPU's ring sleeps.
#[btf_map]
pub static ARMED: Array<u64, { shape::RINGS_MAX as usize }, MMAPABLE> = Array::new();

/// The settings of the filter.
#[btf_map]
pub static FILTER: Array<FilterConfig, 1> = Array::new();

/// IPv4 prefixes the filter names.
#[btf_map]
pub static FILTER_IPV4: LpmTrie<[u8; 4], u32, { shape::FILTER_PREFIXES_MAX as usize }> =
    LpmTrie::new();

/// IPv6 prefixes the filter names.
#[btf_map]
pub static FILTER_IPV6: LpmTrie<[u8; 16], u32, { shape::FILTER_PREFIXES_MAX as usize }> =
    LpmTrie::new();

/// Where a message lies while it is judged.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Ports and zones the filter names.
#[btf_map]
pub static FILTER_NUMBERS: Array<u64, { (3 * Numbers::WORDS) as usize }> = Array::new();

/// When each flow began that is still too young to be reported.
#[btf_map]
pub static YOUNG: HashMap<FlowKey, u64, { shape::YOUNG_MAX as usize }, NO_PREALLOC> =
    HashMap::new();

/// What the hook last reported of the flows that fall on each slot. The loader leaves one slot where there is no hook,
/// and empties the slots before the hook begins to run.
#[btf_map]
pub static SIGNATURES: Array<u64, { hook::SIGNATURES_MAX as usize }, MMAPABLE> = Array::new();

/// Outcomes of the hook, per CPU.
#[btf_map]
pub static HOOK_COUNTERS: PerCpuArray<u64, { hook::counter::COUNT as usize }> = PerCpuArray::new();

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(index: u32) {
    if let Some(cell) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the lookup succeeded, the cell belongs to this CPU, and a socket filter does not migrate.
        unsafe { *cell += 1 };
    }
}
