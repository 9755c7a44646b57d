//! Screens as text: `UPDATE=1 cargo test -p ctflow-tools golden` rewrites them.

use super::*;
use crate::ctflow::top::answer::Answer;
use crate::ctflow::top::arrange::{Arranger, Settings};
use crate::ctflow::top::keys::Key;
use crate::ctflow::top::meter::{Churn, Reading};
use crate::ctflow::top::mirror::{Mirror, Rates};
use crate::ctflow::top::mode::{Cause, Lapse, Mode, Origin};
use crate::ctflow::top::row::{Held, Row};
use crate::ctflow::top::sample::{Failures, Machine, Sample, Totals};
use crate::grouping::Key as GroupKey;
use ctnetlink::flow::{Counters, Known, ProtoState, Status, TcpState, Timestamps};
use ctnetlink::{Flow, Tuple};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wire::feed::{Head, Op, Record, encode};

const NOW_NS: u64 = 1_795_000_000_000_000_000;

fn tuple(src: &str, dst: &str, proto: u8) -> Tuple {
    let part = |text: &str| -> (IpAddr, u16) {
        let (address, port) = text.rsplit_once('#').unwrap_or((text, "0"));
        (address.parse().unwrap(), port.parse().unwrap())
    };
    let ((src, sport), (dst, dport)) = (part(src), part(dst));
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Tuple::v4(src.octets(), dst.octets(), proto),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Tuple::v6(src.octets(), dst.octets(), proto),
        _ => panic!("one family"),
    }
    .with_ports(sport, dport)
}

/// What a flow carries, and how old it is.
struct Made<'a> {
    ends: [&'a str; 2],
    reply: Option<[&'a str; 2]>,
    proto: u8,
    state: u8,
    status: Status,
    rates: [u64; 2],
    age_s: u64,
}

fn row(made: &Made<'_>) -> Row {
    let orig = tuple(made.ends[0], made.ends[1], made.proto);
    let mut flow = Flow { id: 727_087_033, timeout_s: 109, ..Flow::new(orig) };
    flow.reply = made.reply.map_or(orig.inverted(), |[src, dst]| tuple(src, dst, made.proto));
    flow.known = Known::STATUS | Known::TIMEOUT | Known::MARK | Known::ID;
    flow.status = made.status | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
    if made.proto == 6 {
        flow.proto = ProtoState::Tcp(TcpState { state: made.state, ..TcpState::default() });
    }
    let [in_bps, out_bps] = made.rates;
    let count = |bps: u64| Some(Counters { packets: bps / 1000, bytes: bps / 8 * made.age_s });
    let extra = flow.extra_mut();
    extra.counters = [count(out_bps), count(in_bps)];
    let start_ns = NOW_NS - made.age_s * 1_000_000_000;
    extra.timestamps = Some(Timestamps { start_ns, stop_ns: 0 });
    let reading =
        Reading { orig_bps: Some(out_bps), reply_bps: Some(in_bps), is_new: made.age_s < 20 };
    Row::new(flow, reading)
}

fn rows() -> Vec<Row> {
    let both = Status::SEEN_REPLY | Status::ASSURED;
    let mut icmp = row(&Made {
        ends: ["10.0.3.21", "198.51.100.7"],
        reply: Some(["198.51.100.7", "203.0.113.5"]),
        proto: 1,
        state: 0,
        status: Status::SEEN_REPLY,
        rates: [672, 672],
        age_s: 40,
    });
    icmp.flow.orig = icmp.flow.orig.with_icmp(4711, 8, 0);
    let all = [
        (
            ["10.0.3.17#51324", "198.51.100.7#443"],
            Some(["198.51.100.7#443", "203.0.113.5#51324"]),
            6,
            3,
            both,
            [88_200_000, 1_900_000],
            540,
        ),
        (
            ["10.0.3.99#40112", "198.51.100.7#443"],
            Some(["198.51.100.7#443", "203.0.113.5#40112"]),
            6,
            3,
            both,
            [41_000_000, 612_400],
            61,
        ),
        (
            ["192.0.2.40#55120", "203.0.113.5#443"],
            Some(["10.0.0.80#8443", "192.0.2.40#55120"]),
            6,
            3,
            both,
            [9_800_000, 22_700_000],
            7860,
        ),
        (
            ["2001:db8:1a2b:3c4d:5e6f:7081:92a3:b4c5#50122", "2001:db8:ffff:1:2:3:4:5#443"],
            None,
            17,
            0,
            both,
            [7_700_000, 402_000],
            12,
        ),
        (["10.0.9.8#33412", "192.0.2.77#443"], None, 6, 1, Status::empty(), [0, 480], 11),
        (
            ["10.0.3.17#51330", "198.51.100.7#443"],
            Some(["198.51.100.7#443", "203.0.113.5#51330"]),
            6,
            7,
            both,
            [0, 0],
            90,
        ),
        (
            ["172.16.0.9#1234", "203.0.113.5#53"],
            Some(["10.0.0.53#5353", "10.0.0.1#40000"]),
            17,
            0,
            Status::SEEN_REPLY,
            [120, 310],
            4,
        ),
    ];
    let made = all.map(|(ends, reply, proto, state, status, rates, age_s)| {
        row(&Made { ends, reply, proto, state, status, rates, age_s })
    });
    made.into_iter().chain([icmp]).collect()
}

fn sample() -> Sample {
    let rows = rows();
    let mut totals = Totals::default();
    rows.iter().for_each(|row| totals.add(&row.flow, &row.reading));
    Sample {
        time_ns: NOW_NS,
        took: Duration::from_millis(7),
        is_whole: true,
        rated: Some(Duration::from_secs(2)),
        churn: Churn {
            interval: Some(Duration::from_secs(2)),
            began: Some(4),
            ended: Some(1),
            unmetered: 0,
        },
        totals,
        machine: Machine {
            host: "r1".into(),
            daemon: "exact, ready".into(),
            events_lost: Some(0),
            flows_max: Some(262_144),
            failures: Some(Failures {
                insert_failed: 2,
                invalid: 28,
                clash: 5,
                ..Failures::default()
            }),
            is_counted: true,
        },
        failures_before: Some(Failures { clash: 5, ..Failures::default() }),
        rows,
        ..Sample::default()
    }
}

fn app(settings: Settings) -> App {
    let picture = Arranger::default().arrange(&sample(), &settings);
    App { settings, picture: Some(picture), every: Duration::from_secs(2), ..App::default() }
}

fn now() -> Now {
    Now { clock: "14:03:27".into(), age_s: 12, read: 3_000 }
}

/// The screen as a terminal holds it.
fn drawn(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            let lines = screen(app, &now(), width.into(), height.into());
            assert!(lines.len() <= height.into(), "{}", lines.len());
            for (y, line) in (0..height).zip(&lines) {
                assert!(line.text.len() <= width.into(), "too long: {}", line.text);
                frame.buffer_mut().set_string(0, y, &line.text, ratatui::style::Style::new());
            }
        })
        .unwrap();
    let buffer = terminal.backend().buffer();
    let cells: Vec<_> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
    let lines = cells.chunks(width.into()).map(|line| line.concat().trim_end().to_owned() + "\n");
    lines.collect()
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ctflow/top/view/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name}: UPDATE=1 writes it anew");
}

#[test]
fn golden_flows() {
    for (width, height) in [(60, 12), (80, 24), (132, 40)] {
        golden(
            &format!("flows-{width}x{height}.txt"),
            &drawn(&mut app(Settings::default()), width, height),
        );
    }
}

#[test]
fn golden_groups_and_detail() {
    let settings = Settings { group: Some(GroupKey::Src(Some(24))), ..Settings::default() };
    let mut narrow = app(settings.clone());
    narrow.pane = Pane::Groups;
    golden("groups-80x24.txt", &drawn(&mut narrow, 80, 24));
    let mut wide = app(settings);
    (wide.has_detail, wide.flow_at) = (true, 4);
    golden("groups-132x40.txt", &drawn(&mut wide, 132, 40));
}

/// The same flows in a mirror: received as records, and counted where `is_counted`.
fn mirrored(is_counted: bool) -> App {
    let mut mirror = Mirror::new(100);
    let rows = rows();
    for (at, row) in rows.iter().enumerate() {
        // The last ones were there before the mirror was.
        let op = if at < 6 { Op::New } else { Op::Have };
        let time_ns = row.began_ns.unwrap();
        let head = Head { op, time_ns, ..Head::default() };
        let bytes = encode(&head, &row.flow, 0);
        mirror.apply(0, &Record::decode(&bytes).unwrap().0).unwrap();
    }
    let (turn, mut rates) = (mirror.turn(), Rates::default());
    let readings = if is_counted { &[2, 0][..] } else { &[] };
    for ago_s in readings {
        mirror.begin_reading(Duration::from_secs(10 - ago_s), NOW_NS);
        for row in &rows {
            let mut flow = row.flow.clone();
            let extra = flow.extra_mut();
            extra.timestamps = None;
            let counters = extra.counters.iter_mut().flatten();
            for (one, bps) in counters.zip([row.out_bps(), row.in_bps()]) {
                one.bytes -= bps.unwrap() / 8 * ago_s;
            }
            mirror.read(&flow);
        }
        rates = mirror.end_reading();
    }
    let [flows, tcp, udp] = turn.flows;
    let held = Held { mirror: Arc::new(Mutex::new(mirror)), turn: turn.number };
    let unread = "acct off: sysctl -w net.netfilter.nf_conntrack_acct=1".to_owned();
    let sample = Sample {
        mode: Mode::Mirror,
        origin: Origin::Daemon,
        held: Some(held),
        rows: Vec::new(),
        rated: rates.interval,
        unread: (!is_counted).then_some(unread),
        totals: Totals {
            flows,
            tcp,
            udp,
            other: 1,
            in_bps: rates.in_bps,
            out_bps: rates.out_bps,
            zones: turn.zones,
        },
        ..sample()
    };
    let settings = Settings::default();
    let picture = Arranger::default().arrange(&sample, &settings);
    App { settings, picture: Some(picture), every: Duration::from_secs(2), ..App::default() }
}

#[test]
fn golden_mirror() {
    golden("mirror-80x24.txt", &drawn(&mut mirrored(false), 80, 24));
    let mut wide = mirrored(true);
    (wide.has_detail, wide.flow_at) = (true, 4);
    let key = wide.wish().expect("a daemon can be asked").flow.key();
    let peers =
        json!([{"peer": "r2", "state": "acked"}, {"peer": "r3", "state": "queued", "waits_ms": 3}]);
    let answer = json!({"flow": {}, "replication": peers, "doubts": ["silent"]});
    wide.answer = Some(Answer::new(key, &answer));
    golden("mirror-132x40.txt", &drawn(&mut wide, 132, 40));
    let line = "\nreplication: r2: acknowledged; r3: waits to be sent for 3 ms\n";
    assert!(drawn(&mut wide, 80, 24).contains(line));
    wide.flow_at = 5;
    assert!(!drawn(&mut wide, 132, 40).contains("replication"), "it was another flow");
}

#[test]
fn why_there_is_no_mirror_stands_in_the_first_line_however_narrow() {
    let mut app = mirrored(false);
    for (mode, cause, wide, narrow) in [
        (
            Mode::Mirror,
            Cause::Gap,
            "  mirror: gap, new snapshot  LIVE",
            "mirror: gap, new snapshot",
        ),
        (
            Mode::Walk,
            Cause::TooMany,
            " walk daemon: over --max-flows  LIVE",
            "walk: over --max-flows",
        ),
        (Mode::Walk, Cause::Silent, " walk daemon: daemon silent  LIVE", "walk: daemon silent"),
    ] {
        let sample = &mut app.picture.as_mut().unwrap().sample;
        (sample.mode, sample.lapse) = (mode, Some(Lapse::new(cause, "a long story")));
        let first = |app: &mut App, width| drawn(app, width, 24).lines().next().unwrap().to_owned();
        assert!(first(&mut app, 80).ends_with(wide), "{}", first(&mut app, 80));
        assert!(first(&mut app, 60).contains(narrow), "{}", first(&mut app, 60));
    }
}

#[test]
fn golden_help_prompt_and_waiting() {
    let mut help = app(Settings::default());
    help.has_help = true;
    golden("help-80x24.txt", &drawn(&mut help, 80, 24));
    let mut typing = app(Settings::default());
    typing.press(Key::Char('/'));
    "dst port htpp".chars().for_each(|c| drop(typing.press(Key::Char(c))));
    typing.filtered(Err("error: expected a port\n 1:10 | dst port htpp".into()));
    golden("prompt-80x24.txt", &drawn(&mut typing, 80, 24));
    let mut command = app(Settings::default());
    ":group shoe".chars().for_each(|c| drop(command.press(Key::Char(c))));
    command.press(Key::Enter);
    golden("command-80x24.txt", &drawn(&mut command, 80, 24));
    let mut waiting = App { every: Duration::from_secs(2), ..App::default() };
    assert!(drawn(&mut waiting, 80, 24).contains("reading the table: 3,000 flows so far"));
    assert!(
        drawn(&mut app(Settings::default()), 59, 24)
            .starts_with("the screen is too small: 60 x 12")
    );
}

#[test]
fn what_is_missing_is_said() {
    let mut app = app(Settings::default());
    app.is_frozen = true;
    let picture = app.picture.as_mut().unwrap();
    picture.sample.machine.is_counted = false;
    let text = drawn(&mut app, 80, 24);
    assert!(text.contains("acct off: sysctl -w net.netfilter.nf_conntrack_acct=1"), "{text}");
    assert!(text.contains("FROZEN 12 s"), "{text}");
    app.picture.as_mut().unwrap().sample.notes = vec!["Filter keeps flows out of the table".into()];
    assert!(drawn(&mut app, 80, 24).contains("Filter keeps flows out"));
}

#[test]
fn the_cursor_is_always_on_the_screen() {
    let mut app = app(Settings::default());
    app.is_unfolded = true;
    for key in ["jjjjjjjj", "kkkkk", "jj", "G", "kkkkkkkk"] {
        for key in key.chars() {
            app.press(Key::Char(key));
            for (width, height) in [(60, 12), (80, 24), (132, 40)] {
                let chosen = screen(&mut app, &now(), width, height);
                let source = flow::source(&app.row().unwrap().flow.orig);
                let shown = chosen.iter().filter(|line| line.look == Look::Chosen);
                assert!(
                    shown.clone().any(|line| line.text.contains(&source)),
                    "{source} {width}x{height}"
                );
            }
        }
    }
}

fn any_tuple() -> impl Strategy<Value = Tuple> {
    let proto = prop::sample::select(vec![1_u8, 6, 17, 47, 58, 132, 200]);
    let l4 = any::<(u16, u16)>();
    prop_oneof![
        (any::<[u8; 4]>(), any::<[u8; 4]>(), proto.clone(), l4)
            .prop_map(|(src, dst, proto, (s, d))| Tuple::v4(src, dst, proto).with_ports(s, d)),
        (any::<[u8; 16]>(), any::<[u8; 16]>(), proto, l4)
            .prop_map(|(src, dst, proto, (s, d))| Tuple::v6(src, dst, proto).with_ports(s, d)),
    ]
}

proptest! {
    #[test]
    fn no_address_is_ever_cut(
        orig in any_tuple(),
        mangled in any::<[u8; 16]>(),
        nat in any::<[bool; 2]>(),
        rates in any::<[Option<u64>; 2]>(),
        width in 60_usize..=200,
        unfold in any::<bool>(),
    ) {
        let mut flow = Flow { reply: orig.inverted(), ..Flow::new(orig) };
        flow.status = Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
        let used = if orig.src_ip().is_ipv6() { 16 } else { 4 };
        if nat[0] { flow.reply.dst[..used].copy_from_slice(&mangled[..used]) }
        if nat[1] { flow.reply.src[..used].copy_from_slice(&mangled[..used]) }
        let reading = Reading { orig_bps: rates[0], reply_bps: rates[1], is_new: false };
        let row = Row::new(flow, reading);
        let style = Style { width, nat: true, unfold, now_ns: 0 };
        let lines = flow::lines(&row, &style);
        let mut wanted = vec![flow::source(&orig), flow::destination(&orig)];
        wanted.extend(flow::translations(&row));
        for text in wanted {
            // Whole, and with nothing that touches it.
            let is_whole = |line: &String| format!(" {line} ").contains(&format!(" {text} "));
            prop_assert!(lines.iter().any(is_whole), "{} at {}: {:#?}", text, width, lines);
        }
        for line in &lines {
            prop_assert!(line.len() <= width && line.is_ascii(), "{} at {}", line, width);
        }
    }
}
