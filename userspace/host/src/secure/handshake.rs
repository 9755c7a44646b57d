//! Handshakes that come in, and what they and time do to a peer: the one place where states change.

use super::asking::Pending;
use super::cookie::Verdict;
use super::keys::{KEY_LEN, PublicKey, Secret};
use super::lane::{Keys, LaneChange, Opened};
use super::limit::{INITIATE_MAX, INITIATIONS_SEEN, TELL_EVERY};
use super::message::{
    HELLO_LEN, Hello, INITIATION_NOISE, RESPONSE, RESPONSE_LEN, RESPONSE_NOISE, put_head, u32_at,
};
use super::noise::{Own, PROLOGUE, Pair, Responder};
use super::peer::{Due, Peer};
use super::session::{Action, Event, Session};
use super::{Down, Event as Report, Members, OwnKey, PeerId, Refusal, Secure};
use common::Instant;
use std::net::SocketAddr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The initiations that were read last, by the beginning of their ephemeral keys: a network that doubles one must not
/// have it answered twice, for the second answer would take the place of the first.
pub(super) struct Seen {
    keys: Box<[u64; INITIATIONS_SEEN]>,
    oldest: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { keys: Box::new([0; INITIATIONS_SEEN]), oldest: 0 }
    }
}

impl Seen {
    fn key(message: &[u8]) -> u64 {
        message[INITIATION_NOISE].first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    fn has(&self, message: &[u8]) -> bool {
        self.keys.contains(&Self::key(message))
    }

    /// Only genuine messages are remembered, so an attacker cannot push out the record of a repetition.
    fn note(&mut self, message: &[u8]) {
        self.keys[self.oldest] = Self::key(message);
        self.oldest = (self.oldest + 1) % INITIATIONS_SEEN;
    }
}

impl Secure {
    pub(super) fn on_initiation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
    ) -> Result<(), Refusal> {
        if message[1..4] != [0; 3] {
            return Err(Refusal::Malformed);
        }
        let own = self.own.iter().position(|own| own.mac.is_right(message));
        let own = own.ok_or(Refusal::BadMac)?;
        if self.seen.has(message) {
            return Err(Refusal::Replayed);
        }
        match self.gate.admit(now, from, message, &mut *self.random) {
            Verdict::Read => self.read_initiation(now, from, own, message),
            Verdict::Drop => Err(Refusal::Flood),
            Verdict::Cookie => {
                let cookie = self.gate.answer(from, &self.own[own].public, message);
                self.send(from, &cookie);
                Err(Refusal::Cookie)
            }
        }
    }

    fn read_initiation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        own: usize,
        message: &[u8],
    ) -> Result<(), Refusal> {
        let mut ephemeral = Zeroizing::new([0; KEY_LEN]);
        (self.random)(&mut *ephemeral);
        let own = &self.own[own];
        let secrets = Own { secret: &own.secret, preshared: &self.preshared, prologue: PROLOGUE };
        let (own_key, mut hello) = (own.public, [0; HELLO_LEN]);
        let (noise, ephemeral) = (&message[INITIATION_NOISE], Secret::new(*ephemeral));
        let read = Responder::read(secrets, ephemeral, noise, &mut hello);
        let (responder, peer_key, _) = read.map_err(|_| Refusal::Forged)?;
        let id = self.whose(&peer_key).ok_or(Refusal::UnknownKey)?;
        let (hello, version, features) = self.acceptable(now, id, &hello)?;
        self.seen.note(message);
        if self.goes_first(now, id) {
            return Err(Refusal::Tie);
        }
        let (index, remote) = (self.free_index(id), u32_at(message, 4));
        let mut answer = [0; RESPONSE_LEN];
        put_head(&mut answer, RESPONSE, &[index, remote]);
        let finished = responder.finish(&self.hello.encode(), &mut answer[RESPONSE_NOISE]);
        let (pair, _) = finished.map_err(|_| Refusal::Forged)?;
        let begun = now;
        let session =
            Session { index, begun, initiated: false, hello, version, features, own_key, peer_key };
        self.set_next(id, session, remote, pair);
        if let Some(peer) = &mut self.peers[id.place()] {
            peer.answered_at = now;
            let mac = peer.keys.iter().find(|(key, _)| *key == peer_key);
            mac.map(|(_, mac)| mac.put(&mut answer, None));
        }
        self.step(now, id, Event::Initiation);
        self.send(from, &answer);
        Ok(())
    }

    pub(super) fn on_response(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
    ) -> Result<(), Refusal> {
        if message[1..4] != [0; 3] {
            return Err(Refusal::Malformed);
        }
        let (remote, index) = (u32_at(message, 4), u32_at(message, 8));
        let id = PeerId::of_index(index).ok_or(Refusal::UnknownIndex)?;
        let peer = self.peers[id.place()].as_mut().ok_or(Refusal::UnknownIndex)?;
        let pending = peer.asking.pending.as_mut().filter(|pending| pending.index == index);
        let pending = pending.ok_or(Refusal::UnknownIndex)?;
        let mac = self.own.iter().find(|own| own.public == pending.own_key);
        if !mac.is_some_and(|own| own.mac.is_right(message)) {
            return Err(Refusal::BadMac);
        }
        if !self.gate.admit_response(now) {
            return Err(Refusal::Flood);
        }
        let mut hello = [0; HELLO_LEN];
        let finished = pending.initiator.finish(&message[RESPONSE_NOISE], &mut hello);
        let (pair, _) = finished.map_err(|_| Refusal::Forged)?;
        let &mut Pending { own_key, peer_key, .. } = pending;
        let accepted = self.acceptable(now, id, &hello);
        if accepted.is_err() {
            self.stop_asking(id);
        }
        let (hello, version, features) = accepted?;
        let begun = now;
        let session =
            Session { index, begun, initiated: true, hello, version, features, own_key, peer_key };
        self.set_next(id, session, remote, pair);
        self.follow(now, id, from, true);
        self.step(now, id, Event::Response);
        Ok(())
    }

    /// Data of a peer was opened, by the lane here or by another shard's.
    pub fn on_opened(&mut self, now: Instant, from: SocketAddr, opened: &Opened) {
        let id = opened.peer;
        let Some(peer) = &self.peers[id.place()] else { return };
        let confirms = peer.next.is_some_and(|next| next.index == opened.index);
        // Between another lane's opening and its report, the session may have gone.
        if !confirms && peer.sessions().all(|session| session.index != opened.index) {
            return;
        }
        let left = peer.left;
        self.follow(now, id, from, opened.newest || confirms);
        if confirms {
            self.step(now, id, Event::Confirmed);
        } else if !left {
            self.step(now, id, Event::Heard);
        }
    }

    /// A peer has said that it goes (BYE).
    pub fn on_leaving(&mut self, now: Instant, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(peer.place()).and_then(Option::as_mut) {
            peer.left = true;
        }
        self.step(now, peer, Event::Silence);
    }

    /// What was sent to a peer for a second has not been acknowledged: its next address is tried (R5.8).
    pub fn on_unacknowledged(&mut self, now: Instant, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(peer.place()).and_then(Option::as_mut) {
            peer.next_address(now);
        }
    }

    /// The addresses of a peer, looked up again. None keeps those it had.
    pub fn set_addresses(&mut self, now: Instant, peer: PeerId, addresses: &[SocketAddr]) {
        if let Some(peer) = self.peers.get_mut(peer.place()).and_then(Option::as_mut)
            && !addresses.is_empty()
        {
            peer.addresses = addresses.to_vec();
        }
        self.handle_timeout(now);
    }

    /// Takes keys and peers as they are configured now. Sessions of keys that are gone end at once; others go on
    /// (R4.3).
    pub fn reconfigure(&mut self, now: Instant, members: Members) {
        let Members { keys, preshared, peers } = members;
        self.own = keys.into_iter().map(OwnKey::new).collect();
        if self.preshared.bytes() != preshared.bytes() {
            // What was asked with the other one cannot be answered.
            self.peers.iter_mut().flatten().for_each(|peer| peer.asking.start_over(now));
            self.preshared = preshared;
        }
        for id in self.peers().collect::<Vec<_>>() {
            let name = self.peers[id.place()].as_ref().map(|peer| peer.name);
            if peers.iter().all(|config| Some(config.name) != name) {
                self.step(now, id, Event::Removed);
                self.peers[id.place()] = None;
            }
        }
        for config in &peers {
            let known = self.peer_named(&config.name);
            let free = || self.peers.iter().position(Option::is_none).and_then(PeerId::at);
            let Some(id) = known.or_else(free) else { continue };
            let place = &mut self.peers[id.place()];
            let peer = place.get_or_insert_with(|| Box::new(Peer::new(id, config)));
            peer.configure(config);
            self.drop_keyless(now, id);
        }
        self.handle_timeout(now);
    }

    /// Ends what was made of keys that neither this node nor the peer has any more.
    fn drop_keyless(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = &mut self.peers[id.place()] else { return };
        let own = |key: &PublicKey| self.own.iter().any(|own| own.public == *key);
        let keeps =
            |own_key: &PublicKey, peer_key: &PublicKey| own(own_key) && peer.has_key(peer_key);
        let keeps_session = |s: &Session| keeps(&s.own_key, &s.peer_key);
        let falls = peer.present.as_ref().is_some_and(|session| !keeps_session(session));
        let gone = |session: Option<Session>| session.filter(|s| !keeps_session(s));
        let (last, next) = (gone(peer.last), gone(peer.next));
        let pending = peer.asking.pending.as_ref();
        let unasked = pending.is_some_and(|p| !keeps(&p.own_key, &p.peer_key));
        if unasked {
            peer.asking.start_over(now);
        }
        for session in [last, next].into_iter().flatten() {
            self.forget(id, session.index);
        }
        if falls {
            self.step(now, id, Event::Removed);
        }
    }

    /// Does what the time asks for.
    pub fn handle_timeout(&mut self, now: Instant) {
        for place in 0..self.peers.len() {
            while let Some(peer) = &self.peers[place]
                && let Some(own) = self.own.first()
                && let Some((_, due)) = peer.due(&own.public).filter(|(at, _)| *at <= now)
            {
                let (id, last, next) = (peer.id, peer.last, peer.next);
                match due {
                    Due::Event(event) => self.step(now, id, event),
                    Due::Again => self.ask_again(now, id),
                    Due::Path => self.on_unacknowledged(now, id),
                    Due::Last => last.into_iter().for_each(|last| self.forget(id, last.index)),
                    Due::Next => next.into_iter().for_each(|next| self.forget(id, next.index)),
                }
            }
        }
        while let Some((kind, count, last)) = self.refused.tell(now) {
            self.log(Report::Refused { kind, count, last });
        }
    }

    /// When to call [`Secure::handle_timeout`], if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.own.first()?.public;
        let peers = self.peers.iter().flatten().filter_map(|peer| peer.due(&own));
        peers.map(|(at, _)| at).chain(self.refused.tell_at()).min()
    }

    /// Goes to the next state, and does what that asks for.
    fn step(&mut self, now: Instant, id: PeerId, event: Event) {
        let Some(peer) = &mut self.peers[id.place()] else { return };
        let (next, actions) = peer.state.after(event);
        peer.state = next;
        let reason = match event {
            Event::Silence if peer.left => Down::Left,
            Event::Silence => Down::Silent,
            Event::Removed => Down::Removed,
            _ => Down::Expired,
        };
        for action in actions {
            match action {
                Action::StopAsking => self.stop_asking(id),
                Action::Ask => self.ask(now, id),
                // The caller that made it sends it.
                Action::Answer => {}
                Action::Promote => self.promote(now, id),
                Action::Tell => self.tell_up(id),
                Action::Down => self.tell_down(id, reason),
                Action::Forget => self.forget_where(id, |peer| [peer.last, peer.present, None]),
                Action::ForgetAll => {
                    self.forget_where(id, |peer| [peer.last, peer.present, peer.next]);
                }
            }
        }
    }

    fn stop_asking(&mut self, id: PeerId) {
        if let Some(peer) = &mut self.peers[id.place()] {
            peer.asking.pending = None;
        }
    }

    fn set_next(&mut self, id: PeerId, session: Session, remote: u32, pair: Pair) {
        if let Some(before) = self.peers[id.place()].as_ref().and_then(|peer| peer.next) {
            self.forget(id, before.index);
        }
        let Hello { incarnation, shards, .. } = session.hello;
        let index = session.index;
        let keys = Keys { peer: id, incarnation, shards, index, remote, pair };
        if let Some(peer) = &mut self.peers[id.place()] {
            peer.next = Some(session);
            self.change(id, &LaneChange::Add(Arc::new(keys)));
        }
    }

    fn promote(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = &mut self.peers[id.place()] else { return };
        let Some(next) = peer.next.take() else { return };
        let (last, present) = (peer.last.take(), peer.present.replace(next));
        // What an earlier incarnation sealed must not be taken for this one's.
        let same = present.filter(|old| old.hello.incarnation == next.hello.incarnation);
        peer.last = same;
        peer.rekeys += u64::from(same.is_some());
        (peer.left, peer.heard_at, peer.unheard_since) = (false, now, None);
        if !next.initiated {
            peer.asking.key = Some(next.peer_key);
        }
        let gone = [last, present.filter(|_| same.is_none())];
        self.change(id, &LaneChange::Use(id, next.index));
        for session in gone.into_iter().flatten() {
            self.change(id, &LaneChange::Remove(id, session.index));
        }
    }

    fn tell_up(&mut self, id: PeerId) {
        let Some(peer) = &mut self.peers[id.place()] else { return };
        let (Some(session), Some(address)) = (peer.present, peer.address) else { return };
        let Session { hello: Hello { incarnation, shards, .. }, version, features, .. } = session;
        if peer.reported.replace(incarnation) != Some(incarnation) {
            let up = Report::PeerUp { peer: id, incarnation, version, features, shards, address };
            let _ = self.events.push(up);
        }
    }

    fn tell_down(&mut self, id: PeerId, reason: Down) {
        let reported = self.peers[id.place()].as_mut().and_then(|peer| peer.reported.take());
        if reported.is_some() {
            let _ = self.events.push(Report::PeerDown { peer: id, reason });
        }
    }

    fn forget_where(&mut self, id: PeerId, which: impl Fn(&Peer) -> [Option<Session>; 3]) {
        let sessions = self.peers[id.place()].as_ref().map(|peer| which(peer));
        for session in sessions.into_iter().flatten().flatten() {
            self.forget(id, session.index);
        }
    }

    /// Wipes one session.
    fn forget(&mut self, id: PeerId, index: u32) {
        if let Some(peer) = &mut self.peers[id.place()] {
            for place in [&mut peer.last, &mut peer.present, &mut peer.next] {
                *place = place.filter(|session| session.index != index);
            }
            self.change(id, &LaneChange::Remove(id, index));
        }
    }

    fn follow(&mut self, now: Instant, id: PeerId, from: SocketAddr, newest: bool) {
        if let Some(peer) = &mut self.peers[id.place()]
            && peer.follow(now, from, newest)
        {
            self.log(Report::OtherAddress { peer: id, address: from });
        }
    }

    fn whose(&self, key: &PublicKey) -> Option<PeerId> {
        self.peers.iter().flatten().find(|peer| peer.has_key(key)).map(|peer| peer.id)
    }

    /// Whether the initiation that was sent goes before one that came: of two at once both ends keep the one of the
    /// lower name, unless that has been waiting for so long that it seems not to arrive (R5.5).
    fn goes_first(&self, now: Instant, id: PeerId) -> bool {
        let Some(peer) = &self.peers[id.place()] else { return false };
        let waits = now.since(peer.asking.since) < INITIATE_MAX;
        peer.state.asks() && waits && self.hello.name < peer.name
    }

    /// What a peer says of itself, and what follows of it; or why there can be no session (R4.2, R5.10).
    fn acceptable(
        &mut self,
        now: Instant,
        id: PeerId,
        hello: &[u8; HELLO_LEN],
    ) -> Result<(Hello, u8, u64), Refusal> {
        let hello = Hello::decode(hello).ok_or(Refusal::Malformed)?;
        let peer = self.peers[id.place()].as_mut().ok_or(Refusal::UnknownKey)?;
        let may_tell = now >= peer.complain_at;
        let common = self.hello.common(&hello);
        let (refusal, event) = match common {
            _ if peer.name != hello.name => {
                (Refusal::OtherName, Report::OtherName { peer: id, called: hello.name })
            }
            Some((version, features)) => return Ok((hello, version, features)),
            None => (Refusal::NoVersion, Report::NoVersion { peer: id, versions: hello.versions }),
        };
        if may_tell {
            peer.complain_at = now + TELL_EVERY;
            self.log(event);
        }
        Err(refusal)
    }
}
