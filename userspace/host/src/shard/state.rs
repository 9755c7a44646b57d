//! What a shard says of itself, and when it says so.

use super::Shard;
use super::publish::Publisher;
use super::report::{self, Snapshot, TableState};
use crate::link::Group;
use crate::nodes::Nodes;
use common::Instant;
use engine::config::limit;
use engine::turnover::Turnover;
use engine::{QueueUsage, QueueUsages, Side, Standing};

/// Queues that there is room for from the start.
const QUEUES: usize = 32;

/// Memory for the long parts of a snapshot.
struct Room {
    queues: QueueUsages,
    turnover: Turnover,
}

impl Room {
    /// The memory of the snapshot that will be filled again; new memory while a reader holds that one.
    fn of(publisher: &mut Publisher<Snapshot>) -> Self {
        match publisher.spare() {
            Some(Snapshot { queues, turnover, .. }) => Self {
                queues: std::mem::take(queues),
                turnover: std::mem::replace(turnover, Turnover::without_room()),
            },
            None => Self::renew(),
        }
    }

    fn renew() -> Self {
        Self { queues: QueueUsages::with_capacity(QUEUES), turnover: Turnover::default() }
    }
}

impl Shard {
    /// Publishes the state, if it is time, and in any case before an answer. `changed`: this turn did something.
    pub(super) fn tell(&mut self, now: Instant, changed: bool) {
        self.publisher.note(changed);
        let answers = self.replies.are_given();
        // A client that waits until the kernel's table has been read must not wait any longer.
        let filled = self.engine.is_filled() != self.publisher.newest().filled;
        if answers || filled || self.publisher.is_due(now) {
            self.publish(now);
        }
        self.replies.send();
    }

    /// Publishes how things are.
    pub(super) fn publish(&mut self, now: Instant) {
        let room = Room::of(&mut self.publisher);
        let snapshot = self.snapshot(now, room);
        self.publisher.publish(now, snapshot);
    }

    /// Looks for what is not as it was published although no turn did anything: counts of the kernel, links, and what a
    /// mere lapse of time decides.
    pub(super) fn look_for_drift(&mut self, now: Instant) {
        let published = self.publisher.newest();
        let standing = |standing: Standing| Standing { peer_heard: None, ..standing };
        let equal = self.engine.peer_standings(now).map(|peer| peer.equal);
        let drifted = self.overruns.account != published.account
            || self.source.name() != published.source
            || self.engine.inexact_because() != published.because
            || !published.state.is_that_of(&self.engine)
            || standing(self.engine.standing(now)) != standing(published.standing)
            || equal.ne(published.peers.iter().map(|peer| peer.engine.equal))
            || self.links.as_ref().is_some_and(|links| links.report() != published.links);
        self.publisher.note(drifted);
    }

    fn snapshot(&self, now: Instant, room: Room) -> Snapshot {
        let Room { queues, mut turnover } = room;
        turnover.clone_from(self.engine.turnover());
        let replication = self.engine.config().replication;
        let asked = self.asked();
        Snapshot {
            counters: self.engine.counters(),
            flows: [Side::Local, Side::Remote].map(|side| self.engine.table(side).alive()),
            expectations: self.expectation_counts(),
            shards: 1,
            account: self.source.account(),
            events_malformed: self.hearing.malformed,
            overruns: self.overruns.times,
            traffic: self.hearing.traffic,
            source: self.source.name(),
            receive_buffer: self.source.receive_buffer(),
            standing: self.engine.standing(now),
            links: self.links.as_ref().map(Group::report).unwrap_or_default(),
            replicates: self.links.is_some() || self.nodes.is_some(),
            peers: self.nodes.as_ref().map(|n| n.report(&self.engine, now)).unwrap_or_default(),
            refused: self.nodes.as_ref().map(Nodes::refused),
            keeps: [replication.keep_local, replication.keep_remote],
            orders_refused: asked.iter().map(|(_, usage)| usage.no_space).sum(),
            uptime: now.since(self.began),
            latency: self.latency.report(),
            tally: self.tally,
            filled: self.engine.is_filled(),
            state: TableState::of(&self.engine, now),
            because: self.engine.inexact_because(),
            committing: self.engine.is_committing(),
            commit_progress: self.engine.commit_progress(),
            purging: self.purges.is_running(),
            purges: self.purges.count,
            flows_max: self.engine.config().flows_max,
            outbox: QueueUsage {
                len: self.engine.outbox_len(),
                // Every flow of the table waits at most once; the messages that stand alone have their own limit.
                max: self.engine.config().flows_max + limit::OUTBOX_MESSAGES_MAX,
                no_space: self.engine.counters().replica.send_no_space,
            },
            turnover,
            lag: self.engine.outbox().and_then(|outbox| report::lag(outbox, now)),
            resend: self.engine.outbox().and_then(report::resend),
            queues: self.queues(queues, &asked),
        }
    }

    /// What the main thread and the feed ask for, and who waits for it.
    fn asked(&self) -> [(&'static str, QueueUsage); 3] {
        let (queries, walks) = (self.queries.usage(), self.walks.usage());
        [("orders", self.orders.usage()), ("queries", queries), ("walks", walks)]
    }

    fn queues(&self, mut queues: QueueUsages, asked: &[(&'static str, QueueUsage)]) -> QueueUsages {
        queues.clear();
        self.engine.queues(&mut queues);
        queues.extend_from_slice(asked);
        self.nodes.iter().for_each(|nodes| nodes.queues(&mut queues));
        self.ends.iter().for_each(|ends| queues.push(("unseen_ends", ends.unseen())));
        queues
    }
}
