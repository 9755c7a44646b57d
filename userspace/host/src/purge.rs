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
//! Deletes go through a socket of their own, whose port id distinguishes their events from those of traffic.

use crate::exchange::dump::{Dump, DumpEnd, Reading};
use crate::exchange::writes::{WriteOutcome, Writes};
use ctnetlink::request::{self, Selection, Source};
use ctnetlink::{Detail, Flow, FlowKey, Message, Writer};
use engine::Bounded;
use std::io;

/// Tables that wait for their turn: each once.
const SUBJECTS_MAX: usize = 2;
/// How often a table is read again because the kernel said that the reading may have missed entries.
const READINGS_MAX: u32 = 5;

/// A table of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeSubject {
    /// The table of flows.
    Flows,
    /// The table of expectations.
    Expectations,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeTally {
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
    dump: Dump,
    deletes: Writes<()>,
    waiting: Bounded<PurgeSubject>,
    round: Option<Round>,
    tally: PurgeTally,
}

/// A table being read, for the how many-th time.
#[derive(Clone, Copy, Debug)]
struct Round {
    subject: PurgeSubject,
    number: u32,
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
            dump: Dump::open(1)?,
            deletes: Writes::open()?,
            waiting: Bounded::new(SUBJECTS_MAX),
            round: None,
            tally: PurgeTally::default(),
        })
    }

    /// Whether an event is its doing, by the port id it carries.
    #[must_use]
    pub const fn caused(&self, portid: u32) -> bool {
        portid == self.deletes.portid()
    }

    /// Whether it is at work.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.round.is_some() || !self.waiting.is_empty()
    }

    /// Begins with these tables, one after the other.
    pub fn start(&mut self, subjects: impl IntoIterator<Item = PurgeSubject>) {
        for subject in subjects {
            if !self.waiting.contains(&subject) {
                let _ = self.waiting.push(subject);
            }
        }
    }

    /// Deletes the next hundred or so entries of flows that `counts`. `Some` when this was the end.
    pub fn step(&mut self, counts: impl Fn(&Flow) -> bool) -> Option<PurgeTally> {
        if self.round.is_none() {
            let subject = self.waiting.pop()?;
            self.begin(Round { subject, number: 1 });
        }
        if let Some(round) = self.round {
            let mut victims = Vec::new();
            let end = self.read_piece(&counts, &mut victims);
            self.delete(round.subject, &victims);
            if let Some(end) = end {
                self.end(round, end);
            }
        }
        (!self.is_running()).then(|| std::mem::take(&mut self.tally))
    }

    fn begin(&mut self, round: Round) {
        let asked = self.dump.begin(|w, seq| match round.subject {
            PurgeSubject::Flows => request::dump(w, seq, Source::Table, &Selection::default()),
            PurgeSubject::Expectations => request::dump_expectations(w, seq, request::ANY_FAMILY),
        });
        self.round = asked.is_ok().then_some(round);
        self.tally.unread += u64::from(asked.is_err());
    }

    /// Reads a piece of the dump. `Some` at its end.
    fn read_piece(
        &mut self,
        counts: &impl Fn(&Flow) -> bool,
        victims: &mut Vec<Victim>,
    ) -> Option<DumpEnd> {
        let reading = self.dump.read(|message| match message {
            Message::Flow { flow, .. } => victims.extend(flow_victim(&flow, counts)),
            Message::Expect { expect, .. } => victims.extend(expectation_victim(&expect, counts)),
            _ => {}
        });
        match reading {
            Ok(Reading::Nothing | Reading::Some) => None,
            Ok(Reading::Over(end)) => Some(end),
            Err(error) => {
                Some(DumpEnd { errno: error.raw_os_error().unwrap_or(libc::EIO), torn: false })
            }
        }
    }

    fn end(&mut self, round: Round, end: DumpEnd) {
        self.round = None;
        if end.errno == 0 && end.torn && round.number < READINGS_MAX {
            self.begin(Round { number: round.number + 1, ..round });
        } else if !end.is_complete() {
            self.tally.unread += 1;
        }
    }

    fn delete(&mut self, subject: PurgeSubject, victims: &[Victim]) {
        let Self { deletes, tally, .. } = self;
        let mut queued = 0;
        let mut settle = |(), came: WriteOutcome<'_>| {
            queued += 1;
            match came.errno {
                0 => tally.deleted += 1,
                // The entry had ended by itself.
                libc::ENOENT => {}
                _ => tally.refused += 1,
            }
            Ok::<_, io::Error>(())
        };
        let mut sent = Ok(());
        for (key, id) in victims {
            let request = |w: &mut Writer<'_>, ticket, (): &()| match subject {
                PurgeSubject::Flows => request::delete(w, ticket, key, *id),
                PurgeSubject::Expectations => request::delete_expectation(w, ticket, key, *id),
            };
            sent = sent.and_then(|()| deletes.push((), request, &mut settle));
        }
        // The outcome of the rest of a batch that could not be sent is unknown.
        if sent.and_then(|()| deletes.flush(&mut settle)).is_err() {
            tally.refused += victims.len() as u64 - queued;
        }
    }
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
    let zone = expectation.zone.unwrap_or(0);
    let master = Flow { zone, ..Flow::new(expectation.master) };
    counts(&master).then_some((FlowKey::new(expectation.tuple, zone), expectation.id))
}
