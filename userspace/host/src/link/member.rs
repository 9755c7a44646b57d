//! One link of the group: its sockets, its interface, its traffic.

use super::choice::Status;
use super::datagram::DatagramLink;
use super::poller::{Poller, Role, Token};
use super::tcp::TcpLink;
use super::{Ends, LinkCounters, LinkError, Settings, Transport, peer, socket};
use crate::sys::interface::{Interface, interface};
use common::Instant;
use socket2::Type;
use std::net::SocketAddr;
use std::time::Duration;

/// The longest datagram UDP over IPv4 has; over IPv6 it is 20 bytes longer.
const DATAGRAM_LEN_MAX: usize = 65_507;
/// How soon opening a link is tried again.
const OPEN_INTERVAL: Duration = Duration::from_secs(1);

/// The sockets of a link.
#[derive(Debug)]
pub(super) enum Channel {
    Datagram(DatagramLink),
    Tcp(Box<TcpLink>),
    /// The sockets could not be opened again after the interface had been removed and created again.
    Closed,
}

/// Where a link is among others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) poller: &'a Poller,
    /// Its number.
    pub(super) at: usize,
    /// Number of its interface.
    pub(super) index: u32,
    /// Whether other links have the same port.
    pub(super) shares: bool,
}

/// A link of the group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) settings: Settings,
    pub(super) channel: Channel,
    /// As it was last seen.
    pub(super) interface: Option<Interface>,
    /// Last known, for while there is no interface.
    mtu: usize,
    pub(super) counters: LinkCounters,
    /// Whether other links have the same port.
    shares: bool,
    open_at: Instant,
}

/// One link, for statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// Its interface.
    pub interface: String,
    /// State of that.
    pub status: Status,
    /// Largest packet it takes, bytes; the last known while it is not there.
    pub mtu: usize,
    /// Its traffic.
    pub counters: LinkCounters,
    /// Whether the peer's connection to us stands, and ours to it; `None` unless it is a stream link.
    pub connected: Option<[bool; 2]>,
}

impl Member {
    /// Opens link number `at` of these.
    pub(super) fn open(all: &[Settings], at: usize, poller: &Poller) -> Result<Self, LinkError> {
        let settings = all[at].clone();
        let seen = interface(&settings.interface)
            .map_err(|e| LinkError::Interface(settings.interface.clone(), e))?;
        let shares = |other: &Settings| settings.transport.shares_port(&other.transport);
        let before = all[..at].iter().any(shares);
        let shares = before || all[at + 1..].iter().any(shares);
        if shares && !before {
            probe(&settings, seen.index)?;
        }
        let place = Place { poller, at, index: seen.index, shares };
        Ok(Self {
            channel: open(&settings, &place)?,
            settings,
            shares,
            interface: Some(seen),
            mtu: seen.mtu,
            counters: LinkCounters::default(),
            open_at: Instant::default(),
        })
    }

    /// Whether the link's peer is who sent something from this address.
    pub(super) fn has_peer(&self, from: SocketAddr) -> bool {
        peer::is_peer(&self.settings.transport, self.interface.map(|i| i.index), from)
    }

    pub(super) fn status(&self) -> Status {
        Status::of(self.interface)
    }

    /// Bytes that can be sent at once.
    pub(super) fn payload_max(&self) -> usize {
        self.mtu.saturating_sub(self.settings.transport.headers()).min(DATAGRAM_LEN_MAX)
    }

    /// Looks at the interface again; what changed, in words.
    pub(super) fn look(&mut self) -> Vec<String> {
        let (before, now) = (self.interface, interface(&self.settings.interface).ok());
        self.interface = now;
        let name = &self.settings.interface;
        let mut lines = Vec::new();
        let (old, new) = (Status::of(before), Status::of(now));
        if old != new {
            lines.push(format!("link device `{name}': {} -> {}", old.word(), new.word()));
        }
        let Some(seen) = now else { return lines };
        if seen.mtu != self.mtu {
            lines.push(format!("link device `{name}': MTU {} -> {}", self.mtu, seen.mtu));
            self.mtu = seen.mtu;
        }
        // One that went and came back between two looks has another number too.
        if before.is_none_or(|b| b.index != seen.index) {
            lines.push(format!("link device `{name}' is there again"));
            if self.knows_the_index() {
                self.channel = Channel::Closed;
                self.open_at = Instant::default();
            }
        }
        lines
    }

    /// Whether the sockets are tied to the interface's number.
    fn knows_the_index(&self) -> bool {
        match self.settings.transport {
            Transport::Multicast { .. } => true,
            Transport::Udp(ends) | Transport::Tcp(ends) => {
                socket::needs_scope(ends.local) || socket::needs_scope(ends.peer)
            }
        }
    }

    /// Opens sockets that are closed, and makes connections that are missing.
    pub(super) fn keep_up(&mut self, now: Instant, poller: &Poller, at: usize) {
        let Some(seen) = self.interface else { return };
        let running = self.status() == Status::Running;
        match &mut self.channel {
            Channel::Closed if now >= self.open_at => {
                self.open_at = now + OPEN_INTERVAL;
                // The address may take its time; it is tried until it is there.
                let place = Place { poller, at, index: seen.index, shares: self.shares };
                if let Ok(channel) = open(&self.settings, &place) {
                    self.channel = channel;
                }
            }
            Channel::Tcp(tcp) if running => tcp.keep_up(now, poller),
            _ => {}
        }
    }

    pub(super) fn report(&self) -> LinkReport {
        let connected = match &self.channel {
            Channel::Tcp(tcp) => Some(tcp.connected()),
            Channel::Closed if matches!(self.settings.transport, Transport::Tcp(_)) => {
                Some([false; 2])
            }
            _ => None,
        };
        LinkReport {
            interface: self.settings.interface.clone(),
            status: self.status(),
            mtu: self.mtu,
            counters: self.counters,
            connected,
        }
    }
}

fn open(settings: &Settings, place: &Place<'_>) -> Result<Channel, LinkError> {
    if let Transport::Tcp(ends) = &settings.transport {
        return TcpLink::open(settings, ends, place).map(|link| Channel::Tcp(link.into()));
    }
    let link = DatagramLink::open(settings, place.index, place.shares)?;
    place.poller.add(link.descriptor(), Token { link: place.at, role: Role::Datagram })?;
    Ok(Channel::Datagram(link))
}

/// Whether a port that links of ours are going to share is free.
fn probe(settings: &Settings, index: u32) -> Result<(), LinkError> {
    let (ends, kind) = match &settings.transport {
        Transport::Multicast { .. } => return Ok(()),
        Transport::Udp(ends) => (ends, Type::DGRAM),
        Transport::Tcp(ends) => (ends, Type::STREAM),
    };
    let Ends { local, port, .. } = ends;
    socket::probe(ends, kind, index)
        .map_err(|e| LinkError::Socket(format!("{local} port {port}"), e))
}
