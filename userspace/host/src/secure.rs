//! The encrypted transport of replication, version 2 (`replication-v2.md`, sections 4 and 5), without I/O: the caller
//! passes in datagrams, time and randomness, and polls for datagrams and events.
//!
//! ```text
//!   socket --datagram--> handle_datagram ----------> Opened { peer, stream, number, len }     text, in place
//!   clock  ------------> handle_timeout              poll_event:    PeerUp, PeerDown, ...   for engine and log
//!   engine --text------> seal ---------------------> a datagram, and where it goes
//!                        poll_transmit ------------> handshakes and cookies
//! ```
//!
//! The contract is that of the engine's sessions (`engine::peer::session`): after each `handle_*` or
//! [`Secure::reconfigure`], poll until there is no more output; call [`Secure::handle_timeout`] at
//! [`Secure::poll_timeout`].
//!
//! A node with several shards has one `Secure`, which includes the lane of one shard. Each other shard has a
//! [`Branch`] with a [`Lane`] of its own, which follows the sessions ([`Secure::poll_changed`], [`Secure::keys_of`]),
//! and reports to [`Secure::on_opened`] what it opened that says something new.
//!
//! Checks of a datagram before any key is used, cheapest first: first byte and length; session index (data) or mac1
//! (handshakes); replay; rate.

pub mod keys;
mod noise;
mod message;
mod cookie;
mod asking;
mod refusal;
mod session;
mod peer;
mod window;
mod lane;
mod branch;
mod handshake;

pub use branch::{Branch, PeerState, Report, Run};
pub use cookie::authenticate;
pub use keys::{KeyError, PublicKey, Secret};
pub use lane::{Keys, Lane, Opened, PeerKeys};
pub use message::{HEAD_LEN, Hello, Name, NotAName, OVERHEAD, Stream};
pub use noise::TAG_LEN;
pub use refusal::Refusal;
pub use session::State;

use common::Instant;
use cookie::{Gate, MacKey};
use engine::{Bounded, QueueUsage, QueueUsages};
use lane::LaneChange;
use limit::{EVENTS_MAX, PEER_EVENTS_MAX, PEERS_MAX, TRANSMITS_MAX};
use message::{COOKIE, COOKIE_LEN, DATA, INITIATION, INITIATION_LEN, RESPONSE, RESPONSE_LEN};
use peer::Peer;
use refusal::Refused;
use std::net::SocketAddr;

/// Limits of the sealed transport (`replication-v2.md`, section 16).
pub mod limit {
    use std::time::Duration;

    /// Peers of a node.
    pub const PEERS_MAX: usize = 31;
    /// Addresses or names of a peer.
    pub const ADDRESSES_MAX: usize = 4;
    /// Keys of a node.
    pub const KEYS_MAX: usize = 2;
    /// Bytes of a node's name.
    pub const NAME_LEN_MAX: usize = 32;
    /// Shards of a node: 6 bits of a nonce.
    pub const SHARDS_MAX: u8 = 64;
    /// Sessions of a peer: last, present, next (R5.7).
    pub const SESSIONS_MAX: usize = 3;
    /// Initiations, and responses, that are read in a second; beyond, a cookie is asked for.
    pub const HANDSHAKES_PER_S: u32 = 50;
    /// So many of them at once.
    pub const HANDSHAKES_BURST: u32 = 20;
    /// Initiations with a right cookie that are read in a second beyond that, of a network.
    pub const PROVED_PER_S: u32 = 2;
    /// So many of them at once.
    pub const PROVED_BURST: u32 = 5;
    /// How long a secret makes cookies; they hold once more as long.
    pub const COOKIE_LIFE: Duration = Duration::from_secs(120);
    /// Least time between two initiations to a peer.
    pub const INITIATE_MIN: Duration = Duration::from_millis(500);
    /// Most time between two of them, and how long a response waits for data.
    pub const INITIATE_MAX: Duration = Duration::from_secs(5);
    /// How often a peer's name is looked up.
    pub const RESOLVE_EVERY: Duration = Duration::from_secs(60);
    /// Numbers below the greatest one that are still opened.
    pub const REPLAY_WINDOW: u64 = 8192;
    /// The age of a key at which its initiator begins another handshake.
    pub const REKEY_AFTER: Duration = Duration::from_secs(120);
    /// The age of a key at which it is wiped.
    pub const REJECT_AFTER: Duration = Duration::from_secs(180);
    /// A peer whose last valid datagram is older than this is silent.
    pub const PEER_SILENCE: Duration = Duration::from_secs(5);
    /// After so long without an answer the next address is tried (R5.8).
    pub const ADDRESS_WAIT: Duration = Duration::from_secs(1);
    /// Minimum interval between log lines about a kind of refusal (R5.9).
    pub const TELL_EVERY: Duration = Duration::from_secs(60);
    /// Initiations that are remembered, so that a repetition is known.
    pub const INITIATIONS_SEEN: usize = 1024;
    /// Handshake messages that wait to be sent, and as many cookies.
    pub const TRANSMITS_MAX: usize = 64;
    /// Events for the log that wait to be taken.
    pub const EVENTS_MAX: usize = 256;
    /// Beside them, peers that came and went: each peer does so a few times between two looks at most.
    pub const PEER_EVENTS_MAX: usize = 1024;
}

/// Identifies a peer: a place in the table, below [`PEERS_MAX`]. It stays while the peer is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u8);

impl PeerId {
    /// Bits of an index that say whose it is.
    const BITS: u32 = 5;

    /// As a place in a table of [`PEERS_MAX`].
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize
    }

    /// The peer at this place.
    #[must_use]
    pub fn at(place: usize) -> Option<Self> {
        (place < PEERS_MAX).then_some(Self(place as u8))
    }

    fn of_index(index: u32) -> Option<Self> {
        Self::at((index & ((1 << Self::BITS) - 1)) as usize)
    }
}

/// A peer, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// What it calls itself.
    pub name: Name,
    /// Its public keys, one or two; the first is tried first.
    pub keys: Vec<PublicKey>,
    /// Where it listens, preferred first. None while its names do not resolve.
    pub addresses: Vec<SocketAddr>,
}

/// What can change while it runs: keys and peers (R3.1, R4.3).
#[derive(Clone, Debug)]
pub struct Members {
    /// This node's keys, one or two; handshakes are begun with the first.
    pub keys: Vec<Secret>,
    /// The secret of all nodes; [`Secret::ZERO`] where there is none.
    pub preshared: Secret,
    /// At most [`PEERS_MAX`]; names and keys are unique.
    pub peers: Vec<PeerConfig>,
}

/// What the engine and the log must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer is there: a session is agreed on, and [`Secure::seal`] works. It also comes when another incarnation of a
    /// peer that is there takes its place.
    PeerUp {
        /// The peer.
        peer: PeerId,
        /// Identifies the run of the peer.
        incarnation: u64,
        /// The version that both speak.
        version: u8,
        /// The features that both have.
        features: u64,
        /// How many shards it has.
        shards: u8,
        /// The address that it sends from.
        address: SocketAddr,
    },
    /// A peer that was there is not.
    PeerDown {
        /// The peer.
        peer: PeerId,
        /// The reason.
        reason: Down,
    },
    /// A peer sends from an address that is none of those configured (R5.8).
    OtherAddress {
        /// The peer.
        peer: PeerId,
        /// From where.
        address: SocketAddr,
    },
    /// A peer's key with another name (R4.2).
    OtherName {
        /// The peer with that key.
        peer: PeerId,
        /// What it calls itself.
        called: Name,
    },
    /// A peer speaks none of our versions (R5.10).
    NoVersion {
        /// The peer.
        peer: PeerId,
        /// Its lowest and highest version.
        versions: (u8, u8),
    },
    /// Datagrams were refused; at most once a minute and kind (R5.9).
    Refused {
        /// The kind of refusal.
        kind: Refusal,
        /// How many since the last such event.
        count: u64,
        /// Where the last came from.
        last: SocketAddr,
    },
}

/// Why a peer is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The peer was silent for too long.
    Silent,
    /// The peer announced that it leaves.
    Left,
    /// Its key grew too old, and no other could be agreed on.
    Expired,
    /// It, or a key, was taken out of the configuration.
    Removed,
}

/// How a peer is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The peer's name.
    pub name: Name,
    /// The key that it is known by: of the present session, else the first one configured.
    pub key: PublicKey,
    /// Where the handshakes stand.
    pub state: State,
    /// The address that data is sent to.
    pub address: Option<SocketAddr>,
    /// When the present session began.
    pub since: Option<Instant>,
    /// How often a key took the place of another.
    pub rekeys: u64,
}

/// A datagram that was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its length.
    pub len: usize,
    /// The address that it is sent to.
    pub to: SocketAddr,
}

/// One of this node's keys.
struct OwnKey {
    secret: Secret,
    public: PublicKey,
    mac: MacKey,
}

impl OwnKey {
    fn new(secret: Secret) -> Self {
        let public = secret.public();
        Self { mac: MacKey::of(&public), secret, public }
    }
}

/// A handshake message that waits to be sent.
struct Transmit {
    to: SocketAddr,
    len: usize,
    bytes: [u8; INITIATION_LEN],
}

/// Where random bytes come from.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// All sessions with all peers.
pub struct Secure {
    hello: Hello,
    own: Vec<OwnKey>,
    preshared: Secret,
    peers: [Option<Box<Peer>>; PEERS_MAX],
    gate: Gate,
    seen: handshake::Seen,
    lane: Lane,
    refused: Refused,
    random: Random,
    transmits: Bounded<Transmit>,
    cookies: Bounded<Transmit>,
    events: Bounded<Event>,
    /// By peer: its sessions changed since they were last asked for.
    changed: [bool; PEERS_MAX],
}

impl Secure {
    /// The sessions of a node that calls itself `hello`, with the lane of its shard `shard`.
    #[must_use]
    pub fn new(hello: Hello, members: Members, shard: u8, random: Random, now: Instant) -> Self {
        let mut secure = Self {
            hello,
            own: Vec::new(),
            preshared: Secret::ZERO,
            peers: [const { None }; PEERS_MAX],
            gate: Gate::new(),
            seen: handshake::Seen::default(),
            lane: Lane::new(shard),
            refused: Refused::default(),
            random,
            transmits: Bounded::new(TRANSMITS_MAX),
            cookies: Bounded::new(TRANSMITS_MAX),
            events: Bounded::new(EVENTS_MAX + PEER_EVENTS_MAX),
            changed: [false; PEERS_MAX],
        };
        secure.reconfigure(now, members);
        secure
    }

    /// Takes a datagram that came from an address. What is returned was sealed by a peer, comes for the first time, and
    /// lies opened in `bytes` at [`HEAD_LEN`]. Everything else is dealt with or refused here.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &mut [u8],
    ) -> Option<Opened> {
        let outcome = match (bytes.first(), bytes.len()) {
            (Some(&DATA), _) => match self.lane.open(bytes) {
                Ok(opened) => {
                    self.on_opened(now, from, &opened);
                    return Some(opened);
                }
                Err(refusal) => Err(refusal),
            },
            (Some(&INITIATION), INITIATION_LEN) => self.on_initiation(now, from, bytes),
            (Some(&RESPONSE), RESPONSE_LEN) => self.on_response(now, from, bytes),
            (Some(&COOKIE), COOKIE_LEN) => self.on_cookie(now, bytes),
            _ => Err(Refusal::Malformed),
        };
        if let Err(refusal) = outcome {
            self.refused.note(refusal, from);
        }
        None
    }

    /// Makes a datagram of a stream from this shard to shard `to` of a peer: `datagram` has `len` bytes of text at
    /// [`HEAD_LEN`], and room for [`OVERHEAD`] in all around them. `None` when the peer is not there, or `number` was
    /// used before in this stream.
    pub fn seal(
        &mut self,
        now: Instant,
        peer: PeerId,
        to: u8,
        number: u64,
        (datagram, len): (&mut [u8], usize),
    ) -> Option<Sealed> {
        let whose = self.peers.get_mut(peer.place())?.as_mut()?;
        let address = whose.address.filter(|_| whose.state.is_up())?;
        let len = self.lane.seal(peer, to, number, datagram, len)?;
        whose.unheard_since.get_or_insert(now);
        Some(Sealed { len, to: address })
    }

    /// A handshake message to send: writes it into `datagram` and says where it goes and how long it is.
    pub fn poll_transmit(&mut self, datagram: &mut [u8]) -> Option<(SocketAddr, usize)> {
        let next = self.transmits.pop().or_else(|| self.cookies.pop())?;
        datagram.get_mut(..next.len)?.copy_from_slice(&next.bytes[..next.len]);
        Some((next.to, next.len))
    }

    /// The next event for the engine and the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// A peer whose sessions changed: the lanes of other shards must follow [`Secure::keys_of`].
    pub fn poll_changed(&mut self) -> Option<PeerId> {
        let place = self.changed.iter().position(|changed| *changed)?;
        self.changed[place] = false;
        PeerId::at(place)
    }

    /// The sessions of a peer.
    #[must_use]
    pub fn keys_of(&self, peer: PeerId) -> PeerKeys {
        self.lane.keys_of(peer)
    }

    /// How many datagrams were refused, by kind.
    #[must_use]
    pub fn refused(&self, kind: Refusal) -> u64 {
        self.refused.count(kind)
    }

    /// A datagram that another shard's lane refused.
    pub fn on_refused(&mut self, kind: Refusal, from: SocketAddr) {
        self.refused.note(kind, from);
    }

    /// Handshake messages that found no room in their queue.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.transmits.usage().no_space + self.cookies.usage().no_space
    }

    /// Its queues, by name.
    pub fn queues(&self, queues: &mut QueueUsages) {
        queues.extend([
            ("handshakes", self.transmits.usage()),
            ("cookies", self.cookies.usage()),
            ("peer_events", self.events.usage()),
        ]);
    }

    /// The queues of a shard that has no sessions of its own, so that the queues of all shards can be added up.
    pub fn no_queues(queues: &mut QueueUsages) {
        let names = ["handshakes", "cookies", "peer_events"];
        queues.extend(names.map(|name| (name, QueueUsage::default())));
    }

    /// The state of a peer; `None` if no peer has this place.
    #[must_use]
    pub fn standing(&self, peer: PeerId) -> Option<Standing> {
        self.peers.get(peer.place())?.as_ref().map(|peer| peer.standing())
    }

    /// Where data for a peer goes.
    #[must_use]
    pub fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        self.peers.get(peer.place())?.as_ref()?.address
    }

    /// All peers.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        let places = self.peers.iter().enumerate().filter(|(_, peer)| peer.is_some());
        places.filter_map(|(place, _)| PeerId::at(place))
    }

    /// The peer at this place in the order of the configuration.
    #[must_use]
    pub fn peer_at(&self, place: usize) -> Option<PeerId> {
        PeerId::at(place).filter(|_| self.peers.get(place).is_some_and(Option::is_some))
    }

    /// The peer of this name.
    #[must_use]
    pub fn peer_named(&self, name: &Name) -> Option<PeerId> {
        self.peers().find(|id| self.standing(*id).is_some_and(|peer| peer.name == *name))
    }

    fn change(&mut self, peer: PeerId, change: &LaneChange) {
        self.lane.apply(change);
        self.changed[peer.place()] = true;
    }

    /// An event for the log alone: it is dropped when the queue is full, others are not.
    fn log(&mut self, event: Event) {
        let _ = self.events.push_within(EVENTS_MAX, event);
    }

    fn send(&mut self, to: SocketAddr, message: &[u8]) {
        let queue = if message[0] == COOKIE { &mut self.cookies } else { &mut self.transmits };
        let mut bytes = [0; INITIATION_LEN];
        bytes[..message.len()].copy_from_slice(message);
        // A handshake that finds no room is repeated later.
        let _ = queue.push(Transmit { to, len: message.len(), bytes });
    }

    fn random_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        (self.random)(&mut bytes);
        u32::from_be_bytes(bytes)
    }
}

#[cfg(test)]
mod tests;
