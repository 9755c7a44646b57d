//! Where conntrack events are heard: the plain netlink subscription, the same subscription with the eBPF tap on it, or
//! the hook, which looks at packets.
//!
//! The first two hand out the same messages with the same filter applied; they differ in what an event costs. The hook
//! hands out flows as packets left them, and messages about their ends.

use common::Instant;
use ctnetlink::FlowKey;
use rustix::fd::BorrowedFd;
use std::io;

mod age;
pub mod netlink;
mod object;
mod btf;
mod filter;
mod diagnostics;
mod order;
mod hook;
mod adapt;
mod rings;
pub mod tap;
pub mod failure;
pub(crate) mod queue;

pub use adapt::Switch;
pub use netlink::NetlinkSource;
pub use queue::QueueSource;
pub use tap::TapSource;

/// Multicast groups of ctnetlink, as bits for `bind` (`enum nfnetlink_groups`: NEW 1, UPDATE 2, DESTROY 3,
/// EXP_NEW 4, EXP_UPDATE 5, EXP_DESTROY 6).
pub mod group {
    /// New flows.
    pub const NEW: u32 = 0b001;
    /// Updated flows.
    pub const UPDATE: u32 = 0b010;
    /// New, updated and destroyed flows.
    pub const FLOWS: u32 = 0b111;
    /// New, updated and destroyed expectations.
    pub const EXPECTATIONS: u32 = 0b11_1000;
}

/// The source to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The tap where it can run, else netlink, saying why.
    #[default]
    Auto,
    /// The tap, or an error.
    Tap,
    /// The netlink subscription.
    Netlink,
    /// The hook where it can run, else as [`Choice::Auto`], saying why.
    Hook,
}

/// How to open a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The kind of source.
    pub choice: Choice,
    /// Receive buffer of the event socket, bytes; `None` leaves the system's default.
    pub buffer_bytes: Option<usize>,
    /// Bytes of each CPU's ring; rounded up to a power of two of at least a page.
    pub ring_bytes: usize,
    /// Groups to join, bits of [`group`].
    pub groups: u32,
    /// What the kernel side lets pass. A source that opens without a minimum age has no room for young flows: a later
    /// filter with one needs another source.
    pub filter: KernelFilter,
    /// Whether the kernel keeps events that the socket has no room for, and sends them again
    /// (`NetlinkEventsReliable`). With the tap this holds too: an event in a ring is delivered, and one that its ring
    /// has no room for is left to the socket.
    pub reliable: bool,
    /// Whether the hook may take over from the tap while it costs less ([`Source::adapt`]). The reader must then
    /// handle the records of either.
    pub adapts: bool,
}

impl Settings {
    /// Whether a source that was opened with these settings can take `filter` later.
    #[must_use]
    pub const fn has_room_for(&self, filter: &KernelFilter) -> bool {
        filter.config.age_ns == 0 || self.has_room_for_young()
    }

    /// Whether the source has room for young flows.
    pub(crate) const fn has_room_for_young(&self) -> bool {
        self.filter.config.age_ns > 0
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            choice: Choice::Auto,
            buffer_bytes: None,
            ring_bytes: 4 << 20,
            groups: group::FLOWS,
            filter: KernelFilter::default(),
            reliable: false,
            adapts: false,
        }
    }
}

/// A filter for the kernel side, its sets spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFilter {
    /// The settings that the programs read.
    pub config: common::filter::FilterConfig,
    /// IPv4 prefixes: address and length in bits.
    pub ipv4: Vec<([u8; 4], u8)>,
    /// IPv6 prefixes: address and length in bits.
    pub ipv6: Vec<([u8; 16], u8)>,
    /// Source ports: first and last of each interval.
    pub source_ports: Vec<(u16, u16)>,
    /// Destination ports, likewise.
    pub destination_ports: Vec<(u16, u16)>,
    /// Zones, likewise.
    pub zones: Vec<(u16, u16)>,
}

impl Default for KernelFilter {
    fn default() -> Self {
        Self {
            config: common::filter::FilterConfig::PASS,
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            source_ports: Vec::new(),
            destination_ports: Vec::new(),
            zones: Vec::new(),
        }
    }
}

/// When an event happened, as far as its source knows. A source that keeps the order gives no more than the order; the
/// tap's overflow path loses the exact time.
pub use engine::Stamp;

/// Something that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A message of ctnetlink, header included.
    Message(&'a [u8]),
    /// A [`common::hook::PacketRecord`]: a flow as a packet left it.
    Packet(&'a [u8]),
    /// A [`FlowKey`], as bytes: a flow that was too young to be reported has grown old enough ([`Source::ripe`]).
    /// Only queues hand it out, to shards that do not read the source themselves.
    Grown(&'a [u8]),
}

impl<'a> Heard<'a> {
    /// The message, if it is one.
    #[must_use]
    pub const fn message(self) -> Option<&'a [u8]> {
        match self {
            Self::Message(bytes) => Some(bytes),
            Self::Packet(_) | Self::Grown(_) => None,
        }
    }
}

/// Outcomes of the hook's program. Each run of it is counted once, in `settled`, `untracked`, `recorded`, `filtered`,
/// `lost_full` or `lost_other`; but a flow that changed during its report is reported twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookAccount {
    /// Packets that brought no news.
    pub settled: u64,
    /// Packets that belong to no flow that is in the table.
    pub untracked: u64,
    /// News in a ring.
    pub recorded: u64,
    /// Second reports in a ring, about flows that changed during the first.
    pub repeated: u64,
    /// News refused by the filter in the kernel.
    pub filtered: u64,
    /// News that found the ring full. If the flow goes on, its next packet reports it.
    pub lost_full: u64,
    /// News on a CPU that has no ring (yet).
    pub lost_other: u64,
}

/// Why events did not arrive, or how they did. Counted since the source was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Events the tap's program saw.
    pub seen: u64,
    /// Of these: copied into a ring.
    pub ring: u64,
    /// Of these: refused by the filter in the kernel.
    pub filtered: u64,
    /// Of these: left to the socket because the ring was full.
    pub spilled_full: u64,
    /// Of these: left to the socket for another reason (too large, no ring, unreadable).
    pub spilled_other: u64,
    /// Wake-ups the tap sent.
    pub wakeups: u64,
    /// Events handed out.
    pub delivered: u64,
    /// Of these: from the socket.
    pub from_socket: u64,
    /// Times the reader of several shards waited for one that was behind.
    pub waits: u64,
    /// Events the kernel dropped because the socket was full, and news of the hook that found no room.
    pub lost: u64,
    /// What the hook saw, if there is one. What it puts into rings is in `delivered`, not in `seen` and `ring`.
    pub hook: Option<HookAccount>,
    /// How full the rings are, if there are some.
    pub rings: Option<RingFill>,
}

/// How full the rings are that eBPF programs put news into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFill {
    /// Bytes of all rings.
    pub bytes: u64,
    /// Bytes in them that wait to be read.
    pub waiting: u64,
    /// How full the fullest ring was found whenever it was about to be read, since the start: thousandths of it.
    pub fullest_permille: u64,
}

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A system call failed.
    #[error("opening the conntrack event socket: {0}")]
    Socket(#[from] io::Error),
    /// The build carries no program.
    #[error("this build carries no eBPF object (build it with `cargo xtask build`)")]
    NoObject,
    /// The process may not load programs.
    #[error("loading eBPF programs needs CAP_BPF (or CAP_SYS_ADMIN), which this process lacks")]
    NoCapability,
    /// The process may not load the hook.
    #[error(
        "the hook needs CAP_NET_ADMIN and CAP_PERFMON (or CAP_SYS_ADMIN), which this process lacks"
    )]
    NoHookCapability,
    /// The kernel or the loader refused the hook.
    #[error("loading the hook: {0}")]
    Hook(Box<dyn std::error::Error + Send + Sync>),
    /// The kernel or the loader refused.
    #[error("loading the eBPF tap: {0}")]
    Load(Box<dyn std::error::Error + Send + Sync>),
}

impl SourceError {
    /// The error and its causes on one line. A verifier log runs over many lines; its first one says enough here.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        let mut out = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            out = format!("{out}: {inner}");
            cause = inner.source();
        }
        out.lines().next().unwrap_or_default().to_owned()
    }
}

/// Where conntrack events are heard.
#[derive(Debug)]
pub enum Source {
    /// Plain subscription.
    Netlink(NetlinkSource),
    /// Subscription with the eBPF tap; perhaps with the hook, which leaves it the ends of flows.
    Tap(Box<TapSource>),
    /// One shard's part of what another thread reads from one of the others.
    Queue(QueueSource),
}

impl Source {
    /// Opens the source `settings` ask for. With [`Choice::Auto`] and [`Choice::Hook`], the second value says why it is
    /// not the tap, or not the hook.
    ///
    /// # Errors
    /// When none can be opened, or the one asked for cannot.
    pub fn open(settings: &Settings) -> Result<(Self, Option<SourceError>), SourceError> {
        let tap = |s| TapSource::open(s).map(|t| Self::Tap(Box::new(t)));
        let plain = |s| NetlinkSource::open(s).map(Self::Netlink);
        match settings.choice {
            Choice::Netlink => Ok((plain(settings)?, None)),
            Choice::Tap => Ok((tap(settings)?, None)),
            Choice::Auto => match tap(settings) {
                Ok(source) => Ok((source, None)),
                Err(why) => Ok((plain(settings)?, Some(why))),
            },
            Choice::Hook => match TapSource::open_with_hook(settings) {
                Ok(source) => Ok((Self::Tap(Box::new(source)), None)),
                Err(why) => {
                    let settings = Settings { choice: Choice::Auto, ..settings.clone() };
                    Ok((Self::open(&settings)?.0, Some(why)))
                }
            },
        }
    }

    /// Loads the programs of the tap, or with `hooked` of the hook, and unloads them at once. They are attached to
    /// nothing, and no group is joined: no event and no packet meets them.
    ///
    /// # Errors
    /// Why they cannot be loaded: this build, this process or the kernel.
    pub fn try_programs(hooked: bool) -> Result<(), SourceError> {
        tap::try_programs(hooked)
    }

    /// Whether this process may load eBPF programs: not one that has given up its rights.
    #[must_use]
    pub fn may_load() -> bool {
        object::may_load()
    }

    /// Whether eBPF programs feed it.
    #[must_use]
    pub const fn has_tap(&self) -> bool {
        matches!(self, Self::Tap(_))
    }

    /// Makes room for CPUs that come online when this process may make no maps any more.
    ///
    /// # Errors
    /// When the kernel refuses, or has no memory.
    pub fn reserve(&mut self) -> Result<(), SourceError> {
        match self {
            Self::Netlink(_) | Self::Queue(_) => Ok(()),
            Self::Tap(s) => s.reserve(),
        }
    }

    /// Whether this build carries the eBPF programs that the tap and the hook are made of.
    #[must_use]
    pub const fn has_programs() -> bool {
        object::has_object()
    }

    /// Whether its events include what other programs do to flows by netlink. If not, the next packet of the flow
    /// shows that; ends are always reported.
    #[must_use]
    pub fn hears_requests(&self) -> bool {
        match self {
            Self::Netlink(_) => true,
            Self::Tap(s) => !s.is_hooked(),
            Self::Queue(s) => s.hears_requests(),
        }
    }

    /// Whether another thread reads the kernel's events. It lets them gather, and looks after the socket.
    #[must_use]
    pub const fn has_reader(&self) -> bool {
        matches!(self, Self::Queue(_))
    }

    /// Its name: `netlink`, `tap` or `hook`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Netlink(_) => "netlink",
            Self::Tap(tap) if tap.is_hooked() => "hook",
            Self::Tap(_) => "tap",
            Self::Queue(s) => s.name(),
        }
    }

    /// Hands out up to about `budget` waiting messages and records, never blocking; returns how many.
    ///
    /// # Errors
    /// When the socket fails for good. Overruns are not errors: they show in [`Source::account`].
    pub fn drain(
        &mut self,
        budget: usize,
        sink: &mut impl FnMut(Heard<'_>, Stamp),
    ) -> io::Result<usize> {
        match self {
            Self::Netlink(s) => {
                s.drain(budget, &mut |bytes| sink(Heard::Message(bytes), Stamp::InOrder))
            }
            Self::Tap(s) => s.drain(budget, sink),
            Self::Queue(s) => Ok(s.drain(budget, sink)),
        }
    }

    /// The CPU on which all that the last [`Source::drain`] handed out happened; `None` if there were several, or where
    /// that is not known.
    #[must_use]
    pub(crate) const fn heard_on(&self) -> Option<usize> {
        match self {
            Self::Netlink(_) | Self::Queue(_) => None,
            Self::Tap(s) => s.heard_on(),
        }
    }

    /// Asks to be woken. Call it before blocking, then drain once more: an event may have come in between.
    pub fn arm(&mut self) {
        match self {
            Self::Netlink(_) => {}
            Self::Tap(s) => s.arm(),
            Self::Queue(s) => s.arm(),
        }
    }

    /// Descriptors that become readable when an armed source has something.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.ring_descriptors().into_iter().chain(self.overflow_descriptor()).collect()
    }

    /// The descriptors that are readable while events come in as they should.
    #[must_use]
    pub fn ring_descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Netlink(s) => vec![s.descriptor()],
            Self::Tap(s) => s.ring_descriptors(),
            Self::Queue(s) => vec![s.descriptor()],
        }
    }

    /// The descriptor that is readable when an event found no room where it should have gone, if the source
    /// has such an overflow path.
    #[must_use]
    pub fn overflow_descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Netlink(_) | Self::Queue(_) => None,
            Self::Tap(s) => Some(s.overflow_descriptor()),
        }
    }

    /// Says that [`Source::overflow_descriptor`] was found not to be readable some time after `since`: the next
    /// [`Source::drain`] does not look there.
    pub fn note_overflow_empty(&mut self, since: Instant) {
        match self {
            Self::Netlink(_) | Self::Queue(_) => {}
            Self::Tap(s) => s.note_overflow_empty(since),
        }
    }

    /// What became of the events so far.
    #[must_use]
    pub fn account(&self) -> Account {
        match self {
            Self::Netlink(s) => s.account(),
            Self::Tap(s) => s.account(),
            Self::Queue(s) => s.account(),
        }
    }

    /// Lets everything pass in the kernel from here on. Between this and [`Source::set_filter`], user space alone
    /// decides, so no event is judged by half of a filter.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn open_filter(&mut self) -> Result<(), SourceError> {
        match self {
            Self::Netlink(_) | Self::Queue(_) => Ok(()),
            Self::Tap(s) => s.open_filter(),
        }
    }

    /// Filters in the kernel from here on, where the source can.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn set_filter(&mut self, filter: &KernelFilter) -> Result<(), SourceError> {
        match self {
            Self::Netlink(s) => s.set_filter(filter),
            Self::Queue(_) => {}
            Self::Tap(s) => s.set_filter(filter)?,
        }
        Ok(())
    }

    /// Hands out flows that were too young to be reported when they began, and have become old enough since
    /// (`FilterConfig::age_ns`). Their events up to now were held back; only the kernel knows their present state.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn ripe(&mut self, now: Instant, sink: &mut impl FnMut(FlowKey)) -> io::Result<()> {
        match self {
            Self::Netlink(s) => s.ripe(now, sink),
            Self::Queue(_) => {}
            Self::Tap(s) => s.ripe(now, sink)?,
        }
        Ok(())
    }

    /// Makes a ring for each CPU that has come online since, and calls `watch` with the descriptor of each new one.
    /// Returns a line about rings for the log.
    pub(crate) fn look_for_cpus(&mut self, watch: impl FnMut(BorrowedFd<'_>)) -> Option<String> {
        match self {
            Self::Netlink(_) | Self::Queue(_) => None,
            Self::Tap(s) => s.look_for_cpus(watch),
        }
    }

    /// Changes between tap and hook if the other one costs less, where [`Settings::adapts`] says so. To be called
    /// several times a second. Says when a change begins, and why, or that it could not; `hears_requests` and `name`
    /// are of the new side from then on, while both report for another moment.
    pub fn adapt(&mut self, now: Instant) -> Option<Result<Switch, SourceError>> {
        match self {
            Self::Netlink(_) | Self::Queue(_) => None,
            Self::Tap(s) => s.adapt(now),
        }
    }

    /// Changes to the hook at once, where [`Settings::adapts`] says that it may take over: this process is about to
    /// write many flows, and needs no kernel messages about them. True if the hook reports since this call.
    ///
    /// # Errors
    /// When the kernel does not take the hook; then it is not tried again.
    pub fn take_hook(&mut self, now: Instant) -> Result<bool, SourceError> {
        match self {
            Self::Netlink(_) | Self::Queue(_) => Ok(false),
            Self::Tap(s) => s.take_hook(now),
        }
    }

    /// [`Source::adapt`] is not to judge by what has happened lately.
    pub(crate) fn hold(&mut self) {
        if let Self::Tap(s) = self {
            s.hold();
        }
    }

    /// Whether the event socket has said, since this was last asked, that it had no room. [`Source::account`] knows how
    /// much was lost.
    pub(crate) fn take_overrun(&mut self) -> bool {
        match self {
            Self::Netlink(s) => s.take_overrun(),
            Self::Tap(s) => s.socket_mut().take_overrun(),
            Self::Queue(_) => false,
        }
    }

    /// Doubles the event socket's receive buffer, up to `max` bytes; returns its size.
    pub fn grow(&mut self, max: usize) -> usize {
        let socket = match self {
            Self::Netlink(s) => s,
            Self::Tap(s) => s.socket_mut(),
            Self::Queue(s) => return s.receive_buffer(),
        };
        socket.grow(max);
        self.receive_buffer()
    }

    /// Size of the event socket's receive buffer, bytes.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        match self {
            Self::Netlink(s) => s.receive_buffer(),
            Self::Tap(s) => s.receive_buffer(),
            Self::Queue(s) => s.receive_buffer(),
        }
    }
}
