//! Initiations: to which address and key, when, and with which cookie (R5.3, R5.5).

use super::cookie::{self, MacBytes};
use super::keys::{KEY_LEN, PublicKey, Secret};
use super::limit::{COOKIE_LIFE, INITIATE_MAX, INITIATE_MIN};
use super::message::{INITIATION, INITIATION_LEN, INITIATION_NOISE, put_head, u32_at};
use super::noise::{Initiator, Own, PROLOGUE};
use super::{PeerId, Refusal, Secure};
use common::Instant;
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// What a peer is asked, and has answered by a cookie.
#[derive(Default)]
pub(super) struct Asking {
    /// When it began to be asked.
    pub(super) since: Instant,
    /// Initiations since then.
    pub(super) tries: u32,
    /// When the next one is due.
    pub(super) at: Instant,
    /// The last one.
    pub(super) pending: Option<Pending>,
    /// The key of the peer that is tried first: the one that it used last.
    pub(super) key: Option<PublicKey>,
    cookie: Option<(MacBytes, Instant)>,
}

/// An initiation that waits for its response.
pub(super) struct Pending {
    pub(super) initiator: Initiator,
    pub(super) index: u32,
    pub(super) own_key: PublicKey,
    pub(super) peer_key: PublicKey,
    mac1: MacBytes,
    sent: Instant,
}

impl Asking {
    /// Forgets the last initiation; the next one is due.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.pending = None;
        self.at = now;
    }

    /// How long after the initiation that was sent as number `tries` the next one waits: twice as long each time, a
    /// fifth of it random.
    fn pause(tries: u32, random: u32) -> Duration {
        let pause = INITIATE_MIN.saturating_mul(1 << tries.min(8)).min(INITIATE_MAX);
        pause * 4 / 5 + (pause / 5).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

impl Secure {
    /// Begins to ask a peer.
    pub(super) fn ask(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = &mut self.peers[id.place()] else { return };
        (peer.asking.since, peer.asking.tries) = (now, 0);
        self.ask_again(now, id);
    }

    /// Sends an initiation to a peer's next address.
    pub(super) fn ask_again(&mut self, now: Instant, id: PeerId) {
        let random = self.random_u32();
        let Some(peer) = &mut self.peers[id.place()] else { return };
        let asking = &mut peer.asking;
        let tries = asking.tries;
        asking.tries = tries.saturating_add(1);
        asking.at = now + Asking::pause(tries, random);
        let learnt = peer.address.filter(|address| !peer.addresses.contains(address));
        let places = learnt.iter().chain(&peer.addresses);
        let count = peer.addresses.len() + usize::from(learnt.is_some());
        let Some(round) = (tries as usize).checked_div(count) else { return };
        let Some(&to) = places.clone().nth(tries as usize % count) else { return };
        let first = peer.keys.iter().position(|(key, _)| Some(*key) == peer.asking.key);
        let key = (first.unwrap_or(0) + round) % peer.keys.len();
        self.initiate(now, id, to, key);
    }

    fn initiate(&mut self, now: Instant, id: PeerId, to: SocketAddr, key: usize) {
        let index = self.free_index(id);
        let mut ephemeral = Zeroizing::new([0; KEY_LEN]);
        (self.random)(&mut *ephemeral);
        let Some(peer) = &mut self.peers[id.place()] else { return };
        let Some(own) = self.own.first() else { return };
        let (peer_key, mac_key) = peer.keys[key];
        let mut message = [0; INITIATION_LEN];
        put_head(&mut message, INITIATION, &[index]);
        let secrets = Own { secret: &own.secret, preshared: &self.preshared, prologue: PROLOGUE };
        let noise = &mut message[INITIATION_NOISE];
        let hello = self.hello.encode();
        let begun = Initiator::new(secrets, &peer_key, Secret::new(*ephemeral), &hello, noise);
        // A peer's key of low order: a mistake in the configuration; no session with it is possible.
        let Ok((initiator, _)) = begun else { return };
        let cookie = peer.asking.cookie.filter(|(_, got)| now.since(*got) < COOKIE_LIFE);
        let mac1 = mac_key.put(&mut message, cookie.map(|(cookie, _)| cookie).as_ref());
        let own_key = own.public;
        peer.asking.pending =
            Some(Pending { initiator, index, own_key, peer_key, mac1, sent: now });
        self.send(to, &message);
    }

    /// Takes a cookie: the next initiation has it, as soon as one may be sent.
    pub(super) fn on_cookie(&mut self, now: Instant, message: &[u8]) -> Result<(), Refusal> {
        if message[1..4] != [0; 3] {
            return Err(Refusal::Malformed);
        }
        let index = u32_at(message, 4);
        let peer = PeerId::of_index(index).and_then(|id| self.peers[id.place()].as_mut());
        let asking = peer.map(|peer| &mut peer.asking).ok_or(Refusal::UnknownIndex)?;
        let pending = asking.pending.as_ref().filter(|pending| pending.index == index);
        let pending = pending.ok_or(Refusal::UnknownIndex)?;
        let cookie = cookie::open(message, &pending.peer_key, &pending.mac1);
        asking.cookie = Some((cookie.ok_or(Refusal::Forged)?, now));
        asking.at = asking.at.min(pending.sent + INITIATE_MIN);
        Ok(())
    }

    /// An index that nothing of this peer has.
    pub(super) fn free_index(&mut self, id: PeerId) -> u32 {
        loop {
            let index = self.random_u32() >> PeerId::BITS << PeerId::BITS | u32::from(id.0);
            let Some(peer) = &self.peers[id.place()] else { return index };
            let pending = peer.asking.pending.as_ref().map(|pending| pending.index);
            if pending != Some(index) && peer.sessions().all(|session| session.index != index) {
                return index;
            }
        }
    }
}
