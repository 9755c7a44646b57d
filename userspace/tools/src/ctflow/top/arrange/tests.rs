//! Pictures of samples.

use super::*;
use crate::ctflow::top::meter::{Churn, Reading};
use crate::ctflow::top::mirror::Passed;
use crate::filter::{Limits, Sealed, parse};
use ctnetlink::Tuple;

fn row(last: u8, proto: u8, in_bps: u64) -> Row {
    let orig = Tuple::v4([10, 0, last / 100, last], [192, 0, 2, 1], proto).with_ports(1000, 443);
    let flow = Flow { reply: orig.inverted(), timeout_s: last.into(), ..Flow::new(orig) };
    let reading =
        Reading { reply_bps: Some(in_bps), orig_bps: Some(9000 - in_bps), is_new: last == 1 };
    Row::new(flow, reading)
}

fn sample(rows: Vec<Row>) -> Sample {
    Sample { rows, is_whole: true, ..Sample::default() }
}

fn lasts(picture: &Picture) -> Vec<u8> {
    picture.rows.iter().map(|row| row.flow.orig.src[3]).collect()
}

#[test]
fn flows_are_filtered_sorted_and_turned_round() {
    let sample = sample(vec![row(1, 6, 5), row(2, 17, 9), row(3, 6, 7)]);
    let mut arranger = Arranger::default();
    let mut settings = Settings::default();
    assert_eq!(lasts(&arranger.arrange(&sample, &settings)), [2, 3, 1]);
    settings.by = By::Out;
    assert_eq!(lasts(&arranger.arrange(&sample, &settings)), [1, 3, 2]);
    settings.by = By::From;
    assert_eq!(lasts(&arranger.arrange(&sample, &settings)), [1, 2, 3]);
    settings.turned = true;
    assert_eq!(lasts(&arranger.arrange(&sample, &settings)), [3, 2, 1]);
    let parsed = parse("tcp", &Limits::TYPED, &mut Sealed).unwrap();
    settings.program = Some(Arc::new(Program::new(&parsed.expr).unwrap()));
    let picture = arranger.arrange(&sample, &settings);
    assert_eq!(
        (lasts(&picture), picture.listed, picture.matched.in_bps),
        (vec![3, 1], 2, Some(12))
    );
}

#[test]
fn only_the_first_rows_are_kept_and_all_are_counted() {
    let rows = (0..5000_u64).map(|n| row((n % 250) as u8, 6, n * 7919 % 5000)).collect();
    let sample = sample(rows);
    let picture = Arranger::default().arrange(&sample, &Settings::default());
    assert_eq!((picture.rows.len(), picture.listed), (ROWS_MAX, 5000));
    let rates: Vec<_> = picture.rows.iter().map(|row| row.in_bps().unwrap()).collect();
    assert_eq!(rates, (4000..5000).rev().collect::<Vec<_>>());
}

#[test]
fn groups_are_counted_and_one_is_entered() {
    let mut six = row(9, 6, 1);
    six.flow.orig = Tuple::v6([0x20; 16], [0x21; 16], 6);
    let sample = sample(vec![row(1, 6, 5), row(2, 17, 9), row(103, 6, 7), six]);
    let mut settings = Settings { group: Some(Key::Src(Some(24))), ..Settings::default() };
    let picture = Arranger::default().arrange(&sample, &settings);
    let groups = picture.groups.unwrap();
    let keys: Vec<_> = groups.rows.iter().map(|one| one.counter.key.as_str()).collect();
    assert_eq!(keys, ["10.0.0.0/24", "10.0.1.0/24", "2020:2020:2020:2020::/64"]);
    assert_eq!((groups.count, groups.is_exact, groups.rest), (3, true, None));
    let Counter { count, error, tally, .. } = &groups.rows[0].counter;
    assert_eq!((*count, *error, tally.unreplied, tally.began), (2, 0, 2, 1));
    assert_eq!((tally.tcp, tally.udp, tally.other, tally.in_bps), (1, 1, 0, Some(14)));
    settings.within = Some("10.0.1.0/24".into());
    let picture = Arranger::default().arrange(&sample, &settings);
    assert_eq!((lasts(&picture), picture.listed, picture.matched.flows), (vec![103], 1, 4));
    settings.groups_by = GroupsBy::In;
    let picture = Arranger::default().arrange(&sample, &settings);
    assert_eq!(picture.groups.unwrap().rows[1].counter.key, "10.0.1.0/24");
}

#[test]
fn flows_that_came_and_went_count_as_new_in_their_groups_and_the_rest_is_told() {
    let passed = |last, proto| Passed { flow: row(last, proto, 0).flow, began_ns: 0 };
    // One that is there has begun, four have gone since, and of one nothing but that is known.
    let passed = [passed(2, 6), passed(103, 6), passed(103, 17), passed(104, 6)];
    let churn = Churn { began: Some(6), ..Churn::default() };
    let sample = Sample { passed: passed.into(), churn, ..sample(vec![row(1, 6, 5)]) };
    let mut settings = Settings { group: Some(Key::Src(Some(24))), ..Settings::default() };
    let groups = |settings: &Settings| {
        let groups = Arranger::default().arrange(&sample, settings).groups.unwrap();
        let news = groups.rows.iter().map(|one| (one.counter.count, one.counter.tally.began));
        (news.collect::<Vec<_>>(), groups.unnamed)
    };
    // A group has no flow any more, and is there.
    assert_eq!(groups(&settings), (vec![(1, 2), (0, 3)], 1));
    settings.groups_by = GroupsBy::New;
    assert_eq!(groups(&settings), (vec![(0, 3), (1, 2)], 1));
    let parsed = parse("tcp", &Limits::TYPED, &mut Sealed).unwrap();
    settings.program = Some(Arc::new(Program::new(&parsed.expr).unwrap()));
    assert_eq!(groups(&settings), (vec![(1, 2), (0, 2)], 1));
    settings.group = None;
    let picture = Arranger::default().arrange(&sample, &settings);
    assert_eq!((picture.matched.flows, picture.listed), (1, 1), "they are no flows that are there");
}

#[test]
fn groups_beyond_the_counters_have_error_bounds() {
    let of = |n: u32| {
        let [a, b, c, d] = n.to_be_bytes();
        let orig = Tuple::v4([10 + a, b, c, d], [1; 4], 6);
        Row::new(Flow::new(orig), Reading::default())
    };
    // One source has 500 flows; 10,000 others one each.
    let rows = (0..500).map(|_| of(1)).chain((2..10_002).map(of)).collect();
    let settings = Settings { group: Some(Key::Src(None)), ..Settings::default() };
    let groups = Arranger::default().arrange(&sample(rows), &settings).groups.unwrap();
    assert_eq!((groups.count, groups.is_exact), (10_001, false));
    let first = &groups.rows[0].counter;
    assert_eq!(first.key, "10.0.0.1");
    assert!(first.count - first.error <= 500 && 500 <= first.count, "{first:?}");
    let (others, rest) = groups.rest.unwrap();
    let shown: u64 = groups.rows.iter().map(|one| one.counter.count).sum();
    assert_eq!((others, shown + rest.count), (9001, 10_500));
}

#[test]
fn a_group_is_compared_with_itself_a_minute_ago() {
    let settings = Settings { group: Some(Key::Proto), ..Settings::default() };
    let mut arranger = Arranger::default();
    let mut at = |s: u64, flows: usize| {
        let rows = (0..flows).map(|n| row(n as u8, 6, 0)).collect();
        let sample = Sample { time_ns: s * 1_000_000_000, ..sample(rows) };
        arranger.arrange(&sample, &settings).groups.unwrap().rows[0].change
    };
    assert_eq!([at(0, 10), at(2, 15)], [None, Some(50.0)]);
    for s in 1..12 {
        at(s * 5, 20);
    }
    assert_eq!(at(60, 30), Some(200.0), "beside 0 s");
    assert_eq!(at(70, 30), Some(50.0), "beside 10 s");
}

#[test]
fn a_walk_takes_a_twentieth_of_the_time_at_most() {
    let ms = Duration::from_millis;
    assert_eq!(pause(Mode::Walk, ms(2000), ms(10)), ms(1990));
    assert_eq!(pause(Mode::Walk, ms(2000), ms(500)), ms(9500));
    assert_eq!(pause(Mode::Walk, Duration::MAX, Duration::MAX), Duration::ZERO);
    assert_eq!(pause(Mode::Mirror, ms(2000), ms(500)), ms(2000), "it reads counters seldom itself");
}

#[test]
fn states_are_words() {
    let word = |proto, status| {
        let orig = Tuple::v4([1; 4], [2; 4], proto);
        state_word(&Flow { status, ..Flow::new(orig) })
    };
    assert_eq!(word(1, Status::empty()), "-");
    let udp = [Status::empty(), Status::SEEN_REPLY, Status::SEEN_REPLY | Status::ASSURED];
    assert_eq!(udp.map(|status| word(17, status)), ["UNREPLIED", "REPLIED", "ASSURED"]);
}
