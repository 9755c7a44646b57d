//! Two tables with differences end equal, whatever of the steps is lost or comes twice.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use wire::sync::v2::digest::{IdRow, Ids, Sums, Wants};
use wire::sync::v2::{Datagram, Frame, Frames, Head};

/// Rows of one owner, at it or at a holder: print (0: an end) and version.
#[derive(Clone, Default)]
struct Table(BTreeMap<FlowId, (u64, u64)>);

impl Table {
    fn digest(&self, bits: u8) -> Digest {
        let mut digest = Digest::new(bits);
        self.live().for_each(|(id, print)| digest.add(id, print));
        digest
    }

    fn live(&self) -> impl Iterator<Item = (FlowId, u64)> + '_ {
        self.0.iter().filter(|(_, (print, _))| *print != 0).map(|(id, (print, _))| (*id, *print))
    }

    fn listed(&self, leaf: u16) -> Vec<IdRow> {
        let range = FlowId::of(leaf, 0)..=FlowId::of(leaf, u64::MAX);
        self.0
            .range(range)
            .map(|(id, (print, _))| IdRow { id: *id, print: *print as u32 })
            .collect()
    }
}

/// A datagram as short as any path's, so that lists are cut.
fn packed(put: impl FnOnce(&mut Datagram<'_>)) -> Vec<u8> {
    let mut bytes = [0; 300];
    let mut datagram = Datagram::new(&mut bytes, &Head::default()).unwrap();
    put(&mut datagram);
    let len = datagram.len();
    bytes[..len].to_vec()
}

/// Both ends of one stream, with how many leaves each of them has.
struct Pair {
    owner: Table,
    holder: Table,
    bits: [u8; 2],
    upto: u64,
    wanted: usize,
}

impl Pair {
    fn bits(&self) -> u8 {
        self.bits[0].min(self.bits[1])
    }

    /// What one end answers to a datagram.
    fn answer(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for frame in Frames::of(datagram).unwrap().1.map(Result::unwrap) {
            match frame {
                Frame::Sums(sums) => out.extend(self.on_sums(sums)),
                Frame::Ids(ids) => out.extend(self.on_ids(ids)),
                Frame::Wants(wants) => self.on_wants(wants),
                other => panic!("{other:?}"),
            }
        }
        out
    }

    fn ask(&self) -> Vec<Vec<u8>> {
        let digest = self.holder.digest(self.bits[1]);
        sums(&digest, Level::Slices, &[0], self.bits())
    }

    fn on_sums(&self, frame: Sums<'_>) -> Vec<Vec<u8>> {
        let bits = self.bits();
        let (here, next) = match frame.level {
            Level::Slices => (self.owner.digest(self.bits[0]), Some(Level::Groups)),
            Level::Groups => (self.holder.digest(self.bits[1]), Some(Level::Leaves)),
            Level::Leaves => (self.owner.digest(self.bits[0]), None),
        };
        let differing: Vec<u16> = differing(&here, frame, bits, 0..SLICES).collect();
        let Some(next) = next else { return self.list(&differing) };
        sums(&here, next, &differing, bits)
    }

    fn list(&self, leaves: &[u16]) -> Vec<Vec<u8>> {
        let all = leaves.iter().flat_map(|leaf| listed_leaves(*leaf, self.bits()));
        let rows: Vec<_> = all.map(|leaf| (leaf as u16, self.owner.listed(leaf as u16))).collect();
        let rows: Vec<(u16, &[IdRow])> =
            rows.iter().map(|(leaf, rows)| (*leaf, &rows[..])).collect();
        let (mut at, mut out) = (Listing::default(), Vec::new());
        while !at.is_over(rows.len()) {
            out.push(packed(|d| pack_rows(d, self.upto, &rows, &mut at)));
        }
        out
    }

    fn on_ids(&mut self, ids: Ids<'_>) -> Vec<Vec<u8>> {
        let mut wants = Vec::new();
        for part in ids.parts().map(Result::unwrap) {
            let (from, to) = part.range;
            let held = self.holder.0.range(from..=to);
            let held = held.map(|(id, (print, version))| Held {
                id: *id,
                print: *print as u32,
                version: *version,
            });
            let held: Vec<_> = held.collect();
            judge(part.rows(), held, ids.upto, |verdict| match verdict {
                Verdict::Drop(id) => {
                    self.holder.0.remove(&id);
                }
                Verdict::Want(id) => wants.push(id),
            });
        }
        let (mut at, mut out) = (0, Vec::new());
        while at < wants.len() {
            out.push(packed(|d| at += pack_wants(d, (ids.upto, false), &wants[at..])));
        }
        out
    }

    /// The repair, which comes as flows do.
    fn on_wants(&mut self, wants: Wants<'_>) {
        for (_, ids) in wants.leaves().map(Result::unwrap) {
            for id in ids {
                self.wanted += 1;
                if let Some(row) = self.owner.0.get(&id) {
                    self.holder.0.insert(id, *row);
                }
            }
        }
    }

    /// One round; each datagram is taken as often as `fate` says.
    fn round(&mut self, fate: &mut impl FnMut() -> usize) {
        let mut flying = self.ask();
        while !flying.is_empty() {
            let mut next = Vec::new();
            for datagram in flying {
                for _ in 0..fate() {
                    next.extend(self.answer(&datagram));
                }
            }
            flying = next;
        }
    }

    fn is_equal(&self) -> bool {
        self.owner.live().eq(self.holder.live())
    }
}

fn sums(digest: &Digest, level: Level, nodes: &[u16], bits: u8) -> Vec<Vec<u8>> {
    let (mut at, mut out) = (0, Vec::new());
    while at < nodes.len() {
        out.push(packed(|d| at += pack_sums(d, digest, level, &nodes[at..], bits)));
    }
    out
}

/// An id: often in the same few leaves, so that lists are longer than a datagram.
fn id() -> impl Strategy<Value = FlowId> {
    let crowded = (0..3_u16, 0..1_u64 << 48).prop_map(|(leaf, low)| FlowId::of(leaf * 77, low));
    prop_oneof![1 => any::<u64>().prop_map(FlowId), 1 => crowded]
}

#[derive(Clone, Debug)]
enum Difference {
    Lacks,
    HasOther(u64),
    HasMore,
    MissedTheEnd,
}

fn differences() -> impl Strategy<Value = Difference> {
    prop_oneof![
        Just(Difference::Lacks),
        // Prints are hashes: small differences would cancel each other out in a sum.
        (1..=u32::MAX).prop_map(|by| Difference::HasOther(by.into())),
        Just(Difference::HasMore),
        Just(Difference::MissedTheEnd),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// R11.5.
    #[test]
    fn two_tables_end_equal_whatever_of_the_steps_is_lost_or_comes_twice(
        common in prop::collection::btree_map(id(), 1..u64::MAX, 0..300),
        different in prop::collection::btree_map(id(), (1..u64::MAX, differences()), 0..60),
        bits in [0..=10_u8, 0..=10_u8],
        fates in prop::collection::vec(0..3_usize, 0..200),
        lossy in 0..6_usize,
    ) {
        let with_print = |print: u64| if print as u32 == 0 { print | 1 } else { print };
        let mut pair = Pair { owner: Table::default(), holder: Table::default(), bits, upto: 500, wanted: 0 };
        for (at, (id, print)) in common.iter().enumerate() {
            let row = (with_print(*print), at as u64);
            pair.owner.0.insert(*id, row);
            pair.holder.0.insert(*id, row);
        }
        let mut wanted = BTreeSet::new();
        for (at, (id, (print, difference))) in different.iter().enumerate() {
            let row = (with_print(*print), at as u64 + 400);
            let ended = (0, row.1);
            let (here, there) = match difference {
                Difference::Lacks => (Some(row), None),
                Difference::HasOther(by) => (Some(row), Some((with_print(row.0 ^ by), 3))),
                Difference::HasMore => (None, Some(row)),
                Difference::MissedTheEnd => (Some(ended), Some(row)),
            };
            pair.owner.0.remove(id);
            pair.holder.0.remove(id);
            pair.owner.0.extend(here.map(|row| (*id, row)));
            pair.holder.0.extend(there.map(|row| (*id, row)));
            if !matches!(difference, Difference::HasMore) {
                wanted.insert(*id);
            }
        }
        let mut fates = fates.into_iter();
        for _ in 0..lossy {
            pair.round(&mut || fates.next().unwrap_or(1));
        }
        pair.round(&mut || 1);
        prop_assert!(pair.is_equal());
        if lossy == 0 {
            prop_assert_eq!(pair.wanted, wanted.len(), "what is equal is not sent again");
        }
        let (ours, theirs) = (pair.owner.digest(bits[0]), pair.holder.digest(bits[1]));
        prop_assert_eq!(ours.sum(0..SLICES), theirs.sum(0..SLICES));
        pair.wanted = 0;
        pair.round(&mut || 1);
        prop_assert_eq!(pair.wanted, 0);
    }

    /// R11.2: sums that are kept up to date are those that are added up.
    #[test]
    fn sums_are_kept_up_to_date(
        changes in prop::collection::vec((0..20_usize, prop::option::of(1..u64::MAX)), 1..200),
        ids in prop::collection::vec(id(), 20), bits in 0..=10_u8, coarse in 0..=10_u8,
    ) {
        let (mut table, mut digest) = (Table::default(), Digest::new(bits));
        for (which, now) in changes {
            let id = ids[which];
            let before = match now {
                Some(now) => table.0.insert(id, (now, 0)),
                None => table.0.remove(&id),
            };
            match (before, now) {
                (None, None) => {}
                (None, Some(now)) => digest.add(id, now),
                (Some((before, _)), None) => digest.remove(id, before),
                (Some((before, _)), Some(now)) => digest.change(id, before, now),
            }
        }
        prop_assert_eq!(&digest, &table.digest(bits));
        // The sums of children add up to their parent's, at any resolution that both ends have.
        for slice in 0..SLICES as u16 {
            let add = |level: Level, nodes: Range<u16>| nodes
                .flat_map(|node| digest.children(level, node, coarse).collect::<Vec<_>>())
                .fold(0, |a: u32, b| a.wrapping_add(b));
            let whole = digest.sum(usize::from(slice)..usize::from(slice) + 1).0 as u32;
            prop_assert_eq!(add(Level::Groups, slice..slice + 1), whole);
            prop_assert_eq!(add(Level::Leaves, slice * 32..slice * 32 + 32), whole);
        }
    }

    /// R11.6: a run finds what was changed behind the engine's back and nothing else, whatever changes meanwhile.
    #[test]
    fn a_scrub_finds_what_was_changed_behind_its_back(
        rows in prop::collection::vec(prop::option::of(1..u64::MAX), 40),
        steps in prop::collection::vec((1..6_u32, 0..40_usize, prop::option::of(1..u64::MAX)), 0..60),
        hidden in prop::collection::vec((0..40_usize, 1..u64::MAX), 0..4),
    ) {
        let id = |slot: usize| FlowId((slot as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut rows, mut digest) = (rows, Digest::new(4));
        for (slot, print) in rows.iter().enumerate() {
            print.inspect(|print| digest.add(id(slot), *print));
        }
        let mut wrong = false;
        for (slot, print) in hidden {
            if let Some(row) = &mut rows[slot] {
                wrong |= *row != print;
                *row = print;
            }
        }
        let mut scrub = Scrub::new(&digest);
        let look = |scrub: &mut Scrub, rows: &[Option<u64>], to: u32| {
            for slot in scrub.next()..to.min(40) {
                rows[slot as usize].inspect(|print| scrub.row(slot, id(slot as usize), *print));
            }
            scrub.passed(to.min(40));
        };
        for (by, slot, now) in steps {
            let to = scrub.next() + by;
            look(&mut scrub, &rows, to);
            let before = core::mem::replace(&mut rows[slot], now);
            before.inspect(|before| digest.remove(id(slot), *before));
            now.inspect(|now| digest.add(id(slot), *now));
            scrub.on_change(slot as u32, id(slot), before, now);
        }
        look(&mut scrub, &rows, 40);
        let found = scrub.finish(&mut digest);
        let mut want = Digest::new(4);
        for (slot, print) in rows.iter().enumerate() {
            print.inspect(|print| want.add(id(slot), *print));
        }
        prop_assert_eq!(&digest, &want);
        prop_assert!(!found.differed || wrong, "a false alarm");
    }
}

/// R11.2: 512 KiB an owner at most, and some 16 flows a leaf.
#[test]
fn a_digest_is_as_long_as_its_table_needs() {
    assert_eq!(Digest::new(10).leaves.len() * 8, 512 << 10);
    assert_eq!(
        [0, 16_384, 16_385, 262_144, 1 << 20, 1 << 24].map(Digest::bits_for),
        [4, 4, 5, 8, 10, 10]
    );
}

/// R11.5: what is held of a later version than the list is not in question.
#[test]
fn what_is_younger_than_the_list_stays() {
    let id = FlowId;
    let held = |n, print, version| Held { id: id(n), print, version };
    let listed = [
        IdRow { id: id(1), print: 5 },
        IdRow { id: id(3), print: 0 },
        IdRow { id: id(5), print: 6 },
    ];
    let mut got = Vec::new();
    let here = [held(1, 9, 11), held(2, 9, 10), held(3, 9, 11), held(4, 9, 12), held(5, 0, 9)];
    judge(listed, here, 10, |verdict| got.push(verdict));
    assert_eq!(got, [Verdict::Drop(id(2)), Verdict::Want(id(5))]);
}
