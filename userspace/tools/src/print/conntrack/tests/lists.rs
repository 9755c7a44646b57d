use super::message::{attribute, nest, whole};
use super::*;
use crate::print::conntrack::{Root, count, expectation, list_begin, list_end, statistics};
use ctnetlink::Change;

/// A list of `entries` entries.
fn list(format: Format, root: Root, entries: usize) -> String {
    let style = Style { format, ..Style::default() };
    let mut out = Vec::new();
    if entries > 0 {
        list_begin(&mut out, &style, root);
    }
    for _ in 0..entries {
        assert!(match root {
            Root::Conntrack =>
                flow(&mut out, &style, &icmp().bytes(), None, Origin::default(), NOW_NS),
            Root::Expect =>
                expectation(&mut out, &style, &expected(), None, Origin::default(), NOW_NS),
        });
    }
    list_end(&mut out, &style, root, entries > 0);
    String::from_utf8(out).unwrap()
}

/// An FTP data connection, awaited.
fn expected() -> Vec<u8> {
    let tuple = |kind, src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16| {
        let ip = nest(1, &[attribute(1, &src), attribute(2, &dst)].concat());
        let ports = [attribute(2, &sport.to_be_bytes()), attribute(3, &dport.to_be_bytes())];
        let proto = nest(2, &[attribute(1, &[6]), ports.concat()].concat());
        nest(kind, &[ip, proto].concat())
    };
    let parts = [
        tuple(1, A, B, 10, 21),
        tuple(2, B, A, 0, 5000),
        tuple(3, [255; 4], [255, 255, 255, 0], 0, 65535),
        attribute(4, &298_u32.to_be_bytes()),
        attribute(6, b"ftp\0"),
        attribute(8, &5_u32.to_be_bytes()),
        attribute(9, &0_u32.to_be_bytes()),
    ];
    whole(0x0200, 2, &parts.concat())
}

#[test]
fn documents_are_whole_however_many_entries_they_have() {
    for root in [Root::Conntrack, Root::Expect] {
        for entries in [0, 1, 3] {
            let text = list(Format::Json, root, entries);
            let array: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(array.as_array().unwrap().len(), entries);
            assert!(text.ends_with("]\n"));

            let text = list(Format::Xml, root, entries);
            let head = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";
            let (begin, end) = (root.begin(), root.end());
            assert!(text.starts_with(&format!("{head}{begin}\n")), "{text}");
            assert!(text.ends_with(&format!("{end}\n")), "{text}");
            assert_eq!(text.lines().count(), entries + 3);

            let text = list(Format::Plain, root, entries);
            assert_eq!(text.lines().count(), entries);
        }
    }
}

#[test]
fn expectations() {
    let line = "proto=6 src=2.2.2.2 dst=1.1.1.1 sport=0 dport=5000 mask-src=255.255.255.255 \
                mask-dst=255.255.255.0 sport=0 dport=65535 master-src=1.1.1.1 master-dst=2.2.2.2 \
                sport=10 dport=21 PERMANENT,USERSPACE class=0 helper=ftp";
    let style = Style { timestamp: true, ..Style::default() };
    let mut out = Vec::new();
    // Only events of flows show the program that caused them.
    let by = Origin { portid: 77, program: None };
    assert!(expectation(&mut out, &style, &expected(), Some(Change::New), by, 5_000_123_000));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("[5       .123   ]\t    [NEW] 298 {line}\n"),
    );
}

#[test]
fn a_flow_is_no_expectation() {
    let mut out = Vec::new();
    assert!(!expectation(&mut out, &Style::default(), &tcp().bytes(), None, Origin::default(), 0));
    assert!(!flow(&mut out, &Style::default(), &expected(), None, Origin::default(), 0));
    assert_eq!(out, b"");
}

#[test]
fn statistics_of_processors() {
    let number = |kind, value: u32| attribute(kind, &value.to_be_bytes());
    let mut message = whole(0x0104, 0, &[number(2, 7), number(15, 9), number(16, 1)].concat());
    message[19] = 12;
    let mut out = Vec::new();
    assert!(statistics(&mut out, &message));
    let mut message = whole(0x0203, 0, &[number(1, 7), number(3, 9)].concat());
    message[19] = 3;
    assert!(statistics(&mut out, &message));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "cpu=12  \tfound=7 chaintoolong=9 unknown1=1 \ncpu=3   \texpect_new=7 expect_delete=9 \n"
    );
}

#[test]
fn counts() {
    let mut out = Vec::new();
    assert!(count(&mut out, &whole(0x0105, 0, &attribute(1, &13_u32.to_be_bytes()))));
    assert_eq!(out, b"13\n");
    assert!(!count(&mut out, &whole(0x0105, 0, &[])));
}
