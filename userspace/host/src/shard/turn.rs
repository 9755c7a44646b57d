//! What a turn of a shard pulls out of its engine, and where that goes: the kernel, the links, the log.

use super::purges::Purges;
use super::replies::Replies;
use super::{BATCHES_PER_TURN, DISCARD_LEN, READ_PAUSE, Shard, TRANSMITS_PER_TURN};
use crate::ended::Ends;
use crate::gso::GsoBatch;
use crate::kernel::KernelWriter;
use crate::link::{Group, Sent};
use crate::log::Log;
use crate::nodes::Nodes;
use crate::observe::Observer;
use crate::shard::Tally;
use common::Instant;
use ctnetlink::Flow;
use engine::drive::{Io, Turn, drive};
use engine::{Engine, Event};
use std::convert::Infallible;
use std::time::Duration;

/// The world around the engine of a shard.
struct Pulls<'a> {
    writer: &'a mut KernelWriter,
    purges: &'a mut Purges,
    /// Events wait: they go before a reading of the kernel's table, but not before a commit, which connections wait
    /// for.
    behind: bool,
    read_at: &'a mut Instant,
    links: Option<&'a mut Group>,
    nodes: Option<&'a mut Nodes>,
    gso: &'a mut GsoBatch,
    link_retry: &'a mut Duration,
    log: &'a Log,
    observer: &'a mut Observer,
    tally: &'a mut Tally,
    ends: Option<&'a Ends>,
    /// The kernel's table is read all the time, instead of listening to events.
    polls: bool,
    replies: &'a mut Replies,
}

impl Shard {
    /// Does what the engine wants done, a turn's share of it.
    pub(super) fn drive(&mut self, now: Instant, behind: bool) -> Turn {
        let mut pulls = Pulls {
            writer: &mut self.writer,
            purges: &mut self.purges,
            behind,
            read_at: &mut self.read_at,
            links: self.links.as_mut(),
            nodes: self.nodes.as_mut(),
            gso: &mut self.gso,
            link_retry: &mut self.link_retry,
            log: &self.log,
            observer: &mut self.observer,
            tally: &mut self.tally,
            ends: self.ends.as_ref(),
            polls: self.poll.is_some(),
            replies: &mut self.replies,
        };
        let Ok(turn) = drive(&mut self.engine, now, &mut pulls);
        turn
    }
}

impl Io<Engine> for Pulls<'_> {
    type Error = Infallible;

    fn kernel(&mut self, engine: &mut Engine, now: Instant) -> Result<usize, Infallible> {
        let mut work = 0;
        if !self.behind || now >= *self.read_at {
            work = self.writer.read_dump(engine, now);
            *self.read_at = now + READ_PAUSE;
        }
        for _ in 0..BATCHES_PER_TURN {
            match self.writer.execute(engine, now) {
                0 => break,
                done => work += done,
            }
        }
        let engine::Config { filter, share, .. } = engine.config();
        // The events of what is deleted go to the shard that has the flow: it must know why that ended.
        let counts = |flow: &Flow| filter.passes(flow) && share.holds(&flow.key());
        Ok(work + self.purges.step(counts, self.log, self.replies))
    }

    /// When the link has no room, the datagrams are kept and the engine is not asked for more: what happens to a flow
    /// meanwhile merges into the message that waits for it.
    fn transmit(&mut self, engine: &mut Engine, now: Instant) -> Result<usize, Infallible> {
        if let Some(nodes) = &mut self.nodes {
            nodes.turn(engine, now);
            return Ok(nodes.transmit(engine, now, TRANSMITS_PER_TURN));
        }
        let Some(links) = &mut self.links else {
            let mut nowhere = [0; DISCARD_LEN];
            let discard = |_: &usize| engine.poll_transmit(now, &mut nowhere).is_none();
            return Ok((0..TRANSMITS_PER_TURN).find(discard).unwrap_or(TRANSMITS_PER_TURN));
        };
        let mut sent = 0;
        while sent < TRANSMITS_PER_TURN {
            let (room, most) = (links.payload_max(), links.gso_max());
            sent += self.gso.fill(room, most, |bytes| engine.poll_transmit(now, bytes));
            if self.gso.is_empty() {
                break;
            }
            let (bytes, piece) = self.gso.head();
            match links.send(bytes, piece) {
                Sent::Bytes(len) => self.gso.advance(len),
                Sent::NoRoom(retry) => {
                    *self.link_retry = retry;
                    break;
                }
            }
        }
        Ok(sent)
    }

    fn report(&mut self, engine: &mut Engine, now: Instant) -> Result<(), Infallible> {
        while let Some(event) = engine.poll_event() {
            self.tally.note(&event);
            if let (Event::Vanished(flow), Some(ends)) = (&event, self.ends) {
                ends.on_vanished(flow.clone());
            }
            // A host that polls would get an event for every reading.
            if !self.polls || !matches!(event, Event::KernelResynced { .. }) {
                self.observer.observe(self.log, &event, now);
            }
            match (&event, self.nodes.as_mut()) {
                (Event::PeerLeft(peer), Some(nodes)) => nodes.on_left(engine, now, *peer),
                (Event::PathLength { peer, len }, Some(nodes)) => nodes.on_path(*peer, *len),
                _ => {}
            }
            match event {
                Event::CommandDone(id) => self.replies.end(id, Ok(())),
                Event::CommandRefused(id, why) => self.replies.end(id, Err(why)),
                Event::Compared(id, found) => self.replies.compared(id, found),
                _ => {}
            }
        }
        Ok(())
    }
}
