//! The hook: eBPF programs at netfilter hooks report new and changed flows; netlink reports only their ends.
//!
//! ```text
//!   packet --> LOCAL_IN, POST_ROUTING --> program -- news? --> ring of this CPU --\
//!                                                                                   >-- drain, as of the tap
//!   DESTROY event ----------------------> tap ---------------> ring of this CPU --/
//! ```
//!
//! So the kernel builds no messages for new and changed flows, which is most of the cost of an event. The hook misses
//! what other programs do by netlink; the flow's next packet reports it.
//!
//! The program (`ebpf/src/hook.rs`) is independent of the kernel version: this module patches offsets, a type and a
//! function into its instructions, from the running kernel's BTF. aya creates the maps but cannot load programs of type
//! NETFILTER, so this module loads the program.

use super::btf::Btf;
use super::object::{OBJECT, load_error, map_fd, map_of, missing};
use super::{Account, HookAccount, SourceError};
use crate::sys::{self, Cells, bpf};
use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray};
use aya_obj::generated::bpf_insn;
use common::hook::{
    AREA_LEN, CALL_CAST, FIELD_COUNT, FIELD_OFFSET, SIGNATURES_MAX, TYPE_AREA, counter,
};
use common::maps;
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashSet;
use std::io;
use std::path::Path;

mod fields;

/// `NF_INET_LOCAL_IN` and `NF_INET_POST_ROUTING`: where conntrack confirms flows.
const HOOKS: [u32; 2] = [1, 4];
/// Just before conntrack confirms, which is at the last priority there is, in LOCAL_IN of IPv6 at the one before. The
/// kernel lets no two programs have one priority, so the next ones are for other programs of this kind.
const PRIORITIES: [i32; 8] = {
    let last = i32::MAX - 2;
    [last, last - 1, last - 2, last - 3, last - 4, last - 5, last - 6, last - 7]
};
/// Capability numbers (`include/uapi/linux/capability.h`).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
/// Where kernels say what their types are.
pub(super) const BTF_FOLDER: &str = "/sys/kernel/btf";

/// Codes of instructions (`include/uapi/linux/bpf.h`): class, and the modes that matter here.
mod code {
    pub(super) const CLASS: u8 = 0x07;
    pub(super) const LDX: u8 = 0x01;
    /// `BPF_ALU64 | BPF_MOV | BPF_K`.
    pub(super) const MOVE: u8 = 0xb7;
    pub(super) const CALL: u8 = 0x85;
    /// `BPF_PSEUDO_KFUNC_CALL`.
    pub(super) const TO_KERNEL_FUNCTION: u8 = 2;
}

/// What the running kernel looks like.
#[derive(Debug)]
pub(super) struct Layout {
    /// Offset of each field; `None` where the kernel has no such field.
    offsets: [Option<i16>; FIELD_COUNT],
    /// Number of a type that can be read at any offset.
    area: i32,
    /// Number of `bpf_rdonly_cast`.
    cast: i32,
}

/// The program, loaded but not yet at any hook.
#[derive(Debug)]
pub(super) struct Program(OwnedFd);

/// The program and what it counts. It leaves its hooks when this is dropped.
pub(super) struct Hook {
    program: Program,
    /// One for each hook that the program is at.
    links: Vec<OwnedFd>,
    /// The signature of each flow's last report.
    signatures: Cells,
    /// The program was at its hooks before, so signatures may be old.
    has_run: bool,
    counters: PerCpuArray<MapData, u64>,
}

impl Program {
    /// Loads the program on the maps of `ebpf`, none of which may have been taken out.
    pub(super) fn load(ebpf: &Ebpf, layout: &Layout) -> Result<Self, SourceError> {
        let mut instructions = relocated(ebpf)?;
        layout.patch(&mut instructions);
        bpf::load_netfilter(&instructions, c"ctflow_hook", c"Dual MIT/GPL").map(Self).map_err(
            |(error, said)| match said.is_empty() {
                true => hook_error(format!("the kernel refuses the program: {error}")),
                false => hook_error(format!("the kernel refuses the program: {error}: {said}")),
            },
        )
    }

    fn link(&self, family: u8, hook: u32) -> io::Result<OwnedFd> {
        let mut busy = io::Error::from(io::ErrorKind::ResourceBusy);
        for priority in PRIORITIES {
            match bpf::link_netfilter(self.0.as_fd(), family, hook, priority) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => busy = error,
                linked_or_failed => return linked_or_failed,
            }
        }
        Err(busy)
    }
}

impl Hook {
    /// A hook that does not run yet, with its maps out of those of `ebpf`.
    pub(super) fn new(program: Program, ebpf: &mut Ebpf) -> Result<Self, SourceError> {
        let signatures = match &map_of(ebpf, maps::SIGNATURES)? {
            Map::Array(data) => Cells::map(data.fd().as_fd(), SIGNATURES_MAX as usize)?,
            _ => return Err(missing(maps::SIGNATURES)),
        };
        let counters = map_of(ebpf, maps::HOOK_COUNTERS)?;
        let counters = PerCpuArray::try_from(counters).map_err(load_error)?;
        Ok(Self { program, links: Vec::new(), signatures, has_run: false, counters })
    }

    /// Attaches the program in the network namespace of the calling thread, and makes it report every flow again.
    pub(super) fn attach(&mut self) -> Result<(), SourceError> {
        if std::mem::replace(&mut self.has_run, true) {
            (0..SIGNATURES_MAX as usize).for_each(|slot| self.signatures.set(slot, 0));
        }
        let mut links = Vec::new();
        for family in [FAMILY_IPV4, FAMILY_IPV6] {
            for hook in HOOKS {
                let link = self.program.link(family, hook);
                links.push(link.map_err(|e| hook_error(format!("attaching the program: {e}")))?);
            }
        }
        self.links = links;
        Ok(())
    }

    /// Detaches the program. Its counters stay.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }

    /// What the program made of packets up to now.
    pub(super) fn account(&self) -> HookAccount {
        let total = |index| {
            let cells = self.counters.get(&index, 0);
            cells.map_or(0, |per_cpu| per_cpu.iter().sum::<u64>())
        };
        HookAccount {
            settled: total(counter::SETTLED),
            untracked: total(counter::UNTRACKED),
            recorded: total(counter::RECORDED),
            repeated: total(counter::REPEATED),
            filtered: total(counter::FILTERED),
            lost_full: total(counter::LOST_FULL) + total(counter::REPEAT_LOST),
            lost_other: total(counter::LOST_NO_RING),
        }
    }

    /// Adds what the program counted, if it ever ran.
    pub(super) fn add_to(&self, account: &mut Account) {
        if !self.has_run {
            return;
        }
        let hook = self.account();
        account.lost += hook.lost_full + hook.lost_other;
        account.hook = Some(hook);
    }
}

impl Layout {
    /// The layout of the running kernel.
    pub(super) fn of_this_kernel() -> Result<Self, SourceError> {
        Self::of_kernel(Path::new(BTF_FOLDER))
    }

    fn of_kernel(folder: &Path) -> Result<Self, SourceError> {
        Self::of(&types(folder)?)
    }

    fn of(btf: &Btf) -> Result<Self, SourceError> {
        let missing = |what: &str| hook_error(format!("the kernel's types lack {what}"));
        let number = |id: Option<u32>| id.and_then(|id| i32::try_from(id).ok());
        let area = number(btf.array_structure(AREA_LEN)).ok_or_else(|| missing("a large array"))?;
        let cast = number(btf.function("bpf_rdonly_cast"))
            .ok_or_else(|| missing("the function bpf_rdonly_cast"))?;
        Ok(Self { offsets: fields::offsets(btf).map_err(|what| missing(&what))?, area, cast })
    }

    /// Writes this kernel into the instructions.
    fn patch(&self, program: &mut [bpf_insn]) {
        let last = FIELD_OFFSET + FIELD_COUNT as i16;
        for instruction in program {
            if instruction.code & code::CLASS == code::LDX
                && (FIELD_OFFSET..last).contains(&instruction.off)
            {
                let field = (instruction.off - FIELD_OFFSET) as usize;
                instruction.off = self.offsets[field].unwrap_or(0);
                if self.offsets[field].is_none() {
                    (instruction.code, instruction.imm) = (code::MOVE, 0);
                    instruction.set_src_reg(0);
                }
            } else if instruction.code == code::MOVE && instruction.imm == TYPE_AREA {
                instruction.imm = self.area;
            } else if instruction.code == code::CALL && instruction.imm == CALL_CAST {
                instruction.imm = self.cast;
                instruction.set_src_reg(code::TO_KERNEL_FUNCTION);
            }
        }
    }
}

/// Reads the types of the kernel and, where conntrack is a module, of that.
pub(super) fn types(folder: &Path) -> Result<Btf, SourceError> {
    let mut btf = Btf::default();
    let mut add = |name: &str| {
        let path = folder.join(name);
        let bytes = std::fs::read(&path)
            .map_err(|e| hook_error(format!("reading the types in {}: {e}", path.display())))?;
        let understood = btf.add(bytes);
        understood.ok_or_else(|| hook_error(format!("{} is not understood", path.display())))
    };
    add("vmlinux")?;
    if folder.join("nf_conntrack").exists() {
        add("nf_conntrack")?;
    }
    Ok(btf)
}

/// The program's instructions with the descriptors of the maps in them.
fn relocated(ebpf: &Ebpf) -> Result<Vec<bpf_insn>, SourceError> {
    let bytes = OBJECT.ok_or(SourceError::NoObject)?;
    let mut object = aya_obj::Object::parse(bytes).map_err(hook_error)?;
    let shapes: Vec<_> =
        object.maps.iter().map(|(name, shape)| (name.clone(), shape.clone())).collect();
    let made = shapes.iter().filter_map(|(name, shape)| {
        let fd = sys::raw(&map_fd(ebpf.map(name)?)?);
        Some((name.as_str(), fd, shape))
    });
    let text: HashSet<usize> = object.functions.keys().map(|&(section, _)| section).collect();
    object.relocate_maps(made, &text).map_err(hook_error)?;
    object.relocate_calls(&text).map_err(hook_error)?;
    let program = object.programs.get(maps::PROGRAM_HOOK);
    let function = program.and_then(|program| object.functions.get(&program.function_key()));
    let function = function.ok_or_else(|| hook_error("the object has no such program"))?;
    Ok(function.instructions.clone())
}

fn hook_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
    SourceError::Hook(error.into())
}

/// Whether this process may load it.
pub(super) fn check_capabilities() -> Result<(), SourceError> {
    let able = |cap| sys::has_capability(CAP_SYS_ADMIN) || sys::has_capability(cap);
    if able(CAP_PERFMON) && sys::has_capability(CAP_NET_ADMIN) {
        Ok(())
    } else {
        Err(SourceError::NoHookCapability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::hook::Field;

    #[test]
    fn a_kernel_without_types_is_told_so() {
        let error = Layout::of_kernel(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/vmlinux"), "{error}");
        let error = Layout::of(&Btf::default()).unwrap_err().to_string();
        assert!(error.contains("types lack"), "{error}");
    }

    #[test]
    fn a_field_that_the_kernel_lacks_reads_as_zero() {
        let at = |field: Field| FIELD_OFFSET + field as i16;
        let mut offsets = [Some(8); FIELD_COUNT];
        offsets[Field::Mark as usize] = None;
        let layout = Layout { offsets, area: 77, cast: 99 };
        // r2 = *(u64 *)(r1 + STATUS); r3 = *(u32 *)(r1 + MARK); r4 = AREA; call CAST; r5 = *(u64 *)(r1 + 16)
        let load = |code, dst, off| instruction(code, dst, 1, off, 0);
        let mut program = [
            load(0x79, 2, at(Field::Status)),
            load(0x61, 3, at(Field::Mark)),
            instruction(code::MOVE, 4, 0, 0, TYPE_AREA),
            instruction(code::CALL, 0, 0, 0, CALL_CAST),
            load(0x79, 5, 16),
        ];
        layout.patch(&mut program);
        let words = program.map(|i| (i.code, i.dst_reg(), i.src_reg(), i.off, i.imm));
        assert_eq!(
            words,
            [
                (0x79, 2, 1, 8, 0),
                (code::MOVE, 3, 0, 0, 0),
                (code::MOVE, 4, 0, 0, 77),
                (code::CALL, 0, code::TO_KERNEL_FUNCTION, 0, 99),
                (0x79, 5, 1, 16, 0),
            ]
        );
    }

    fn instruction(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
        let registers = bpf_insn::new_bitfield_1(dst, src);
        bpf_insn { code, _bitfield_align_1: [], _bitfield_1: registers, off, imm }
    }
}
