//! A client that reads records, as the hub sees it.
//!
//! ```text
//!   Live --its queue is full--> Gap: counts only --half of the queue was read: the gap is sent--> Live
//!    ^                                                                     '--resync--> Snapshot
//!    '---- the walk has been all round <---- Snapshot: rows, page by page, between the changes
//! ```

use super::Stats;
use super::lines::{self, Scope};
use super::queue::{Chunk, Piece, Queue};
use super::request::{Format, OnGap, Subscription};
use engine::Slot;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use wire::feed::{Lost, Walked};

/// What was lost since the last word about it.
#[derive(Debug)]
struct Gap {
    since: Instant,
    lost: BTreeMap<(Scope, u16), Lost>,
}

/// A snapshot that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snap {
    pub(super) shard: usize,
    pub(super) at: Slot,
}

/// One client.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) wanted: Subscription,
    pub(super) channel: usize,
    pub(super) queue: Rc<Queue>,
    pub(super) snap: Option<Snap>,
    gap: Option<Gap>,
    /// The state of the table that this client received last.
    state: Value,
    /// The hub sends nothing more.
    pub(super) closed: bool,
}

impl Subscriber {
    pub(super) const fn new(wanted: Subscription, channel: usize, queue: Rc<Queue>) -> Self {
        Self { wanted, channel, queue, snap: None, gap: None, state: Value::Null, closed: false }
    }

    /// Sends the client a control line.
    pub(super) fn say(&self, value: &Value) {
        if !self.closed {
            self.queue.push(Piece::Line(lines::framed(self.wanted.format, value)));
        }
    }

    /// Hands it a chunk, if there is room within `limit` bytes; else it has lost what is in it.
    pub(super) fn push(&mut self, chunk: &Rc<Chunk>, limit: usize, stats: &Stats) {
        if self.closed {
            return;
        }
        // One without bytes was only counted, because everybody lost it.
        let whole = self.gap.is_none() && !chunk.bytes.is_empty();
        if whole && self.has_room(chunk.bytes.len(), limit) {
            self.queue.push(Piece::Chunk(Rc::clone(chunk)));
            return;
        }
        let lost: u64 = chunk.holds.kinds.iter().sum();
        stats.lost_client.fetch_add(lost, Relaxed);
        self.lose((Scope::Client, chunk.shard), &chunk.holds);
    }

    /// Whether so many bytes fit. A client with an empty backlog can have any chunk.
    fn has_room(&self, len: usize, limit: usize) -> bool {
        self.queue.len() == 0 || self.queue.len() + len <= limit
    }

    fn lose(&mut self, place: (Scope, u16), lost: &Lost) {
        let gap =
            self.gap.get_or_insert_with(|| Gap { since: Instant::now(), lost: BTreeMap::new() });
        gap.lost.entry(place).or_default().join(lost);
    }

    /// Records found no room in the lane of a shard.
    pub(super) fn lose_in_lane(&mut self, shard: u16, lost: &Lost) {
        self.lose((Scope::Lane, shard), lost);
    }

    /// Sends gap messages about what was lost, once half of its queue has been read. Returns whether a new snapshot
    /// follows.
    pub(super) fn settle(&mut self, limit: usize) -> bool {
        if self.gap.is_none() || self.queue.len() > limit / 2 {
            return false;
        }
        let Some(Gap { since, lost }) = self.gap.take() else { return false };
        let for_ms = since.elapsed().as_millis() as u64;
        for ((scope, shard), lost) in &lost {
            self.say(&lines::gap(*scope, *shard, lost, (for_ms, limit)));
        }
        match self.wanted.on_gap {
            OnGap::Close => {
                self.close("records were lost");
                false
            }
            OnGap::Resync => true,
            // The loss may include changes of flows that the snapshot contained.
            OnGap::Tell => self.snap.is_some(),
        }
    }

    /// Whether what it reads has no hole at this moment.
    pub(super) const fn is_whole(&self) -> bool {
        self.gap.is_none() && !self.closed
    }

    /// Whether it loses whatever comes now.
    pub(super) const fn is_losing(&self) -> bool {
        self.gap.is_some() || self.closed
    }

    /// Begins a snapshot of a table that holds about so many flows.
    pub(super) fn begin_snapshot(&mut self, flows: u64, stats: &Stats) {
        stats.snapshots.fetch_add(1, Relaxed);
        self.snap = Some(Snap { shard: 0, at: 0 });
        self.say(&json!({"v": 1, "control": "snapshot", "flows": flows}));
    }

    /// Whether it can take a page of its snapshot now.
    pub(super) fn is_hungry(&self, limit: usize) -> bool {
        self.snap.is_some() && self.is_whole() && self.queue.len() <= limit / 2
    }

    /// Takes a page of the snapshot, and says whether the snapshot is over.
    pub(super) fn take_page(
        &mut self,
        (page, walked): (&[Rc<Chunk>], &Walked),
        shards: usize,
        limit: usize,
    ) -> bool {
        let len: usize = page.iter().map(|chunk| chunk.bytes.len()).sum();
        let Some(snap) = self.snap.as_mut() else { return false };
        if snap.at != walked.from || self.gap.is_some() || self.closed {
            return false;
        }
        if !(self.queue.len() == 0 || self.queue.len() + len <= limit) {
            // The client takes that page when it has read more.
            return false;
        }
        page.iter().for_each(|chunk| self.queue.push(Piece::Chunk(Rc::clone(chunk))));
        match walked.next {
            Some(next) => snap.at = next,
            None => *snap = Snap { shard: snap.shard + 1, at: 0 },
        }
        if snap.shard >= shards {
            self.snap = None;
            return true;
        }
        false
    }

    /// Sends the state of the table, unless the client has received the same one last.
    pub(super) fn tell_state(&mut self, state: &Value, limit: usize) {
        if self.is_whole() && self.queue.len() <= limit / 2 && self.state != *state {
            self.state = state.clone();
            self.say(state);
        }
    }

    /// The greeting contained this state.
    pub(super) fn knows_state(&mut self, state: &Value) {
        self.state = state.clone();
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, why: &str) {
        self.say(&lines::bye(why));
        if !std::mem::replace(&mut self.closed, true) {
            self.queue.push(Piece::End);
        }
    }

    /// The form of its control lines.
    pub(super) const fn format(&self) -> Format {
        self.wanted.format
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::sync::Notify;
    use wire::feed::Op;

    fn chunk(len: usize, seq: u64, memory: &Rc<Cell<usize>>) -> Rc<Chunk> {
        let mut holds = Lost::default();
        holds.add(Op::New, seq);
        holds.add(Op::Destroy, seq + 1);
        Rc::new(Chunk::new(vec![b'x'; len], (0, holds), memory))
    }

    fn subscriber(on_gap: OnGap) -> Subscriber {
        let line = br#"{"op":"subscribe","snapshot":true}"#;
        let Ok(super::super::request::Request::Subscribe(wanted)) =
            super::super::parse_request(line)
        else {
            panic!("it is understood")
        };
        let queue = Rc::new(Queue::new(Rc::new(Notify::new())));
        Subscriber::new(Subscription { on_gap, ..wanted }, 0, queue)
    }

    /// Reads all that waits: chunks, and control lines as JSON.
    fn read(subscriber: &Subscriber) -> (usize, Vec<Value>) {
        let (mut chunks, mut said) = (0, Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while subscriber.queue.len() > 0 {
            let piece = runtime.block_on(subscriber.queue.next());
            subscriber.queue.written(piece.bytes().len());
            match piece {
                Piece::Chunk(_) => chunks += 1,
                Piece::Line(line) => said.push(serde_json::from_slice(&line).unwrap()),
                Piece::End => {}
            }
        }
        (chunks, said)
    }

    #[test]
    fn a_slow_client_is_told_exactly_what_it_lost_and_what_it_holds_is_bounded() {
        let (memory, stats) = (Rc::new(Cell::new(0)), Stats::default());
        let mut slow = subscriber(OnGap::Tell);
        for n in 0..1000 {
            slow.push(&chunk(100, 1 + 2 * n, &memory), 1000, &stats);
        }
        assert_eq!((slow.queue.len(), memory.get()), (1000, 1000));
        assert!(!slow.settle(1000), "it has read nothing");
        assert_eq!(read(&slow), (10, vec![]));
        assert!(!slow.settle(1000), "it did not ask for a new snapshot");
        slow.push(&chunk(100, 2001, &memory), 1000, &stats);
        let (chunks, said) = read(&slow);
        assert_eq!((chunks, said.len(), memory.get()), (1, 1, 0));
        let gap = &said[0];
        assert_eq!((&gap["control"], &gap["scope"]), (&"gap".into(), &"client".into()));
        assert_eq!((&gap["from"], &gap["to"]), (&21.into(), &2000.into()));
        assert_eq!(gap["lost"], json!({"new": 990, "destroy": 990}));
        assert_eq!(stats.lost_client.load(Relaxed), 1980);
    }

    #[test]
    fn what_follows_a_gap_is_what_the_client_asked_for() {
        let (memory, stats) = (Rc::new(Cell::new(0)), Stats::default());
        let mut lost = Lost::default();
        lost.add(Op::Update, 5);
        let mut one = subscriber(OnGap::Resync);
        one.lose_in_lane(3, &lost);
        assert!(one.settle(1000));
        let (_, said) = read(&one);
        assert_eq!((&said[0]["scope"], &said[0]["shard"]), (&"lane".into(), &3.into()));
        let mut other = subscriber(OnGap::Close);
        other.lose_in_lane(3, &lost);
        assert!(!other.settle(1000) && other.closed);
        other.push(&chunk(10, 9, &memory), 1000, &stats);
        assert_eq!(read(&other).1.last().unwrap()["control"], "bye");
        assert_eq!(other.queue.len(), 0);
    }

    #[test]
    fn a_snapshot_that_loses_changes_begins_again_and_a_page_waits_for_room() {
        let (memory, stats) = (Rc::new(Cell::new(0)), Stats::default());
        let mut one = subscriber(OnGap::Tell);
        one.begin_snapshot(9, &stats);
        let _ = read(&one);
        let walked = Walked { from: 0, next: Some(8), ..Walked::default() };
        one.push(&chunk(900, 1, &memory), 1000, &stats);
        assert!(!one.is_hungry(1000));
        let page = [chunk(200, 3, &memory)];
        assert!(!one.take_page((&page, &walked), 1, 1000));
        assert_eq!(one.snap, Some(Snap { shard: 0, at: 0 }), "it takes the page later");
        let _ = read(&one);
        assert!(!one.take_page((&page, &walked), 1, 1000));
        assert_eq!(one.snap, Some(Snap { shard: 0, at: 8 }));
        one.lose_in_lane(0, &Lost { from: 1, to: 1, kinds: [0, 1, 0, 0, 0, 0] });
        let _ = read(&one);
        assert!(one.settle(1000), "it is to begin again");
        one.begin_snapshot(9, &stats);
        let last = Walked { from: 0, next: None, ..Walked::default() };
        assert!(one.take_page((&[], &last), 1, 1000), "it has been all round");
    }
}
