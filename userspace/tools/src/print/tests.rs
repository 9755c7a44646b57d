//! Lines as conntrack 1.4.7 printed them for the same flows.

use super::{Age, Line, Origin, Xml, address::Address, state, tame, text};
use ctnetlink::flow::{
    Counters, Extra, Flow, HelperName, Known, ProtoState, Status, TcpState, Timestamps,
};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Expectation, Tuple, expectation};
use std::sync::Arc;

const A: [u8; 4] = [1, 1, 1, 1];
const B: [u8; 4] = [2, 2, 2, 2];
/// 2026-11-23 16:51:23 and a bit.
const START_NS: u64 = 1_795_452_683_900_000_000;

fn tcp(state: u8, status: Status) -> Flow {
    let orig = Tuple::v4(A, B, ipproto::TCP).with_ports(10, 20);
    Flow { proto: ProtoState::Tcp(TcpState { state, ..TcpState::default() }), ..flow(orig, status) }
}

fn flow(orig: Tuple, status: Status) -> Flow {
    Flow {
        orig,
        reply: orig.inverted(),
        status,
        timeout_s: 49,
        known: Known::STATUS | Known::TIMEOUT | Known::MARK,
        extra: Some(Arc::new(Extra::default().with(|extra| extra.use_count = Some(1)))),
        ..Flow::default()
    }
}

fn established() -> Flow {
    let mut flow = tcp(3, Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED);
    flow.timeout_s = 299;
    flow
}

fn check(line: Line<'_>, flow: &Flow, wanted: &str) {
    let mut out = String::new();
    line.flow(&mut out, flow).unwrap();
    assert_eq!(out, wanted);
}

#[test]
fn a_listed_tcp_flow() {
    let mut flow = established();
    flow.mark = 5;
    flow.extra_mut().counters = [Some(Counters::default()); 2];
    flow.extra_mut().timestamps = Some(Timestamps { start_ns: START_NS, stop_ns: 0 });
    let line = Line { now_ns: Some(START_NS + 50_000_000), ..Line::LIST };
    check(
        line,
        &flow,
        "tcp      6 299 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 packets=0 bytes=0 \
         src=2.2.2.2 dst=1.1.1.1 sport=20 dport=10 packets=0 bytes=0 [ASSURED] mark=5 delta-time=0 use=1",
    );
}

#[test]
fn an_extended_line_with_everything() {
    let mut flow = tcp(1, Status::CONFIRMED | Status::DST_NAT_DONE);
    flow.orig = flow.orig.with_ports(11, 80);
    flow.reply = Tuple::v4([8, 8, 8, 8], A, ipproto::TCP).with_ports(8080, 11);
    flow.timeout_s = 98;
    flow.id = 727_087_033;
    flow.known |= Known::ID;
    flow.extra_mut().counters = [Some(Counters::default()); 2];
    flow.extra_mut().timestamps = Some(Timestamps { start_ns: START_NS, stop_ns: 0 });
    let date = |secs: u64| format!("at {}", secs % 1000);
    let line = Line {
        layer3: true,
        id: true,
        date: Some(&date),
        now_ns: Some(START_NS + 200_000_000),
        ..Line::LIST
    };
    check(
        line,
        &flow,
        "ipv4     2 tcp      6 98 SYN_SENT src=1.1.1.1 dst=2.2.2.2 sport=11 dport=80 packets=0 bytes=0 \
         [UNREPLIED] src=8.8.8.8 dst=1.1.1.1 sport=8080 dport=11 packets=0 bytes=0 mark=0 delta-time=1 \
         [start=at 683] use=1 id=727087033",
    );
}

#[test]
fn layer_4_of_every_protocol() {
    let v6 = |last: u8| {
        let mut addr = [0; 16];
        addr[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        addr[15] = last;
        addr
    };
    let ping = Tuple::v6(v6(1), v6(2), ipproto::ICMPV6).with_icmp(3, 128, 0);
    check(
        Line::LIST,
        &flow(ping, Status::CONFIRMED),
        "icmpv6   58 49 src=2001:db8::1 dst=2001:db8::2 type=128 code=0 id=3 [UNREPLIED] \
         src=2001:db8::2 dst=2001:db8::1 type=129 code=0 id=3 mark=0 use=1",
    );
    let gre = Tuple::v4(A, B, ipproto::GRE).with_ports(16, 32);
    check(
        Line::LIST,
        &flow(gre, Status::CONFIRMED),
        "gre      47 49 src=1.1.1.1 dst=2.2.2.2 srckey=0x10 dstkey=0x20 [UNREPLIED] \
         src=2.2.2.2 dst=1.1.1.1 srckey=0x20 dstkey=0x10 mark=0 use=1",
    );
    check(
        Line::LIST,
        &flow(Tuple::v4(A, B, 200), Status::CONFIRMED),
        "unknown  200 49 src=1.1.1.1 dst=2.2.2.2 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 mark=0 use=1",
    );
    let udplite = Tuple::v4(A, B, ipproto::UDPLITE).with_ports(10, 20);
    check(
        Line::TABLE,
        &flow(udplite, Status::SEEN_REPLY),
        "udplite  136 src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 src=2.2.2.2 dst=1.1.1.1 sport=20 dport=10 \
         mark=0",
    );
}

#[test]
fn zones_of_one_direction_and_of_both() {
    let mut flow = tcp(1, Status::CONFIRMED);
    flow.orig = flow.orig.with_ports(12, 20);
    flow.reply = flow.orig.inverted();
    flow.extra_mut().zones = [Some(3), Some(4)];
    flow.extra_mut().counters = [Some(Counters { packets: 1, bytes: 60 }); 2];
    flow.zone = 10;
    flow.known |= Known::ZONE;
    check(
        Line::LIST,
        &flow,
        "tcp      6 49 SYN_SENT src=1.1.1.1 dst=2.2.2.2 sport=12 dport=20 zone-orig=3 packets=1 bytes=60 \
         [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 sport=20 dport=12 zone-reply=4 packets=1 bytes=60 mark=0 \
         zone=10 use=1",
    );
}

#[test]
fn helper_labels_and_security() {
    let mut flow = established();
    let extra = flow.extra_mut();
    extra.helper = HelperName::from_bytes(b"ftp");
    extra.labels = Some(vec![0b110, 1 << 31]);
    extra.secmark = Some(7);
    extra.secctx = Some(b"system_u\0".to_vec());
    let name =
        |bit: u32| [(1, "one"), (63, "last")].iter().find(|n| n.0 == bit).map(|n| n.1.to_owned());
    check(
        Line { labels: Some(&name), ..Line::LIST },
        &flow,
        "tcp      6 299 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 src=2.2.2.2 dst=1.1.1.1 \
         sport=20 dport=10 [ASSURED] mark=0 secmark=7 secctx=system_u helper=ftp use=1 labels=one,last",
    );
    let nothing = |_: u32| None;
    let mut out = String::new();
    Line { labels: Some(&nothing), ..Line::LIST }.flow(&mut out, &flow).unwrap();
    assert!(!out.contains("labels"));
}

#[test]
fn only_the_strongest_fate_shows() {
    let all = Status::SEEN_REPLY | Status::ASSURED | Status::OFFLOAD | Status::HW_OFFLOAD;
    for (status, wanted) in [
        (all, "[HW_OFFLOAD]"),
        (all - Status::HW_OFFLOAD, "[OFFLOAD]"),
        (all - Status::HW_OFFLOAD - Status::OFFLOAD, "[ASSURED]"),
    ] {
        let mut out = String::new();
        Line::TABLE.flow(&mut out, &tcp(3, status)).unwrap();
        assert!(out.ends_with(&format!("dport=10 {wanted} mark=0")), "{out}");
    }
}

/// A flow that says nothing of its status is neither replied to nor not.
#[test]
fn without_a_status_nothing_is_said_about_it() {
    let mut flow = tcp(3, Status::ASSURED);
    flow.known = Known::empty();
    check(
        Line::LIST,
        &flow,
        "tcp      6 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 src=2.2.2.2 dst=1.1.1.1 sport=20 \
         dport=10 use=1",
    );
}

/// Defect 32 of the original (`docs/defects.md`): nothing is cut, however long the line is.
#[test]
fn a_line_is_as_long_as_what_it_tells() {
    let wide = |n: u8| [0x20, 1, 0xd, 0xb8, n, n, n, n, n, n, n, n, n, n, n, n];
    let mut flow = flow(Tuple::v6(wide(0xaa), wide(0xbb), ipproto::TCP), Status::ASSURED);
    flow.reply = Tuple::v6(wide(0xcc), wide(0xdd), ipproto::TCP).with_ports(60_001, 60_002);
    flow.extra_mut().labels = Some([u32::MAX; 4].into());
    let mut out = "x".repeat(2000);
    Line::TABLE.flow(&mut out, &flow).unwrap();
    assert!(out.contains("src=2001:db8:cccc:cccc:cccc:cccc:cccc:cccc"), "{out}");
    assert!(out.ends_with("[ASSURED] mark=0"), "{out}");
}

#[test]
fn the_tables_of_the_daemon() {
    let mut flow = established();
    flow.orig = flow.orig.with_ports(1001, 80);
    flow.reply = Tuple::v4([8; 4], [9; 4], ipproto::TCP).with_ports(8080, 4000);
    let mut out = String::new();
    Line::TABLE.flow(&mut out, &flow).unwrap();
    out += &Age { expires_s: None, active_s: 30 }.to_string();
    assert_eq!(
        out,
        "tcp      6 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=1001 dport=80 src=8.8.8.8 dst=9.9.9.9 \
         sport=8080 dport=4000 [ASSURED] mark=0 [active since 30s]"
    );

    flow.reply = Tuple::default();
    let mut out = String::new();
    Line::TABLE.flow(&mut out, &flow).unwrap();
    assert_eq!(
        out,
        "tcp      6 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=1001 dport=80 [ASSURED] mark=0"
    );
    assert_eq!(
        Age { expires_s: Some(6), active_s: 3 }.to_string(),
        " [expires in 6s] [active since 3s]"
    );
}

#[test]
fn the_log_of_ended_flows() {
    let mut flow = tcp(8, Status::SEEN_REPLY | Status::ASSURED);
    flow.known -= Known::MARK;
    flow.extra_mut().counters =
        [Some(Counters { packets: 4, bytes: 216 }), Some(Counters { packets: 2, bytes: 113 })];
    check(
        Line::ENDED,
        &flow,
        "tcp      6 CLOSE src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 packets=4 bytes=216 src=2.2.2.2 \
         dst=1.1.1.1 sport=20 dport=10 packets=2 bytes=113 [ASSURED]",
    );
}

/// The original subtracts seconds, without their fractions.
#[test]
fn age_of_a_living_and_of_an_ended_flow() {
    let age = |stop_ns: u64, now_ns: u64| {
        let mut flow = tcp(3, Status::SEEN_REPLY);
        flow.extra_mut().timestamps = Some(Timestamps { start_ns: START_NS, stop_ns });
        let mut out = String::new();
        Line { now_ns: Some(now_ns), ..Line::TABLE }.flow(&mut out, &flow).unwrap();
        out.split("delta-time=").nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(age(0, START_NS + 200_000_000), 1);
    assert_eq!(age(START_NS + 200_000_000, START_NS + 9_000_000_000), 1);
    assert_eq!(age(START_NS + 1, START_NS + 9_000_000_000), 0);
    assert_eq!(age(0, START_NS - 5_000_000_000), 0);
}

#[test]
fn events() {
    let flow = established();
    let mut out = String::new();
    Line { timeout: true, ..Line::TABLE }.flow(&mut out, &flow).unwrap();
    out += &Origin { portid: 2_776_463_706, program: None }.to_string();
    assert_eq!(
        out,
        "tcp      6 299 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 src=2.2.2.2 \
         dst=1.1.1.1 sport=20 dport=10 [ASSURED] mark=0 [USERSPACE] portid=2776463706"
    );
    assert_eq!(Origin::default().to_string(), "");
    let named = Origin { portid: 1, program: Some("conntrack") };
    assert_eq!(named.to_string(), " [USERSPACE] portid=1 progname=conntrack");
}

fn expected() -> Expectation {
    let client = [10, 9, 0, 1];
    let server = [10, 9, 0, 2];
    Expectation::default().with(|expect| {
        expect.master = Tuple::v4(client, server, ipproto::TCP).with_ports(46_687, 21);
        expect.tuple = Tuple::v4(server, client, ipproto::TCP).with_ports(0, 51_210);
        expect.mask = Tuple::v4([255; 4], [255; 4], ipproto::TCP).with_ports(0, 65_535);
        expect.timeout_s = Some(298);
        expect.flags = Some(0);
        expect.class = Some(0);
        expect.helper = HelperName::from_bytes(b"ftp");
    })
}

const EXPECTED: &str = "proto=6 src=10.9.0.2 dst=10.9.0.1 sport=0 dport=51210 mask-src=255.255.255.255 \
     mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.9.0.1 master-dst=10.9.0.2 sport=46687 \
     dport=21";

#[test]
fn a_listed_expectation() {
    let mut out = String::new();
    text::expectation(&mut out, &expected(), true).unwrap();
    assert_eq!(out, format!("298 {EXPECTED} class=0 helper=ftp"));
}

#[test]
fn an_expectation_in_a_table_of_the_daemon() {
    let mut out = String::new();
    let flags = expectation::flag::PERMANENT | expectation::flag::USERSPACE;
    let expectation = expected().with(|expect| {
        expect.flags = Some(flags);
        expect.zone = Some(5);
    });
    text::expectation(&mut out, &expectation, false).unwrap();
    assert_eq!(out, format!("{EXPECTED} zone=5 PERMANENT,USERSPACE class=0 helper=ftp"));
}

#[test]
fn states_have_the_kernel_s_names() {
    let tcp = |state| state::name(&ProtoState::Tcp(TcpState { state, ..TcpState::default() }));
    assert_eq!(
        [tcp(0), tcp(8), tcp(9), tcp(10)].map(Option::unwrap),
        ["NONE", "CLOSE", "SYN_SENT2", "NONE"]
    );
    let sctp = |state| state::name(&ProtoState::Sctp { state, vtag: [0; 2] });
    assert_eq!(
        [sctp(4), sctp(9), sctp(99)].map(Option::unwrap),
        ["ESTABLISHED", "HEARTBEAT_ACKED", "NONE"]
    );
    let dccp = |state| state::name(&ProtoState::Dccp { state, role: 0 });
    assert_eq!([dccp(4), dccp(9)].map(Option::unwrap), ["OPEN", "INVALID"]);
    assert_eq!(state::name(&ProtoState::None), None);
}

#[test]
fn addresses_are_written_as_the_c_library_does() {
    for text in [
        "::",
        "::1",
        "::5",
        "::1.2.3.4",
        "::0.1.0.0",
        "::ffff:9.9.9.9",
        "1::2:3:0:0:4",
        "2001:0:0:1::1",
        "2001:db8:0:1:1:1:1:1",
    ] {
        assert_eq!(Address(text.parse().unwrap()).to_string(), text);
    }
    assert_eq!(Address("::1:0".parse().unwrap()).to_string(), "::0.1.0.0");
}

/// What the peer or the kernel chose, in the daemon's tables and its log: one line of text, and a document.
#[test]
fn a_helper_with_a_name_for_the_terminal_is_one_line_of_plain_text() {
    let mut flow = flow(Tuple::v4(A, B, ipproto::UDP).with_ports(10, 20), Status::CONFIRMED);
    let name = HelperName::from_bytes(b"\x1b[2J\nx<\xc2\x9b &");
    flow.extra_mut().helper = name;
    flow.extra_mut().secctx = Some(b"a b\x1b\xff<\0".to_vec());
    flow.extra_mut().labels = Some(vec![1]);
    let expected = Expectation::default().with(|expect| expect.helper = name);
    let labels = |_| Some("l\x1b<".to_owned());
    let mut lines = vec![String::new(); 4];
    let line = Line { labels: Some(&labels), ..Line::TABLE };
    line.flow(&mut lines[0], &flow).unwrap();
    text::expectation(&mut lines[1], &expected, false).unwrap();
    let document = Xml { labels: Some(&labels), ..Xml::TABLE };
    document.flow(&mut lines[2], &flow).unwrap();
    document.expectation(&mut lines[3], &expected).unwrap();
    for (line, wanted) in lines.iter().zip([
        " secctx=a b?\u{fffd}< helper=?[2J?x<??& labels=l?<",
        " helper=?[2J?x<??&",
        "<helper>?[2J?x&lt;? &amp;</helper>",
        "<helper-name>?[2J?x&lt;? &amp;</helper-name>",
    ]) {
        assert!(line.contains(wanted), "{line:?}");
        assert!(line.chars().all(tame::is_tame), "{line:?}");
    }
    assert!(lines[2].contains("<label>l?&lt;</label>"), "{:?}", lines[2]);
    assert!(lines[2].contains("<secctx>a b?\u{fffd}&lt;</secctx>"), "{:?}", lines[2]);
    let origin = Origin { portid: 1, program: Some("Web\x1bContent") }.to_string();
    assert_eq!(origin, " [USERSPACE] portid=1 progname=Web?Content");
}
