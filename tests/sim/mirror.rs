//! (m) A consumer that applies the journal of a table, in order, holds the table: after every step, in every world.
//!
//! ```text
//!   engine --journal--> records --put, remove--> mirror       == table
//!             walks, a few rows a step ---------> snapshot    == table, once a walk has been all round
//! ```
//!
//! Nothing here asks the generators of the simulation for a number, so that worlds go as they go without it.

use crate::cluster::{Outcome, Violation};
use crate::prng::Rng;
use crate::speaker::Speaker;
use ctnetlink::flow::Known;
use ctnetlink::{Flow, FlowKey};
use engine::{Engine, Journal, Side, Sink, Slot};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use wire::feed::{self, Head, Op, Record, Walked};

const TRUTH: &str = "(m) mirror == table";
/// Tables with more flows are compared whole in one of so many steps, and else where something changed.
const SMALL: usize = 100;
const SELDOM: u64 = 64;

/// Records that were written and not read.
#[derive(Clone, Debug, Default)]
struct Records(Arc<Mutex<Vec<u8>>>);

impl Sink for Records {
    fn put(&mut self, parts: [&[u8]; 2]) -> bool {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        true
    }

    fn hand_over(&mut self) {}
}

/// A flow as records describe it, except for the time it has left, which changes with every message.
type Likeness = Vec<u8>;

fn likeness(flow: &Flow) -> Likeness {
    let mut known = flow.known;
    known.remove(Known::TIMEOUT);
    let flow = Flow { timeout_s: 0, known, ..flow.clone() };
    let mut out = feed::encode(&Head::default(), &flow, 0).to_vec();
    feed::encode_tail(&mut out, flow.extra.as_deref(), None);
    out
}

/// One table, made from the records of its journal.
#[derive(Debug, Default)]
struct Mirror {
    records: Records,
    seq: u64,
    flows: BTreeMap<FlowKey, Likeness>,
    /// The snapshot under way: the rows so far, and the cursor of the walk.
    snapshot: Option<(BTreeMap<FlowKey, Likeness>, Slot)>,
    /// Snapshots that were compared.
    snapshots: u64,
    steps: u64,
    rng: Option<Rng>,
}

/// Both tables of a node.
#[derive(Debug, Default)]
pub(crate) struct Mirrors([Mirror; 2]);

const SIDES: [Side; 2] = [Side::Local, Side::Remote];

impl Mirrors {
    /// Listens to an engine that holds nothing yet.
    pub(crate) fn of(engine: &mut Speaker, index: usize) -> Self {
        let mut mirrors = Self::default();
        let Some(engine) = engine.ours_mut() else { return mirrors };
        for (mirror, side) in mirrors.0.iter_mut().zip(SIDES) {
            let sink = Box::new(mirror.records.clone());
            engine.listen(side, Some(Journal::new(sink, 0, (false, side == Side::Remote))));
            mirror.rng = Some(Rng::new(index as u64));
        }
        mirrors
    }

    /// Compares after a step, and goes on with a snapshot.
    pub(crate) fn check(&mut self, engine: &mut Speaker) -> Outcome {
        let Some(engine) = engine.ours_mut() else { return Ok(()) };
        for (mirror, side) in self.0.iter_mut().zip(SIDES) {
            mirror.check(engine, side)?;
        }
        Ok(())
    }
}

impl Mirror {
    fn check(&mut self, engine: &mut Engine, side: Side) -> Outcome {
        self.walk(engine, side);
        let changed = self.apply()?;
        self.steps += 1;
        let table = engine.table(side);
        if self.flows.len() != table.alive() {
            let text = format!("{side:?}: {} flows, of {}", self.flows.len(), table.alive());
            return Err(Violation::new(TRUTH, text));
        }
        if table.alive() > SMALL && !self.steps.is_multiple_of(SELDOM) {
            let held = |key: &FlowKey| table.get(key).filter(|entry| !entry.has_ended());
            return changed.iter().try_for_each(|key| {
                let wanted = held(key).map(|entry| likeness(&entry.flow()));
                compare(side, key, self.flows.get(key), wanted.as_ref())
            });
        }
        let wanted = whole(engine, side);
        for (key, flow) in &wanted {
            compare(side, key, self.flows.get(key), Some(flow))?;
        }
        Ok(())
    }

    /// Begins a snapshot at any step, and reads a few rows of it at a time.
    fn walk(&mut self, engine: &mut Engine, side: Side) {
        let Some(rng) = &mut self.rng else { return };
        if self.snapshot.is_none() && rng.chance(50) {
            self.snapshot = Some((BTreeMap::new(), 0));
        }
        if let Some((_, at)) = &self.snapshot {
            let rows = 1 + rng.below(7) as u32;
            let walked = engine.walk(side, (7, *at), (rows, 1 + rng.below(40) as u32));
            assert!(engine.tell_walked(side, &walked), "there is room");
        }
    }

    /// Takes what was written down; whose flows that was about.
    fn apply(&mut self) -> Outcome<Vec<FlowKey>> {
        let bytes =
            std::mem::take(&mut *self.records.0.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut rest, mut changed) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (record, more) =
                Record::decode(rest).map_err(|error| Violation::new(TRUTH, error.to_string()))?;
            rest = more;
            if record.head.op == Op::Walked {
                self.walked(&Walked::decode(record.bytes))?;
                continue;
            }
            self.seq += 1;
            if record.head.seq != self.seq {
                let text = format!("record {} follows {}", record.head.seq, self.seq - 1);
                return Err(Violation::new(TRUTH, text));
            }
            let flow = record.flow();
            changed.push(flow.key());
            let snapshot = self.snapshot.as_mut().map(|(flows, _)| flows);
            for flows in [Some(&mut self.flows), snapshot].into_iter().flatten() {
                match record.head.op {
                    Op::Have | Op::New | Op::Update => {
                        flows.insert(flow.key(), likeness(&flow));
                    }
                    Op::Destroy => drop(flows.remove(&flow.key())),
                    Op::Cleared => flows.clear(),
                    Op::Failure | Op::Gap | Op::Walked => {
                        let text = format!("{:?} is not to be here", record.head.op);
                        return Err(Violation::new(TRUTH, text));
                    }
                }
            }
        }
        Ok(changed)
    }

    /// A snapshot that has been all round holds what the mirror holds.
    fn walked(&mut self, walked: &Walked) -> Outcome {
        let Some((flows, at)) = &mut self.snapshot else { return Ok(()) };
        match walked.next {
            Some(next) => *at = next,
            None if *flows == self.flows => {
                self.snapshot = None;
                self.snapshots += 1;
            }
            None => {
                let text =
                    format!("the snapshot has {} flows, of {}", flows.len(), self.flows.len());
                return Err(Violation::new("(m) snapshot == table", text));
            }
        }
        Ok(())
    }
}

fn whole(engine: &Engine, side: Side) -> BTreeMap<FlowKey, Likeness> {
    engine.flows(side).map(|flow| (flow.key(), likeness(&flow))).collect()
}

fn compare(
    side: Side,
    key: &FlowKey,
    known: Option<&Likeness>,
    wanted: Option<&Likeness>,
) -> Outcome {
    if known == wanted {
        return Ok(());
    }
    let text = format!("{side:?}: {key:?} is {known:?} in the mirror, and {wanted:?} in the table");
    Err(Violation::new(TRUTH, text))
}
