//! The eBPF ring buffers, one per CPU.
//!
//! A CPU gets its ring when it first comes online: machines with CPU hotplug list many possible CPUs, and a ring costs
//! its length in kernel memory and twice that in address space. On a CPU without a ring, the tap leaves events to the
//! socket and the hook counts its reports as lost. A CPU that goes offline keeps its ring, which may hold unread
//! records.
//!
//! A daemon without `CAP_BPF` cannot create rings. Before it drops the capability, it creates short ones for the CPUs
//! that may come online ([`Rings::reserve`]); assigning them later needs no capability.

use super::object::{load_error, map_fd, map_of, missing};
use super::{RingFill, SourceError};
use crate::sys::{self, RingEnds};
use aya::Ebpf;
use aya::maps::{ArrayOfMaps, Map, MapData, RingBuf};
use common::maps;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::fs::{self, File};
use std::io::Read as _;

/// `BPF_MAP_TYPE_RINGBUF` (`enum bpf_map_type`, `include/uapi/linux/bpf.h`).
const MAP_TYPE_RINGBUF: u32 = 27;
/// What the rings of the CPUs that are online at the start may take together, bytes. More CPUs get shorter rings.
const TOTAL_MAX: usize = 256 << 20;
/// The shortest ring, bytes: every CPU gets this much, also beyond that. A page of any kernel fits in.
const LEN_MIN: usize = 64 << 10;
/// The CPUs that may ever be online, in the same form.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
/// The CPUs that are online: `0-3,8` (`Documentation/admin-guide/cputopology.rst`).
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The rings there are.
pub(super) struct Rings {
    /// Where the programs look for them.
    outer: ArrayOfMaps<MapData, MapData>,
    /// The descriptor of `outer`.
    descriptor: OwnedFd,
    rings: Vec<Ring>,
    /// Rings for CPUs that come online later.
    spares: Vec<MapData>,
    /// Bytes of a ring of full length.
    len: usize,
    /// Bytes of all rings.
    total: usize,
    /// The CPUs that were online at the last look, as the kernel lists them.
    online: String,
    /// The list of online CPUs as it is being read.
    read: String,
    /// A line for the log.
    note: Option<String>,
}

/// A ring, and the CPU whose programs fill it.
pub(super) struct Ring {
    pub(super) cpu: usize,
    pub(super) records: RingBuf<MapData>,
    ends: RingEnds,
    len: usize,
    /// Most bytes that waited whenever the ring was about to be read.
    most: usize,
}

impl Ring {
    /// Records how full it is; call this before reading it.
    pub(super) fn note(&mut self) {
        self.most = self.most.max(self.ends.waiting());
    }
}

impl Rings {
    /// Makes rings of `wanted` bytes, or less, for the CPUs that are online.
    ///
    /// # Errors
    /// When the kernel refuses, or has no memory.
    pub(super) fn open(ebpf: &mut Ebpf, wanted: usize) -> Result<Self, SourceError> {
        let outer = map_of(ebpf, maps::RINGS)?;
        let descriptor = map_fd(&outer).ok_or_else(|| missing(maps::RINGS))?;
        let descriptor = descriptor.try_clone_to_owned().map_err(load_error)?;
        let outer = ArrayOfMaps::try_from(outer).map_err(load_error)?;
        let online = fs::read_to_string(ONLINE).unwrap_or_default();
        let cpus = usable(&online);
        let wanted = power_of_two(wanted);
        let len = length(wanted, cpus.len());
        let mut rings = Self {
            outer,
            descriptor,
            rings: Vec::new(),
            spares: Vec::new(),
            len,
            total: 0,
            online,
            read: String::new(),
            note: None,
        };
        rings.make(&cpus)?;
        if len < wanted {
            rings.note = Some(format!(
                "rings of {} CPUs have {} KiB each instead of {}: all together are to take {} MiB \
                 at most",
                cpus.len(),
                len >> 10,
                wanted >> 10,
                TOTAL_MAX >> 20
            ));
        }
        Ok(rings)
    }

    /// Makes rings for CPUs that have come online since the last look, and calls `watch` with each new one. Returns a
    /// line for the log, about the start too.
    pub(super) fn look(&mut self, mut watch: impl FnMut(BorrowedFd<'_>)) -> Option<String> {
        // Read into memory that stays: this happens some times a second.
        self.read.clear();
        let mut file = File::open(ONLINE);
        let read = file.as_mut().ok().and_then(|file| file.read_to_string(&mut self.read).ok());
        if read.is_some() && self.read != self.online {
            let has_none = |&cpu: &usize| self.rings.iter().all(|ring| ring.cpu != cpu);
            let new: Vec<_> = usable(&self.read).into_iter().filter(has_none).collect();
            self.online.clone_from(&self.read);
            for cpu in new {
                match self.make(&[cpu]) {
                    Ok(rings) => rings.iter().for_each(|ring| watch(ring.records.as_fd())),
                    Err(error) => self.note = Some(format!("no ring for CPU {cpu}: {error}")),
                }
            }
        }
        self.note.take()
    }

    /// Makes a ring for each CPU that may come online and has none.
    ///
    /// # Errors
    /// When the kernel refuses, or has no memory.
    pub(super) fn reserve(&mut self) -> Result<(), SourceError> {
        let possible = parse(&fs::read_to_string(POSSIBLE).unwrap_or_default());
        let cpus = possible.map_or(0, |cpus| cpus.len()).min(maps::RINGS_MAX as usize);
        for _ in self.rings.len() + self.spares.len()..cpus {
            self.spares.push(create(LEN_MIN.min(self.len))?);
        }
        Ok(())
    }

    /// Makes a ring for each of these CPUs.
    fn make(&mut self, cpus: &[usize]) -> Result<&[Ring], SourceError> {
        let made = cpus.iter().map(|_| self.ring()).collect::<Result<Vec<_>, _>>()?;
        self.hand_out(cpus, &made)?;
        for (&cpu, (data, len)) in cpus.iter().zip(made) {
            let ends = RingEnds::map(data.fd().as_fd())?;
            let records = RingBuf::try_from(Map::RingBuf(data)).map_err(load_error)?;
            self.rings.push(Ring { cpu, records, ends, len, most: 0 });
        }
        Ok(&self.rings[self.rings.len() - cpus.len()..])
    }

    /// A ring that no program knows yet, and its length.
    fn ring(&mut self) -> Result<(MapData, usize), SourceError> {
        let short = LEN_MIN.min(self.len);
        let spare = self.spares.pop();
        let has_room = self.total + self.len <= TOTAL_MAX.max(self.len);
        let len = if spare.is_none() && has_room { self.len } else { short };
        self.total += len;
        Ok((spare.map_or_else(|| create(len), Ok)?, len))
    }

    /// Lets the programs know of rings. After each change of such a map the kernel waits until no program uses what was
    /// there before, some milliseconds, so all of them go in at once where it can do that.
    fn hand_out(&mut self, cpus: &[usize], made: &[(MapData, usize)]) -> Result<(), SourceError> {
        let keys: Vec<_> = cpus.iter().map(|&cpu| cpu as u32).collect();
        let rings: Vec<_> = made.iter().map(|(data, _)| data.fd().as_fd()).collect();
        if sys::set_inner_maps(self.descriptor.as_fd(), &keys, &rings).is_ok() {
            return Ok(());
        }
        for (key, (data, _)) in keys.into_iter().zip(made) {
            self.outer.set(key, data, 0).map_err(load_error)?;
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Ring> {
        self.rings.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Ring> {
        self.rings.iter_mut()
    }

    pub(super) const fn len(&self) -> usize {
        self.rings.len()
    }

    /// The fill level of the rings.
    pub(super) fn fill(&self) -> RingFill {
        let share = |ring: &Ring| (ring.most * 1000).div_ceil(ring.len.max(1)) as u64;
        RingFill {
            bytes: self.total as u64,
            waiting: self.rings.iter().map(|ring| ring.ends.waiting() as u64).sum(),
            fullest_permille: self.rings.iter().map(share).max().unwrap_or(0),
        }
    }
}

fn create(len: usize) -> Result<MapData, SourceError> {
    let shape = aya_obj::Map::new_from_params(MAP_TYPE_RINGBUF, 0, 0, len as u32, 0);
    MapData::create(shape, "ctflow_ring", None).map_err(load_error)
}

/// The CPUs of such a list that can have a ring; where there is no list, as many as this process may run on.
fn usable(list: &str) -> Vec<usize> {
    let mut cpus = parse(list).unwrap_or_default();
    if cpus.is_empty() {
        let count = std::thread::available_parallelism().map_or(1, Into::into);
        cpus = (0..count).collect();
    }
    cpus.retain(|&cpu| cpu < maps::RINGS_MAX as usize);
    cpus
}

/// The numbers in a list like `0-3,8`.
fn parse(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let last: usize = last.parse().ok()?;
        cpus.extend(first.parse().ok()?..=last.min(maps::RINGS_MAX as usize));
    }
    Some(cpus)
}

fn power_of_two(wanted: usize) -> usize {
    wanted.clamp(4096, 1 << 30).next_power_of_two()
}

/// How long the rings of so many CPUs are, so that all of them take `TOTAL_MAX` at most.
fn length(wanted: usize, cpus: usize) -> usize {
    let share = TOTAL_MAX / cpus.max(1);
    // The largest power of two in it.
    let share = 1 << share.max(1).ilog2();
    wanted.min(share.max(LEN_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse("5\n"), Some(vec![5]));
        assert_eq!(parse("\n"), None);
        assert_eq!(parse("0-x\n"), None);
        assert_eq!(usable("510-600,7\n"), [510, 511, 7]);
        assert!(parse("0-99999999999").is_some_and(|cpus| cpus.len() < 1000));
        assert!(!usable("").is_empty(), "where the kernel does not say, there is one at least");
    }

    #[test]
    fn all_rings_together_are_bounded_and_few_are_as_long_as_wanted() {
        let wanted = power_of_two(4 << 20);
        assert_eq!(length(wanted, 2), 4 << 20);
        assert_eq!(length(wanted, 64), 4 << 20);
        assert_eq!(length(wanted, 65), 2 << 20);
        assert_eq!(length(wanted, 128), 2 << 20);
        assert_eq!(length(power_of_two(usize::MAX), 2), 128 << 20);
        assert_eq!(length(power_of_two(1), 2), 4096);
        for cpus in 1..=maps::RINGS_MAX as usize {
            assert!(cpus * length(1 << 30, cpus) <= TOTAL_MAX, "{cpus}");
        }
    }
}
