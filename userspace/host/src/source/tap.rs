//! The subscription with an eBPF program on its socket.
//!
//! ```text
//!   CPU 0  event -> program -> ring 0 --\
//!   CPU 1  event -> program -> ring 1 ---> drain: merged by time --> sink
//!                       \-- full ------> socket buffer ----------/   (counted)
//! ```
//!
//! The program (`ebpf/src/main.rs`) copies each event into the ring of the CPU it happened on, so that nothing is
//! queued on the socket and no wake-up happens unless the reader asked for one. When a ring is full, the event stays
//! on the socket: the tap loses nothing that the plain subscription would have kept.

use super::adapt::{Side, Sides, Switch};
use super::diagnostics::Diagnostics;
use super::filter::FilterMaps;
use super::hook::{self, Hook};
use super::object::{OBJECT, load_error, load_program, map_of, may_load, missing};
use super::order::Sorter;
use super::rings::Rings;
use super::{Account, Heard, KernelFilter, NetlinkSource, Settings, SourceError, Stamp, group};
use crate::clock;
use crate::sys::Cells;
use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::SocketFilter;
use aya::{Ebpf, EbpfLoader};
use common::{Instant, counter, maps};
use ctnetlink::FlowKey;
use rustix::fd::{AsFd, BorrowedFd};
use std::io;
use std::panic::resume_unwind;
use std::thread;

/// Conntrack events through the eBPF tap.
pub struct TapSource {
    socket: NetlinkSource,
    rings: Rings,
    armed: Cells,
    counters: PerCpuArray<MapData, u64>,
    filter: FilterMaps,
    /// Hands on what the programs log, in a diagnostics build.
    _diagnostics: Option<Diagnostics>,
    /// Holds the program and the maps that user space does not read.
    _ebpf: Ebpf,
    batch: Sorter,
    from_rings: u64,
    /// The CPU on which all that was heard last happened.
    heard_on: Option<usize>,
    /// The program that can report flows instead of the events about them, if there is one.
    hook: Option<Hook>,
    /// The side that reports flows, and its changes.
    sides: Sides,
    /// When the socket was last found empty: what is on it happened later.
    socket_empty_at: Instant,
    /// The socket was found empty just now.
    skip_socket: bool,
}

impl std::fmt::Debug for TapSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapSource").field("rings", &self.rings.len()).finish_non_exhaustive()
    }
}

impl TapSource {
    /// Loads the program, makes a ring for each CPU that is online, and subscribes. Where `settings` say so and the
    /// hook can run, it takes over later if it costs less (`adapt`).
    ///
    /// # Errors
    /// When there is no object, no permission, or the kernel refuses.
    pub fn open(settings: &Settings) -> Result<Self, SourceError> {
        Self::open_as(settings, if settings.adapts { Hooked::Perhaps } else { Hooked::No })
    }

    /// Opens the tap for the ends of flows alone, with the hook for everything else.
    ///
    /// # Errors
    /// As [`TapSource::open`], and where the hook cannot run.
    pub fn open_with_hook(settings: &Settings) -> Result<Self, SourceError> {
        let groups = settings.groups & !(group::NEW | group::UPDATE);
        Self::open_as(&Settings { groups, ..settings.clone() }, Hooked::Yes)
    }

    fn open_as(settings: &Settings, hooked: Hooked) -> Result<Self, SourceError> {
        let (mut ebpf, of_hook) = load(hooked, settings.has_room_for_young())?;
        let diagnostics = Diagnostics::start(&mut ebpf);
        let rings = Rings::open(&mut ebpf, settings.ring_bytes)?;
        let mut batch = Sorter::default();
        batch.add(rings.len());
        let mut filter = FilterMaps::take(&mut ebpf)?;
        filter.fill(&settings.filter)?;
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
        let mut hook = of_hook.map(|program| Hook::new(program, &mut ebpf)).transpose()?;
        let side = if hooked == Hooked::Yes { Side::Hook } else { Side::Tap };
        if side == Side::Hook {
            // Ends are heard before anything begins.
            hook.as_mut().map_or(Ok(()), Hook::attach)?;
        }
        let adapts = settings.adapts && side == Side::Tap && hook.is_some();
        let sides = Sides::new(side, adapts, settings.groups & (group::NEW | group::UPDATE));
        Ok(Self {
            socket,
            rings,
            armed,
            counters,
            filter,
            _diagnostics: diagnostics,
            _ebpf: ebpf,
            batch,
            from_rings: 0,
            heard_on: None,
            hook,
            sides,
            socket_empty_at,
            skip_socket: false,
        })
    }

    /// Hands out waiting messages: the rings merged by time, then what spilled into the socket. Returns how many; what
    /// the next call hands out for sure counts too.
    pub(super) fn drain(
        &mut self,
        budget: usize,
        sink: &mut impl FnMut(Heard<'_>, Stamp),
    ) -> io::Result<usize> {
        let share = budget.div_ceil(self.rings.len().max(1));
        // What happens from here on shows in the rings that are read late, and not in those that are read early.
        self.batch.limit(clock::now().0);
        let (mut heard_on, mut heard_elsewhere) = (None, false);
        for (index, ring) in self.rings.iter_mut().enumerate() {
            let cpu = ring.cpu;
            ring.note();
            self.batch.fill(index, share, |batch| match ring.records.next() {
                Some(record) => {
                    batch.push(index, &record);
                    heard_elsewhere |= heard_on.is_some_and(|on| on != cpu);
                    heard_on = Some(cpu);
                    true
                }
                None => false,
            });
        }
        let sides = &mut self.sides;
        let mut taken = self.batch.drain(&mut |heard, at| {
            sides.note(heard);
            sink(heard, Stamp::At(at));
        });
        self.from_rings += taken as u64;
        self.heard_on = heard_on.filter(|_| !heard_elsewhere);
        // The next call may hand out something at once, so the reader must not sleep before it.
        taken += self.batch.len();
        if std::mem::take(&mut self.skip_socket) {
            return Ok(taken);
        }
        let after = self.socket_empty_at;
        let asked_at = clock::now();
        let spilled = self.socket.drain(budget, &mut |bytes| {
            sink(Heard::Message(bytes), Stamp::After(after));
        })?;
        if spilled < budget {
            self.socket_empty_at = asked_at;
        }
        taken += spilled;
        Ok(taken)
    }

    /// Asks every ring's program to wake the reader at the next event.
    pub(super) fn arm(&mut self) {
        self.rings.iter().for_each(|ring| self.armed.set(ring.cpu, 1));
    }

    /// Makes rings for CPUs that have come online, and calls `watch` with each. Returns a line for the log.
    pub(super) fn look_for_cpus(&mut self, watch: impl FnMut(BorrowedFd<'_>)) -> Option<String> {
        let before = self.rings.len();
        let note = self.rings.look(watch);
        self.batch.add(self.rings.len() - before);
        note
    }

    /// The CPU on which all that the last [`TapSource::drain`] heard happened, if it was one.
    pub(super) const fn heard_on(&self) -> Option<usize> {
        self.heard_on
    }

    pub(super) fn ring_descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.rings.iter().map(|ring| ring.records.as_fd()).collect()
    }

    pub(super) fn overflow_descriptor(&self) -> BorrowedFd<'_> {
        self.socket.descriptor()
    }

    pub(super) fn note_overflow_empty(&mut self, since: Instant) {
        (self.socket_empty_at, self.skip_socket) = (since, true);
    }

    pub(super) fn account(&self) -> Account {
        let total = |index| {
            let cells = self.counters.get(&index, 0);
            cells.map_or(0, |per_cpu| per_cpu.iter().sum::<u64>())
        };
        let socket = self.socket.account();
        let mut account = Account {
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
            hook: None,
            waits: 0,
            rings: Some(self.rings.fill()),
        };
        if let Some(hook) = &self.hook {
            hook.add_to(&mut account);
        }
        account
    }

    /// Whether the hook reports flows, or is about to.
    pub(super) fn is_hooked(&self) -> bool {
        self.sides.side() == Side::Hook
    }

    /// Has the hook report alone right away, where it may take over; whether it does since this call.
    pub(super) fn take_hook(&mut self, now: Instant) -> Result<bool, SourceError> {
        let Some(hook) = self.hook.as_mut() else { return Ok(false) };
        self.sides.take_hook(now, (hook, &self.socket))
    }

    /// What has happened lately is not to decide whether sides change.
    pub(super) fn hold(&mut self) {
        self.sides.hold();
    }

    /// Goes on changing sides, or sees whether they should change; what has begun to change.
    pub(super) fn adapt(&mut self, now: Instant) -> Option<Result<Switch, SourceError>> {
        let Self { sides, hook, socket, .. } = self;
        let hook = hook.as_mut()?;
        if sides.is_changing() {
            sides.go_on(now, hook, socket);
            return None;
        }
        if !sides.is_due(now) {
            return None;
        }
        let account = self.account();
        let hook = self.hook.as_mut()?;
        self.sides.look(now, &account, (hook, &self.socket))
    }

    pub(super) fn reserve(&mut self) -> Result<(), SourceError> {
        self.rings.reserve()
    }

    pub(super) fn open_filter(&mut self) -> Result<(), SourceError> {
        self.filter.open()
    }

    pub(super) fn set_filter(&mut self, filter: &KernelFilter) -> Result<(), SourceError> {
        self.filter.set(filter)
    }

    pub(super) fn ripe(&mut self, now: Instant, sink: &mut impl FnMut(FlowKey)) -> io::Result<()> {
        self.filter.ripe(now, sink)
    }

    pub(super) const fn socket_mut(&mut self) -> &mut NetlinkSource {
        &mut self.socket
    }

    pub(super) fn receive_buffer(&self) -> usize {
        self.socket.receive_buffer()
    }
}

/// Whether the hook's program is loaded too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hooked {
    No,
    /// If this kernel takes it.
    Perhaps,
    Yes,
}

/// Loads the tap's program, and the hook's: neither runs yet. Without `ages`, there is no room for young flows.
fn load(hooked: Hooked, ages: bool) -> Result<(Ebpf, Option<hook::Program>), SourceError> {
    let object = check_rights()?;
    let (mut loader, layout) = thread::scope(|scope| {
        // Both read some megabytes of the kernel's types.
        let layout = (hooked != Hooked::No).then(|| scope.spawn(layout));
        (
            EbpfLoader::new(),
            layout.map(|layout| layout.join().unwrap_or_else(|panic| resume_unwind(panic))),
        )
    });
    let layout = match layout {
        Some(Err(error)) if hooked == Hooked::Yes => return Err(error),
        layout => layout.and_then(Result::ok),
    };
    if layout.is_none() {
        loader.map_max_entries(maps::SIGNATURES, 1);
    }
    if !ages {
        // The kernel makes the buckets of a hash at once: 4 MiB.
        loader.map_max_entries(maps::YOUNG, 1);
    }
    let mut ebpf = loader.load(object).map_err(load_error)?;
    // The instructions name the maps by descriptor until the kernel has them: load before any map is taken.
    let tap = program(&mut ebpf)?;
    load_program(|| tap.load())?;
    let hook = match layout.map(|layout| hook::Program::load(&ebpf, &layout)) {
        Some(Err(error)) if hooked == Hooked::Yes => return Err(error),
        hook => hook.and_then(Result::ok),
    };
    Ok((ebpf, hook))
}

/// How the hook's program finds its way in this kernel, if this process may load it.
fn layout() -> Result<hook::Layout, SourceError> {
    hook::check_capabilities()?;
    hook::Layout::of_this_kernel()
}

/// Loads what the tap, or the hook if `hooked`, is made of, and lets it go.
pub(super) fn try_programs(hooked: bool) -> Result<(), SourceError> {
    load(if hooked { Hooked::Yes } else { Hooked::No }, false).map(drop)
}

/// The object, if this process may load it.
fn check_rights() -> Result<&'static [u8], SourceError> {
    let object = OBJECT.ok_or(SourceError::NoObject)?;
    if may_load() { Ok(object) } else { Err(SourceError::NoCapability) }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SocketFilter, SourceError> {
    let program = ebpf.program_mut(maps::PROGRAM_TAP).ok_or_else(|| missing(maps::PROGRAM_TAP))?;
    program.try_into().map_err(load_error)
}
