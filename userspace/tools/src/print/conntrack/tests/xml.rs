use super::*;
use ctnetlink::Change;

#[test]
fn flows() {
    listed(
        Format::Xml,
        &tcp().counters(1, 2).id(7).lived(NOW_NS - 61_000_000_000, None).helper("a<b&c>"),
        "<flow><meta direction=\"original\"><layer3 protonum=\"2\" protoname=\"ipv4\">\
         <src>1.1.1.1</src><dst>2.2.2.2</dst></layer3><layer4 protonum=\"6\" protoname=\"tcp\">\
         <sport>10</sport><dport>20</dport></layer4><counters><packets>1</packets>\
         <bytes>2</bytes></counters></meta><meta direction=\"reply\">\
         <layer3 protonum=\"2\" protoname=\"ipv4\"><src>2.2.2.2</src><dst>1.1.1.1</dst></layer3>\
         <layer4 protonum=\"6\" protoname=\"tcp\"><sport>20</sport><dport>10</dport></layer4>\
         <counters><packets>1</packets><bytes>2</bytes></counters></meta>\
         <meta direction=\"independent\"><state>ESTABLISHED</state><timeout>299</timeout>\
         <mark>5</mark><use>1</use><id>7</id><assured/><deltatime>61</deltatime></meta>\
         <helper>a&lt;b&amp;c&gt;</helper></flow>",
    );
    listed(
        Format::Xml,
        &gre().zone(4),
        "<flow><meta direction=\"original\"><layer3 protonum=\"10\" protoname=\"ipv6\">\
         <src>::ffff:1.2.3.4</src><dst>::5</dst></layer3><layer4 protonum=\"47\" protoname=\"gre\">\
         <srckey>0x3</srckey><dstkey>0x40</dstkey></layer4></meta><meta direction=\"reply\">\
         <layer3 protonum=\"10\" protoname=\"ipv6\"><src>::5</src><dst>::ffff:1.2.3.4</dst></layer3>\
         <layer4 protonum=\"47\" protoname=\"gre\"><srckey>0x40</srckey><dstkey>0x3</dstkey></layer4>\
         </meta><meta direction=\"independent\"><timeout>99</timeout><mark>0</mark><zone>4</zone>\
         <unreplied/></meta></flow>",
    );
}

#[test]
fn states_of_sctp_have_their_own_names() {
    let style = Style { format: Format::Xml, ..Style::default() };
    let message = FlowMessage::v4(A, B, 132, Ports(10, 20)).sctp(4, [1, 2]);
    let text = printed(&style, &message, None, 0);
    assert!(text.contains("<state>ESTABLISHED</state>"), "{text}");
}

#[test]
fn events() {
    let map = LabelMap::parse("1 one\n3 three");
    let style = Style {
        format: Format::Xml,
        timestamp: true,
        ktimestamp: true,
        labels: Some(&map),
        ..Style::default()
    };
    let message = icmp().lived(5, Some(6)).labels([0b1010, 0, 0, 0]);
    let text = printed(&style, &message, Some(Change::Destroy), 7);
    assert!(text.starts_with("<flow type=\"destroy\"><meta"), "{text}");
    assert!(text.contains(
        "<mark>0</mark><labels><label>one</label><label>three</label></labels><use>1</use>\
         <unreplied/><timestamp><start>5</start><stop>6</stop></timestamp>\
         <deltatime>0</deltatime></meta><when><hour>"
    ));
    // 1.4.8 and later do not print the origin here.
    assert!(text.ends_with("<month>11</month><year>2026</year></when></flow>\n"), "{text}");
}

/// Seen of the original: a flow that lived from 804 ms to 1203 ms has a `<deltatime>` of 0, and a `delta-time` of 1.
#[test]
fn whole_seconds_between_two_stamps() {
    const SECOND: u64 = 1_000_000_000;
    let lived = |format, start_ms: u64, stop_ms: u64| {
        let style = Style { format, ..Style::default() };
        let ns = |ms| SECOND + ms * SECOND / 1000;
        let message = icmp().lived(ns(start_ms), Some(ns(stop_ms)));
        let text = printed(&style, &message, Some(Change::Destroy), 0);
        let at = ["<deltatime>", "\"deltatime\":", "delta-time="]
            .into_iter()
            .find_map(|sign| text.split_once(sign).map(|(_, rest)| rest.to_owned()));
        let digits = |text: String| text.chars().take_while(char::is_ascii_digit).collect();
        at.map(digits).map(|text: String| text.parse::<u64>().unwrap())
    };
    for (start_ms, stop_ms, xml, plain) in [
        (804, 1203, 0, 1),
        (804, 1804, 1, 1),
        (804, 1803, 0, 1),
        (200, 900, 0, 0),
        (900, 3100, 2, 3),
    ] {
        assert_eq!(lived(Format::Xml, start_ms, stop_ms), Some(xml), "{start_ms} {stop_ms}");
        assert_eq!(lived(Format::Json, start_ms, stop_ms), Some(xml), "{start_ms} {stop_ms}");
        assert_eq!(lived(Format::Plain, start_ms, stop_ms), Some(plain), "{start_ms} {stop_ms}");
    }
}
