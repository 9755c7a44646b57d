use super::*;
use ctnetlink::Change;
use serde_json::{Value, json};

#[track_caller]
fn check(style: &Style<'_>, message: &FlowMessage, event: Option<Change>, wanted: &Value) {
    let style = Style { format: Format::Json, ..*style };
    let text = printed(&style, message, event, 7);
    let text = if event.is_some() { &text } else { text.strip_prefix(",\n").unwrap() };
    assert_eq!(text.ends_with('\n'), event.is_some());
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), *wanted);
}

#[test]
fn flows() {
    check(
        &Style::default(),
        &tcp().counters(1, u64::MAX).id(7).zone(4).helper("a\"b\\\u{1}é"),
        None,
        &json!({
            "v": 1, "family": "ipv4", "proto": "tcp", "protonum": 6,
            "orig": {
                "src": "1.1.1.1", "dst": "2.2.2.2", "sport": 10, "dport": 20,
                "packets": 1, "bytes": u64::MAX,
            },
            "reply": {
                "src": "2.2.2.2", "dst": "1.1.1.1", "sport": 20, "dport": 10,
                "packets": 1, "bytes": u64::MAX,
            },
            "state": "ESTABLISHED", "timeout": 299, "mark": 5, "zone": 4, "use": 1, "id": 7,
            "status": ["SEEN_REPLY", "ASSURED", "CONFIRMED"], "helper": "a\"b\\\u{1}é",
        }),
    );
}

#[test]
fn translation() {
    let mut wanted = json!({
        "v": 1, "family": "ipv4", "proto": "udp", "protonum": 17,
        "orig": {"src": "1.1.1.1", "dst": "2.2.2.2", "sport": 10, "dport": 20},
        "reply": {"src": "8.8.8.8", "dst": "9.9.9.9", "sport": 88, "dport": 99},
        "status": ["SRC_NAT_DONE", "DST_NAT_DONE"],
        "nat": {"src": {"addr": "9.9.9.9", "port": 99}, "dst": {"addr": "8.8.8.8", "port": 88}},
    });
    let natted = FlowMessage::natted_v4(17);
    check(&Style::default(), &natted.clone().status(0x180), None, &wanted);
    wanted["status"] = json!(["DST_NAT_DONE"]);
    wanted["nat"].as_object_mut().unwrap().remove("src");
    check(&Style::default(), &natted.status(0x100), None, &wanted);
}

#[test]
fn events() {
    let map = LabelMap::parse("1 one\n3 three");
    let style = Style { timestamp: true, ktimestamp: true, labels: Some(&map), ..Style::default() };
    check(
        &style,
        &icmp().lived(5, Some(6)).labels([0b1010, 0, 0, 0]),
        Some(Change::Destroy),
        &json!({
            "v": 1, "event": "destroy", "time_ns": NOW_NS, "portid": 7,
            "family": "ipv4", "proto": "icmp", "protonum": 1,
            "orig": {"src": "1.1.1.1", "dst": "2.2.2.2", "type": 8, "code": 0, "id": 3},
            "reply": {"src": "2.2.2.2", "dst": "1.1.1.1", "type": 0, "code": 0, "id": 3},
            "timeout": 99, "mark": 0, "use": 1, "status": ["CONFIRMED"],
            "labels": ["one", "three"], "start_ns": 5, "stop_ns": 6, "deltatime": 0,
        }),
    );
}
