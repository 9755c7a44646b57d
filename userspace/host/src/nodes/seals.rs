//! Seals and opens for a shard: the first shard makes the handshakes of all, the others follow its words.
//!
//! ```text
//!   shard 0: Lead --Word--> queue of shard 1 --> Follower
//!                 <-Report-- queue of shard 0 <--
//! ```
//!
//! Both queues have a limit, and an eventfd that wakes the reader. A word that finds no room is lost and counted: new
//! sessions come every two minutes. A report that is lost is repeated within a second.

use crate::bounded::Receiver;
use crate::orders::{self, Bell, Orders};
use crate::secure::limit::PEERS_MAX;
use crate::secure::{Branch, Event, Name, Opened, PeerId, Refusal, Report, Sealed, Secure, Word};
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
    others: Vec<Orders<Word>>,
    reports: Mailbox<Report>,
    /// By peer: the address that the other shards know.
    reported: [Option<SocketAddr>; PEERS_MAX],
}

/// Another shard's part.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) branch: Branch,
    words: Mailbox<Word>,
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
        let (sender, words) = Mailbox::new()?;
        others.push(sender);
        let branch = Branch::new(u8::try_from(shard).map_err(io::Error::other)?);
        let (lead, names) = (lead.clone(), names.to_vec());
        followers.push(Seals::Follower(Box::new(Follower { branch, words, lead, names })));
    }
    let lead = Lead { secure, others, reports, reported: [None; PEERS_MAX] };
    Ok([Seals::Lead(Box::new(lead))].into_iter().chain(followers).collect())
}

impl Lead {
    fn say(&self, word: &Word) {
        self.others.iter().for_each(|other| other.send(word.clone()));
    }

    /// Where peers are, as far as others do not know.
    pub(super) fn say_addresses(&mut self) {
        if self.others.is_empty() {
            return;
        }
        for place in 0..self.reported.len() {
            let Some(peer) = self.secure.peer_at(place) else { continue };
            let address = self.secure.address(peer);
            if address != self.reported[place] {
                self.reported[place] = address;
                address.into_iter().for_each(|to| self.say(&Word::Address(peer, to)));
            }
        }
    }

    /// Takes an event of the sessions. Other shards receive keys before the peer's arrival, and its address before they
    /// speak with it.
    fn poll_event(&mut self) -> Option<(Event, Option<News>)> {
        while let Some(change) = self.secure.poll_change() {
            self.say(&Word::Change(change));
        }
        let event = self.secure.poll_event()?;
        let news = match event {
            Event::PeerUp { peer, incarnation, shards, .. } => {
                self.say_addresses();
                self.say(&Word::Up { peer, incarnation, shards });
                Some(News::Up { peer, incarnation, shards })
            }
            Event::PeerDown { peer, .. } => {
                self.say(&Word::Down(peer));
                Some(News::Down(peer))
            }
            _ => None,
        };
        Some((event, news))
    }
}

impl Seals {
    /// What to wait on beside the sockets.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Lead(lead) => lead.reports.bell.wake.as_fd(),
            Self::Follower(follower) => follower.words.bell.wake.as_fd(),
        }
    }

    /// Turns off wake-ups by other shards: this thread is about to look at its queue.
    pub(super) fn hush(&self) {
        match self {
            Self::Lead(lead) if lead.others.is_empty() => {}
            Self::Lead(lead) => lead.reports.hush(),
            Self::Follower(follower) => follower.words.hush(),
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
                while let Some(word) = follower.words.take() {
                    follower.branch.take(&word);
                    match word {
                        Word::Up { peer, incarnation, shards } => {
                            news(News::Up { peer, incarnation, shards });
                        }
                        Word::Down(peer) => news(News::Down(peer)),
                        Word::Change(_) | Word::Address(..) => {}
                    }
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
                report.into_iter().for_each(|report| follower.lead.send(report));
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
        let (words, reports) = match self {
            Self::Lead(lead) => {
                lead.secure.queues(queues);
                (engine::QueueUsage::default(), lead.reports.queue.usage())
            }
            Self::Follower(follower) => {
                Secure::no_queues(queues);
                (follower.words.queue.usage(), engine::QueueUsage::default())
            }
        };
        queues.extend([("session_words", words), ("session_reports", reports)]);
    }
}
