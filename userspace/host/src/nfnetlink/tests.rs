//! Bytes of requests beside those of the original (`strace` of nfct 1.4.7 on 6.12, padding aside), and answers.

use super::helper::{self, HelperKey, HelperObject};
use super::nftables::{self, Flowtable};
use super::timeout::{self, TimeoutPolicy};
use super::{Attributes, Mode, Request, decode, encode};
use super::{attributes, hook, queue};
use netlink_packet_core::DefaultNla;
use proptest::prelude::*;

/// What follows the header of 16 bytes and that of netfilter.
fn body(request: Request) -> Vec<u8> {
    encode(request, 1)[20..].to_vec()
}

fn tftp() -> HelperKey {
    HelperKey { name: "tftp".into(), l3_protocol: 2, l4_protocol: 17 }
}

#[test]
fn the_header_says_subsystem_message_and_flags() {
    let bytes = encode(helper::adding(&tftp(), tftp().known_policy().unwrap()), 7);
    assert_eq!(bytes.len(), 104);
    assert_eq!(bytes[..8], [104, 0, 0, 0, 0, 9, 0x05, 0x04]);
    assert_eq!(bytes[8..20], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let list = Request {
        subsystem: 8,
        message: 1,
        resource: 0,
        family: 0,
        mode: Mode::Dump,
        attributes: Vec::new(),
    };
    assert_eq!(encode(list, 7)[..8], [20, 0, 0, 0, 1, 8, 0x01, 0x03]);
}

#[test]
fn a_new_helper_has_the_bytes_of_the_original() {
    let expected = b"\x09\0\x01\0tftp\0\0\0\0\x08\0\x05\0\0\0\0\0\
        \x14\0\x02\x80\x06\0\x01\0\0\x02\0\0\x05\0\x02\0\x11\0\0\0\
        \x2c\0\x04\x80\x20\0\x02\x80\x09\0\x01\0tftp\0\0\0\0\x08\0\x02\0\0\0\0\x01\
        \x08\0\x03\0\0\0\x01\x2c\x08\0\x01\0\0\0\0\x01";
    let policy = tftp().known_policy().unwrap();
    assert_eq!(body(helper::adding(&tftp(), policy)), expected);
}

/// As conntrackd 1.4.7 asks; with `Setup`, it says how much private data there is, too.
#[test]
fn a_helper_that_is_served_has_the_bytes_of_the_original() {
    let policy = tftp().known_policy().unwrap();
    let object = HelperObject { key: tftp(), policy, queue: 1, is_enabled: true };
    let before = b"\x09\0\x01\0tftp\0\0\0\0\x08\0\x03\0\0\0\0\x01\
        \x14\0\x02\x80\x06\0\x01\0\0\x02\0\0\x05\0\x02\0\x11\0\0\0\
        \x2c\0\x04\x80\x20\0\x02\x80\x09\0\x01\0tftp\0\0\0\0\x08\0\x02\0\0\0\0\x01\
        \x08\0\x03\0\0\0\x01\x2c\x08\0\x01\0\0\0\0\x01";
    let (size, status) = (b"\x08\0\x05\0\0\0\0\0", b"\x08\0\x06\0\0\0\0\x01");
    assert_eq!(body(helper::serving(&object, false)), [&before[..], status].concat());
    assert_eq!(body(helper::serving(&object, true)), [&before[..], size, status].concat());
}

#[test]
fn disabling_and_deleting_a_helper_have_the_bytes_of_the_original() {
    let key = b"\x09\0\x01\0tftp\0\0\0\0\x14\0\x02\x80\x06\0\x01\0\0\x02\0\0\x05\0\x02\0\x11\0\0\0";
    let status = b"\x08\0\x06\0\0\0\0\0";
    assert_eq!(body(helper::disabling(&tftp())), [&key[..], status].concat());
    assert_eq!(body(helper::deleting(&tftp(), false)), key);
    assert_eq!(body(helper::deleting(&tftp(), true)), &key[..12]);
}

#[test]
fn a_new_policy_has_the_bytes_of_the_original() {
    let policy = TimeoutPolicy {
        name: "t1".into(),
        l3_protocol: 2,
        l4_protocol: 6,
        seconds: [(8, 10), (3, 100)].into(),
        uses: None,
    };
    let expected = b"\x07\0\x01\0t1\0\0\x06\0\x02\0\0\x02\0\0\x05\0\x03\0\x06\0\0\0\
        \x14\0\x04\x80\x08\0\x03\0\0\0\0\x64\x08\0\x08\0\0\0\0\x0a";
    assert_eq!(body(timeout::adding(&policy)), expected);
}

#[test]
fn taking_a_queue_has_the_bytes_of_the_original() {
    let bind = encode(queue::binding(258), 1);
    assert_eq!(bind[4..6], [2, 3]);
    assert_eq!(bind[16..], *b"\0\0\x01\x02\x08\0\x01\0\x01\0\0\x02");
    let expected = b"\x09\0\x02\0\0\0\xff\xff\x02\0\0\0\x08\0\x05\0\0\0\0\x02\
        \x08\0\x04\0\xff\xff\xff\xff\x08\0\x03\0\0\0\x28\0";
    assert_eq!(body(queue::setting(1, 10240)), expected);
}

#[test]
fn functions_at_the_hooks_are_asked_for_by_family_and_hook() {
    let bytes = encode(hook::listing(2), 7);
    assert_eq!(bytes[4..8], [0, 12, 0x01, 0x03]);
    assert_eq!(bytes[16..], *b"\x02\0\0\0\x08\0\x01\0\0\0\0\0");
    let answer = |attributes: Vec<DefaultNla>| hook::is_conntrack(&Attributes::from(attributes));
    let name = |text: &str| attributes::text(4, text);
    assert!(answer(vec![name("ipv4_conntrack_in")]));
    assert!(!answer(vec![name("ipv4_conntrack_defrag"), attributes::u32(2, (-200_i32) as u32)]));
    // Without names, by its priority.
    assert!(answer(vec![attributes::u32(2, (-200_i32) as u32)]));
    assert!(!answer(vec![attributes::u32(2, (-400_i32) as u32)]) && !answer(Vec::new()));
}

#[test]
fn a_flowtable_is_read_with_its_interfaces_and_whether_it_counts() {
    let bytes = encode(nftables::listing(1), 7);
    assert_eq!(bytes[4..8], [23, 10, 0x01, 0x03]);
    assert_eq!(bytes[16..], [1, 0, 0, 0]);
    assert_eq!(encode(nftables::asking(1, "gate"), 7)[20..], *b"\x09\0\x01\0gate\0\0\0\0");
    let devices = [attributes::text(1, "eth0"), attributes::text(1, "eth1")];
    let at =
        [attributes::u32(1, 0), attributes::u32(2, (-5_i32) as u32), attributes::nest(3, &devices)];
    let named = [attributes::text(1, "filter"), attributes::text(2, "f"), attributes::nest(3, &at)];
    let read = |flags: Option<u32>| {
        let mut attributes = named.to_vec();
        attributes.extend(flags.map(|flags| attributes::u32(7, flags)));
        let request = Request { attributes, ..nftables::listing(1) };
        // The kernel answers with NFT_MSG_NEWFLOWTABLE.
        Flowtable::decode(1, &read_back(request, 22)[0])
    };
    let table = Flowtable {
        family: 1,
        table: "filter".into(),
        name: "f".into(),
        priority: -5,
        devices: vec!["eth0".into(), "eth1".into()],
        counts: true,
    };
    assert_eq!(read(Some(2)), Some(table.clone()));
    assert_eq!(read(Some(1)), Some(Flowtable { counts: false, ..table.clone() }));
    assert_eq!(read(None), Some(Flowtable { counts: false, ..table }));
}

/// As 6.12 answers `nfct get helper tftp`: the object, then the acknowledgement.
#[test]
fn an_answer_is_its_objects_and_ends_with_the_acknowledgement() {
    let mut bytes = b"\x24\0\0\0\x00\x09\x02\0\x05\0\0\0\x07\0\0\0\0\0\0\0\
        \x09\0\x01\0tftp\0\0\0\0\x08\0\x03\0"
        .to_vec();
    bytes.extend([0, 0, 0, 3]);
    bytes[0] = bytes.len() as u8;
    let mut objects = Vec::new();
    assert!(!decode(&bytes, 5, helper::SUBSYSTEM, &mut objects).unwrap());
    assert_eq!(objects[0].text(1).as_deref(), Some("tftp"));
    assert_eq!(objects[0].u32(3), Some(3));
    let end = |code: i32, seq: u8| {
        let mut end = b"\x24\0\0\0\x02\0\0\x01".to_vec();
        end.extend([seq, 0, 0, 0, 7, 0, 0, 0]);
        end.extend(code.to_ne_bytes());
        end.extend([0; 16]);
        end
    };
    bytes.extend(end(0, 5));
    assert!(decode(&bytes, 5, helper::SUBSYSTEM, &mut objects).unwrap());
    let refused = decode(&end(-2, 5), 5, helper::SUBSYSTEM, &mut objects).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOENT));
    assert!(!decode(&end(-2, 4), 5, helper::SUBSYSTEM, &mut objects).unwrap(), "another's answer");
}

#[test]
fn states_have_the_kernels_numbers() {
    assert_eq!(timeout::states(6)[2], "ESTABLISHED");
    assert_eq!(timeout::states(6).len(), 11);
    assert_eq!(timeout::states(132)[6], "SHUTDOWN_ACK_SENT");
    assert_eq!(timeout::states(33)[3], "OPEN");
    assert!(timeout::states(50).is_empty());
}

fn read_back(request: Request, answer: u8) -> Vec<Attributes> {
    let mut bytes = encode(request, 5);
    bytes[4] = answer;
    let mut objects = Vec::new();
    assert!(!decode(&bytes, 5, bytes[5], &mut objects).unwrap());
    objects
}

proptest! {
    #[test]
    fn a_policy_is_read_as_it_was_written(
        name in "[a-z]{1,31}", l4_protocol in prop::sample::select(vec![1, 6, 17, 33, 132, 255]),
        seconds in prop::collection::vec(any::<u32>(), 1..12),
    ) {
        let numbers = 1..=timeout::states(l4_protocol).len() as u16;
        let seconds = numbers.zip(seconds).collect();
        let policy = TimeoutPolicy { name, l3_protocol: 10, l4_protocol, seconds, uses: None };
        let read = read_back(timeout::adding(&policy), 0);
        prop_assert_eq!(TimeoutPolicy::decode(&read[0]), Some(policy));
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_anything(&bytes);
    }

    /// Bytes that go as far as the attributes.
    #[test]
    fn any_attributes_are_read_or_passed_over(tail in prop::collection::vec(0_u8..20, 0..200)) {
        let empty = Vec::<DefaultNla>::new();
        for subsystem in [timeout::SUBSYSTEM, helper::SUBSYSTEM, hook::SUBSYSTEM, nftables::SUBSYSTEM] {
            let request =
                Request { subsystem, message: 0, resource: 0, family: 0, mode: Mode::Ask, attributes: empty.clone() };
            let mut bytes = encode(request, 5);
            bytes.extend(&tail);
            bytes[0] = bytes.len() as u8;
            read_anything(&bytes);
        }
    }
}

fn read_anything(bytes: &[u8]) {
    for subsystem in [timeout::SUBSYSTEM, helper::SUBSYSTEM, hook::SUBSYSTEM, nftables::SUBSYSTEM] {
        let mut objects = Vec::new();
        let _ = decode(bytes, 5, subsystem, &mut objects);
        for object in &objects {
            let _ = (TimeoutPolicy::decode(object), HelperObject::decode(object));
            let _ = (Flowtable::decode(1, object), hook::is_conntrack(object));
        }
    }
}
