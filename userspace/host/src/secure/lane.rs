//! The way of data through one shard: seals and opens, and knows nothing of how sessions begin.
//!
//! ```text
//!   shard 0: Secure (handshakes) --LaneChange--> Lane of shard 0 --- seal, open
//!                                --PeerKeys----> Lane of shard 1 --- seal, open      each on its own thread, no lock
//! ```
//!
//! A stream has one writer, so a lane alone knows which numbers of it were sealed, and one reader, so it alone knows
//! which were opened (R5.6, R5.11). Both take no memory.

use super::PeerId;
use super::limit::{PEERS_MAX, SESSIONS_MAX};
use super::message::{DataHead, HEAD_LEN, NUMBER_END, OVERHEAD, Stream};
use super::noise::Pair;
use super::refusal::Refusal;
use super::window::Window;
use std::sync::Arc;

/// What a lane has to know of a session: its keys, and where its datagrams go.
#[derive(Debug)]
pub struct Keys {
    /// The peer that they are shared with.
    pub peer: PeerId,
    /// The run of the peer at the other end.
    pub incarnation: u64,
    /// How many shards the peer has.
    pub shards: u8,
    /// What datagrams to this node say.
    pub(super) index: u32,
    /// What datagrams to the peer say.
    pub(super) remote: u32,
    pub(super) pair: Pair,
}

/// A change of sessions that the lane of shard 0 has to make.
#[derive(Clone, Debug)]
pub(super) enum LaneChange {
    /// Open what comes under these keys from now on.
    Add(Arc<Keys>),
    /// Seal with this session of the peer.
    Use(PeerId, u32),
    /// Wipe this session of the peer.
    Remove(PeerId, u32),
}

/// All sessions of a peer, as the lane of shard 0 has them: the latest of these is all that another lane needs.
#[derive(Clone, Debug)]
pub struct PeerKeys {
    /// Datagrams under these keys are opened.
    open: Vec<Arc<Keys>>,
    /// The session that seals, as this node counts them.
    used: Option<u32>,
}

/// A data datagram that was opened in place: its text is at [`HEAD_LEN`], `len` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The peer that sealed it.
    pub peer: PeerId,
    /// Its stream, from the peer's shard to this one.
    pub stream: Stream,
    /// Its place in that stream.
    pub number: u64,
    /// Length of what was sealed.
    pub len: usize,
    /// The session, as this node counts them.
    pub(super) index: u32,
    /// Whether nothing sent later in its stream came before it.
    pub(super) newest: bool,
}

/// The sessions of all peers, for one shard.
#[derive(Debug)]
pub struct Lane {
    shard: u8,
    peers: [Sessions; PEERS_MAX],
}

#[derive(Debug, Default)]
struct Sessions {
    open: [Option<Open>; SESSIONS_MAX],
    /// Place in `open` of the session that seals.
    used: Option<usize>,
    /// By incarnation of the peer: a window for each of its shards. Numbers go on across keys (R5.7).
    windows: Vec<(u64, Vec<Window>)>,
}

#[derive(Debug)]
struct Open {
    keys: Arc<Keys>,
    /// By shard of the peer: the least number that was not sealed yet.
    unsealed: Box<[u64]>,
}

impl Lane {
    /// The lane of a shard of this node, below 64.
    #[must_use]
    pub fn new(shard: u8) -> Self {
        Self { shard, peers: std::array::from_fn(|_| Sessions::default()) }
    }

    /// Does what the handshakes ask for.
    pub(super) fn apply(&mut self, change: &LaneChange) {
        match change {
            LaneChange::Add(keys) => self.peers[keys.peer.place()].add(Arc::clone(keys)),
            LaneChange::Use(peer, index) => {
                let sessions = &mut self.peers[peer.place()];
                sessions.used = sessions.place(*index);
            }
            LaneChange::Remove(peer, index) => {
                self.peers[peer.place()].keep(|keys| keys.index != *index);
                self.peers[peer.place()].forget_windows();
            }
        }
    }

    /// The sessions of a peer.
    #[must_use]
    pub fn keys_of(&self, peer: PeerId) -> PeerKeys {
        let sessions = &self.peers[peer.place()];
        let open = sessions.open.iter().flatten().map(|open| Arc::clone(&open.keys)).collect();
        let used = sessions.used.and_then(|place| sessions.open[place].as_ref());
        PeerKeys { open, used: used.map(|open| open.keys.index) }
    }

    /// Has the sessions of a peer that another lane has. What this lane sealed and opened under those that stay, it
    /// remembers.
    pub fn follow(&mut self, peer: PeerId, keys: &PeerKeys) {
        let sessions = &mut self.peers[peer.place()];
        sessions.keep(|had| keys.open.iter().any(|keys| keys.index == had.index));
        for keys in &keys.open {
            if sessions.place(keys.index).is_none() {
                sessions.add(Arc::clone(keys));
            }
        }
        sessions.used = keys.used.and_then(|index| sessions.place(index));
        // A run goes on under its next key: forgotten is what no key is left of.
        sessions.forget_windows();
    }

    /// The run of a peer for which this lane seals.
    pub(super) fn sealing_run(&self, peer: PeerId) -> Option<u64> {
        let sessions = &self.peers[peer.place()];
        Some(sessions.open[sessions.used?].as_ref()?.keys.incarnation)
    }

    /// The run of the peer that sealed what was opened.
    pub(super) fn run_of(&self, opened: &Opened) -> Option<u64> {
        let sessions = &self.peers[opened.peer.place()];
        Some(sessions.open[sessions.place(opened.index)?].as_ref()?.keys.incarnation)
    }

    /// Makes a datagram of a stream to a peer: `datagram` has `len` bytes of text at [`HEAD_LEN`] and room for
    /// [`OVERHEAD`] in all around them. Returns how long it is now; `None` without a session, or when the number was
    /// used before in this stream: nothing is sealed twice under one nonce.
    pub fn seal(
        &mut self,
        peer: PeerId,
        to: u8,
        number: u64,
        datagram: &mut [u8],
        len: usize,
    ) -> Option<usize> {
        let sessions = &mut self.peers[peer.place()];
        let open = sessions.open[sessions.used?].as_mut()?;
        let stream = Stream { from: self.shard, to };
        let nonce = stream.nonce(number)?;
        let unsealed = open.unsealed.get_mut(usize::from(to)).filter(|least| **least <= number)?;
        let datagram = datagram.get_mut(..len.checked_add(OVERHEAD)?)?;
        *unsealed = number + 1;
        let head = DataHead { index: open.keys.remote, stream, number }.encode(nonce);
        let (text, tag) = datagram.split_at_mut(HEAD_LEN + len);
        text[..HEAD_LEN].copy_from_slice(&head);
        tag.copy_from_slice(&open.keys.pair.seal.seal(nonce, &[], &mut text[HEAD_LEN..]));
        Some(len + OVERHEAD)
    }

    /// Opens a data datagram in place.
    ///
    /// # Errors
    /// Why it is refused; its bytes are then worth nothing.
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<Opened, Refusal> {
        let head = DataHead::decode(bytes).ok_or(Refusal::Malformed)?;
        let sessions = PeerId::of_index(head.index).map(|peer| &mut self.peers[peer.place()]);
        let sessions = sessions.ok_or(Refusal::UnknownIndex)?;
        let place = sessions.place(head.index).ok_or(Refusal::UnknownIndex)?;
        let Sessions { open, windows, .. } = sessions;
        let keys = &open[place].as_ref().ok_or(Refusal::UnknownIndex)?.keys;
        if head.stream.to != self.shard {
            return Err(Refusal::Malformed);
        }
        let mut windows = windows.iter_mut().filter(|(whose, _)| *whose == keys.incarnation);
        let windows = windows.next().ok_or(Refusal::UnknownIndex)?;
        let window = windows.1.get_mut(usize::from(head.stream.from)).ok_or(Refusal::Malformed)?;
        if !window.is_new(head.number) {
            return Err(Refusal::Replayed);
        }
        let nonce = head.stream.nonce(head.number).ok_or(Refusal::Malformed)?;
        let opened = keys.pair.open.open(nonce, &[], &mut bytes[HEAD_LEN..]);
        let len = opened.map_err(|_| Refusal::Forged)?;
        let newest = window.is_newest(head.number);
        window.note(head.number);
        let DataHead { index, stream, number } = head;
        Ok(Opened { peer: keys.peer, stream, number, len, index, newest })
    }
}

impl Sessions {
    fn place(&self, index: u32) -> Option<usize> {
        self.open.iter().position(|open| open.as_ref().is_some_and(|o| o.keys.index == index))
    }

    fn add(&mut self, keys: Arc<Keys>) {
        // The table of handshakes takes one out before it adds a fourth.
        let Some(free) = self.open.iter().position(Option::is_none) else { return };
        let shards = usize::from(keys.shards);
        match self.windows.iter_mut().find(|(whose, _)| *whose == keys.incarnation) {
            Some((_, windows)) => windows.resize(shards.max(windows.len()), Window::NEW),
            None => self.windows.push((keys.incarnation, vec![Window::NEW; shards])),
        }
        let unsealed = vec![0; shards].into_boxed_slice();
        self.open[free] = Some(Open { keys, unsealed });
    }

    /// Wipes the other sessions.
    fn keep(&mut self, stays: impl Fn(&Keys) -> bool) {
        for open in &mut self.open {
            open.take_if(|open| !stays(&open.keys));
        }
        self.used = self.used.filter(|used| self.open[*used].is_some());
    }

    /// Forgets the windows of runs that no session is left of.
    fn forget_windows(&mut self) {
        let open = &self.open;
        let lives = |whose: u64| open.iter().flatten().any(|open| open.keys.incarnation == whose);
        self.windows.retain(|(whose, _)| lives(*whose));
    }
}

const _: () = assert!(NUMBER_END < u64::MAX, "a number has a next one");
