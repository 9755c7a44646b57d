use super::*;
use ctnetlink::Change;

#[track_caller]
fn line(message: &FlowMessage, wanted: &str) {
    listed(Format::Plain, message, wanted);
}

#[test]
fn protocols() {
    line(
        &tcp(),
        "tcp      6 299 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 \
         src=2.2.2.2 dst=1.1.1.1 sport=20 dport=10 [ASSURED] mark=5 use=1",
    );
    line(
        &icmp(),
        "icmp     1 99 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=3 [UNREPLIED] \
         src=2.2.2.2 dst=1.1.1.1 type=0 code=0 id=3 mark=0 use=1",
    );
    line(
        &gre(),
        "gre      47 99 src=::ffff:1.2.3.4 dst=::5 srckey=0x3 dstkey=0x40 [UNREPLIED] \
         src=::5 dst=::ffff:1.2.3.4 srckey=0x40 dstkey=0x3 mark=0",
    );
    line(
        &unknown(),
        "unknown  77 99 src=::1.2.3.4 dst=1:0:0:2::3 [UNREPLIED] \
         src=1:0:0:2::3 dst=::1.2.3.4 mark=0",
    );
}

#[test]
fn what_few_flows_have() {
    line(
        &FlowMessage::v4([192, 168, 200, 10], [8, 8, 8, 8], 17, Ports(65535, 53))
            .status(0x8c0e)
            .counters(1, 18_446_744_073_709_551_615)
            .zone(7)
            .be32(17, 9)
            .lived(NOW_NS - 61_000_000_000, None)
            .helper("ftp"),
        "udp      17 src=192.168.200.10 dst=8.8.8.8 sport=65535 dport=53 packets=1 \
         bytes=18446744073709551615 src=8.8.8.8 dst=192.168.200.10 sport=53 dport=65535 packets=1 \
         bytes=18446744073709551615 [HW_OFFLOAD] secmark=9 zone=7 delta-time=61 helper=ftp",
    );
}

#[test]
fn options() {
    let map = LabelMap::parse("# two\n0 zero\n33 thirty-three\n0 again\n200 far\n");
    let style = Style { extended: true, id: true, labels: Some(&map), ..Style::default() };
    assert_eq!(
        printed(&style, &icmp().id(4_294_967_295).labels([1 | 1 << 5, 2, 0, 0]), None, 0),
        "ipv4     2 icmp     1 99 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=3 [UNREPLIED] \
         src=2.2.2.2 dst=1.1.1.1 type=0 code=0 id=3 mark=0 use=1 id=4294967295 \
         labels=zero,thirty-three\n",
    );
}

#[test]
fn events() {
    let style = Style { timestamp: true, ..Style::default() };
    let end = "udp      17 src=1.1.1.1 dst=2.2.2.2 sport=10 dport=20 \
               src=2.2.2.2 dst=1.1.1.1 sport=20 dport=10";
    let message = FlowMessage::v4(A, B, 17, Ports(10, 20));
    assert_eq!(
        printed(&style, &message, Some(Change::Destroy), 77),
        format!("[1795488831.681765]\t[DESTROY] {end} [USERSPACE] portid=77\n"),
    );
    let stamped = message.clone().with(message::attribute(27, &5_000_000_123_u64.to_be_bytes()));
    assert_eq!(
        printed(&style, &stamped, Some(Change::Update), 0),
        format!("[5.000000]\t [UPDATE] {end}\n"),
    );
    assert_eq!(
        printed(&Style::default(), &message, Some(Change::New), 0),
        format!("    [NEW] {end}\n"),
    );
    assert_eq!(printed(&style, &message, None, 77), format!("{end}\n"));
}

#[test]
fn what_is_no_flow_prints_nothing() {
    let whole = tcp().bytes();
    for len in 0..whole.len() {
        let mut out = Vec::new();
        assert!(!flow(&mut out, &Style::default(), &whole[..len], None, Origin::default(), 0));
        assert_eq!(out, b"");
    }
}

#[test]
fn octets_of_every_length() {
    for octet in 0..=255 {
        let message =
            FlowMessage::v4([octet, 0, octet, 9], [1, octet, 10, 255], 200, Ports::none());
        let text = printed(&Style::default(), &message, None, 0);
        let wanted = format!(" src={octet}.0.{octet}.9 dst=1.{octet}.10.255 ");
        assert!(text.contains(&wanted), "{text}");
    }
}
