//! The peers of version 2: the socket of a shard, the sealed sessions, and the engine behind them.
//!
//! ```text
//!   socket --datagram--> Secure --Opened---------> engine.handle      Secure --PeerUp, PeerDown--> engine.handle
//!     ^                    ^                                                 \--all events-------> log
//!     +---- seal ----------+------ text ---------- engine.poll_sealed
//! ```

use crate::log::Log;
use crate::log::record::{Code, Fields};
use crate::mesh::{self, Departure, Mesh};
use crate::secure::{
    Down, Event, HEAD_LEN, Hello, Members, Name, OVERHEAD, PeerId, Random, Refusal, Secure,
};
use common::Instant;
use engine::output::Sealed;
use engine::peer::v2::path::{SEAL_LEN, SIZE_MAX};
use engine::peer::v2::session::PeerStanding;
use engine::told;
use engine::{Engine, Input, QueueUsages};
use rustix::fd::BorrowedFd;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Longest datagram that is taken or sent: what a path of jumbo frames carries, and more.
const BUFFER_LEN: usize = 9_216;
/// What is sent at most when this node stops.
const BYES_MAX: usize = 256;
/// The versions of the protocol that this build speaks.
const VERSIONS: (u8, u8) = (2, 2);

/// How to speak with the peers.
#[derive(Clone)]
pub struct Settings {
    /// What this node is called.
    pub name: Name,
    /// Keys and peers, in the order of the configuration.
    pub members: Members,
    /// Where it listens; without any, everywhere.
    pub addresses: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Which run of this node this is: random.
    pub incarnation: u64,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, members: _, addresses, port, incarnation } = self;
        let mut out = f.debug_struct("Settings");
        out.field("name", name).field("addresses", addresses).field("port", port);
        out.field("incarnation", incarnation).finish_non_exhaustive()
    }
}

/// What changes of the peers while they are spoken with.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Keys, and the peers in the order in which they are.
    pub members: Members,
    /// By peer: bytes a second that are sent to it at most.
    pub rates: Vec<Option<u64>>,
}

/// How a peer stands.
#[derive(Clone, Debug)]
pub struct PeerReport {
    /// What it is called.
    pub name: Name,
    /// The word for where its handshakes stand.
    pub session: &'static str,
    /// Where data goes.
    pub address: Option<SocketAddr>,
    /// How long the present session lasts.
    pub since: Option<std::time::Duration>,
    /// How often a key took the place of another.
    pub rekeys: u64,
    /// What the engine knows.
    pub engine: PeerStanding,
}

/// What came and is not taken, what was to go and did not.
#[derive(Clone, Debug)]
pub struct RefusedReport {
    /// Datagrams that were refused, by kind.
    pub kinds: [(Refusal, u64); Refusal::ALL.len()],
    /// Datagrams that could not be sealed or sent, and handshake messages that found no room.
    pub unsent: u64,
}

impl RefusedReport {
    /// How many of a kind were refused.
    #[must_use]
    pub fn count(&self, kind: Refusal) -> u64 {
        self.kinds.iter().find(|(other, _)| *other == kind).map_or(0, |(_, count)| *count)
    }
}

/// All peers of a shard.
pub struct Nodes {
    mesh: Mesh,
    secure: Secure,
    log: Arc<Log>,
    /// What is received, or sealed: one datagram at a time.
    buffer: Box<[u8; BUFFER_LEN]>,
    /// Datagrams that could not be sealed or sent.
    unsent: u64,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("mesh", &self.mesh).finish_non_exhaustive()
    }
}

impl Nodes {
    /// Opens the socket, and begins to ask for sessions.
    ///
    /// # Errors
    /// As [`mesh::open`].
    pub fn open(
        settings: Settings,
        random: Random,
        now: Instant,
        log: Arc<Log>,
    ) -> io::Result<Self> {
        let Settings { name, members, addresses, port, incarnation } = settings;
        let mesh = mesh::open(&addresses, port, 1)?.pop();
        let mesh = mesh.ok_or_else(|| io::Error::other("no socket was opened"))?;
        let hello = Hello { versions: VERSIONS, shards: 1, name, features: 0, incarnation };
        let secure = Secure::new(hello, members, (0, false), random, now);
        Ok(Self { mesh, secure, log, buffer: Box::new([0; BUFFER_LEN]), unsent: 0 })
    }

    /// What to wait on.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.mesh.fds()
    }

    /// When [`Nodes::turn`] has something to do, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.secure.poll_timeout()
    }

    /// Takes at most `max` datagrams, and hands the engine what peers sealed. How many came.
    pub fn receive(&mut self, engine: &mut Engine, now: Instant, max: usize) -> usize {
        let mut taken = 0;
        while taken < max {
            let bytes = &mut self.buffer[..];
            let (from, len) = match self.mesh.receive(bytes) {
                Ok(Some(received)) => received,
                Ok(None) => break,
                Err(error) => {
                    self.log.error(format!("receiving from peers: {error}"));
                    break;
                }
            };
            taken += 1;
            let Some(opened) = self.secure.handle_datagram(now, from, &mut bytes[..len]) else {
                continue;
            };
            // The engine learns of a session that this datagram confirms before it takes the datagram.
            self.tell(engine, now);
            let text = &self.buffer[HEAD_LEN..HEAD_LEN + opened.len];
            let (peer, number) = (engines(opened.peer), opened.number);
            engine.handle(now, Input::Opened { peer, number, bytes: text });
        }
        taken
    }

    /// Does what the time asks for, and tells what happened.
    pub fn turn(&mut self, engine: &mut Engine, now: Instant) {
        if self.secure.poll_timeout().is_some_and(|at| at <= now) {
            self.secure.handle_timeout(now);
        }
        self.tell(engine, now);
        while let Some((to, len)) = self.secure.poll_transmit(&mut self.buffer[..]) {
            let sent = self.mesh.send(to, &self.buffer[..len]);
            self.unsent += u64::from(!matches!(sent, Ok(Departure::Sent)));
        }
    }

    /// Sends what the engine wants sent, at most `max` datagrams. How many that were.
    pub fn transmit(&mut self, engine: &mut Engine, now: Instant, max: usize) -> usize {
        let mut sent = 0;
        let room = HEAD_LEN..SIZE_MAX - (OVERHEAD - HEAD_LEN);
        while sent < max
            && let Some(text) = engine.poll_sealed(now, &mut self.buffer[room.clone()])
        {
            sent += 1;
            self.seal_and_send(engine, now, &text);
        }
        sent
    }

    /// Sends the contents of the buffer. A send that fails counts as a loss on the way: the stream sends again.
    fn seal_and_send(&mut self, engine: &mut Engine, now: Instant, text: &Sealed) {
        let peer = self.secure.peer_at(text.peer.index());
        let datagram = (&mut self.buffer[..], text.len);
        let sealed = peer.and_then(|peer| self.secure.seal(now, peer, 0, text.number, datagram));
        let Some(sealed) = sealed else {
            self.unsent += 1;
            return;
        };
        let outcome = self.mesh.send(sealed.to, &self.buffer[..sealed.len]);
        self.unsent += u64::from(!matches!(outcome, Ok(Departure::Sent)));
        if text.asks_limit || matches!(outcome, Ok(Departure::TooLong)) {
            // Where the kernel says nothing, the loss of the next ones does.
            if let Ok(most) = mesh::known_limit(sealed.to) {
                let (peer, tried) = (text.peer, sealed.len);
                engine.handle(now, Input::PathLimit { peer, tried, most });
            }
        }
    }

    /// The log learns that the path to a peer carries datagrams of another length.
    pub fn on_path(&self, peer: told::PeerId, len: usize) {
        let Some(peer) = self.secure.peer_at(peer.index()) else { return };
        let name = self.name(peer);
        self.log.notice(format!("the path to peer {name} carries datagrams of {len} bytes"));
    }

    /// Takes keys and addresses as they are configured now. Sessions of keys that are gone end, others go on (R4.3).
    pub fn renew(&mut self, engine: &mut Engine, now: Instant, members: Members) {
        self.secure.reconfigure(now, members);
        self.turn(engine, now);
    }

    /// Tells the peers that this node stops.
    pub fn leave(&mut self, engine: &mut Engine, now: Instant) {
        engine.handle(now, Input::Leaving);
        self.transmit(engine, now, BYES_MAX);
    }

    /// A peer says that it goes: its session is over.
    pub fn on_left(&mut self, engine: &mut Engine, now: Instant, peer: told::PeerId) {
        if let Some(peer) = self.secure.peer_at(peer.index()) {
            self.secure.on_leaving(now, peer);
            self.tell(engine, now);
        }
    }

    /// Sets the addresses of a peer.
    pub fn set_addresses(&mut self, now: Instant, peer: usize, addresses: &[SocketAddr]) {
        if let Some(peer) = self.secure.peer_at(peer) {
            self.secure.set_addresses(now, peer, addresses);
        }
    }

    /// How each peer stands.
    #[must_use]
    pub fn report(&self, engine: &Engine, now: Instant) -> Vec<PeerReport> {
        let standings = self.secure.peers().filter_map(|id| self.secure.standing(id));
        let peers = standings.zip(engine.peer_standings(now));
        let report = |(secure, engine): (crate::secure::Standing, PeerStanding)| PeerReport {
            name: secure.name,
            session: secure.state.word(),
            address: secure.address,
            since: secure.since.map(|since| now.since(since)),
            rekeys: secure.rekeys,
            engine,
        };
        peers.map(report).collect()
    }

    /// What was refused, and what was not sent.
    #[must_use]
    pub fn refused(&self) -> RefusedReport {
        let kinds = Refusal::ALL.map(|kind| (kind, self.secure.refused(kind)));
        RefusedReport { kinds, unsent: self.unsent + self.secure.unsent() }
    }

    /// Its queues, by name.
    pub(crate) fn queues(&self, queues: &mut QueueUsages) {
        self.secure.queues(queues);
    }

    fn tell(&mut self, engine: &mut Engine, now: Instant) {
        while let Some(event) = self.secure.poll_event() {
            match event {
                Event::PeerUp { peer, incarnation, .. } => {
                    let peer = engines(peer);
                    engine.handle(now, Input::PeerUp { peer, incarnation });
                }
                Event::PeerDown { peer, .. } => {
                    engine.handle(now, Input::PeerDown { peer: engines(peer) });
                }
                _ => {}
            }
            self.log(&event);
        }
    }

    fn name(&self, peer: PeerId) -> String {
        self.secure.standing(peer).map_or_else(String::new, |peer| peer.name.to_string())
    }

    fn log(&self, event: &Event) {
        let log = &self.log;
        match *event {
            Event::PeerUp { peer, address, .. } => {
                let name = self.name(peer);
                let fields: Fields = vec![("peer", name.as_str().into())];
                let text = format!("peer {name} is there, at {address}");
                log.record(crate::log::Level::Notice, Code::PeerUp, text, fields);
            }
            Event::PeerDown { peer, reason } => {
                let name = self.name(peer);
                let why = match reason {
                    Down::Silent => "nothing is heard of it",
                    Down::Left => "it left",
                    Down::Expired => "its key grew too old, and no other could be agreed on",
                    Down::Removed => "it, or its key, was taken out of the configuration",
                };
                let fields: Fields = vec![("peer", name.as_str().into())];
                let text = format!("peer {name} is not there any more: {why}");
                log.record(crate::log::Level::Warning, Code::PeerDown, text, fields);
            }
            Event::OtherAddress { peer, address } => log.notice(format!(
                "peer {} sends from {address}, which is none of its addresses",
                self.name(peer)
            )),
            Event::OtherName { peer, called } => log.warning(format!(
                "a peer calls itself `{called}', its key is configured as `{}'",
                self.name(peer)
            )),
            Event::NoVersion { peer, versions: (lowest, highest) } => log.warning(format!(
                "peer {} speaks the versions {lowest} to {highest}, and this build version 2",
                self.name(peer)
            )),
            Event::Refused { kind, count, last } => log.warning(format!(
                "refused {count} datagrams ({}), the last one from {last}",
                kind.name()
            )),
        }
    }
}

const _: () = assert!(SEAL_LEN == OVERHEAD && BUFFER_LEN >= SIZE_MAX, "what a path carries");

/// A peer as the engine knows it: both count in the order of the configuration.
const fn engines(peer: PeerId) -> told::PeerId {
    told::PeerId::at(peer.place())
}
