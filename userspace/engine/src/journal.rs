//! Every change of a flow table as a record of fixed size, in the order of the table, while a consumer listens.
//!
//! ```text
//!   FlowTable: insert, set_flow, absorb, finish, remove, clear --Journal--> Sink (the lane of the feed)
//!              walk: rows as they are ----------------------------'
//! ```
//!
//! The table itself writes: there is no other way to change a flow in it, so a consumer that puts and removes flows
//! as the records say, in their order, holds the same flows ([`wire::feed::Op`]). Nothing merges. Records that find
//! no room in a sink are counted by kind, and a record of the loss comes before the next record that finds room.

use crate::input::Stamp;
use alloc::boxed::Box;
use alloc::vec::Vec;
use common::Instant;
use core::fmt;
use ctnetlink::Flow;
use ctnetlink::flow::Extra;
use wire::feed::{self, Flags, Head, Lost, Moment, Op, TAIL_MAX, Walked};

/// The receiver of the journal's records.
pub trait Sink: fmt::Debug + Send {
    /// Takes a record, of which these are the parts; false when there is no room now.
    fn put(&mut self, parts: [&[u8]; 2]) -> bool;

    /// Lets the reader have what was put in.
    fn hand_over(&mut self);
}

/// Writes down what happens to a table.
#[derive(Debug)]
pub struct Journal {
    sink: Box<dyn Sink>,
    /// The number of the last record.
    seq: u64,
    /// What found no room since the last record that did.
    lost: Lost,
    /// Whether counters and times of flows are wanted.
    counters: bool,
    /// Set in every record: the table that is written down.
    side: Flags,
    // What is being handled.
    time_ns: u64,
    flags: Flags,
    moment: Option<Moment>,
    /// The kernel's table is read for the first time: what is found is not new.
    reading: bool,
    tail: Vec<u8>,
}

impl Journal {
    /// One whose first record has the number behind `seq`. `counters`: whether counters and times of flows are wanted;
    /// `remote`: it is about the remote table.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>, seq: u64, (counters, remote): (bool, bool)) -> Self {
        Self {
            sink,
            seq,
            lost: Lost::default(),
            counters,
            side: if remote { Flags::REMOTE } else { Flags::empty() },
            time_ns: 0,
            flags: Flags::empty(),
            moment: None,
            reading: false,
            tail: Vec::with_capacity(TAIL_MAX),
        }
    }

    /// Whether counters and times of flows are wanted.
    #[must_use]
    pub const fn wants_counters(&self) -> bool {
        self.counters
    }

    /// Says whether counters and times of flows are wanted.
    pub const fn want_counters(&mut self, wanted: bool) {
        self.counters = wanted;
    }

    /// The number of the last record.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// An input is handled.
    pub(crate) const fn begin(&mut self, now: Instant) {
        self.time_ns = now.0;
        self.flags = self.side;
        self.moment = None;
        self.reading = false;
    }

    /// Begins a change that comes from an event of the kernel. `by_peer`: this daemon caused it, by writing what a
    /// peer sent.
    pub(crate) fn hear(&mut self, flow: &Flow, stamp: Stamp, by_peer: bool) {
        if let Stamp::At(at) = stamp {
            self.time_ns = at.0;
            self.flags |= Flags::EXACT;
        }
        self.flags.set(Flags::BY_PEER, by_peer);
        if self.counters {
            self.moment = flow.extra.as_deref().and_then(Moment::of);
        }
    }

    /// What is handled is a flow of the first reading of the kernel's table.
    pub(crate) const fn read(&mut self) {
        self.reading = true;
    }

    /// Writes down what became of a flow.
    pub(crate) fn write(&mut self, op: Op, flow: &Flow, flags: Flags) {
        let op = if op == Op::New && self.reading { Op::Have } else { op };
        self.seq += 1;
        if !(self.tell_lost() && self.put(op, flow, flags)) {
            self.lost.add(op, self.seq);
        }
    }

    /// Writes down that the table is empty.
    pub(crate) fn clear(&mut self) {
        self.moment = None;
        self.write(Op::Cleared, &Flow::UNKNOWN, Flags::empty());
    }

    /// Writes down a row as it is. False, and it was not written, if there is no room.
    pub(crate) fn row(&mut self, flow: &Flow, time_ns: u64) -> bool {
        let flags = self.side | Flags::ROW;
        (self.time_ns, self.flags, self.moment) = (time_ns, flags, None);
        self.seq += 1;
        let is_put = self.tell_lost() && self.put(Op::Have, flow, Flags::empty());
        self.seq -= u64::from(!is_put);
        is_put
    }

    /// Says how far a walk has come. False, and nothing was said, if there is no room.
    pub(crate) fn walked(&mut self, walked: &Walked) -> bool {
        self.tell_lost() && self.sink.put([&walked.encode(), &[]])
    }

    /// Publishes the written records to the reader, and the account of a loss as soon as there is room.
    pub(crate) fn hand_over(&mut self) {
        self.tell_lost();
        self.sink.hand_over();
    }

    /// Writes the account of a loss; false if there is still no room.
    fn tell_lost(&mut self) -> bool {
        if self.lost.is_nothing() {
            return true;
        }
        let is_put = self.sink.put([&self.lost.encode(), &[]]);
        if is_put {
            self.lost = Lost::default();
        }
        is_put
    }

    fn put(&mut self, op: Op, flow: &Flow, flags: Flags) -> bool {
        let flags = self.flags | flags;
        let head = Head { seq: self.seq, time_ns: self.time_ns, op, flags, reason: 0 };
        self.tail.clear();
        let extra = flow.extra.as_deref().filter(|extra| has_tail(extra));
        if extra.is_some() || self.moment.is_some() {
            feed::encode_tail(&mut self.tail, extra, self.moment.as_ref());
        }
        let record = feed::encode(&head, flow, self.tail.len() as u16);
        self.sink.put([&record, &self.tail])
    }
}

const fn has_tail(extra: &Extra) -> bool {
    extra.helper.is_some() || extra.labels.is_some() || extra.seq_adj.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use ctnetlink::Tuple;
    use std::sync::Mutex;
    use wire::feed::Record;

    /// Takes as many records as there is room for.
    #[derive(Clone, Debug, Default)]
    struct Small(Arc<Mutex<(usize, Vec<Vec<u8>>)>>);

    impl Sink for Small {
        fn put(&mut self, parts: [&[u8]; 2]) -> bool {
            let (room, records) = &mut *self.0.lock().unwrap();
            let fits = records.len() < *room;
            if fits {
                records.push(parts.concat());
            }
            fits
        }

        fn hand_over(&mut self) {}
    }

    #[test]
    fn what_finds_no_room_is_counted_by_kind_and_told_before_what_comes_next() {
        let small = Small::default();
        let mut journal = Journal::new(Box::new(small.clone()), 100, (false, false));
        let room = |room| small.0.lock().unwrap().0 = room;
        let flow = Flow::new(Tuple::v4([1; 4], [2; 4], 17));
        room(1);
        journal.write(Op::New, &flow, Flags::empty());
        journal.write(Op::Update, &flow, Flags::empty());
        journal.write(Op::Destroy, &flow, Flags::empty());
        assert!(
            !journal.row(&flow, 1),
            "a row that finds no room is not lost: it is written later"
        );
        room(2);
        journal.write(Op::New, &flow, Flags::empty());
        room(9);
        journal.hand_over();
        journal.write(Op::Update, &flow, Flags::empty());
        let records = small.0.lock().unwrap().1.clone();
        let heads: Vec<_> = records
            .iter()
            .map(|r| Record::decode(r).unwrap().0.head)
            .map(|h| (h.op, h.seq))
            .collect();
        assert_eq!(heads, [(Op::New, 101), (Op::Gap, 102), (Op::Gap, 104), (Op::Update, 105)]);
        let lost = |at: usize| Lost::decode(records[at].first_chunk().unwrap());
        assert_eq!(lost(1), Lost { from: 102, to: 103, kinds: [0, 0, 1, 1, 0, 0] });
        assert_eq!(lost(2), Lost { from: 104, to: 104, kinds: [0, 1, 0, 0, 0, 0] });
    }
}
