//! All links together: which one is active, what comes in through any of them, and the interfaces beneath.

use super::choice::{self, Status};
use super::member::{Channel, LinkReport, Member};
use super::peer::{self, Strangers};
use super::poller::{Poller, Ready, Role, Token};
use super::queue::ErrorQueue;
use super::tcp::{BACKLOG, Change, TcpLink};
use super::{LinkCounters, LinkError, Settings, stream};
use crate::clock;
use crate::log::Log;
use crate::netlink;
use crate::rate_limit::RateLimit;
use crate::sys::{self, Batch};
use common::Instant;
use engine::config::limit;
use engine::{QueueUsage, Sender};
use rustix::fd::{AsFd, BorrowedFd};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Datagrams taken with one system call.
const BATCH: usize = 16;
/// The longest datagram there is.
const DATAGRAM_LEN_MAX: usize = 65_535;
/// How soon a datagram that found no room is sent again: nothing reports when there is some.
const RETRY: Duration = Duration::from_millis(2);
/// As good as never: a wake-up comes when there is room.
const WOKEN: Duration = Duration::from_secs(1);
/// Minimum interval between log lines about connections that come and go.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// The links of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// The links, all of one kind; at least one.
    pub links: Vec<Settings>,
    /// Number of the link that is active at first.
    pub active: usize,
    /// Buffers kept for when a stream link is connected again (`ErrorQueueLength`).
    pub error_queue_len: usize,
}

/// Datagrams sent in one go: as many as a bulk transfer sends at a time, and at most what old kernels segment (64).
const GSO_MAX: usize = limit::BULK_DATAGRAMS as usize;
const _: () = assert!(GSO_MAX <= 64);

/// The outcome of sending a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// That many of its first bytes are dealt with, for good or ill: sent, queued, or counted as an error.
    Bytes(usize),
    /// There is no room: try again, after this time at the latest. An absent peer looks like this too, for as long as
    /// its hardware address is being asked for; and so do links none of which works.
    NoRoom(Duration),
}

/// Takes whole messages: who sent them, the messages, and whether they came through a link that is not the active one.
/// It says whether there was a valid one among them.
pub type DatagramSink<'a> = dyn FnMut(Sender, &[u8], bool) -> bool + 'a;

/// What a stream link takes messages with: from which address, and whole messages.
type StreamSink<'a> = dyn FnMut(IpAddr, &[u8]) + 'a;

/// What stream links have in common.
struct Shared<'a> {
    poller: &'a Poller,
    queue: &'a mut ErrorQueue,
    /// Whether the link at hand is the active one.
    is_active: bool,
}

/// All links, for statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupReport {
    /// Their kind, as statistics name it.
    pub kind: &'static str,
    /// Each of them, in the order of the configuration.
    pub links: Vec<LinkReport>,
    /// Number of the active link.
    pub active: usize,
    /// The error queue.
    pub error_queue: QueueUsage,
}

/// The links to the peer.
#[doc(alias = "channel")]
#[doc(alias = "dedicated link")]
#[derive(Debug)]
pub struct Group {
    links: Vec<Member>,
    active: usize,
    poller: Poller,
    interfaces: netlink::Socket,
    queue: ErrorQueue,
    batch: Batch,
    log: Arc<Log>,
    tell_at: Instant,
    left_out: u64,
    strangers: Strangers,
    /// Changes of the active link, which who speaks through all of them can cause.
    changes: RateLimit,
}

impl Group {
    /// Opens all links.
    ///
    /// # Errors
    /// When an interface does not exist or an address cannot be bound.
    pub fn open(settings: GroupSettings, log: Arc<Log>) -> Result<Self, LinkError> {
        let GroupSettings { links: settings, active, error_queue_len } = settings;
        let poller = Poller::new()?;
        // Before the first look, so that no change falls in between.
        let interfaces = netlink::Socket::for_interfaces()?;
        poller.add(interfaces.as_fd(), Token { link: 0, role: Role::Interfaces })?;
        let open = |at| Member::open(&settings, at, &poller);
        let links = (0..settings.len()).map(open).collect::<Result<Vec<_>, _>>()?;
        let mut group = Self {
            active: active.min(links.len().saturating_sub(1)),
            links,
            poller,
            interfaces,
            queue: ErrorQueue::new(error_queue_len),
            batch: Batch::with_sources(BATCH, DATAGRAM_LEN_MAX),
            log,
            tell_at: Instant::default(),
            left_out: 0,
            strangers: Strangers::default(),
            changes: RateLimit::default(),
        };
        group.choose();
        Ok(group)
    }

    /// Longest buffer to hand to [`Group::send`], bytes. It changes with the active link and its MTU.
    #[must_use]
    pub fn payload_max(&self) -> usize {
        self.links[self.active].payload_max()
    }

    /// The descriptor that becomes readable when there is something for [`Group::turn`].
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.poller.descriptor()
    }

    /// How many datagrams to hand to [`Group::send`] at once.
    #[must_use]
    pub fn gso_max(&self) -> usize {
        match &self.links[self.active].channel {
            Channel::Datagram(datagram) if datagram.takes_gso() => GSO_MAX,
            _ => 1,
        }
    }

    /// Sends buffers of whole messages on the active link, without blocking: all but the last are `piece` bytes long.
    /// A datagram that fails is counted: the protocol above lives with loss. A buffer too long for the link, which was
    /// made for another one or for a larger MTU, is sent message by message.
    pub fn send(&mut self, bytes: &[u8], piece: usize) -> Sent {
        let Self { links, active, poller, queue, .. } = self;
        let link = &mut links[*active];
        if link.status() != Status::Running {
            // Nothing would arrive. What happens to a flow meanwhile merges into the message that waits for it.
            return Sent::NoRoom(WOKEN);
        }
        let (max, mut bytes, mut piece) = (link.payload_max(), bytes, piece.min(bytes.len()));
        if piece > max {
            piece = stream::first(&bytes[..piece]);
            bytes = &bytes[..piece];
        }
        if piece > max {
            link.counters.errors_sent += 1;
            return Sent::Bytes(piece);
        }
        let counters = &mut link.counters;
        match &mut link.channel {
            Channel::Tcp(tcp) => {
                if !tcp.send(&bytes[..piece], poller, queue, counters) {
                    return Sent::NoRoom(WOKEN);
                }
            }
            Channel::Datagram(datagram) => match datagram.send(bytes, piece) {
                Ok(sent) => {
                    counters.bytes_sent += sent as u64;
                    counters.packets_sent += sent.div_ceil(piece) as u64;
                    return Sent::Bytes(sent);
                }
                Err(e) if sys::would_block(&e) => return Sent::NoRoom(RETRY),
                Err(_) => counters.errors_sent += 1,
            },
            Channel::Closed => return Sent::NoRoom(WOKEN),
        }
        Sent::Bytes(piece)
    }

    /// Does what waits: hands out what came in, at most about `budget` datagrams of each link, keeps connections up,
    /// follows the interfaces. Returns how much there was to do.
    ///
    pub fn turn(&mut self, now: Instant, budget: usize, sink: &mut DatagramSink<'_>) -> usize {
        let mut work = 0;
        for ready in self.poller.ready() {
            work += match ready.token.role {
                Role::Interfaces => usize::from(self.on_interfaces()),
                Role::Datagram => self.on_datagrams(now, ready.token.link, budget, sink),
                Role::Listener => self.on_listener(now, ready.token.link, sink),
                _ => self.on_stream(now, ready, sink),
            };
        }
        for (at, link) in self.links.iter_mut().enumerate() {
            link.keep_up(now, &self.poller, at);
        }
        work
    }

    fn on_datagrams(
        &mut self,
        now: Instant,
        at: usize,
        budget: usize,
        sink: &mut DatagramSink<'_>,
    ) -> usize {
        let (mut taken, mut heard) = (0, None);
        while taken < budget {
            let Channel::Datagram(link) = &self.links[at].channel else { break };
            let Ok(got) = self.batch.receive(link.descriptor()) else {
                self.links[at].counters.errors_received += 1;
                break;
            };
            for slot in 0..got {
                // The kernel names the source of every datagram of these sockets.
                let Some(from) = self.batch.source(slot) else { continue };
                let Some(owner) = self.owner(now, at, from, "a datagram") else { continue };
                let (datagram, counters) =
                    (self.batch.datagram(slot), &mut self.links[owner].counters);
                counters.bytes_received += datagram.len() as u64;
                counters.packets_received += 1;
                if sink(sender(owner, from.ip()), datagram, owner != self.active) {
                    heard = Some(owner);
                }
            }
            taken += got;
            if got < BATCH {
                break;
            }
        }
        if let Some(owner) = heard {
            self.on_heard(owner);
        }
        taken
    }

    /// The link whose peer `what` is from that came in on link number `at`. One from a stranger is counted there, and
    /// logged.
    fn owner(&mut self, now: Instant, at: usize, from: SocketAddr, what: &str) -> Option<usize> {
        let links = &self.links;
        let owner = peer::owner(links.len(), at, |at| links[at].has_peer(from));
        if owner.is_none() {
            self.links[at].counters.refused += 1;
            if let Some(line) = self.strangers.refuse(what, from.ip(), now) {
                self.log.warning(line);
            }
        }
        owner
    }

    fn on_listener(&mut self, now: Instant, at: usize, sink: &mut DatagramSink<'_>) -> usize {
        for _ in 0..BACKLOG {
            let Channel::Tcp(tcp) = &self.links[at].channel else { break };
            let Some((socket, from)) = tcp.accept() else { break };
            let Some(owner) = self.owner(now, at, from, "a connection") else { continue };
            self.with_stream(now, owner, sink, |tcp, shared, counters, messages| {
                tcp.adopt((socket, from.ip()), shared.poller, counters, messages)
            });
        }
        1
    }

    fn on_stream(&mut self, now: Instant, ready: Ready, sink: &mut DatagramSink<'_>) -> usize {
        let at = ready.token.link;
        self.with_stream(now, at, sink, |tcp, shared, counters, messages| match ready.token.role {
            Role::Inbound => tcp.on_inbound(counters, messages),
            _ => {
                let change = tcp.on_outbound(ready.writable, shared.queue);
                tcp.flush(shared.is_active, shared.poller, shared.queue, counters);
                change
            }
        });
        1
    }

    /// Runs `act` on stream link number `at`, hands out the messages that it reads, and logs whether the link came or
    /// went.
    fn with_stream(
        &mut self,
        now: Instant,
        at: usize,
        sink: &mut DatagramSink<'_>,
        act: impl FnOnce(
            &mut TcpLink,
            Shared<'_>,
            &mut LinkCounters,
            &mut StreamSink<'_>,
        ) -> Option<Change>,
    ) {
        let Self { links, active, poller, queue, .. } = self;
        let is_active = at == *active;
        let Member { channel: Channel::Tcp(tcp), counters, .. } = &mut links[at] else { return };
        let mut heard = false;
        let mut messages = |from, bytes: &[u8]| heard |= sink(sender(at, from), bytes, !is_active);
        let shared = Shared { poller, queue, is_active };
        let change = act(tcp, shared, counters, &mut messages);
        if heard {
            self.on_heard(at);
        }
        if let Some(change) = change {
            self.tell(now, at, change);
        }
    }

    /// A valid message came in: if that was not through the active link, the peer has changed links.
    fn on_heard(&mut self, at: usize) {
        // One that arrived before its link failed is no reason to go back there.
        if at != self.active && self.links[at].status() == Status::Running {
            self.activate(at);
        }
    }

    /// Some interface changed: looks at all of ours, whichever changed, so that a lost notification does no harm.
    fn on_interfaces(&mut self) -> bool {
        if !self.interfaces.discard() {
            return false;
        }
        for link in &mut self.links {
            for line in link.look() {
                self.log.notice(line);
            }
        }
        self.choose();
        true
    }

    fn choose(&mut self) {
        let states: Vec<_> = self.links.iter().map(Member::status).collect();
        if let Some(next) = choice::next(self.active, &states) {
            self.activate(next);
        }
        // Also where the peer's word through another link came before the news of the interface.
        for (at, link) in self.links.iter_mut().enumerate() {
            if at != self.active
                && states[at] != Status::Running
                && let Channel::Tcp(tcp) = &mut link.channel
            {
                tcp.abandon(&mut self.queue);
            }
        }
    }

    fn activate(&mut self, at: usize) {
        self.active = at;
        let link = &self.links[at];
        if self.changes.take(clock::now()).is_none() {
            return;
        }
        self.log.notice(format!("device `{}' becomes dedicated link", link.settings.interface));
    }

    /// Logs a connection; of many in a short time, only their number.
    fn tell(&mut self, now: Instant, at: usize, change: Change) {
        if now < self.tell_at {
            self.left_out += 1;
            return;
        }
        self.tell_at = now + TELL_INTERVAL;
        let name = &self.links[at].settings.interface;
        let what = match change {
            Change::Connected => "connected to the peer",
            Change::Disconnected => "the connection to the peer broke",
            Change::Accepted => "the peer connected",
            Change::Ended => "the peer's connection ended",
            Change::Garbage => "closed a connection that carried no sync messages",
        };
        let more = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            n => format!(" ({n} more changes before)"),
        };
        self.log.notice(format!("link device `{name}': {what}{more}"));
    }

    /// The present state of the links.
    #[must_use]
    pub fn report(&self) -> GroupReport {
        GroupReport {
            kind: self.links[self.active].settings.transport.name(),
            links: self.links.iter().map(Member::report).collect(),
            active: self.active,
            error_queue: self.queue.usage(),
        }
    }
}

/// The sender with this address on link number `at`.
fn sender(at: usize, addr: IpAddr) -> Sender {
    // A configuration has four links at most.
    Sender { link: at as u8, addr: addr.to_canonical() }
}
