use super::*;
use ctnetlink::Change;

#[track_caller]
fn line(message: &FlowMessage, wanted: &str) {
    listed(Format::Save, message, wanted);
}

#[test]
fn protocols() {
    line(
        &tcp().mark(0),
        "-A -t 299 -u SEEN_REPLY,ASSURED -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p tcp \
         --sport 10 --dport 20 --reply-port-src 20 --reply-port-dst 10 --state ESTABLISHED",
    );
    line(
        &FlowMessage::v4(A, B, 132, Ports(10, 20))
            .status(8)
            .timeout(48)
            .sctp(4, [1_u32, 2].map(|tag| u32::from_be_bytes(tag.to_ne_bytes()))),
        "-A -t 48 -u UNSET -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p sctp --sport 10 \
         --dport 20 --reply-port-src 20 --reply-port-dst 10 --state ESTABLISHED --orig-vtag 1 \
         --reply-vtag 2",
    );
    line(
        &icmp(),
        "-A -t 99 -u UNSET -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p icmp --icmp-type 8 \
         --icmp-code 0 --icmp-id 3",
    );
    line(
        &gre(),
        "-A -t 99 -u UNSET -s ::ffff:1.2.3.4 -d ::5 -r ::5 -q ::ffff:1.2.3.4 -p gre --srckey 3 \
         --dstkey 64 --reply-key-src 64 --reply-key-dst 3",
    );
    line(
        &unknown().zone(4),
        "-A -t 99 -u UNSET -w 4 -s ::1.2.3.4 -d 1:0:0:2::3 -r 1:0:0:2::3 -q ::1.2.3.4 -p 77",
    );
    // A kernel without a tracker for it.
    line(
        &FlowMessage::v4(A, B, 33, Ports::none()).status(1),
        "-A -u EXPECTED -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p dccp",
    );
}

#[test]
fn translation() {
    let natted = || FlowMessage::natted_v4(17);
    line(
        &natted().status(0x188),
        "-A -u UNSET -s 1.1.1.1 -d 2.2.2.2 -g 8.8.8.8 -n 9.9.9.9 -p udp --sport 10 --dport 20 \
         --reply-port-src 88 --reply-port-dst 99",
    );
    line(
        &natted().status(0x408),
        "-A -u FIXED_TIMEOUT -s 1.1.1.1 -d 2.2.2.2 -r 8.8.8.8 -q 9.9.9.9 -p udp --sport 10 \
         --dport 20 --reply-port-src 88 --reply-port-dst 99",
    );
}

#[test]
fn what_the_original_loses() {
    let map = LabelMap::parse("1 one\n3 three");
    let style = Style { format: Format::Save, labels: Some(&map), ..Style::default() };
    let message = icmp().mark(5).labels([0b1010, 0, 0, 0]).helper("ftp");
    let text = printed(&style, &message, None, 0);
    assert!(text.ends_with(" --icmp-id 3 -m 5 --label-add one,three --helper ftp\n"), "{text}");
}

#[test]
fn verbs() {
    let style = Style { format: Format::Save, ..Style::default() };
    let deleted = Style { deleted: true, ..style };
    let cases = [
        (style, None, "-A -t"),
        (deleted, None, "-D -t"),
        (style, Some(Change::New), "-A -t"),
        (style, Some(Change::Update), "-U -t"),
        (style, Some(Change::Destroy), "-D -t"),
    ];
    for (style, event, verb) in cases {
        let text = printed(&style, &icmp(), event, 7);
        assert!(text.starts_with(verb), "{text}");
        assert_eq!(text.ends_with(" --icmp-id 3 [USERSPACE] portid=7\n"), event.is_some());
    }
}
