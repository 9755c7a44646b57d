//! The ledger beside a list that is written down plainly.

use super::*;
use ctnetlink::Tuple;
use proptest::prelude::*;
use std::vec;

const SLOTS: u32 = 12;
const ENDS_MAX: usize = 4;

fn key(n: u16) -> FlowKey {
    FlowKey::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(n, 80), 0)
}

/// One line of the plain list.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    slot: Option<Slot>,
    key: Option<FlowKey>,
    expect: Option<u32>,
    entry: Entry,
}

/// A ledger that scans: a list of lines, and for each peer the greatest version that was handed out.
#[derive(Default)]
struct Plain {
    lines: Vec<Line>,
    last: u64,
    horizon: u64,
    positions: [u64; 2],
}

impl Plain {
    fn change(&mut self, slot: Slot, epoch: u32, base: u64, what: What) {
        self.drop_flow(slot);
        self.last += 1;
        let entry = Entry { version: self.last, epoch, base, what };
        self.lines.push(Line { slot: Some(slot), key: None, expect: None, entry });
    }

    fn change_expect(&mut self, place: u32, what: What) {
        self.lines.retain(|line| line.expect != Some(place));
        self.last += 1;
        let entry = Entry { version: self.last, epoch: 0, base: 0, what };
        self.lines.push(Line { slot: None, key: None, expect: Some(place), entry });
    }

    fn drop_expect(&mut self, place: u32) {
        let Some(at) = self.lines.iter().position(|line| line.expect == Some(place)) else {
            return;
        };
        let Entry { version, what, .. } = self.lines.remove(at).entry;
        if what.is_end() {
            self.horizon = self.horizon.max(version);
        }
    }

    fn drop_flow(&mut self, slot: Slot) {
        self.lines.retain(|line| line.slot != Some(slot));
    }

    /// The version of the end that gave way.
    fn end(&mut self, slot: Option<Slot>, key: FlowKey, what: What) -> Option<u64> {
        let mut gone = None;
        slot.inspect(|slot| self.drop_flow(*slot));
        let ends = self.lines.iter().filter(|line| line.key.is_some()).count();
        if ends >= ENDS_MAX {
            let oldest = self.lines.iter().position(|line| line.key.is_some()).unwrap();
            let version = self.lines.remove(oldest).entry.version;
            self.horizon = self.horizon.max(version);
            gone = Some(version);
        }
        self.last += 1;
        let entry = Entry { version: self.last, epoch: 1, base: 2, what };
        self.lines.push(Line { slot: None, key: Some(key), expect: None, entry });
        gone
    }

    fn next(&self, peer: usize) -> Option<&Line> {
        self.lines.iter().find(|line| line.entry.version > self.positions[peer])
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Change(Slot, u32, What),
    Drop(Slot),
    End(Option<Slot>, u16),
    DropEnd(u16),
    Expect(u32, What),
    DropExpect(u32),
    Hand(usize),
    ToTail(usize),
    ToHead(usize),
    ToVersion(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![Just(What::State), Just(What::New)];
    prop_oneof![
        6 => (0..SLOTS, 0..3_u32, what).prop_map(|(slot, epoch, what)| Step::Change(slot, epoch, what)),
        1 => (0..SLOTS).prop_map(Step::Drop),
        3 => (prop::option::of(0..SLOTS), 0..20_u16).prop_map(|(slot, n)| Step::End(slot, n)),
        1 => (0..20_u16).prop_map(Step::DropEnd),
        2 => (0..SLOTS, prop_oneof![Just(What::State), Just(What::Closed)])
            .prop_map(|(place, what)| Step::Expect(place, what)),
        1 => (0..SLOTS).prop_map(Step::DropExpect),
        5 => (0..2_usize).prop_map(Step::Hand),
        1 => (0..2_usize).prop_map(Step::ToTail),
        1 => (0..2_usize).prop_map(Step::ToHead),
        1 => (0..2_usize, 0..80_u64).prop_map(|(peer, version)| Step::ToVersion(peer, version)),
    ]
}

fn run(ledger: &mut Ledger, plain: &mut Plain, ids: [PositionId; 2], step: Step) {
    match step {
        Step::Change(slot, epoch, what) => {
            let version = ledger.change(slot, epoch, 9, what);
            plain.change(slot, epoch, 9, what);
            assert_eq!(version, plain.last);
        }
        Step::Drop(slot) => {
            ledger.drop_flow(slot);
            plain.drop_flow(slot);
        }
        Step::End(slot, n) => {
            let what = if n % 2 == 0 { What::Closed } else { What::Expired };
            let (place, version, gone) = ledger.end(slot, key(n), 1, 2, what);
            let oldest = plain.end(slot, key(n), what);
            assert_eq!((version, ledger.ended(place).unwrap().1), (plain.last, key(n)));
            assert_eq!(gone.map(|gone| gone.version), oldest);
        }
        Step::DropEnd(n) => {
            let found = ledger.iter().find_map(|(item, _)| match item {
                Item::End(place) if ledger.ended(place).unwrap().1 == key(n) => Some(place),
                _ => None,
            });
            if let Some(place) = found {
                let version = ledger.ended(place).unwrap().0.version;
                ledger.drop_end(place);
                plain.lines.retain(|line| line.entry.version != version);
            }
        }
        Step::Expect(place, what) => {
            let version = ledger.change_expect(place, what);
            plain.change_expect(place, what);
            assert_eq!(version, plain.last);
        }
        Step::DropExpect(place) => {
            ledger.drop_expect(place);
            plain.drop_expect(place);
        }
        Step::Hand(peer) => {
            let want = plain.next(peer).map(|line| line.entry);
            assert_eq!(ledger.peek(ids[peer]).map(|(_, entry)| entry), want);
            ledger.advance(ids[peer]);
            want.inspect(|entry| plain.positions[peer] = entry.version);
        }
        Step::ToTail(peer) => {
            ledger.to_tail(ids[peer]);
            plain.positions[peer] = plain.last;
        }
        Step::ToHead(peer) => {
            ledger.to_head(ids[peer]);
            plain.positions[peer] = 0;
        }
        Step::ToVersion(peer, version) => {
            let can = version >= plain.horizon && version <= plain.last;
            assert_eq!(ledger.to_version(ids[peer], version), can);
            if can {
                plain.positions[peer] = version;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    /// R7.1 to R7.3: versions, order, positions, ends and horizon are those of the plain list, whatever happens.
    #[test]
    fn the_list_is_as_if_it_were_written_down(steps in prop::collection::vec(step(), 1..120)) {
        let (mut ledger, mut plain) = (Ledger::new(ENDS_MAX), Plain::default());
        let ids = [ledger.open(), ledger.open()];
        for step in steps {
            run(&mut ledger, &mut plain, ids, step);
            let lines: Vec<_> = ledger.iter().map(|(item, entry)| match item {
                Item::Flow(slot) => Line { slot: Some(slot), key: None, expect: None, entry },
                Item::End(place) => {
                    let key = Some(ledger.ended(place).unwrap().1);
                    Line { slot: None, key, expect: None, entry }
                }
                Item::Expect(place) => Line { slot: None, key: None, expect: Some(place), entry },
            }).collect();
            prop_assert_eq!(&lines, &plain.lines);
            prop_assert_eq!((ledger.last(), ledger.horizon()), (plain.last, plain.horizon));
            let ends = lines.iter().filter(|line| line.key.is_some()).count();
            let flows = lines.iter().filter(|line| line.slot.is_some()).count();
            prop_assert_eq!(ledger.lens(), (flows, ends));
            for (peer, id) in ids.into_iter().enumerate() {
                let next = ledger.peek(id).map(|(_, entry)| entry);
                prop_assert_eq!(next, plain.next(peer).map(|line| line.entry));
                let behind = next.map_or(plain.last, |entry| entry.version - 1);
                prop_assert_eq!(ledger.version_of(id), behind);
            }
        }
    }
}

/// R7.2: a flow that changes while a peer is slow is sent once, in its state then.
#[test]
fn states_merge_behind_a_slow_peer() {
    let mut ledger = Ledger::new(8);
    let slow = ledger.open();
    for _ in 0..1_000 {
        for slot in 0..3 {
            ledger.change(slot, 0, 0, What::New);
        }
    }
    let mut sent = vec![];
    while let Some((item, entry)) = ledger.peek(slow) {
        sent.push((item, entry.version));
        ledger.advance(slow);
    }
    assert_eq!(sent, [(Item::Flow(0), 2_998), (Item::Flow(1), 2_999), (Item::Flow(2), 3_000)]);
}

/// R7.2: 28 bytes a flow.
#[test]
fn a_flow_takes_28_bytes() {
    assert_eq!(size_of::<Cell>(), 28);
    assert_eq!(size_of_val(&Ledger::new(1).cells[..]), 0);
    let mut ledger = Ledger::new(1);
    ledger.change(999, 0, 0, What::New);
    assert_eq!(size_of_val(&ledger.cells[..]), 28 * 1_000);
}

/// R7.3.
#[test]
fn places_of_ends_are_used_again() {
    let mut ledger = Ledger::new(2);
    for n in 0..50 {
        let (place, ..) = ledger.end(None, key(n), 0, 0, What::Closed);
        assert!(place < 2);
    }
    assert_eq!((ledger.ends.len(), ledger.lens(), ledger.horizon()), (2, (0, 2), 48));
}
