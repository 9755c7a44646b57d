use super::*;
use crate::peer::v2::claim::What;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

const fn ms(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

const TRIP_MS: u64 = 40;

/// Datagrams 1 to `count`, one a millisecond from 0 on, each of which carries flow N at version N; round trips of 40
/// ms.
fn sent(count: u64) -> (Sent, Rate) {
    let mut rate = Rate::new(ms(0), 1_000, None);
    rate.on_trip(ms(0), Duration::from_millis(TRIP_MS), Duration::ZERO);
    let mut sent = Sent::default();
    for number in 1..=count {
        sent.carry(Item::Flow(number as u32), number);
        assert_eq!(sent.send(ms(number - 1), 100, true, Snapshot::default()), number);
    }
    (sent, rate)
}

const fn models<'a>(rate: &'a mut Rate, path: &'a mut Path) -> Models<'a> {
    Models { rate, path }
}

fn acked(sent: &mut Sent, rate: &mut Rate, at: u64, numbers: RangeInclusive<u64>) -> Vec<u64> {
    let mut lost = Vec::new();
    sent.on_ack(
        ms(at),
        models(rate, &mut Path::new(ms(0))),
        core::iter::once(numbers),
        Duration::ZERO,
        |carried| {
            lost.push(carried.version);
        },
    );
    lost
}

fn timed_out(sent: &mut Sent, rate: &mut Rate, at: Instant) -> Vec<u64> {
    let mut lost = Vec::new();
    sent.on_timeout(at, models(rate, &mut Path::new(ms(0))), |carried| lost.push(carried.version));
    lost
}

/// R8.3: three later, and 9/8 of a round trip.
#[test]
fn one_is_lost_when_three_later_came_and_it_is_old() {
    let (mut sent, mut rate) = sent(8);
    assert!(acked(&mut sent, &mut rate, 44, 4..=4).is_empty(), "1 is 44 ms old, 45 are wanted");
    assert_eq!(sent.timeout(rate.trip()), Some(ms(0) + rate.trip().loss_delay()));
    assert_eq!(timed_out(&mut sent, &mut rate, ms(46)), [1]);
    // 2 was overtaken by two only.
    assert_eq!(timed_out(&mut sent, &mut rate, ms(60)), []);
    assert_eq!(acked(&mut sent, &mut rate, 61, 6..=8), [2, 3, 5]);
    assert!(sent.is_idle());
    assert_eq!(sent.settled(), 9);
}

/// R8.3: the probe timeout, which doubles while nothing is heard.
#[test]
fn the_last_ones_are_lost_after_the_probe_timeout() {
    let (mut sent, mut rate) = sent(3);
    // 40 + 4 * 20 + 20
    let first = sent.timeout(rate.trip()).unwrap();
    assert_eq!(first, ms(140));
    assert_eq!(timed_out(&mut sent, &mut rate, ms(139)), []);
    assert_eq!(timed_out(&mut sent, &mut rate, ms(142)), [1, 2, 3]);
    sent.carry(Item::Flow(1), 1);
    sent.send(ms(142), 100, true, Snapshot::default());
    assert_eq!(sent.timeout(rate.trip()), Some(ms(142 + 280)));
    assert!(acked(&mut sent, &mut rate, 190, 4..=4).is_empty());
    assert_eq!(sent.timeout(rate.trip()), None);
}

#[test]
fn what_asks_for_no_acknowledgement_is_not_waited_for() {
    let (mut sent, mut rate) = sent(1);
    assert_eq!(sent.send(ms(2), 50, false, Snapshot::default()), 2);
    assert_eq!((sent.bytes(), sent.settled()), (100, 1));
    assert!(acked(&mut sent, &mut rate, 41, 1..=2).is_empty());
    assert_eq!((sent.settled(), sent.is_idle(), sent.next_number()), (3, true, 3));
}

/// R8.5.
#[test]
fn what_is_in_flight_is_forgotten_and_numbers_go_on() {
    let (mut sent, mut rate) = sent(5);
    sent.forget();
    assert_eq!((sent.next_number(), sent.settled(), sent.bytes()), (6, 6, 0));
    assert!(acked(&mut sent, &mut rate, 50, 1..=5).is_empty());
    assert_eq!(sent.least_version(), None);
}

/// R8.4.
#[test]
fn stable_is_what_everything_up_to_was_acknowledged() {
    let mut ledger = Ledger::new(8);
    let (mut sent, mut lost, mut rate) =
        (Sent::default(), Lost::default(), Rate::new(ms(0), 1_000, None));
    let position = ledger.open();
    for slot in 0..6 {
        ledger.change(slot, 0, 0, What::New);
    }
    // Two in each of three datagrams.
    for at in 0..3 {
        for _ in 0..2 {
            let (item, entry) = ledger.peek(position).unwrap();
            sent.carry(item, entry.version);
            ledger.advance(position);
        }
        sent.send(ms(at), 500, true, Snapshot::default());
    }
    let is_stable = |sent: &Sent, lost: &Lost| stable(ledger.version_of(position), sent, lost, 0);
    assert_eq!(is_stable(&sent, &lost), 0);
    let ack = |sent: &mut Sent, rate: &mut Rate, range| {
        sent.on_ack(
            ms(40),
            models(rate, &mut Path::new(ms(0))),
            core::iter::once(range),
            Duration::ZERO,
            |_| panic!("lost"),
        );
    };
    ack(&mut sent, &mut rate, 1..=1);
    assert_eq!((is_stable(&sent, &lost), sent.settled()), (2, 2));
    ack(&mut sent, &mut rate, 3..=3);
    assert_eq!((is_stable(&sent, &lost), sent.settled()), (2, 2));
    sent.on_timeout(ms(9_000), models(&mut rate, &mut Path::new(ms(0))), |carried| {
        lost.push(carried);
    });
    assert_eq!((is_stable(&sent, &lost), sent.settled(), sent.is_idle()), (2, 4, true));
    // What was lost has changed since: it is sent from the ledger's tail.
    for slot in 2..4 {
        ledger.change(slot, 0, 0, What::New);
    }
    assert_eq!(lost.peek(&ledger), None);
    assert_eq!(stable(ledger.version_of(position), &sent, &lost, 0), 6);
    assert_eq!(stable(3, &sent, &lost, 5), 5, "it never falls");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    /// Each datagram is acknowledged or lost, once; its records go with it, and bytes add up.
    #[test]
    fn each_datagram_ends_once(
        steps in prop::collection::vec((0..4_u8, 1..40_u64, 0..12_u64, 0..4_u32), 1..120),
    ) {
        let (mut sent, mut rate) = sent(0);
        let mut path = Path::new(ms(0));
        let mut flying: BTreeMap<u64, (Vec<u64>, u64)> = BTreeMap::new();
        let (mut now, mut version, mut lost) = (0, 0, Vec::new());
        for (what, a, b, records) in steps {
            now += b;
            match what {
                0 | 1 => {
                    let carried: Vec<u64> = (0..records).map(|at| version + u64::from(at) + 1).collect();
                    carried.iter().for_each(|v| sent.carry(Item::Flow(*v as u32), *v));
                    version += u64::from(records);
                    let elicits = a % 3 != 0;
                    let number = sent.send(ms(now), a as usize, elicits, Snapshot::default());
                    if elicits || records > 0 {
                        flying.insert(number, (carried, a));
                    }
                }
                2 => {
                    let to = sent.next_number().saturating_sub(b);
                    let range = to.saturating_sub(a / 8)..=to;
                    flying.retain(|number, _| !range.contains(number));
                    sent.on_ack(ms(now), models(&mut rate, &mut path), core::iter::once(range), Duration::ZERO, |carried| lost.push(carried.version));
                }
                _ => {
                    sent.on_timeout(ms(now), models(&mut rate, &mut path), |carried| lost.push(carried.version));
                }
            }
            flying.retain(|_, (carried, _)| !carried.iter().any(|version| lost.contains(version)));
            if let Some((number, _)) = flying.iter().find(|(_, (carried, _))| !carried.is_empty()) {
                prop_assert!(sent.settled() <= *number);
            }
            let least = flying.values().flat_map(|(carried, _)| carried).min().copied();
            prop_assert_eq!(sent.least_version(), least);
        }
        sent.on_timeout(ms(now + 100_000), models(&mut rate, &mut path), |carried| lost.push(carried.version));
        prop_assert!(sent.is_idle() && sent.records.is_empty() && sent.flights.is_empty());
        let wanted: usize = flying.values().map(|(carried, _)| carried.len()).sum();
        let count = lost.len();
        lost.sort_unstable();
        lost.dedup();
        prop_assert_eq!(lost.len(), count, "nothing is lost twice");
        prop_assert!(wanted <= count);
    }
}
