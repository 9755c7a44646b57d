//! Empties the kernel's tables of flows and expectations, one entry after the other.
//!
//! ```text
//!  dump: a piece --filter--> identities with ids --batch of deletes--> kernel     one step, about a hundred entries
//!   ^                                                                     |
//!   +---------------------------- next step ------------------------------+
//! ```
//!
//! The kernel's own flush would be one request, but it would also take what the filter ignores. And it would cause
//! all events at once: a step in each turn of the shard lets those of living flows through. Deletes name the id, so
//! that a flow that began since the dump showed its predecessor stays.
//!
//! Deletes go through a socket of their own, by whose port id their events are told from traffic.

use crate::netlink::Socket;
use crate::sys::Batch;
use ctnetlink::request::{self, Selection, Source, Ticket};
use ctnetlink::{Detail, Flow, FlowKey, Message, Messages, Writer};
use rustix::fd::AsFd;
use std::collections::VecDeque;
use std::io;

/// The kernel fills dump buffers up to 32 KiB when the reader offers that much.
const DUMP_SLOT: usize = 32 << 10;
/// Deletes per `send`.
const BATCH_OPS: usize = 64;
/// More than so many deletes take.
const BATCH_BYTES: usize = 16 << 10;
/// An answer is a capped error.
const ANSWER_SLOT: usize = 4096;
/// How often a table is read again because the kernel said that the reading may have missed entries.
const READINGS_MAX: u32 = 5;
const ENOENT: i32 = 2;

/// Which table of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Flows.
    Flows,
    /// Expectations.
    Expectations,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries deleted.
    pub deleted: u64,
    /// Entries the kernel kept.
    pub refused: u64,
    /// Tables that could not be read to their end.
    pub unread: u64,
}

/// Deletes entries of the kernel's tables.
#[derive(Debug)]
pub struct Purger {
    dump: Socket,
    delete: Socket,
    pieces: Batch,
    answers: Batch,
    buffer: Vec<u8>,
    waiting: VecDeque<Subject>,
    reading: Option<Reading>,
    tally: Tally,
}

/// A table being read.
#[derive(Debug)]
struct Reading {
    subject: Subject,
    /// The kernel skipped or repeated entries (`NLM_F_DUMP_INTR`).
    torn: bool,
    round: u32,
}

/// An entry to delete: identity and id.
type Victim = (FlowKey, Option<u32>);

impl Purger {
    /// Opens its sockets.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            dump: Socket::for_requests()?,
            delete: Socket::for_requests()?,
            pieces: Batch::new(1, DUMP_SLOT),
            answers: Batch::new(BATCH_OPS, ANSWER_SLOT),
            buffer: vec![0; BATCH_BYTES],
            waiting: VecDeque::new(),
            reading: None,
            tally: Tally::default(),
        })
    }

    /// Whether an event is its doing, by the port id it carries.
    #[must_use]
    pub const fn caused(&self, portid: u32) -> bool {
        portid == self.delete.portid()
    }

    /// Whether it is at work.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.reading.is_some() || !self.waiting.is_empty()
    }

    /// Begins with these tables, one after the other.
    pub fn start(&mut self, subjects: impl IntoIterator<Item = Subject>) {
        self.waiting.extend(subjects);
    }

    /// Deletes the next hundred or so entries of flows that `counts`. `Some` when this was the end.
    pub fn step(&mut self, counts: impl Fn(&Flow) -> bool) -> Option<Tally> {
        if self.reading.is_none() {
            let subject = self.waiting.pop_front()?;
            self.begin(subject, 1);
        }
        let mut victims = Vec::new();
        let ended = self.read_piece(&counts, &mut victims);
        for victims in victims.chunks(BATCH_OPS) {
            self.delete(victims);
        }
        if let Some(complete) = ended {
            self.end_reading(complete);
        }
        (!self.is_running()).then(|| std::mem::take(&mut self.tally))
    }

    fn begin(&mut self, subject: Subject, round: u32) {
        let mut bytes = [0; 256];
        let mut writer = Writer::new(&mut bytes);
        match subject {
            Subject::Flows => {
                request::dump(&mut writer, round, Source::Table, &Selection::default());
            }
            Subject::Expectations => {
                request::dump_expectations(&mut writer, round, request::ANY_FAMILY);
            }
        }
        let len = writer.finish().expect("a dump request is short");
        if self.dump.send(&bytes[..len]).is_ok() {
            self.reading = Some(Reading { subject, torn: false, round });
        } else {
            self.tally.unread += 1;
        }
    }

    /// Reads a piece of the dump. `Some` at its end: whether it was read without a fault.
    fn read_piece(
        &mut self,
        counts: &impl Fn(&Flow) -> bool,
        victims: &mut Vec<Victim>,
    ) -> Option<bool> {
        let reading = self.reading.as_mut()?;
        let Ok(got) = self.pieces.receive(self.dump.as_fd()) else { return Some(false) };
        let mut ended = None;
        for raw in (0..got).flat_map(|i| Messages::new(self.pieces.datagram(i)).flatten()) {
            reading.torn |= raw.header.has(ctnetlink::uapi::flag::DUMP_INTR);
            match ctnetlink::decode(&raw) {
                Ok(Message::Flow { flow, .. }) => victims.extend(flow_victim(&flow, counts)),
                Ok(Message::Expect { expect, .. }) => {
                    victims.extend(expectation_victim(&expect, counts));
                }
                Ok(Message::Done(answer) | Message::Error(answer)) => {
                    ended = Some(answer.errno == 0);
                }
                Ok(_) => {}
                Err(_) => self.tally.refused += 1,
            }
        }
        ended
    }

    fn end_reading(&mut self, complete: bool) {
        let Some(Reading { subject, torn, round }) = self.reading.take() else { return };
        if complete && torn && round < READINGS_MAX {
            self.begin(subject, round + 1);
        } else if !complete || torn {
            self.tally.unread += 1;
        }
    }

    fn delete(&mut self, victims: &[Victim]) {
        let Some(Reading { subject, .. }) = self.reading else { return };
        let last = victims.len() - 1;
        let mut writer = Writer::new(&mut self.buffer);
        for (at, (key, id)) in victims.iter().enumerate() {
            let ticket = Ticket { seq: at as u32, ack: at == last };
            match subject {
                Subject::Flows => request::delete(&mut writer, ticket, key, *id),
                Subject::Expectations => {
                    request::delete_expectation(&mut writer, ticket, key, *id);
                }
            }
        }
        let len = writer.finish().expect("the buffer holds a batch of deletes");
        let sent = self.delete.send(&self.buffer[..len]);
        let refused = sent.and_then(|()| self.count_refusals(last as u32));
        let refused = refused.unwrap_or(Refusals { gone: 0, kept: victims.len() as u64 });
        self.tally.refused += refused.kept;
        self.tally.deleted += victims.len() as u64 - refused.kept - refused.gone;
    }

    /// Reads the answers of a batch, up to that of the last request.
    fn count_refusals(&mut self, last: u32) -> io::Result<Refusals> {
        let mut refusals = Refusals { gone: 0, kept: 0 };
        loop {
            let got = self.answers.receive(self.delete.as_fd())?;
            if got == 0 {
                // Answers are there when `send` returns; their absence means that the last one was lost.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut done = false;
            for raw in (0..got).flat_map(|i| Messages::new(self.answers.datagram(i)).flatten()) {
                let Ok(Message::Error(answer)) = ctnetlink::decode(&raw) else { continue };
                match answer.errno {
                    0 => {}
                    ENOENT => refusals.gone += 1,
                    _ => refusals.kept += 1,
                }
                done |= raw.header.seq == last;
            }
            if done {
                return Ok(refusals);
            }
        }
    }
}

/// What became of the deletes of a batch that did not succeed.
struct Refusals {
    /// It had ended by itself.
    gone: u64,
    /// The kernel would not.
    kept: u64,
}

fn flow_victim(view: &ctnetlink::FlowView<'_>, counts: &impl Fn(&Flow) -> bool) -> Option<Victim> {
    let flow = view.to_flow(Detail::State);
    // Where the zones of the directions differ, a flow is found by that of the original one.
    let zone = flow.extra.as_deref().and_then(|extra| extra.zones[0]).unwrap_or(flow.zone);
    let id = flow.has(ctnetlink::flow::Known::ID).then_some(flow.id);
    counts(&flow).then(|| (FlowKey::new(flow.orig, zone), id))
}

/// An expectation counts if the flow that it belongs to does.
fn expectation_victim(
    view: &ctnetlink::ExpectView<'_>,
    counts: &impl Fn(&Flow) -> bool,
) -> Option<Victim> {
    let expectation = view.to_expectation();
    let key = FlowKey::new(expectation.tuple, expectation.zone.unwrap_or(0));
    counts(&Flow::new(expectation.master)).then_some((key, expectation.id))
}
