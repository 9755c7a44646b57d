//! Elements as conntrack 1.4.7 printed them for the same flows. Tables of the daemon are compared in
//! `tests/interop/texts.rs`.

use super::{When, Xml};
use ctnetlink::flow::{Counters, Flow, HelperName, Known, Status, Timestamps};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Change, Expectation, Tuple, expectation};

/// `1.1.1.6:1 -> 2.2.2.2:3`, with mark 0 and id 3465354748.
fn udp() -> Flow {
    let orig = Tuple::v4([1, 1, 1, 6], [2; 4], ipproto::UDP).with_ports(1, 3);
    Flow {
        reply: orig.inverted(),
        timeout_s: 300,
        id: 3_465_354_748,
        known: Known::STATUS | Known::TIMEOUT | Known::MARK | Known::ID,
        status: Status::CONFIRMED,
        ..Flow::new(orig)
    }
}

fn check(xml: Xml<'_>, flow: &Flow, wanted: &str) {
    let mut out = String::new();
    xml.flow(&mut out, flow).unwrap();
    assert_eq!(out, wanted);
}

#[test]
fn an_event_with_its_time() {
    let when = When::from_ctime("Mon Nov 23 22:38:50 2026");
    check(
        Xml { tag: Some(Change::New), timeout: true, counters: true, when, ..Xml::TABLE },
        &udp(),
        "<flow type=\"new\"><meta direction=\"original\"><layer3 protonum=\"2\" protoname=\"ipv4\">\
         <src>1.1.1.6</src><dst>2.2.2.2</dst></layer3><layer4 protonum=\"17\" protoname=\"udp\">\
         <sport>1</sport><dport>3</dport></layer4></meta><meta direction=\"reply\">\
         <layer3 protonum=\"2\" protoname=\"ipv4\"><src>2.2.2.2</src><dst>1.1.1.6</dst></layer3>\
         <layer4 protonum=\"17\" protoname=\"udp\"><sport>3</sport><dport>1</dport></layer4></meta>\
         <meta direction=\"independent\"><timeout>300</timeout><mark>0</mark><id>3465354748</id>\
         <unreplied/></meta><when><hour>22</hour><min>38</min><sec>50</sec><wday>2</wday>\
         <day>23</day><month>11</month><year>2026</year></when></flow>",
    );
}

#[test]
fn a_listed_flow_with_zone_counters_and_timestamps() {
    let mut flow = udp();
    flow.orig = Tuple::v4([1, 1, 1, 5], [2; 4], ipproto::UDP).with_ports(1, 2);
    flow.reply = flow.orig.inverted();
    (flow.timeout_s, flow.id) = (299, 718_983_984);
    let extra = flow.extra_mut();
    extra.zones = [Some(3), None];
    extra.counters = [Some(Counters::default()); 2];
    extra.use_count = Some(1);
    extra.timestamps = Some(Timestamps { start_ns: 1_795_473_529_691_989_876, stop_ns: 0 });
    check(
        Xml { timestamps: true, now_ns: Some(1_795_473_529_999_000_000), ..Xml::LIST },
        &flow,
        "<flow><meta direction=\"original\"><layer3 protonum=\"2\" protoname=\"ipv4\">\
         <src>1.1.1.5</src><dst>2.2.2.2</dst></layer3><layer4 protonum=\"17\" protoname=\"udp\">\
         <sport>1</sport><dport>2</dport></layer4><zone>3</zone><counters><packets>0</packets>\
         <bytes>0</bytes></counters></meta><meta direction=\"reply\"><layer3 protonum=\"2\" \
         protoname=\"ipv4\"><src>2.2.2.2</src><dst>1.1.1.5</dst></layer3><layer4 protonum=\"17\" \
         protoname=\"udp\"><sport>2</sport><dport>1</dport></layer4><counters><packets>0</packets>\
         <bytes>0</bytes></counters></meta><meta direction=\"independent\"><timeout>299</timeout>\
         <mark>0</mark><use>1</use><id>718983984</id><unreplied/><timestamp>\
         <start>1795473529691989876</start></timestamp><deltatime>0</deltatime></meta></flow>",
    );
}

/// Not observed in the original: characters with a meaning in XML are escaped.
#[test]
fn names_cannot_break_out_of_their_element() {
    let mut flow = udp();
    flow.extra_mut().helper = HelperName::from_bytes(b"<a&b>");
    flow.extra_mut().labels = Some(vec![1]);
    let mut out = String::new();
    let labels = |_| Some("a<b".to_owned());
    Xml { labels: Some(&labels), ..Xml::TABLE }.flow(&mut out, &flow).unwrap();
    assert!(out.contains("<helper>&lt;a&amp;b&gt;</helper>"), "{out}");
    assert!(out.contains("<labels><label>a&lt;b</label></labels>"), "{out}");
}

/// The order: helper, timeout, class, zone, time, flags.
#[test]
fn an_expectation() {
    let master = Tuple::v4([10, 9, 0, 1], [10, 9, 0, 2], ipproto::TCP).with_ports(46_687, 21);
    let given = Expectation::default().with(|expect| {
        expect.master = master;
        expect.tuple = Tuple::v4([10, 9, 0, 2], [10, 9, 0, 1], ipproto::TCP).with_ports(0, 51_210);
        expect.mask = Tuple::v4([255; 4], [255; 4], ipproto::TCP).with_ports(0, 65_535);
        expect.timeout_s = Some(298);
        expect.class = Some(0);
        expect.flags = Some(expectation::flag::PERMANENT);
        expect.helper = HelperName::from_bytes(b"ftp");
    });
    let mut out = String::new();
    Xml::LIST.expectation(&mut out, &given).unwrap();
    assert_eq!(
        out,
        "<flow><layer3 protonum=\"2\" protoname=\"ipv4\"><expected><src>10.9.0.2</src>\
         <dst>10.9.0.1</dst></expected><mask><src>255.255.255.255</src><dst>255.255.255.255</dst>\
         </mask><master><src>10.9.0.1</src><dst>10.9.0.2</dst></master></layer3>\
         <layer4 protonum=\"6\" protoname=\"tcp\"><expected><sport>0</sport><dport>51210</dport>\
         </expected><mask><sport>0</sport><dport>65535</dport></mask><master><sport>46687</sport>\
         <dport>21</dport></master></layer4><meta><helper-name>ftp</helper-name>\
         <timeout>298</timeout><class>0</class><permanent/></meta></flow>"
    );
}
