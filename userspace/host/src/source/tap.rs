//! The subscription with an eBPF program on its socket.
//!
//! ```text
//!   CPU 0  event -> program -> ring 0 --\
//!   CPU 1  event -> program -> ring 1 ---> drain: merged by time --> sink
//!                       \-- full ------> socket buffer ----------/   (counted)
//! ```
//!
//! The program (`ebpf/src/main.rs`) copies each event into the ring of the CPU it happened on, so that nothing is
//! queued on the socket and nobody is woken unless the reader asked. When a ring is full, the event stays on the
//! socket: the tap loses nothing that the plain subscription would have kept.

use super::{Account, NetlinkSource, Settings, SourceError, Stamp};
use crate::clock;
use crate::sys::{self, Cells};
use aya::maps::{Array, ArrayOfMaps, LpmTrie, Map, MapData, PerCpuArray, RingBuf, lpm_trie};
use aya::programs::SocketFilter;
use aya::{Ebpf, EbpfLoader, Pod};
use common::tap::{FilterConfig, RecordHeader};
use common::{Instant, counter, maps};
use rustix::fd::{AsFd, BorrowedFd};
use std::io;

/// `BPF_MAP_TYPE_RINGBUF` (`enum bpf_map_type`, `include/uapi/linux/bpf.h`).
const MAP_TYPE_RINGBUF: u32 = 27;
/// Capability numbers (`include/uapi/linux/capability.h`).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

#[cfg(ctflow_ebpf)]
static OBJECT: Option<&[u8]> =
    Some(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ctflow-ebpf.o")));
#[cfg(not(ctflow_ebpf))]
static OBJECT: Option<&[u8]> = None;

/// Whether this build carries the eBPF object.
#[must_use]
pub const fn has_object() -> bool {
    OBJECT.is_some()
}

/// `common::tap::FilterConfig` as aya wants to copy it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct FilterPod(FilterConfig);

#[expect(unsafe_code, reason = "aya has no derive for Pod")]
// SAFETY: `FilterConfig` is `repr(C)` of integers without padding; its size is asserted in `common`.
unsafe impl Pod for FilterPod {}

/// Conntrack events through the eBPF tap.
pub struct TapSource {
    socket: NetlinkSource,
    rings: Vec<RingBuf<MapData>>,
    armed: Cells,
    counters: PerCpuArray<MapData, u64>,
    /// Holds the program and the maps that nobody reads from user space.
    _ebpf: Ebpf,
    batch: Sorter,
    from_rings: u64,
    /// When the socket was last found empty: what is on it happened later.
    socket_empty_at: Instant,
}

impl std::fmt::Debug for TapSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapSource").field("rings", &self.rings.len()).finish_non_exhaustive()
    }
}

impl TapSource {
    /// Loads the program, makes a ring per CPU, and subscribes.
    ///
    /// # Errors
    /// When there is no object, no permission, or the kernel refuses.
    pub fn open(settings: &Settings) -> Result<Self, SourceError> {
        let object = OBJECT.ok_or(SourceError::NoObject)?;
        if !sys::has_capability(CAP_BPF) && !sys::has_capability(CAP_SYS_ADMIN) {
            return Err(SourceError::NoCapability);
        }
        let mut ebpf = EbpfLoader::new().load(object).map_err(load_error)?;
        // The instructions name the maps by descriptor until the kernel has them: load before any map is taken.
        program(&mut ebpf)?.load().map_err(load_error)?;
        let rings = make_rings(&mut ebpf, settings.ring_bytes)?;
        set_filter(&mut ebpf, settings)?;
        let armed = map_of(&mut ebpf, maps::ARMED)?;
        let armed = match &armed {
            Map::Array(data) => Cells::map(data.fd().as_fd(), maps::RINGS_MAX as usize)?,
            _ => return Err(missing(maps::ARMED)),
        };
        let counters = map_of(&mut ebpf, maps::COUNTERS)?;
        let counters = PerCpuArray::try_from(counters).map_err(load_error)?;
        let socket_empty_at = clock::now();
        let socket = NetlinkSource::open_with(settings, |fd| {
            program(&mut ebpf)?.attach(fd).map(drop).map_err(load_error)
        })?;
        Ok(Self {
            socket,
            rings,
            armed,
            counters,
            _ebpf: ebpf,
            batch: Sorter::default(),
            from_rings: 0,
            socket_empty_at,
        })
    }

    /// Hands out waiting messages: the rings merged by time, then what spilled into the socket.
    pub(super) fn drain(
        &mut self,
        budget: usize,
        sink: &mut impl FnMut(&[u8], Stamp),
    ) -> io::Result<usize> {
        let share = budget.div_ceil(self.rings.len().max(1));
        // A ring that is not empty yet may hold older records than the others gave: theirs wait for it.
        let mut complete_until = u64::MAX;
        for ring in &mut self.rings {
            let mut last = None;
            for _ in 0..share {
                last = ring.next().map(|record| self.batch.push(&record));
                if last.is_none() {
                    break;
                }
            }
            complete_until = complete_until.min(last.unwrap_or(u64::MAX));
        }
        let mut taken =
            self.batch.drain(complete_until, &mut |bytes, at| sink(bytes, Stamp::At(at)));
        self.from_rings += taken as u64;
        let after = self.socket_empty_at;
        let asked_at = clock::now();
        let spilled = self.socket.drain(budget, &mut |bytes| sink(bytes, Stamp::After(after)))?;
        if spilled < budget {
            self.socket_empty_at = asked_at;
        }
        taken += spilled;
        Ok(taken)
    }

    /// Asks every ring's program to wake the reader at the next event.
    pub(super) fn arm(&mut self) {
        (0..self.rings.len()).for_each(|cpu| self.armed.set(cpu, 1));
    }

    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let rings = self.rings.iter().map(AsFd::as_fd);
        rings.chain([self.socket.descriptor()]).collect()
    }

    pub(super) fn account(&self) -> Account {
        let total = |index| {
            let cells = self.counters.get(&index, 0);
            cells.map_or(0, |per_cpu| per_cpu.iter().sum::<u64>())
        };
        let socket = self.socket.account();
        Account {
            seen: total(counter::SEEN),
            ring: total(counter::RING),
            filtered: total(counter::FILTERED),
            spilled_full: total(counter::SPILLED_FULL),
            spilled_other: total(counter::SPILLED_LARGE)
                + total(counter::SPILLED_NO_RING)
                + total(counter::SPILLED_UNREADABLE),
            wakeups: total(counter::WAKEUPS),
            delivered: self.from_rings + socket.delivered,
            from_socket: socket.delivered,
            lost: socket.lost,
        }
    }

    pub(super) const fn socket_mut(&mut self) -> &mut NetlinkSource {
        &mut self.socket
    }

    pub(super) fn receive_buffer(&self) -> usize {
        self.socket.receive_buffer()
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SocketFilter, SourceError> {
    let program = ebpf.program_mut(maps::PROGRAM_TAP).ok_or_else(|| missing(maps::PROGRAM_TAP))?;
    program.try_into().map_err(load_error)
}

fn make_rings(ebpf: &mut Ebpf, bytes: usize) -> Result<Vec<RingBuf<MapData>>, SourceError> {
    let bytes = bytes.max(4096).checked_next_power_of_two().unwrap_or(1 << 30);
    let bytes = u32::try_from(bytes).unwrap_or(1 << 30);
    let outer = map_of(ebpf, maps::RINGS)?;
    let mut outer: ArrayOfMaps<MapData, MapData> =
        ArrayOfMaps::try_from(outer).map_err(load_error)?;
    let mut rings = Vec::new();
    for cpu in 0..sys::possible_cpus().min(maps::RINGS_MAX as usize) {
        let shape = aya_obj::Map::new_from_params(MAP_TYPE_RINGBUF, 0, 0, bytes, 0);
        let data = MapData::create(shape, "ctflow_ring", None).map_err(load_error)?;
        outer.set(cpu as u32, &data, 0).map_err(load_error)?;
        rings.push(RingBuf::try_from(Map::RingBuf(data)).map_err(load_error)?);
    }
    Ok(rings)
}

fn set_filter(ebpf: &mut Ebpf, settings: &Settings) -> Result<(), SourceError> {
    let filter = &settings.filter;
    let mut ipv4: LpmTrie<_, [u8; 4], u32> =
        LpmTrie::try_from(map_of(ebpf, maps::FILTER_IPV4)?).map_err(load_error)?;
    for &(addr, bits) in &filter.ipv4 {
        ipv4.insert(&lpm_trie::Key::new(bits.into(), addr), 1, 0).map_err(load_error)?;
    }
    let mut ipv6: LpmTrie<_, [u8; 16], u32> =
        LpmTrie::try_from(map_of(ebpf, maps::FILTER_IPV6)?).map_err(load_error)?;
    for &(addr, bits) in &filter.ipv6 {
        ipv6.insert(&lpm_trie::Key::new(bits.into(), addr), 1, 0).map_err(load_error)?;
    }
    let mut config: Array<_, FilterPod> =
        Array::try_from(map_of(ebpf, maps::FILTER)?).map_err(load_error)?;
    config.set(0, FilterPod(filter.config), 0).map_err(load_error)
}

fn map_of(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, SourceError> {
    ebpf.take_map(name).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> SourceError {
    load_error(format!("the object has no {name}"))
}

fn load_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
    SourceError::Load(error.into())
}

/// Puts a batch of records from several rings in the order they happened.
#[derive(Debug, Default)]
struct Sorter {
    bytes: Vec<u8>,
    /// Time, start and end of each message in `bytes`.
    records: Vec<(u64, u32, u32)>,
}

impl Sorter {
    /// Adds a record and returns its time.
    fn push(&mut self, record: &[u8]) -> u64 {
        let Some((header, message)) = RecordHeader::split(record) else { return 0 };
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(message);
        self.records.push((header.ktime_ns, start, self.bytes.len() as u32));
        header.ktime_ns
    }

    /// Hands out what happened until `until`, and keeps the rest.
    fn drain(&mut self, until: u64, sink: &mut impl FnMut(&[u8], Instant)) -> usize {
        // Stable: records of one ring with equal times keep their order.
        self.records.sort_by_key(|&(at, ..)| at);
        let taken = self.records.partition_point(|&(at, ..)| at <= until);
        for &(at, start, end) in &self.records[..taken] {
            sink(&self.bytes[start as usize..end as usize], Instant(at));
        }
        self.keep_from(taken);
        taken
    }

    fn keep_from(&mut self, first: usize) {
        let mut kept = Vec::new();
        let mut records = Vec::new();
        for &(at, start, end) in &self.records[first..] {
            let from = kept.len() as u32;
            kept.extend_from_slice(&self.bytes[start as usize..end as usize]);
            records.push((at, from, kept.len() as u32));
        }
        self.records.clear();
        self.bytes.clear();
        self.records.extend(records);
        self.bytes.extend(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64, message: &[u8]) -> Vec<u8> {
        let mut bytes = at.to_ne_bytes().to_vec();
        bytes.extend((message.len() as u32).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(message);
        bytes
    }

    #[test]
    fn records_come_in_order_and_what_is_too_new_waits() {
        let mut sorter = Sorter::default();
        for (at, message) in [(5, b"e"), (1, b"a"), (9, b"i"), (3, b"c")] {
            assert_eq!(sorter.push(&record(at, message)), at);
        }
        let mut seen = Vec::new();
        assert_eq!(sorter.drain(5, &mut |bytes, at| seen.push((at.0, bytes.to_vec()))), 3);
        sorter.push(&record(7, b"g"));
        assert_eq!(sorter.drain(u64::MAX, &mut |bytes, at| seen.push((at.0, bytes.to_vec()))), 2);
        let text: Vec<u8> = seen.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        assert_eq!(text, b"acegi");
    }

    #[test]
    fn a_record_shorter_than_it_claims_is_passed_over() {
        let mut sorter = Sorter::default();
        let mut bytes = record(1, b"abc");
        bytes.pop();
        sorter.push(&bytes);
        assert_eq!(sorter.drain(u64::MAX, &mut |_, _| unreachable!()), 0);
    }
}
