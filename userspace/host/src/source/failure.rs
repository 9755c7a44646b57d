//! The programs that see what the kernel refuses, drops and evicts (`ebpf/src/bin/failure.rs`), and their ring.
//!
//! Each is loaded on its own: where the kernel lacks a function, only the kernel's counters show such failures.
//! They run in all network namespaces of the machine and keep quiet in all but that of the process that loaded them.

use super::btf::Btf;
use super::object::{load_error, load_program, map_of, may_load, missing};
use super::{SourceError, hook};
use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::{KProbe, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use common::failure::{FailureRecord, NO_FIELD, Reason, SETTINGS, Setting, name};
use rustix::fd::{AsFd, OwnedFd};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

#[cfg(ctflow_ebpf)]
static OBJECT: Option<&[u8]> =
    Some(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ctflow-failure.o")));
#[cfg(not(ctflow_ebpf))]
static OBJECT: Option<&[u8]> = None;

/// Programs and the functions whose beginning or end they see. Which of two is at the end, the program's kind says.
const PROBES: [(&str, &str); 7] = [
    (name::EVICT, "early_drop"),
    (name::EVICTED, "early_drop"),
    (name::DELETE, "nf_ct_delete"),
    (name::CLASH, "nf_ct_resolve_clash"),
    (name::CLASHED, "nf_ct_resolve_clash"),
    (name::INVALID, "nf_l4proto_log_invalid"),
    (name::INVALID_OF_FLOW, "nf_ct_l4proto_log_invalid"),
];
/// What compilers add to the names of functions that they have made others of.
const SUFFIXES: [&str; 3] = ["", ".constprop.0", ".isra.0"];
/// The tracepoint of packets that are dropped.
const TRACEPOINT: &str = "kfree_skb";

/// How fields are found: structure and member.
const FIELDS: [(Setting, &str, &str); SETTINGS - 2] = [
    (Setting::NetInum, "net", "ns.inum"),
    (Setting::HookStateNet, "nf_hook_state", "net"),
    (Setting::SkbDev, "sk_buff", "dev"),
    (Setting::SkbHead, "sk_buff", "head"),
    (Setting::SkbNetwork, "sk_buff", "network_header"),
    (Setting::SkbNfct, "sk_buff", "_nfct"),
    (Setting::DevNet, "net_device", "nd_net"),
    (Setting::CtNet, "nf_conn", "ct_net"),
    (Setting::CtZone, "nf_conn", "zone.id"),
    (Setting::CtOrig, "nf_conn", "tuplehash[0]"),
    (Setting::CtReply, "nf_conn", "tuplehash[1]"),
    // Behind the beginning of a `nf_conntrack_tuple_hash`.
    (Setting::TupleSrc, "nf_conntrack_tuple_hash", "tuple.src.u3"),
    (Setting::TupleSrcL4, "nf_conntrack_tuple_hash", "tuple.src.u"),
    (Setting::TupleFamily, "nf_conntrack_tuple_hash", "tuple.src.l3num"),
    (Setting::TupleDst, "nf_conntrack_tuple_hash", "tuple.dst.u3"),
    (Setting::TupleDstL4, "nf_conntrack_tuple_hash", "tuple.dst.u"),
    (Setting::TupleProto, "nf_conntrack_tuple_hash", "tuple.dst.protonum"),
    (Setting::TupleDir, "nf_conntrack_tuple_hash", "tuple.dst.dir"),
];

/// What was counted of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// What the programs saw.
    pub seen: u64,
    /// Records of these in the ring. The rest was suppressed.
    pub reported: u64,
}

/// The programs, and what they write down.
pub struct Probes {
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
    /// Holds the programs and their links.
    _ebpf: Ebpf,
    /// What could not be attached, and why.
    missing: Vec<String>,
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl Probes {
    /// Loads and attaches what the kernel takes. `per_second`: most records of a reason, on each CPU.
    ///
    /// # Errors
    /// When there is no object or no permission, the kernel has no BTF, or takes none of the programs.
    pub fn open(per_second: u32) -> Result<Self, SourceError> {
        let object = OBJECT.ok_or(SourceError::NoObject)?;
        if !may_load() {
            return Err(SourceError::NoCapability);
        }
        hook::check_capabilities()?;
        let settings = settings(&hook::types(Path::new(hook::BTF_FOLDER))?, per_second)?;
        let mut ebpf = EbpfLoader::new()
            .override_global(name::SETTINGS, &settings[..], true)
            .load(object)
            .map_err(load_error)?;
        let mut missing = Vec::new();
        for (program, function) in PROBES {
            if let Err(error) = probe(&mut ebpf, program, function) {
                missing.push(format!("{function}: {}", error.on_one_line()));
            }
        }
        if missing.len() == PROBES.len() {
            return Err(load_error(missing.swap_remove(0)));
        }
        if let Err(error) = trace(&mut ebpf) {
            missing.push(format!("{TRACEPOINT}: {}", error.on_one_line()));
        }
        let ring = RingBuf::try_from(map_of(&mut ebpf, name::RING)?).map_err(load_error)?;
        let counters = map_of(&mut ebpf, name::COUNTERS)?;
        let counters = PerCpuArray::try_from(counters).map_err(load_error)?;
        missing.dedup();
        Ok(Self { ring, counters, _ebpf: ebpf, missing })
    }

    /// What could not be attached, and why.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// A descriptor of its own that becomes readable when something has failed.
    ///
    /// # Errors
    /// As `dup(2)`.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.ring.as_fd().try_clone_to_owned()
    }

    /// The next record, if there is one.
    pub fn take(&mut self) -> Option<FailureRecord> {
        loop {
            let item = self.ring.next()?;
            if let Some(record) = FailureRecord::read(&item) {
                return Some(record);
            }
        }
    }

    /// What was counted of each reason, in the order of [`Reason::ALL`].
    #[must_use]
    pub fn counted(&self) -> [Counted; Reason::COUNT] {
        let total = |index: usize| {
            let cells = self.counters.get(&(index as u32), 0);
            cells.map_or(0, |per_cpu| per_cpu.iter().sum::<u64>())
        };
        std::array::from_fn(|index| Counted {
            seen: total(index),
            reported: total(Reason::COUNT + index),
        })
    }
}

fn probe(ebpf: &mut Ebpf, program: &'static str, function: &str) -> Result<(), SourceError> {
    let program = ebpf.program_mut(program).ok_or_else(|| missing(program))?;
    let program: &mut KProbe = program.try_into().map_err(load_error)?;
    load_program(|| program.load())?;
    let mut refused = missing("function");
    for suffix in SUFFIXES {
        match program.attach(format!("{function}{suffix}"), 0) {
            Ok(_) => return Ok(()),
            Err(error) if suffix.is_empty() => refused = load_error(error),
            Err(_) => {}
        }
    }
    Err(refused)
}

fn trace(ebpf: &mut Ebpf) -> Result<(), SourceError> {
    let program = ebpf.program_mut(name::FREED).ok_or_else(|| missing(name::FREED))?;
    let program: &mut RawTracePoint = program.try_into().map_err(load_error)?;
    load_program(|| program.load())?;
    program.attach(TRACEPOINT).map(drop).map_err(load_error)
}

/// The constants for the programs.
fn settings(types: &Btf, per_second: u32) -> Result<[u32; SETTINGS], SourceError> {
    let mut out = [NO_FIELD; SETTINGS];
    for (setting, structure, member) in FIELDS {
        let at = types.offset(structure, member).and_then(|at| u32::try_from(at).ok());
        // A kernel without zones.
        let is_needed = setting != Setting::CtZone;
        if at.is_none() && is_needed {
            return Err(load_error(format!("the kernel's types lack {structure}.{member}")));
        }
        out[setting as usize] = at.unwrap_or(NO_FIELD);
    }
    let netns = fs::metadata("/proc/thread-self/ns/net")?.ino();
    out[Setting::Netns as usize] = u32::try_from(netns).map_err(load_error)?;
    out[Setting::PerSecond as usize] = per_second;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_way_to_be_found_and_only_one() {
        for (index, (setting, ..)) in FIELDS.iter().enumerate() {
            assert_eq!(*setting as usize, index + 2, "{setting:?}");
        }
    }

    #[test]
    fn a_kernel_whose_types_say_nothing_is_told_so() {
        let error = settings(&Btf::default(), 100).unwrap_err().to_string();
        assert!(error.contains("types lack net.ns.inum"), "{error}");
    }
}
