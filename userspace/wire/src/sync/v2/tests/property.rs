//! What holds for any input.

use super::*;
use crate::arbitrary;
use ctnetlink::{DecodeError, FlowKey};
use proptest::prelude::*;

/// Decodes everything in `bytes`, whatever they are, and counts what is right.
pub(super) fn survive(bytes: &[u8]) -> usize {
    let Ok((_, frames)) = Frames::of(bytes) else { return 0 };
    let mut right = 0;
    let mut note = |result: Result<(), DecodeError>| match result {
        Ok(()) => right += 1,
        Err(e) => assert!(e.at as usize <= bytes.len(), "{e}"),
    };
    for frame in frames {
        match frame {
            Ok(Frame::Flows { records, .. } | Frame::Beaten(records)) => {
                records.for_each(|record| note(record.map(|record| drop(record.to_flow()))));
            }
            Ok(Frame::Expects(expects)) => {
                expects.records().for_each(|record| note(record.map(drop)));
            }
            Ok(Frame::Ack(ack)) => {
                let mut below = u64::MAX;
                for range in ack.ranges() {
                    if let Ok(range) = &range {
                        assert!(range.start() <= range.end() && *range.end() <= below);
                        below = *range.start();
                    }
                    note(range.map(drop));
                }
            }
            Ok(Frame::Sums(sums)) => sums.nodes().for_each(|(_, sums)| {
                assert!(sums.count() > 0);
            }),
            Ok(Frame::Ids(ids)) => {
                ids.parts().for_each(|part| {
                    note(part.map(|part| {
                        part.rows().for_each(|row| assert_eq!(row.id.leaf(), part.leaf));
                    }));
                });
            }
            Ok(Frame::Wants(wants)) => {
                wants.leaves().for_each(|leaf| {
                    note(leaf.map(|(leaf, ids)| {
                        ids.for_each(|id| assert_eq!(id.leaf(), leaf));
                    }));
                });
            }
            other => note(other.map(drop)),
        }
    }
    right
}

/// The flow that comes back, and the claim.
fn expected(flow: &Flow, claim: &Claim) -> (Claim, Flow) {
    let canonical = Canonical::of(flow).unwrap();
    let flow = if claim.what.is_end() {
        Flow { zone: flow.zone, ..Flow::new(canonical.key.tuple) }
    } else {
        canonical.to_flow()
    };
    (*claim, flow)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    /// R6.5: what is decoded is the canonical form of what was encoded, whatever else is in the datagram.
    #[test]
    fn flows_come_back_in_canonical_form(
        flows in prop::collection::vec((arbitrary::v2_flow(), arbitrary::v2_claim(), 0..3_u8), 1..24),
    ) {
        let mut want = Vec::new();
        let bytes = packed(|d| {
            for (flow, claim, flags) in &flows {
                let canonical = Canonical::of(flow).unwrap();
                let flags = FlowsFlags::from_bits_retain(*flags);
                let fitted = if claim.what.is_end() && flags.is_empty() {
                    d.end(flags, claim, &flow.key())
                } else {
                    d.flow(flags, claim, &canonical)
                };
                if !fitted {
                    assert!(d.room() < flow::RECORD_LEN_MAX + 16);
                    break;
                }
                want.push(expected(flow, claim));
            }
        });
        let got = records(&bytes);
        prop_assert_eq!(got.len(), want.len());
        for (got, want) in got.into_iter().zip(want) {
            let record = got.unwrap();
            prop_assert_eq!((record.claim, record.to_flow()), want);
        }
    }

    #[test]
    fn the_canonical_form_is_a_form(flow in arbitrary::v2_flow()) {
        let canonical = Canonical::of(&flow).unwrap();
        let owned = canonical.to_flow();
        let again = Canonical::of(&owned).unwrap();
        prop_assert_eq!(&again.to_flow(), &owned);
        let id = KEY.id(&canonical.key);
        prop_assert_eq!(id, KEY.id(&owned.key()));
        let print = KEY.print(id, &canonical);
        prop_assert_eq!(print, KEY.print(id, &again));
        prop_assert_ne!(print as u32, 0);
    }

    /// Two flows have one print if they have one canonical form, but for the time left; and only then.
    #[test]
    fn prints_differ_where_forms_do(one in arbitrary::v2_flow(), two in arbitrary::v2_flow()) {
        let two = Flow { orig: one.orig, zone: one.zone, ..two };
        for (one, two) in [(&one, &two), (&one, &Flow { reply: two.reply, ..one.clone() })] {
            let [one, two] = [one, two].map(|flow| Canonical::of(flow).unwrap());
            let forms = [one, two].map(|form| {
                let mut flow = form.to_flow();
                (flow.timeout_s, flow.known) = (0, flow.known - Known::TIMEOUT);
                flow
            });
            let id = KEY.id(&one.key);
            prop_assert_eq!(forms[0] == forms[1], KEY.print(id, &one) == KEY.print(id, &two));
        }
    }

    #[test]
    fn ids_differ_where_identities_do(one in arbitrary::v2_flow(), two in arbitrary::v2_flow()) {
        let [one, two] = [one, two].map(|flow| Canonical::of(&flow).unwrap().key);
        prop_assert_eq!(one == two, KEY.id(&one) == KEY.id(&two));
        let zone = FlowKey { zone: one.zone ^ 1, ..one };
        prop_assert_ne!(KEY.id(&zone), KEY.id(&one));
    }

    #[test]
    fn an_expectation_comes_back(
        expects in prop::collection::vec((arbitrary::v2_expectation(), arbitrary::v2_claim()), 1..4),
    ) {
        let mut want = Vec::new();
        let bytes = packed(|d| {
            for (expect, claim) in &expects {
                if d.expect(claim.version, claim.what, expect) {
                    want.push(expect_back(expect, claim));
                }
            }
        });
        let mut got = Vec::new();
        for frame in Frames::of(&bytes).unwrap().1 {
            let Ok(Frame::Expects(expects)) = frame else { panic!("{frame:?}") };
            got.extend(expects.records().map(Result::unwrap));
        }
        prop_assert_eq!(got, want);
    }

    /// R11.2, of expectations: both ends have the same id and print, and what travels makes them differ.
    #[test]
    fn marks_of_expectations_are_those_of_what_travels(
        one in arbitrary::v2_expectation(), two in arbitrary::v2_expectation(),
    ) {
        let back = |expect: &ctnetlink::Expectation| {
            let bytes = packed(|d| assert!(d.expect(1, What::State, expect)));
            let frame = Frames::of(&bytes).unwrap().1.next().unwrap();
            let Ok(Frame::Expects(expects)) = frame else { panic!("{frame:?}") };
            expects.records().next().unwrap().unwrap().expect
        };
        prop_assert_eq!(KEY.expectation(&back(&one)), KEY.expectation(&one));
        let later = one.clone().with(|expect| expect.timeout_s = Some(1));
        prop_assert_eq!(KEY.expectation(&later), KEY.expectation(&one));
        let (id, print) = KEY.expectation(&one);
        let zone = one.clone().with(|e| e.zone = Some(e.zone.unwrap_or(0) ^ 1));
        let class = one.clone().with(|e| e.class = Some(e.class.unwrap_or(0) ^ 1));
        prop_assert_ne!(KEY.expectation(&zone).0, id);
        prop_assert_eq!(KEY.expectation(&class).0, id);
        prop_assert_ne!(KEY.expectation(&class).1, print);
        let identity = |e: &ctnetlink::Expectation| (e.master, e.tuple, e.mask, e.zone.unwrap_or(0));
        prop_assert_eq!(identity(&one) == identity(&two), KEY.expectation(&two).0 == id);
    }

    #[test]
    fn ranges_come_back(
        steps in prop::collection::vec((1..5_u64, 1..100_u64), 1..40), top in 0..1_u64 << 52,
        delay in 0..1_u64 << 30, room in any::<u16>(),
    ) {
        let mut below = top + 100_000;
        let ranges: Vec<_> = steps.iter().map(|(gap, run)| {
            let end = below - gap - 1;
            below = end + 1 - run;
            below..=end
        }).collect();
        let bytes = packed(|d| assert!(d.ack(|w| control::put_ack(w, delay, room, ranges.iter().cloned()))));
        let frame = Frames::of(&bytes).unwrap().1.next().unwrap().unwrap();
        let Frame::Ack(ack) = frame else { panic!() };
        prop_assert_eq!((ack.greatest, ack.delay_us, ack.room_kib), (*ranges[0].end(), delay, room));
        let back: Vec<_> = ack.ranges().map(Result::unwrap).collect();
        prop_assert_eq!(back, ranges);
    }

    #[test]
    fn leaves_come_back(
        leaves in prop::collection::vec((any::<u16>(), prop::collection::vec((0..(1_u64 << 48) - 1, any::<u32>()), 2..12), any::<[bool; 2]>()), 0..6),
        upto in any::<u64>(),
    ) {
        let leaves: Vec<_> = leaves.into_iter().map(|(leaf, rows, whole)| {
            let mut rows: Vec<_> = rows.into_iter()
                .map(|(low, print)| digest::IdRow { id: FlowId::of(leaf, low), print }).collect();
            rows.sort();
            rows.dedup_by_key(|row| row.id);
            (leaf, rows, whole)
        }).collect();
        let bytes = packed(|d| {
            assert!(d.ids(upto, |w| leaves.iter().for_each(|(leaf, rows, whole)| {
                digest::put_part(w, *leaf, *whole, rows.iter());
            })));
        });
        let Frame::Ids(ids) = Frames::of(&bytes).unwrap().1.next().unwrap().unwrap() else { panic!() };
        prop_assert_eq!(ids.upto, upto);
        let parts: Vec<_> = ids.parts().map(Result::unwrap).collect();
        prop_assert_eq!(parts.len(), leaves.len());
        for (part, (leaf, rows, [start, end])) in parts.into_iter().zip(leaves) {
            let (flags, behind) = if start { (&rows[..], 0) } else { (&rows[1..], rows[0].id.low() + 1) };
            prop_assert_eq!(part.rows().collect::<Vec<_>>(), flags);
            let to = if end { FlowId::of(leaf, u64::MAX) } else { rows[rows.len() - 1].id };
            prop_assert_eq!(part.range, (FlowId::of(leaf, behind), to));
        }
    }

    /// Requirement R6.4.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survive(&bytes);
    }

    #[test]
    fn any_bodies_are_survived(
        frames in prop::collection::vec((0..16_u8, prop::collection::vec(any::<u8>(), 0..80)), 0..8),
    ) {
        let mut bytes = vec![0; frame::HEAD_LEN];
        for (kind, body) in frames {
            bytes.extend([kind, 0, body.len() as u8]);
            bytes.extend(body);
        }
        survive(&bytes);
    }
}

fn expect_back(expect: &ctnetlink::Expectation, claim: &Claim) -> ExpectRecord {
    let expect = if claim.what.is_end() {
        let zone = expect.zone;
        ctnetlink::Expectation::new(expect.master, expect.tuple, expect.mask)
            .with(|e| e.zone = zone)
    } else {
        expect.clone()
    };
    ExpectRecord { version: claim.version, what: claim.what, expect }
}

/// R6.4: every vector, cut at every length, and with every byte turned into a few others.
#[test]
fn every_cut_and_every_damaged_byte_is_survived() {
    for (name, bytes) in vector::all() {
        let whole = survive(&bytes);
        for len in 0..bytes.len() {
            assert!(survive(&bytes[..len]) <= whole, "{name} cut at {len}");
        }
        for at in 0..bytes.len() {
            for flip in (0..8).map(|bit| 1 << bit).chain([0xff]) {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                survive(&bad);
            }
        }
    }
}
