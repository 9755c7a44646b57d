//! The peers of version 2, for one shard: its socket, the sealed sessions, and the engine behind them.
//!
//! ```text
//!   socket --datagram--> Secure --Opened---------> engine.handle      Secure --PeerUp, PeerDown--> engine.handle
//!     ^                    ^                                                 \--all events-------> log
//!     +---- seal ----------+------ text ---------- engine.poll_sealed
//! ```
//!
//! The first shard makes the handshakes; the others have a part of the sessions of their own (`seals`).

use crate::log::Log;
use crate::log::record::{Code, Fields};
use crate::mesh::{self, Departure, Mesh};
use crate::secure::{
    Down, Event, HEAD_LEN, Hello, Members, Name, OVERHEAD, PeerId, Random, Refusal, Secure,
};
use common::Instant;
use engine::message_id;
use engine::output::Sealed;
use engine::peer::v2::path::{SEAL_LEN, SIZE_MAX};
use engine::peer::v2::session::PeerStanding;
use engine::{Engine, Input, QueueUsages};
use rustix::fd::BorrowedFd;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

mod report;
mod seals;

pub use report::{PeerReport, RefusedReport};
use seals::{News, Seals};

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
    /// A random number that identifies this run of the node.
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

/// All peers of a shard.
pub struct Nodes {
    mesh: Mesh,
    seals: Seals,
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
    /// Opens the sockets of all shards, and begins to ask for sessions.
    ///
    /// # Errors
    /// As [`mesh::open`] and `eventfd(2)`.
    pub fn open(
        settings: Settings,
        shards: usize,
        random: Random,
        now: Instant,
        log: &Arc<Log>,
    ) -> io::Result<Vec<Self>> {
        let Settings { name, members, addresses, port, incarnation } = settings;
        let names: Vec<Name> = members.peers.iter().map(|peer| peer.name).collect();
        let meshes = mesh::open(&addresses, port, shards)?;
        let count = u8::try_from(shards).map_err(io::Error::other)?;
        let hello = Hello { versions: VERSIONS, shards: count, name, features: 0, incarnation };
        let secure = Secure::new(hello, members, 0, random, now);
        let all = meshes.into_iter().zip(seals::seals(secure, &names, shards)?);
        let nodes = |(mesh, seals)| {
            let (log, buffer) = (Arc::clone(log), Box::new([0; BUFFER_LEN]));
            Self { mesh, seals, log, buffer, unsent: 0 }
        };
        Ok(all.map(nodes).collect())
    }

    /// What to wait on.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.mesh.fds().chain([self.seals.fd()])
    }

    /// When [`Nodes::turn`] has something to do, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.seals.poll_timeout()
    }

    /// Takes at most `max` datagrams, and hands the engine what peers sealed. How many came.
    pub fn receive(&mut self, engine: &mut Engine, now: Instant, max: usize) -> usize {
        let mut taken = 0;
        self.seals.hush();
        self.listen(engine, now);
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
            self.listen(engine, now);
            let bytes = &mut self.buffer[..len];
            let Some(opened) = self.seals.open(now, from, bytes) else { continue };
            // The engine learns of a session that this datagram confirms before it takes the datagram.
            self.report_events(engine, now);
            let text = &self.buffer[HEAD_LEN..HEAD_LEN + opened.len];
            let (peer, from, number) = (engines(opened.peer), opened.stream.from, opened.number);
            engine.handle(now, Input::Opened { peer, from, number, bytes: text });
        }
        taken
    }

    /// Runs the timers that are due, and reports to the engine and the log what happened.
    pub fn turn(&mut self, engine: &mut Engine, now: Instant) {
        self.listen(engine, now);
        if let Seals::Lead(lead) = &mut self.seals
            && lead.secure.poll_timeout().is_some_and(|at| at <= now)
        {
            lead.secure.handle_timeout(now);
        }
        // Other shards know of a session before the peer does.
        self.report_events(engine, now);
        let Seals::Lead(lead) = &mut self.seals else { return };
        lead.send_addresses();
        while let Some((to, len)) = lead.secure.poll_transmit(&mut self.buffer[..]) {
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
        let datagram = (&mut self.buffer[..], text.len);
        let (peer, stream) = (text.peer.index(), (text.to, text.number));
        let Some(sealed) = self.seals.seal(now, peer, stream, datagram) else {
            self.unsent += 1;
            return;
        };
        let outcome = self.mesh.send(sealed.to, &self.buffer[..sealed.len]);
        self.unsent += u64::from(!matches!(outcome, Ok(Departure::Sent)));
        if text.asks_limit || matches!(outcome, Ok(Departure::TooLong)) {
            // Where the kernel says nothing, the loss of the next ones does.
            if let Ok(most) = mesh::known_limit(sealed.to) {
                let (peer, to, tried) = (text.peer, text.to, sealed.len);
                engine.handle(now, Input::PathLimit { peer, to, tried, most });
            }
        }
    }

    /// The log learns that the path to a peer carries datagrams of another length.
    pub fn on_path(&self, peer: message_id::PeerId, len: usize) {
        let Some(peer) = PeerId::at(peer.index()) else { return };
        let name = self.name(peer);
        self.log.notice(format!("the path to peer {name} carries datagrams of {len} bytes"));
    }

    /// Takes keys and addresses as they are configured now. Sessions of keys that are gone end, others go on (R4.3).
    pub fn renew(&mut self, engine: &mut Engine, now: Instant, members: Members) {
        if let Seals::Lead(lead) = &mut self.seals {
            lead.secure.reconfigure(now, members);
        }
        self.turn(engine, now);
    }

    /// Announces to the peers that this node stops.
    pub fn leave(&mut self, engine: &mut Engine, now: Instant) {
        engine.handle(now, Input::Leaving);
        self.transmit(engine, now, BYES_MAX);
    }

    /// A peer says that it goes: its session is over. It says so to each shard, and the first one listens.
    pub fn on_left(&mut self, engine: &mut Engine, now: Instant, peer: message_id::PeerId) {
        if let Seals::Lead(lead) = &mut self.seals
            && let Some(peer) = lead.secure.peer_at(peer.index())
        {
            lead.secure.on_leaving(now, peer);
            self.report_events(engine, now);
        }
    }

    /// Sets the addresses of a peer.
    pub fn set_addresses(&mut self, now: Instant, peer: usize, addresses: &[SocketAddr]) {
        if let Seals::Lead(lead) = &mut self.seals
            && let Some(peer) = lead.secure.peer_at(peer)
        {
            lead.secure.set_addresses(now, peer, addresses);
        }
    }

    /// How each peer stands. Of sessions only the first shard knows.
    #[must_use]
    pub fn report(&self, engine: &Engine, now: Instant) -> Vec<PeerReport> {
        let secure = match &self.seals {
            Seals::Lead(lead) => &lead.secure,
            Seals::Follower(follower) => {
                let peers = follower.names.iter().zip(engine.peer_standings(now));
                return peers.map(|(name, engine)| PeerReport::of_engine(*name, engine)).collect();
            }
        };
        let standings = secure.peers().filter_map(|id| secure.standing(id));
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
        let kinds = Refusal::ALL.map(|kind| (kind, self.seals.refused(kind)));
        let handshakes = match &self.seals {
            Seals::Lead(lead) => lead.secure.unsent(),
            Seals::Follower(_) => 0,
        };
        RefusedReport { kinds, unsent: self.unsent + handshakes }
    }

    /// Its queues, by name.
    pub(crate) fn queues(&self, queues: &mut QueueUsages) {
        self.seals.queues(queues);
    }

    /// Takes in what other shards say.
    fn listen(&mut self, engine: &mut Engine, now: Instant) {
        self.seals.listen(now, |news| hand_in(engine, now, news));
    }

    fn report_events(&mut self, engine: &mut Engine, now: Instant) {
        while let Some((event, news)) = self.seals.poll_event(now) {
            news.into_iter().for_each(|news| hand_in(engine, now, news));
            self.log(&event);
        }
    }

    fn name(&self, peer: PeerId) -> String {
        let name = match &self.seals {
            Seals::Lead(lead) => lead.secure.standing(peer).map(|peer| peer.name),
            Seals::Follower(follower) => follower.names.get(peer.place()).copied(),
        };
        name.map_or_else(String::new, |name| name.to_string())
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

/// Hands a change of a peer's session to the engine.
fn hand_in(engine: &mut Engine, now: Instant, news: News) {
    let input = match news {
        News::Up { peer, incarnation, shards } => {
            Input::PeerUp { peer: engines(peer), incarnation, shards }
        }
        News::Down(peer) => Input::PeerDown { peer: engines(peer) },
    };
    engine.handle(now, input);
}

/// A peer as the engine knows it: both count in the order of the configuration.
const fn engines(peer: PeerId) -> message_id::PeerId {
    message_id::PeerId::at(peer.place())
}
