//! Seals and opens for a shard: the first shard makes the handshakes of all, the others follow the states it sends.
//!
//! ```text
//!   shard 0: Lead --PeerState--> queue of shard 1 --> Follower
//!                 <--Report----- queue of shard 0 <--
//! ```
//!
//! Both queues have a limit, and an eventfd that wakes the reader. A state that finds no room is counted, and sent when
//! there is some, as it is at that time. A report that is lost is repeated within a second.

use crate::bounded::Receiver;
use crate::orders::{self, Bell, Orders};
use crate::secure::limit::PEERS_MAX;
use crate::secure::{
    Branch, Event, Name, Opened, PeerId, PeerState, Refusal, Report, Run, Sealed, Secure,
};
use common::Instant;
use engine::QueueUsages;
use rustix::fd::{AsFd, BorrowedFd};
use std::io;
use std::net::SocketAddr;

/// What happened to a peer, for the engine.
#[derive(Clone, Copy, Debug)]
pub(super) enum News {
    Up { peer: PeerId, incarnation: u64, shards: u8 },
    Down(PeerId),
}

impl News {
    fn of(peer: PeerId, run: Option<Run>) -> Self {
        match run {
            Some(Run { incarnation, shards }) => Self::Up { peer, incarnation, shards },
            None => Self::Down(peer),
        }
    }
}

/// A queue's reading end.
#[derive(Debug)]
struct Mailbox<T> {
    queue: Receiver<T>,
    bell: Bell,
}

impl<T> Mailbox<T> {
    fn new() -> io::Result<(Orders<T>, Self)> {
        let (sender, queue, bell) = orders::orders()?;
        Ok((sender, Self { queue, bell }))
    }

    /// Clears the bell. Call this before taking everything that has come: a sender rings after it sent.
    fn hush(&self) {
        // A bell that did not ring returns "again".
        let _ = rustix::io::read(&self.bell.wake, &mut [0; 8]);
    }

    fn take(&self) -> Option<T> {
        if self.queue.is_empty() { None } else { self.queue.try_recv().ok() }
    }
}

/// The first shard's part.
pub(super) struct Lead {
    pub(super) secure: Secure,
    others: Vec<Other>,
    reports: Mailbox<Report>,
    /// By peer: the address that the other shards know, or will.
    addresses: [Option<SocketAddr>; PEERS_MAX],
    /// By peer: the run that is there.
    runs: [Option<Run>; PEERS_MAX],
    /// A state came to be owed since states were last sent.
    owes: bool,
}

/// Another shard, for the first one.
struct Other {
    states: Orders<PeerState>,
    /// By peer: what the shard was sent last is not its state any more.
    owed: [bool; PEERS_MAX],
}

/// Another shard's part.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) branch: Branch,
    states: Mailbox<PeerState>,
    lead: Orders<Report>,
    pub(super) names: Vec<Name>,
}

/// Whichever a shard has.
pub(super) enum Seals {
    Lead(Box<Lead>),
    Follower(Box<Follower>),
}

/// The parts of all shards, that of the first one first.
pub(super) fn seals(secure: Secure, names: &[Name], shards: usize) -> io::Result<Vec<Seals>> {
    let (lead, reports) = Mailbox::new()?;
    let (mut others, mut followers) = (Vec::new(), Vec::new());
    for shard in 1..shards {
        let (sender, states) = Mailbox::new()?;
        others.push(Other { states: sender, owed: [false; PEERS_MAX] });
        let branch = Branch::new(u8::try_from(shard).map_err(io::Error::other)?);
        let (lead, names) = (lead.clone(), names.to_vec());
        followers.push(Seals::Follower(Box::new(Follower { branch, states, lead, names })));
    }
    let (addresses, runs) = ([None; PEERS_MAX], [None; PEERS_MAX]);
    let lead = Lead { secure, others, reports, addresses, runs, owes: false };
    Ok([Seals::Lead(Box::new(lead))].into_iter().chain(followers).collect())
}

impl Lead {
    /// Other shards have to learn of a peer.
    fn owe(&mut self, peer: PeerId) {
        self.owes = true;
        self.others.iter_mut().for_each(|other| other.owed[peer.place()] = true);
    }

    /// Sends other shards where peers are, as far as they do not know, and what found no room before. It looks at each
    /// peer, so a turn calls it once, and no datagram does.
    pub(super) fn send_addresses(&mut self) {
        if self.others.is_empty() {
            return;
        }
        for peer in (0..PEERS_MAX).filter_map(PeerId::at) {
            if self.secure.address(peer) != self.addresses[peer.place()] {
                self.owe(peer);
            }
        }
        self.send_states();
    }

    /// Sends other shards the states that are owed to them. What finds no room stays owed.
    fn send_states(&mut self) {
        self.owes = false;
        for peer in (0..PEERS_MAX).filter_map(PeerId::at) {
            let (place, address) = (peer.place(), self.secure.address(peer));
            for Other { states, owed } in self.others.iter_mut().filter(|other| other.owed[place]) {
                let (keys, run) = (self.secure.keys_of(peer), self.runs[place]);
                owed[place] = !states.send(PeerState { peer, keys, address, run });
                self.addresses[place] = address;
            }
        }
    }

    /// Takes an event of the sessions. Other shards receive it first.
    fn poll_event(&mut self) -> Option<(Event, Option<News>)> {
        let event = self.secure.poll_event();
        let news = match event {
            Some(Event::PeerUp { peer, incarnation, shards, .. }) => {
                Some((peer, Some(Run { incarnation, shards })))
            }
            Some(Event::PeerDown { peer, .. }) => Some((peer, None)),
            _ => None,
        };
        if let Some((peer, run)) = news {
            self.runs[peer.place()] = run;
            self.owe(peer);
        }
        while let Some(peer) = self.secure.poll_changed() {
            self.owe(peer);
        }
        if self.owes {
            self.send_states();
        }
        Some((event?, news.map(|(peer, run)| News::of(peer, run))))
    }
}

impl Seals {
    /// What to wait on beside the sockets.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Lead(lead) => lead.reports.bell.wake.as_fd(),
            Self::Follower(follower) => follower.states.bell.wake.as_fd(),
        }
    }

    /// Turns off wake-ups by other shards: this thread is about to look at its queue.
    pub(super) fn hush(&self) {
        match self {
            Self::Lead(lead) if lead.others.is_empty() => {}
            Self::Lead(lead) => lead.reports.hush(),
            Self::Follower(follower) => follower.states.hush(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Lead(lead) => lead.secure.poll_timeout(),
            Self::Follower(follower) => follower.branch.poll_timeout(),
        }
    }

    /// Takes in what other shards say. It must be called after a datagram came and before it is opened: shard 0 says
    /// that a session begins before the peer can know of it.
    pub(super) fn listen(&mut self, now: Instant, mut news: impl FnMut(News)) {
        match self {
            Self::Lead(lead) => {
                while let Some(Report { from, opened }) = lead.reports.take() {
                    lead.secure.on_opened(now, from, &opened);
                }
            }
            Self::Follower(follower) => {
                while let Some(state) = follower.states.take() {
                    let run = follower.branch.take(&state);
                    run.into_iter().for_each(|run| news(News::of(state.peer, run)));
                }
            }
        }
    }

    /// Takes a datagram. What is returned lies opened in `bytes`.
    pub(super) fn open(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &mut [u8],
    ) -> Option<Opened> {
        match self {
            Self::Lead(lead) => lead.secure.handle_datagram(now, from, bytes),
            Self::Follower(follower) => {
                let opened = follower.branch.handle_datagram(from, bytes)?;
                let report = follower.branch.report(now, from, &opened);
                if let Some(report) = report {
                    follower.lead.send(report);
                }
                follower.branch.is_of_known_run(from, &opened).then_some(opened)
            }
        }
    }

    pub(super) fn seal(
        &mut self,
        now: Instant,
        peer: usize,
        (to, number): (u8, u64),
        datagram: (&mut [u8], usize),
    ) -> Option<Sealed> {
        match self {
            Self::Lead(lead) => {
                let peer = lead.secure.peer_at(peer)?;
                lead.secure.seal(now, peer, to, number, datagram)
            }
            Self::Follower(follower) => {
                follower.branch.seal(PeerId::at(peer)?, to, number, datagram)
            }
        }
    }

    /// Events of sessions, with the part that the engine must know. Other shards learn of them first.
    pub(super) fn poll_event(&mut self, now: Instant) -> Option<(Event, Option<News>)> {
        match self {
            Self::Lead(lead) => lead.poll_event(),
            Self::Follower(follower) => Some((follower.branch.poll_event(now)?, None)),
        }
    }

    pub(super) fn refused(&self, kind: Refusal) -> u64 {
        match self {
            Self::Lead(lead) => lead.secure.refused(kind),
            Self::Follower(follower) => follower.branch.refused(kind),
        }
    }

    /// Its queues, by name: all shards have the same ones.
    pub(super) fn queues(&self, queues: &mut QueueUsages) {
        let (states, reports) = match self {
            Self::Lead(lead) => {
                lead.secure.queues(queues);
                (engine::QueueUsage::default(), lead.reports.queue.usage())
            }
            Self::Follower(follower) => {
                Secure::no_queues(queues);
                (follower.states.queue.usage(), engine::QueueUsage::default())
            }
        };
        queues.extend([("session_states", states), ("session_reports", reports)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secure::{Hello, Members, PeerConfig, Secret};

    /// A node of two shards with one peer.
    fn two_shards() -> (Lead, Follower, PeerId) {
        let [own, other] = ["fw-a", "fw-b"].map(|name| Name::parse(name).unwrap());
        let hello = Hello { versions: (2, 2), shards: 2, name: own, features: 0, incarnation: 1 };
        let peer = PeerConfig { name: other, keys: vec![], addresses: vec![] };
        let members = Members { keys: vec![], preshared: Secret::ZERO, peers: vec![peer] };
        let secure = Secure::new(hello, members, 0, Box::new(|bytes| bytes.fill(7)), Instant(1));
        let peer = secure.peer_at(0).unwrap();
        let mut seals = seals(secure, &[other], 2).unwrap().into_iter();
        match (seals.next(), seals.next()) {
            (Some(Seals::Lead(lead)), Some(Seals::Follower(follower))) => (*lead, *follower, peer),
            _ => panic!("the first one makes the handshakes"),
        }
    }

    /// The runs that the follower's engine knows, 0 for none.
    fn heard(follower: Follower) -> (Follower, Vec<u64>) {
        let (mut seals, mut runs) = (Seals::Follower(Box::new(follower)), Vec::new());
        seals.listen(Instant(1), |news| {
            runs.push(match news {
                News::Up { incarnation, .. } => incarnation,
                News::Down(_) => 0,
            });
        });
        let Seals::Follower(follower) = seals else { panic!("it stays one") };
        (*follower, runs)
    }

    #[test]
    fn a_shard_whose_queue_was_full_is_told_what_a_peer_is_by_then() {
        let (mut lead, follower, peer) = two_shards();
        let is = |lead: &mut Lead, incarnation| {
            lead.runs[peer.place()] = Some(Run { incarnation, shards: 1 });
            lead.owe(peer);
            lead.send_states();
        };
        let max = follower.states.queue.usage().max as u64;
        (1..=max + 3).for_each(|run| is(&mut lead, run));
        assert_eq!(follower.states.queue.usage().no_space, 3);
        let (follower, runs) = heard(follower);
        assert_eq!(runs, Vec::from_iter(1..=max));
        lead.send_addresses();
        let (follower, runs) = heard(follower);
        assert_eq!(runs, [max + 3], "what was between is gone");
        lead.send_addresses();
        assert_eq!(heard(follower).1, [0; 0], "it is told once");
    }
}
