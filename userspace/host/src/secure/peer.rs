//! One peer: its sessions, where it is, and what time does to it.

use super::asking::Asking;
use super::cookie::MacKey;
use super::keys::PublicKey;
use super::limit::{
    ADDRESS_WAIT, INITIATE_MAX, PEER_SILENCE, REJECT_AFTER, REKEY_AFTER, TELL_EVERY,
};
use super::message::Name;
use super::session::{Event, Session, State};
use super::{PeerConfig, PeerId, Standing};
use common::Instant;
use std::net::SocketAddr;

pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) name: Name,
    /// Its keys, and what messages to it are authenticated with.
    pub(super) keys: Vec<(PublicKey, MacKey)>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) state: State,
    pub(super) asking: Asking,
    /// At most three sessions (R5.7).
    pub(super) last: Option<Session>,
    pub(super) present: Option<Session>,
    pub(super) next: Option<Session>,
    /// When a response was sent.
    pub(super) answered_at: Instant,
    /// The incarnation that the engine knows to be there.
    pub(super) reported: Option<u64>,
    /// When something of it was opened.
    pub(super) heard_at: Instant,
    /// The peer announced that it leaves: datagrams that still come under its key do not bring it back.
    pub(super) left: bool,
    /// Where data goes (R5.8).
    pub(super) address: Option<SocketAddr>,
    /// When data went there since something was opened.
    pub(super) unheard_since: Option<Instant>,
    /// Until then what comes from another address does not change where data goes: it was just changed because nothing
    /// came back.
    pub(super) held_until: Instant,
    /// The last address reported as not configured, and when another one may be reported.
    strange: (Option<SocketAddr>, Instant),
    /// When its name or version may be complained about again.
    pub(super) complain_at: Instant,
    pub(super) rekeys: u64,
}

/// What is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Event(Event),
    /// Another initiation.
    Again,
    /// The next address.
    Path,
    /// The last session's key is too old.
    Last,
    /// The next session's key is too old.
    Next,
}

impl Peer {
    pub(super) fn new(id: PeerId, config: &PeerConfig) -> Self {
        Self {
            id,
            name: config.name,
            keys: Vec::new(),
            addresses: Vec::new(),
            state: State::None,
            asking: Asking::default(),
            last: None,
            present: None,
            next: None,
            answered_at: Instant(0),
            reported: None,
            heard_at: Instant(0),
            left: false,
            address: None,
            unheard_since: None,
            held_until: Instant(0),
            strange: (None, Instant(0)),
            complain_at: Instant(0),
            rekeys: 0,
        }
    }

    /// Takes what may change in the configuration of a peer.
    pub(super) fn configure(&mut self, config: &PeerConfig) {
        self.keys = config.keys.iter().map(|key| (*key, MacKey::of(key))).collect();
        self.addresses.clone_from(&config.addresses);
    }

    pub(super) fn has_key(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|(known, _)| known == key)
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        [&self.last, &self.present, &self.next].into_iter().flatten()
    }

    /// What is due first, and when. `own` is the key that this node begins handshakes with.
    pub(super) fn due(&self, own: &PublicKey) -> Option<(Instant, Due)> {
        let state = self.state;
        let event = |at: Option<Instant>, event| at.map(|at| (at, Due::Event(event)));
        let end = |session: Option<&Session>| session.map(|session| session.begun + REJECT_AFTER);
        let answered = state.has_answered().then(|| self.answered_at + INITIATE_MAX);
        let rekey = self.present.as_ref().filter(|_| state == State::Up);
        let rekey = rekey.and_then(|session| rekey_at(session, own));
        let silence = state.is_up().then(|| self.heard_at + PEER_SILENCE);
        let path = self.unheard_since.filter(|_| state.is_up()).map(|since| since + ADDRESS_WAIT);
        let begin = (state == State::None && !self.addresses.is_empty()).then_some(Instant(0));
        [
            event(begin, Event::Begin),
            event(end(self.present.as_ref()), Event::Expired),
            event(silence, Event::Silence),
            event(rekey, Event::RekeyDue),
            event(answered, Event::Unanswered),
            end(self.last.as_ref()).map(|at| (at, Due::Last)),
            end(self.next.as_ref()).map(|at| (at, Due::Next)),
            state.asks().then_some((self.asking.at, Due::Again)),
            path.map(|at| (at, Due::Path)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// A datagram of the peer was opened, `newest` of its stream. Returns whether to report an address that is not
    /// configured: once, and of ever new ones one a minute.
    pub(super) fn follow(&mut self, now: Instant, from: SocketAddr, newest: bool) -> bool {
        self.heard_at = now;
        self.unheard_since = None;
        // What comes late, or a second time by another way, does not say where the peer is.
        if !newest || now < self.held_until || self.address == Some(from) {
            return false;
        }
        self.address = Some(from);
        let (reported, again_at) = self.strange;
        let tells = !self.addresses.contains(&from) && reported != Some(from) && now >= again_at;
        if tells {
            self.strange = (Some(from), now + TELL_EVERY);
        }
        tells
    }

    /// Nothing came back from the address in use: the next one, for a while whatever comes from elsewhere.
    pub(super) fn next_address(&mut self, now: Instant) {
        self.unheard_since = Some(now);
        let Some(address) = self.address else { return };
        let place = self.addresses.iter().position(|known| *known == address);
        let next = place.map_or(0, |place| (place + 1) % self.addresses.len());
        if let Some(next) = self.addresses.get(next).filter(|next| **next != address) {
            self.address = Some(*next);
            self.held_until = now + PEER_SILENCE;
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let present = self.present.as_ref();
        let key = present.map(|session| session.peer_key).or(self.keys.first().map(|key| key.0));
        Standing {
            name: self.name,
            key: key.unwrap_or(PublicKey([0; 32])),
            state: self.state,
            address: self.address,
            since: present.map(|session| session.begun),
            rekeys: self.rekeys,
        }
    }
}

/// When another handshake is due. A key that is no longer this node's first gives way at once, so that it can be taken
/// out without a session falling (R4.3).
fn rekey_at(session: &Session, own: &PublicKey) -> Option<Instant> {
    if session.own_key != *own {
        return Some(session.begun);
    }
    session.initiated.then(|| session.begun + REKEY_AFTER)
}
