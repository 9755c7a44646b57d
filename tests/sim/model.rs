//! What must be true, worked out without the engine: the remote table that the delivered messages amount to, and what two
//! accounts of one flow must agree on.

use ctnetlink::flow::{HelperName, Known, ProtoState, Status};
use ctnetlink::{Change, Flow, FlowKey, Tuple};
use std::collections::{BTreeMap, BTreeSet};
use wire::sync::v1::Message;

/// What became of the messages of one direction.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Messages that arrived, by their place in what was sent.
    delivered: BTreeMap<u64, (Change, Flow)>,
    /// Place of the last message that was sent.
    sent: u64,
    /// Place of the last message that arrived.
    last: u64,
    /// The receiver forgot everything when it had seen this place; older news is no news.
    floor: u64,
    /// Flows of which the original lost a message for good, or took them in the wrong order.
    pub(crate) unkept: BTreeSet<FlowKey>,
    /// Numbers this life of the receiver has seen, and the latest.
    heard: BTreeSet<u32>,
    heard_last: Option<u32>,
    /// Garbage arrived, which may have looked like messages.
    pub(crate) corrupted: bool,
    /// And no transfer of all flows has made it good since.
    pub(crate) forged: bool,
}

impl Ledger {
    /// The messages were sent.
    pub(crate) fn on_sent(&mut self, messages: &[(u64, Message)]) {
        self.sent = messages.last().map_or(self.sent, |(place, _)| *place);
    }

    pub(crate) fn arrived(&mut self, seq: u32, messages: &[(u64, Message)]) {
        for (n, (place, message)) in messages.iter().enumerate() {
            let seq = seq.wrapping_add(n as u32);
            self.heard.insert(seq);
            if self.heard_last.is_none_or(|last| (seq.wrapping_sub(last) as i32) > 0) {
                self.heard_last = Some(seq);
            }
            self.last = self.last.max(*place);
            let Message::Flow { change, flow } = message else { continue };
            if *place <= self.floor {
                continue;
            }
            self.delivered.insert(*place, (*change, flow.clone()));
        }
    }

    /// Messages that later ones have overtaken are about to be taken as if they were the latest.
    pub(crate) fn note_disorder(&mut self, messages: &[(u64, Message)]) {
        for (place, message) in messages {
            if let Message::Flow { flow, .. } = message
                && *place < self.last
            {
                self.unkept.insert(flow.key());
            }
        }
    }

    /// The receiver forgets what it received.
    pub(crate) fn forget(&mut self, also_numbers: bool) {
        self.delivered.clear();
        self.floor = self.last;
        if also_numbers {
            self.floor = 0;
            self.heard.clear();
            self.heard_last = None;
        }
    }

    /// A number for a sender that restarts: `back` below the one it had reached, where the receiver can see from it
    /// that it is another life because it has seen all numbers from there on. Else the receiver would rightly take
    /// the first messages for late ones; so then the number is `far`.
    pub(crate) fn first_seq(&mut self, far: u32, back: Option<u32>) -> u32 {
        let (heard, last) = (std::mem::take(&mut self.heard), self.heard_last.take());
        let Some((last, back)) = last.zip(back) else { return far };
        let first = last.wrapping_sub(back);
        let seen_all = (0..back).all(|n| heard.contains(&first.wrapping_add(n)));
        if seen_all { first } else { far }
    }

    /// Whether the last message that was sent has arrived: its receiver knows what is missing before it.
    pub(crate) const fn is_heard(&self) -> bool {
        self.last == self.sent
    }

    /// Something arrived that no node sent.
    pub(crate) const fn on_garbage(&mut self) {
        (self.corrupted, self.forged) = (true, true);
    }

    /// What a receiver knows that got the delivered messages in the order they were sent in.
    pub(crate) fn told(&self) -> BTreeMap<FlowKey, Essence> {
        let mut table: BTreeMap<FlowKey, Flow> = BTreeMap::new();
        for (change, flow) in self.delivered.values() {
            match change {
                Change::New => drop(table.insert(flow.key(), flow.clone())),
                Change::Update => {
                    let known = table.entry(flow.key()).or_insert_with(|| flow.clone());
                    engine::flows::merge::absorb(known, flow.clone());
                }
                Change::Destroy => drop(table.remove(&flow.key())),
            }
        }
        table.iter().map(|(key, flow)| (*key, Essence::of(flow))).collect()
    }
}

/// What two accounts of one flow must agree on. Lifetimes pass, ids belong to one kernel, and a mark of zero need not
/// be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Essence {
    pub(crate) reply: Tuple,
    pub(crate) status: Status,
    pub(crate) mark: u32,
    pub(crate) proto: ProtoState,
    pub(crate) rare: Rare,
}

/// What few flows have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rare {
    pub(crate) master: Option<Tuple>,
    pub(crate) helper: Option<HelperName>,
    pub(crate) labels: Option<Vec<u32>>,
}

impl Essence {
    pub(crate) fn of(flow: &Flow) -> Self {
        let proto = match flow.proto {
            ProtoState::Tcp(mut tcp) => {
                (tcp.wscale, tcp.flags) = (None, None);
                ProtoState::Tcp(tcp)
            }
            other => other,
        };
        let extra = flow.extra.as_deref();
        let rare = Rare {
            master: extra.and_then(|e| e.master),
            helper: extra.and_then(|e| e.helper),
            labels: extra.and_then(|e| e.labels.clone()),
        };
        let mark = if flow.has(Known::MARK) { flow.mark } else { 0 };
        Self { reply: flow.reply, status: flow.status, mark, proto, rare }
    }

    /// Without what a message may leave out.
    pub(crate) fn without_rare(&self) -> Self {
        Self { rare: Rare::default(), ..self.clone() }
    }

    /// Without what a message of a lively flow may leave out.
    pub(crate) fn without_mark(&self) -> Self {
        Self { mark: 0, ..self.without_rare() }
    }
}
