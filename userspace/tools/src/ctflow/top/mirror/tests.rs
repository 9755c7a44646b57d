//! The mirror beside tables whose journals it applies, and what it counts.

use super::*;
use ctnetlink::flow::{Counters, Timestamps};
use ctnetlink::{FlowKey, Tuple};
use engine::{Journal, Sink};
use proptest::prelude::*;
use std::sync::{Mutex, PoisonError};
use wire::feed::{self, Flags, Head, Walked};

const S: u64 = 1_000_000_000;

fn flow(port: u16, id: u32) -> Flow {
    let proto = if port.is_multiple_of(3) { 17 } else { 6 };
    let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], proto).with_ports(port, 80);
    let known = Known::ID | Known::MARK | Known::TIMEOUT;
    Flow { id, known, timeout_s: 99, reply: orig.inverted(), zone: port % 2, ..Flow::new(orig) }
}

fn record(op: Op, time_ns: u64, flow: &Flow) -> Vec<u8> {
    feed::encode(&Head { op, time_ns, ..Head::default() }, flow, 0).to_vec()
}

fn apply(mirror: &mut Mirror, op: Op, flow: &Flow) -> Result<(), Full> {
    let bytes = record(op, 7 * S, flow);
    mirror.apply(0, &Record::decode(&bytes).unwrap().0)
}

/// The contents of the mirror, as of a turn.
fn rows(mirror: &Mirror, turn: u32) -> Vec<(Flow, Reading, Option<u64>)> {
    let (mut out, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        next =
            mirror.walk((from, 3), turn, |flow, reading, began| out.push((flow, reading, began)));
    }
    out
}

fn ports(mirror: &Mirror) -> Vec<u16> {
    let mut out: Vec<_> = rows(mirror, 0).iter().map(|(flow, ..)| flow.orig.ports().0).collect();
    out.sort_unstable();
    out
}

#[test]
fn a_turn_counts_what_began_and_ended_also_what_did_both() {
    let mut mirror = Mirror::new(10);
    apply(&mut mirror, Op::Have, &flow(1, 1)).unwrap();
    apply(&mut mirror, Op::New, &flow(2, 2)).unwrap();
    apply(&mut mirror, Op::New, &flow(3, 3)).unwrap();
    apply(&mut mirror, Op::Destroy, &flow(3, 3)).unwrap();
    apply(&mut mirror, Op::Update, &flow(2, 2)).unwrap();
    let turn = mirror.turn();
    let passed = |turn: &Turn| turn.passed.iter().map(|one| one.flow.id).collect::<Vec<_>>();
    assert_eq!((passed(&turn), turn.passed[0].began_ns), (vec![3], 7 * S));
    assert_eq!((turn.began, turn.ended, turn.flows), (2, 1, [2, 2, 0]));
    assert_eq!(turn.zones.into_iter().collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    // New is what began in that turn, and not in the next one.
    apply(&mut mirror, Op::New, &flow(6, 6)).unwrap();
    let is_new = |turn| {
        let rows = rows(&mirror, turn).into_iter();
        rows.filter(|(_, reading, _)| reading.is_new).map(|(flow, ..)| flow.id).collect::<Vec<_>>()
    };
    assert_eq!([is_new(turn.number), is_new(turn.number + 1)], [vec![2], vec![6]]);
    // Another life takes the place of one whose end no record reported.
    apply(&mut mirror, Op::New, &flow(6, 7)).unwrap();
    let turn = mirror.turn();
    assert_eq!((turn.began, turn.ended, turn.flows), (2, 1, [3, 2, 1]));
    assert_eq!(passed(&turn), [6], "of its lives, the first");
    apply(&mut mirror, Op::Destroy, &flow(6, 7)).unwrap();
    assert_eq!(passed(&mirror.turn()), [0; 0], "it began in an earlier turn");
    apply(&mut mirror, Op::Have, &flow(6, 7)).unwrap();
    mirror.lose(5, 4);
    let turn = mirror.turn();
    assert_eq!((turn.began, turn.ended), (5, 4), "what was lost is known in number");
}

#[test]
fn when_a_flow_began_is_what_an_event_or_the_kernel_said() {
    let mut mirror = Mirror::new(10);
    apply(&mut mirror, Op::Have, &flow(1, 1)).unwrap();
    apply(&mut mirror, Op::New, &flow(2, 2)).unwrap();
    apply(&mut mirror, Op::New, &flow(3, 3)).unwrap();
    // Heard to be another one while the mirror was behind.
    apply(&mut mirror, Op::Have, &flow(3, 4)).unwrap();
    let began =
        |mirror: &Mirror| rows(mirror, 0).into_iter().map(|(.., began)| began).collect::<Vec<_>>();
    assert_eq!(began(&mirror), [None, Some(7 * S), None]);
    let mut shown = flow(1, 1);
    shown.extra_mut().timestamps = Some(Timestamps { start_ns: 3 * S, stop_ns: 0 });
    mirror.begin_reading(Duration::ZERO, 8 * S);
    mirror.read(&shown);
    assert_eq!(began(&mirror), [Some(3 * S), Some(7 * S), None]);
}

#[test]
fn while_a_new_snapshot_is_taken_what_was_held_stays_and_what_ended_unheard_goes_then() {
    let mut mirror = Mirror::new(3);
    (1..=3).for_each(|port| apply(&mut mirror, Op::Have, &flow(port, 1)).unwrap());
    mirror.begin_snapshot();
    apply(&mut mirror, Op::Have, &flow(1, 1)).unwrap();
    apply(&mut mirror, Op::Destroy, &flow(2, 1)).unwrap();
    assert_eq!(ports(&mirror), [1, 3]);
    apply(&mut mirror, Op::New, &flow(4, 1)).unwrap();
    // There is no room, but for flow 3, which no record has named since.
    apply(&mut mirror, Op::Have, &flow(5, 1)).unwrap();
    assert_eq!(ports(&mirror), [1, 4, 5]);
    assert_eq!(apply(&mut mirror, Op::Have, &flow(6, 1)), Err(Full));
    mirror.end_snapshot();
    assert_eq!(ports(&mirror), [1, 4, 5]);
    mirror.begin_snapshot();
    apply(&mut mirror, Op::Have, &flow(4, 1)).unwrap();
    mirror.end_snapshot();
    assert_eq!(ports(&mirror), [4]);
    assert_eq!(mirror.turn().zones.into_iter().collect::<Vec<_>>(), [(0, 1)]);
    assert_eq!(apply(&mut mirror, Op::New, &flow(5, 1)), Ok(()));
    assert_eq!(apply(&mut mirror, Op::New, &flow(7, 1)), Ok(()));
    assert_eq!(apply(&mut mirror, Op::New, &flow(8, 1)), Err(Full), "no snapshot makes room now");
}

/// The flow as the kernel shows it.
fn counted(port: u16, id: u32, bytes: Option<[u64; 2]>) -> Flow {
    let mut flow = Flow { timeout_s: 5, ..flow(port, id) };
    flow.extra_mut().counters =
        bytes.map_or([None; 2], |bytes| bytes.map(|bytes| Some(Counters { packets: 1, bytes })));
    flow
}

#[test]
fn rates_are_what_the_counters_of_a_flow_gained_between_two_readings() {
    let mut mirror = Mirror::new(10);
    (1..=4).for_each(|port| apply(&mut mirror, Op::Have, &flow(port, 1)).unwrap());
    let read = |mirror: &mut Mirror, s: u64, flows: &[Flow]| {
        mirror.begin_reading(Duration::from_secs(s), s * S);
        flows.iter().for_each(|flow| mirror.read(flow));
        mirror.end_reading()
    };
    let all = |n: u64| {
        let first = counted(1, 1, Some([1000 * n, 500 * n]));
        [first, counted(2, 1, None), counted(3, 9, Some([1; 2])), counted(9, 1, Some([1; 2]))]
    };
    let rates = read(&mut mirror, 4, &all(1));
    let expected = Rates { seen: 2, uncounted: 1, ..Rates::default() };
    assert_eq!(
        rates, expected,
        "one has another id, one is not held, and one reading has no rates"
    );
    // It began since that reading; the other one began before, and its record came later.
    apply(&mut mirror, Op::New, &flow(5, 1)).unwrap();
    let bytes = record(Op::New, 3 * S, &flow(6, 1));
    mirror.apply(0, &Record::decode(&bytes).unwrap().0).unwrap();
    let mut flows = all(3).to_vec();
    flows.extend([5, 6].map(|port| counted(port, 1, Some([100, 0]))));
    // A dump may show a flow twice.
    flows.push(counted(1, 1, Some([9999; 2])));
    let rates = read(&mut mirror, 8, &flows);
    let (in_bps, out_bps) = (Some(2000), Some(4200));
    let interval = Some(Duration::from_secs(4));
    assert_eq!(rates, Rates { interval, seen: 4, uncounted: 1, in_bps, out_bps });
    let of = |mirror: &Mirror, port: u16| {
        let rows = rows(mirror, 0);
        let (flow, reading, _) =
            rows.iter().find(|(flow, ..)| flow.orig.ports().0 == port).unwrap();
        let counters = flow.extra.as_deref().map_or([None; 2], |extra| extra.counters);
        let left = flow.has(Known::TIMEOUT).then_some(flow.timeout_s);
        (reading.orig_bps, reading.reply_bps, counters[0].map(|one| one.bytes), left)
    };
    assert_eq!(of(&mirror, 1), (Some(4000), Some(2000), Some(3000), Some(5)));
    assert_eq!(of(&mirror, 2), (None, None, None, Some(5)));
    assert_eq!(of(&mirror, 4), (None, None, None, None), "the kernel did not show it");
    assert_eq!(of(&mirror, 5), (Some(200), Some(0), Some(100), Some(5)));
    assert_eq!(of(&mirror, 6), (None, None, Some(100), Some(5)));
    // While a reading is under way, the results of the one before still count; after it they do not.
    mirror.begin_reading(Duration::from_secs(9), 9 * S);
    assert_eq!(of(&mirror, 1).0, Some(4000));
    mirror.end_reading();
    assert_eq!(of(&mirror, 1), (None, None, None, None));
    // Another life has none of the counters of the one before; nor has what a slot is used for next.
    read(&mut mirror, 10, &all(4));
    apply(&mut mirror, Op::New, &flow(1, 2)).unwrap();
    assert_eq!(of(&mirror, 1), (None, None, None, None));
    read(&mut mirror, 11, &[counted(5, 1, Some([300, 0]))]);
    apply(&mut mirror, Op::Destroy, &flow(5, 1)).unwrap();
    apply(&mut mirror, Op::New, &flow(10, 1)).unwrap();
    assert_eq!(of(&mirror, 10), (None, None, None, None));
    mirror.forget_readings();
    read(&mut mirror, 12, &all(9));
    assert_eq!(of(&mirror, 1), (None, None, None, None), "id 1 is gone");
    assert_eq!(of(&mirror, 2), (None, None, None, Some(5)));
}

#[test]
fn counters_that_another_client_asked_for_are_not_taken_for_those_of_now() {
    let mut tail = Vec::new();
    let counters = [Some(Counters { packets: 1, bytes: 2 }); 2];
    let moment = feed::Moment { counters, timestamps: None };
    feed::encode_tail(&mut tail, None, Some(&moment));
    let head = Head { op: Op::Update, ..Head::default() };
    let mut bytes = feed::encode(&head, &flow(1, 1), tail.len() as u16).to_vec();
    bytes.extend_from_slice(&tail);
    let mut mirror = Mirror::new(1);
    mirror.apply(0, &Record::decode(&bytes).unwrap().0).unwrap();
    assert_eq!(rows(&mirror, 0)[0].0.extra, None);
}

/// What a journal has written.
#[derive(Clone, Debug, Default)]
struct Written(std::sync::Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for Written {
    fn put(&mut self, parts: [&[u8]; 2]) -> bool {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        true
    }

    fn hand_over(&mut self) {}
}

/// A shard of a daemon: its table, and what it writes down.
struct Shard {
    table: FlowTable,
    written: Written,
    /// Where the walk of a snapshot is.
    at: Option<Slot>,
}

impl Shard {
    fn new() -> Self {
        let (mut table, written) = (FlowTable::new(100, 1), Written::default());
        table.listen(Some(Journal::new(Box::new(written.clone()), 0, (false, false))));
        Self { table, written, at: None }
    }

    fn change(&mut self, what: u8, flow: Flow) {
        match (self.table.find(&flow.key()), what % 4) {
            (None, _) => drop(self.table.insert(flow, Notes::default())),
            (Some(slot), 0) => drop(self.table.remove(slot)),
            (Some(slot), 1) => self.table.finish(slot, None, false),
            (Some(slot), 2) => self.table.set_flow(slot, flow, Becomes::Another),
            (Some(slot), _) => self.table.set_flow(slot, flow, Becomes::Changed),
        }
    }

    fn walk(&mut self, rows: u32) {
        if let Some(at) = self.at {
            self.at = self.table.walk(1, at, (rows, 7)).next;
        }
    }
}

/// The fields that must be equal in both tables.
fn likeness(flow: &Flow) -> (FlowKey, Vec<u8>) {
    let mut known = flow.known;
    known.remove(Known::TIMEOUT);
    let flow = Flow { timeout_s: 0, known, ..flow.clone() };
    (flow.key(), feed::encode(&Head::default(), &flow, 0).to_vec())
}

/// The daemon and the client.
struct World {
    shards: [Shard; 2],
    mirror: Mirror,
    is_live: bool,
    is_lossy: bool,
}

impl World {
    /// Hands over what was written, or loses it.
    fn hand_over(&mut self) {
        for (number, shard) in self.shards.iter().enumerate() {
            let bytes = shard.written.take();
            let mut rest = bytes.as_slice();
            while let (false, Ok((record, more))) = (self.is_lossy, Record::decode(rest)) {
                rest = more;
                if record.head.op != Op::Walked {
                    self.mirror.apply(number as u16, &record).expect("there is room");
                }
            }
        }
    }

    fn begin_snapshot(&mut self) {
        (self.is_lossy, self.is_live) = (false, false);
        self.mirror.begin_snapshot();
        self.shards.iter_mut().for_each(|shard| shard.at = Some(0));
    }

    fn walk(&mut self, rows: u32) {
        let is_taking = self.shards.iter().any(|shard| shard.at.is_some());
        if self.is_lossy || !is_taking {
            return;
        }
        self.shards.iter_mut().for_each(|shard| shard.walk(rows));
        self.hand_over();
        if self.shards.iter().all(|shard| shard.at.is_none()) {
            self.mirror.end_snapshot();
            self.is_live = true;
        }
    }

    fn check(&self) {
        let mut mirror: Vec<_> =
            rows(&self.mirror, 0).iter().map(|(flow, ..)| likeness(flow)).collect();
        let entries = self.shards.iter().flat_map(|shard| shard.table.iter());
        let mut table: Vec<_> = entries.map(|(_, entry)| likeness(&entry.flow())).collect();
        mirror.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        table.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(mirror, table);
        let zones = |zone| table.iter().filter(|(key, _)| key.zone == zone).count() as u64;
        let held = |zone| self.mirror.zones.get(&zone).copied().unwrap_or(0);
        assert_eq!([held(0), held(1)], [zones(0), zones(1)]);
    }
}

proptest! {
    #[test]
    fn what_shards_write_down_makes_the_tables_that_they_hold(
        steps in prop::collection::vec((0_u8..24, 0_u16..12, 0_u8..8), 0..200)
    ) {
        let shards = [Shard::new(), Shard::new()];
        let mut world = World { shards, mirror: Mirror::new(200), is_live: true, is_lossy: false };
        for (step, port, what) in steps {
            match step {
                // Losses end with a new snapshot, which another loss may cut short.
                0 => (world.is_lossy, world.is_live) = (true, false),
                1 => world.begin_snapshot(),
                2 => world.shards[usize::from(port % 2)].table.clear(),
                3..=6 => world.walk(u32::from(what)),
                _ => {
                    let mut flow = flow(port, u32::from(what));
                    flow.mark = step.into();
                    world.shards[usize::from(port / 2 % 2)].change(what, flow);
                }
            }
            world.hand_over();
            if world.is_live {
                world.check();
            }
        }
        if !world.is_live {
            world.begin_snapshot();
        }
        while !world.is_live {
            world.walk(3);
        }
        world.check();
        // What began is there, or is kept beside what is.
        let turn = world.mirror.turn();
        let is_new = |(_, reading, _): &(Flow, Reading, Option<u64>)| reading.is_new;
        let new = rows(&world.mirror, turn.number).iter().filter(|row| is_new(row)).count();
        prop_assert_eq!(turn.began, (new + turn.passed.len()) as u64);
    }
}

#[test]
fn a_walk_marker_is_no_flow() {
    let bytes = Walked::default().encode();
    let mut mirror = Mirror::new(1);
    mirror.apply(0, &Record::decode(&bytes).unwrap().0).unwrap();
    assert!(mirror.is_empty());
    let flags = Flags::ROW;
    let head = Head { op: Op::Have, flags, ..Head::default() };
    let bytes = feed::encode(&head, &flow(1, 1), 0);
    mirror.apply(0, &Record::decode(&bytes).unwrap().0).unwrap();
    assert_eq!((mirror.len(), mirror.turn().began), (1, 0), "a row is no beginning");
}
