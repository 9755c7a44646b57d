use super::*;
use proptest::prelude::*;

const fn at_ms(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

proptest! {
    #[test]
    fn a_bucket_holds_what_is_at_most_an_eighth_less_than_its_greatest(us in any::<u32>()) {
        let (bucket, us) = (bucket(us), u64::from(us));
        prop_assert!(bucket < BUCKETS);
        let greatest = greatest(bucket);
        prop_assert!(us <= greatest && greatest - us <= us / 8, "{us} in {bucket}, to {greatest}");
        prop_assert!(bucket == 0 || super::greatest(bucket - 1) < us);
    }

    /// However many times are forgotten, none of a version is later than it arose, and recent ones are exact.
    #[test]
    fn a_version_arose_no_later_than_the_clock_says(steps in prop::collection::vec(1..40_u64, 1..12_000)) {
        let mut clock = Clock::default();
        let (mut ms, mut arose) = (1_000, Vec::new());
        for (version, step) in steps.into_iter().enumerate() {
            ms += step;
            clock.note(version as u64 + 1, at_ms(ms));
            arose.push(ms);
        }
        prop_assert!(clock.marks.len() <= MARKS_MAX);
        for (version, ms) in arose.iter().enumerate() {
            prop_assert!(clock.at(version as u64 + 1) <= at_ms(*ms));
        }
        let recent = arose.iter().enumerate().rev().take(1_000);
        for (version, ms) in recent {
            prop_assert_eq!(clock.at(version as u64 + 1), at_ms(*ms));
        }
    }
}

#[test]
fn what_arises_together_counts_as_the_first() {
    let mut clock = Clock::default();
    assert_eq!(clock.at(1), Instant(0));
    clock.note(1, Instant(5_000_000));
    clock.note(2, Instant(5_900_000));
    clock.note(3, Instant(6_000_000));
    let at = [1, 2, 3, 9].map(|version| clock.at(version).0);
    assert_eq!(at, [5_000_000, 5_000_000, 6_000_000, 6_000_000]);
}

#[test]
fn quantiles_are_those_of_the_last_minute() {
    let mut lags = Lags::default();
    assert_eq!(lags.quantiles(at_ms(1)), None);
    for n in 1..=1_000 {
        lags.record(at_ms(100_000 + n), Duration::from_micros(n));
    }
    let of = |lags: &Lags, ms| {
        lags.quantiles(at_ms(ms)).map(|q| [q.p50, q.p99, q.max].map(|d| d.as_micros()))
    };
    let [p50, p99, max] = of(&lags, 102_000).unwrap();
    assert!((500..=563).contains(&p50) && (990..=1_000).contains(&p99), "{p50} {p99}");
    assert_eq!(max, 1_000);
    lags.record(at_ms(135_000), Duration::from_secs(5));
    assert_eq!(of(&lags, 136_000).unwrap()[2], 5_000_000, "both windows count");
    assert_eq!(of(&lags, 136_000).unwrap()[1], 1_023, "to an eighth");
    assert_eq!(of(&lags, 166_000), Some([5_000_000; 3]), "the first window is over");
    assert_eq!(of(&lags, 200_000), None);
    lags.record(at_ms(200_000), Duration::from_hours(10));
    assert_eq!(of(&lags, 200_000), Some([u128::from(u32::MAX); 3]));
}
