//! Filters over a table, a slice of it in each turn, so that events wait for none of them.

use super::replies::Replies;
use super::{EntryAge, Place, TableState};
use crate::removal::Victim;
use common::Instant;
use ctnetlink::{Flow, FlowKey};
use engine::census::Census;
use engine::flows::table::{Entry, Marks};
use engine::query::{Program, scan};
use engine::{Bounded, Engine, PeerReach, QueueUsage, Side};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};
use tokio::sync::oneshot;

/// Slots looked at in one turn.
const SLICE_SLOTS: u32 = 8192;
/// The longest that a turn goes on with them.
const SLICE_TIME: Duration = Duration::from_micros(500);
/// Slots between two looks at the clock, for a filter of one test.
const PIECE_SLOTS: usize = 1024;
/// Most queries under way.
const RUNNING_MAX: usize = 64;

/// What is wanted of the flows that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// How many flows match.
    Count,
    /// Their identities and ids, at most so many. All are counted.
    Victims(usize),
    /// The flows themselves, until there are so many.
    Flows(usize),
    /// Counts by zone, protocol and state.
    Census,
    /// The flow of this identity, whatever the filter says. It is looked up, without a walk.
    One(FlowKey),
}

/// A filter over a table of one shard.
#[derive(Debug)]
pub struct Query {
    /// Over which table.
    pub side: Side,
    /// The filter.
    pub program: Arc<Program>,
    /// The place to begin at.
    pub from: Place,
    /// The kind of answer.
    pub want: Want,
    /// Where the answer goes.
    pub reply: oneshot::Sender<QueryAnswer>,
}

/// What came of a query.
#[derive(Clone, Debug, Default)]
pub struct QueryAnswer {
    /// Flows that match, of those looked at.
    pub matched: u64,
    /// Flows that were looked at.
    pub looked_at: u64,
    /// If victims were wanted.
    pub victims: Vec<Victim>,
    /// If flows were wanted.
    pub flows: Vec<(Flow, EntryAge)>,
    /// If one flow was wanted, and is there.
    pub found: Option<Found>,
    /// If counts were wanted.
    pub census: Option<Box<Census>>,
    /// Where to go on; `None` at the end of the last shard's table.
    pub next: Option<Place>,
    /// How far the table can be trusted; `None` if there is none.
    pub trust: Option<Trust>,
}

/// What is known of a flow beside the flow.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Of a flow of this node: how far its last change has come, to each peer.
    pub reach: Vec<PeerReach>,
    /// The kernel may never report its end.
    pub is_silent: bool,
    /// The kernel may not hold it.
    pub is_unsure: bool,
}

/// How far the local table can be trusted to answer for the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// Whether news is missing.
    pub state: TableState,
    /// Whether the configured filter keeps flows out of it.
    pub filtered: bool,
    /// New flows that found no room since the start.
    pub no_room: u64,
    /// For the remote table: whether news of peers is missing, or their flows have not all come.
    pub incomplete: bool,
}

/// Queries under way, one slice each in turn.
#[derive(Debug)]
pub(super) struct Queries {
    running: Bounded<(Query, QueryAnswer)>,
}

impl Default for Queries {
    fn default() -> Self {
        Self { running: Bounded::new(RUNNING_MAX) }
    }
}

impl Queries {
    /// Takes one. If there are too many, its reply channel closes.
    pub(super) fn order(&mut self, query: Query) {
        let _ = self.running.push((query, QueryAnswer::default()));
    }

    /// How many are under way.
    pub(super) fn usage(&self) -> QueueUsage {
        self.running.usage()
    }

    /// Goes on with the one whose turn it is; how many are under way.
    pub(super) fn step(&mut self, engine: &Engine, now: Instant, replies: &mut Replies) -> usize {
        let Some((mut query, mut answer)) = self.running.pop() else { return 0 };
        // The client has gone and needs no answer.
        if query.reply.is_closed() {
            return self.running.len() + 1;
        }
        let shard = query.from.shard;
        let replication = &engine.config().replication;
        let keeps = match query.side {
            Side::Local => replication.keep_local,
            Side::Remote => replication.has_peer && replication.keep_remote,
        };
        if keeps {
            answer.trust = Some(trust(engine, query.side, now));
            if !slice(&mut query, &mut answer, engine, now) {
                // It has just left a place.
                let _ = self.running.push((query, answer));
                return self.running.len();
            }
        }
        if answer.next.is_some_and(|next| next.shard == shard) {
            // One page of many: the client asks for the next one.
            let _ = query.reply.send(answer);
        } else {
            replies.give(query.reply, answer);
        }
        self.running.len() + 1
    }
}

fn trust(engine: &Engine, side: Side, now: Instant) -> Trust {
    let counters = engine.counters();
    let standing = engine.standing(now);
    match side {
        Side::Local => Trust {
            state: TableState::of(engine, now),
            filtered: !engine.config().filter.passes_all(),
            no_room: counters.local.create_no_space,
            incomplete: false,
        },
        Side::Remote => Trust {
            state: TableState::Exact,
            filtered: false,
            no_room: counters.remote.create_no_space,
            incomplete: !(standing.remote_complete && standing.remote_exact),
        },
    }
}

/// Where to go on behind the last slot of a shard.
fn next_shard(engine: &Engine, from: Place) -> Option<Place> {
    let more = from.shard + 1 < engine.config().share.count;
    more.then_some(Place { shard: from.shard + 1, slot: 0 })
}

/// A slice of the table. True when the answer is complete.
fn slice(query: &mut Query, answer: &mut QueryAnswer, engine: &Engine, now: Instant) -> bool {
    let table = engine.table(query.side);
    if let Want::One(key) = query.want {
        let found = table.get(&key).filter(|entry| !entry.has_ended());
        found.into_iter().for_each(|entry| {
            answer.matched = 1;
            let reach = match query.side {
                Side::Local => engine.reach(&key, now),
                Side::Remote => Vec::new(),
            };
            let is_silent = entry.marks.contains(Marks::NO_EVENTS);
            let is_unsure = entry.marks.contains(Marks::UNCONFIRMED);
            answer.found = Some(Found { reach, is_silent, is_unsure });
            keep(answer, entry, Want::Flows(1), now);
        });
        answer.next = next_shard(engine, query.from).filter(|_| answer.matched == 0);
        return true;
    }
    let began = Clock::now();
    let Query { program, from, want, .. } = query;
    let end = table.slots();
    let last = end.min(from.slot.saturating_add(SLICE_SLOTS));
    // A filter of thousands of tests looks at the clock after each row.
    let piece = (PIECE_SLOTS / (1 + program.len())).max(1) as u32;
    while from.slot < last {
        let slots = from.slot..last.min(from.slot.saturating_add(piece));
        let (alive, next) = scan(table, program, slots, now, |entry| {
            answer.matched += 1;
            keep(answer, entry, *want, now)
        });
        answer.looked_at += alive;
        from.slot = next;
        if matches!(want, Want::Flows(max) if answer.flows.len() >= *max) {
            answer.next = Some(*from);
            return true;
        }
        if began.elapsed() > SLICE_TIME {
            break;
        }
    }
    if from.slot < end {
        return false;
    }
    if *want == Want::Census {
        answer.census.get_or_insert_default().note(table);
    }
    answer.next = next_shard(engine, *from);
    true
}

/// Keeps what is wanted of a flow that matches; whether to go on.
fn keep(answer: &mut QueryAnswer, entry: Entry<'_>, want: Want, now: Instant) -> bool {
    match want {
        Want::Count => true,
        Want::Census => {
            answer.census.get_or_insert_default().count(entry);
            true
        }
        Want::Victims(max) => {
            if answer.victims.len() < max {
                answer.victims.push((entry.key(), entry.id()));
            }
            true
        }
        // A look-up, not a walk.
        Want::One(_) => false,
        Want::Flows(max) => {
            let active_s = (now.as_secs() as u32).saturating_sub(entry.since_s);
            answer.flows.push((entry.flow(), EntryAge { active_s, expires_s: None }));
            answer.flows.len() < max
        }
    }
}

#[cfg(test)]
mod tests;
