use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

const fn ms(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

fn arrived(numbers: impl IntoIterator<Item = u64>) -> Arrived {
    let mut arrived = Arrived::default();
    for number in numbers {
        arrived.on_datagram(ms(1), number, true, false);
    }
    arrived
}

/// R8.6: within 20 ms, after 32, at once where one is missing, where one that was comes, and where it is asked for.
#[test]
fn what_came_is_acknowledged_in_time() {
    let mut arrived = Arrived::default();
    let mut come = |at, number, elicits, soon| {
        arrived.on_datagram(ms(at), number, elicits, soon);
        let due = arrived.timeout();
        if due == Some(ms(at)) {
            arrived.on_acknowledged();
        }
        due
    };
    assert_eq!(come(1, 1, true, false), Some(ms(21)));
    assert_eq!(come(5, 2, true, false), Some(ms(21)), "the oldest counts");
    assert_eq!(come(6, 4, true, false), Some(ms(6)), "3 is missing");
    assert_eq!(come(7, 3, true, false), Some(ms(7)), "3 came");
    assert_eq!(come(8, 5, true, true), Some(ms(8)), "asked for");
    assert_eq!(come(9, 6, false, false), None, "an acknowledgement is not acknowledged");
    for number in 7..38 {
        assert_eq!(come(10, number, true, false), Some(ms(30)));
    }
    assert_eq!(come(11, 38, true, false), Some(ms(11)), "the 32nd");
}

#[test]
fn the_oldest_ranges_are_left_out() {
    let arrived = arrived((1..=100).filter(|n| n % 2 == 0));
    let ranges: Vec<_> = arrived.ranges().collect();
    assert_eq!(ranges.len(), ACK_RANGES_MAX);
    assert_eq!((ranges[0].clone(), ranges[31].clone()), (100..=100, 38..=38));
}

/// R8.7, R11.4.
#[test]
fn a_cut_is_comparable_when_all_that_matters_came_and_nothing_after_it() {
    let mut cut = arrived([1, 2, 4, 5, 6]);
    assert!(cut.is_comparable(4, 6) && cut.is_comparable(6, 6));
    assert!(!cut.is_comparable(3, 6), "3 may have told something");
    assert!(!cut.is_comparable(4, 5), "6 came after it");
    assert!(!cut.is_comparable(4, 7), "it is not there itself");
    assert!(!cut.is_comparable(7, 6));
    cut.on_settled(4);
    assert_eq!(cut.on_datagram(ms(2), 3, true, false), Number::Settled);
    assert_eq!(cut.on_datagram(ms(2), 5, true, false), Number::Known);
    assert_eq!(cut.on_datagram(ms(2), 7, true, false), Number::Fresh);
    cut.on_settled(2);
    assert_eq!((cut.settled(), cut.ranges().next()), (4, Some(4..=7)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_are_the_numbers_that_came(numbers in prop::collection::vec(0..40_u64, 1..120)) {
        let mut plain = BTreeSet::new();
        let mut arrived = Arrived::default();
        for number in numbers {
            let fresh = plain.insert(number);
            let got = arrived.on_datagram(ms(1), number, true, false);
            prop_assert_eq!(got, if fresh { Number::Fresh } else { Number::Known });
            let listed: Vec<u64> = arrived.ranges().flat_map(Iterator::rev).collect();
            prop_assert_eq!(listed, plain.iter().rev().copied().collect::<Vec<_>>());
            let ranges: Vec<_> = arrived.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| *pair[1].end() + 1 < *pair[0].start()));
        }
    }
}
