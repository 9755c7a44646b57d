//! Bytes that conntrackd 1.4.7 sent, with what they mean: decoding gives the value, encoding gives the bytes.
//!
//! Captured on x86-64 between two network namespaces, each daemon fed by flows made with `conntrack -I` and over
//! ctnetlink; Linux 6.18.

use super::super::Kind;
use super::*;
use ctnetlink::Tuple;
use ctnetlink::expectation::ExpectNat;
use ctnetlink::flow::{HelperName, Known, Name, ProtoState, SeqAdj, Status, Synproxy, TcpState};
use ctnetlink::tuple::ipproto;

const V6_A: [u8; 16] = v6(1);
const V6_B: [u8; 16] = v6(2);

/// 2001:db8::`last`
const fn v6(last: u8) -> [u8; 16] {
    [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

fn v4(proto: u8) -> Tuple {
    Tuple::v4([1; 4], [2; 4], proto)
}

/// A flow as the kernel reports one made by hand: nothing translated, mark 0, synproxy all zero.
fn flow(orig: Tuple, status: u32, timeout_s: u32) -> Flow {
    Flow {
        reply: orig.inverted(),
        status: Status::from_bits_retain(status),
        timeout_s,
        known: Known::STATUS | Known::TIMEOUT | Known::MARK | Known::SYNPROXY,
        ..Flow::new(orig)
    }
}

fn tcp(orig: Tuple, status: u32, timeout_s: u32, state: u8) -> Flow {
    let state = TcpState { state, wscale: Some([0, 0]), flags: None };
    Flow { proto: ProtoState::Tcp(state), ..flow(orig, status, timeout_s) }
}

fn translated(flow: Flow, reply: Tuple) -> Flow {
    Flow { reply, ..flow }
}

/// Checks that `text` is `message`, and that `message` is `text`.
fn check(text: &str, message: &Message) {
    check_with(text, message, ALL);
}

fn check_with(text: &str, message: &Message, options: Options) {
    let bytes = hex(text);
    let raw = decodes(&bytes, message);
    let greetings = Flags::HELLO | Flags::HELLO_BACK;
    let stamp = Stamp { seq: raw.seq, flags: raw.flags & greetings };
    let again = encoded(|w| match message {
        Message::Flow { change, flow } => encode_flow(*change, stamp, flow, options, w),
        Message::Expect { change, expect } => {
            encode_expectation(*change, stamp, expect, options, w);
        }
        Message::Control(control) => encode_control(*control, stamp, w),
    });
    assert_eq!(again, bytes, "{message:?}");
}

fn decodes(bytes: &[u8], message: &Message) -> Header {
    let mut messages = Messages::datagram(bytes);
    let raw = messages.next().unwrap().unwrap();
    assert_eq!(messages.next(), None);
    assert_eq!(decode(&raw).as_ref(), Ok(message));
    raw.header
}

fn check_flow(text: &str, change: Change, flow: Flow) {
    check(text, &Message::Flow { change, flow });
}

const TCP_NEW: &str = "
    10 00 0064 6b046f66
    000c 0000 01010101 02020202
    0008 0005 00000008
    0005 0002 06 000000
    0008 0003 03e8 0050
    0005 0004 01 000000
    0005 0019 00 000000
    0005 001a 00 000000
    0008 0006 0000012c
    0008 0007 00000005
    0010 001f 00000000 00000000 00000000";
const TCP_UPDATE: &str = "
    110000646b049412000c00000101010102020202000800050000000e00050002060000000008000303e80050000500040300000000050019
    000000000005001a00000000000800060000019000080007000000050010001f000000000000000000000000";
const TCP_DESTROY: &str = "
    120000646b049413000c00000101010102020202000800050000000e00050002060000000008000303e80050000500040300000000050019
    000000000005001a00000000000800060000019000080007000000050010001f000000000000000000000000";
const TCP_NAT: &str = "
    100000846b049414000c0000010101010202020200080005000001be00050002060000000008000303e90050000500040300000000050019
    000000000005001a00000000000800060000012c00080007000000000008000c090909090008000d080808080006000ea00f00000006000f
    901f00000010001f000000000000000000000000";
const TCP6_NAT: &str = "
    100000b46b04941d0024000120010db800000000000000000000000120010db800000000000000000000000200080005000001b800050002
    060000000008000303eb01bb000500040300000000050019000000000005001a00000000000800060000012c00080007000000000014001d
    20010db80000000000000000000000090014001e20010db80000000000000000000000080006000ea00f00000006000ffb2000000010001f
    000000000000000000000000";
const UDP: &str = "
    1000004c6b049416000c000001010101020202020008000500000008000500021100000000080003003514e9000800060000006400080007
    000000000010001f000000000000000000000000";
const UDP_ZONE: &str = "
    100000546b049417000c000001010101020202020008000500000008000500021100000000080003003614e9000800060000006400080007
    000000000010001f0000000000000000000000000006002000070000";
const UDP_MARK: &str = "
    1000004c6b049425000c000001010101020202020008000500000008000500021100000000080003003914e9000800060000006400080007
    deadbeef0010001f000000000000000000000000";
const UDP_BARE: &str = "
    100000346b049476000c00000a6300010a630002000800050000000800050002110000000008000391880ec5000800060000001e";
const UDP6: &str = "
    100000646b04941e0024000120010db800000000000000000000000120010db8000000000000000000000002000800050000000800050002
    1100000000080003003514e9000800060000006400080007000000000010001f000000000000000000000000";
const ICMP: &str = "
    1000005c6b049419000c00000101010102020202000800050000000800050002010000000005001608000000000500170000000000060018
    4d000000000800060000001e00080007000000000010001f000000000000000000000000";
const ICMPV6: &str = "
    100000746b04941a0024000120010db800000000000000000000000120010db8000000000000000000000002000800050000000800050002
    3a0000000005001680000000000500170000000000060018341200000008000600
    00001e00080007000000000010001f000000000000000000000000";
const ICMP_NAT: &str = "
    100000746b049625000c00000101010102020202000800050000019800050002010000000005001608000000000500170000000000060018
    4e000000000800060000001e00080007000000000008000c090909090006000e000000000006000f000000000010001f
    000000000000000000000000";
const SCTP: &str = "
    100000646b04941f000c0000010101010202020200080005000000080005000284000000000800030b590b5a000500110400000000080012
    020100000008001304030000000800060000003c00080007000000000010001f000000000000000000000000";
const SCTP_NAT: &str = "
    1000006c6b049627000c0000010101010202020200080005000001a80005000284000000000800030b5b0b5a000500110200000000080012
    000000000008001300000000000800060000003c00080007000000000008000d080808080010001f000000000000000000000000";
const GRE: &str = "
    100000446b049420000c000001010101020202020008000500000008000500022f000000000800060000003c00080007000000000010001f
    000000000000000000000000";
const UDPLITE_NAT: &str = "
    1000004c6b049422000c0000010101010202020200080005000001980005000288000000000800060000003c00080007000000000008000c
    090909090010001f000000000000000000000000";
const PROTO_200: &str = "
    100000446b049424000c00000101010102020202000800050000000800050002c8000000000800060000003c00080007000000000010001f
    000000000000000000000000";
const SOURCE_PORT_ONLY: &str = "
    100000546b049623000c000001010101020202020008000500000198000500021100000000080003038400500008000600
    00012c00080007000000000006000ea00f00000010001f000000000000000000000000";
const DESTINATION_PORT_ONLY: &str = "
    100000546b049624000c0000010101010202020200080005000001a8000500021100000000080003038500500008000600
    00012c00080007000000000006000fa00f00000010001f000000000000000000000000";
const HELPER: &str = "
    1000006c6b049475000c00000a0900010a090002000800050000200e000500020600000000080003b65f0015000500040300000000050019
    000000000005001a00000000000800060000012c00080007000000000008001b667470000010001f000000000000000000000000";
const SEQ_ADJ: &str = "
    100000806b049478000c00000a0900010a090002000800050000004e000500020600000000080003b6600050000500040300000000050019
    000000000005001a00000000000800060000012c0008000700000000001c0010000000010000000200000003000000040000000500000006
    0010001f000000000000000000000000";
const LABELS: &str = "
    100000786b04947a000c00000a0900010a090002000800050000000e000500020600000000080003b6620050000500040300000000050019
    000000000005001a00000000000800060000012c00080007000000000014001c000000080000000000000001000000000010001f
    000000000000000000000000";
const SYNPROXY: &str = "
    100000646b04947b000c00000a0900010a090002000800050000000e000500020600000000080003b6630050000500040300000000050019
    000000000005001a00000000000800060000012c00080007000000000010001f222222221111111133333333";
const MASTER: &str = "
    100000806b0494c6000c00000a0900010a090002000800050000000f000500020600000000080003001415b3000500040300000000050019
    000000000005001a00000000000800060000012b0008000700000000000c00080a0900010a0900020005000a060000000008000bb65f0015
    0010001f000000000000000000000000";
const MASTER6: &str = "
    100000b06b0494c80024000120010db800000000000000000000000120010db8000000000000000000000002000800050000000f00050002
    0600000000080003001415b4000500040300000000050019000000000005001a00000000000800060000012c000800070000000000240009
    20010db800000000000000000000000120010db80000000000000000000000020005000a060000000008000bb66400150010001f
    000000000000000000000000";
const EXPECT_NEW: &str = "
    13 00 007c 6b046fe3
    000c 0000 0a090001 0a090002
    0005 0002 06 000000
    0008 0003 b65f 0015
    000c 0004 0a090002 0a090001
    0005 0006 06 000000
    0008 0007 0000 c80a
    000c 0008 ffffffff ffffffff
    0005 000a 06 000000
    0008 000b 0000 ffff
    0008 000c 0000012c
    0008 000d 00000000
    0008 000e 00000000
    0008 0013 66747000";
const EXPECT_NAT: &str = "
    130000b86b04947f000c00000a0900010a090002000500020600000000080003b65f0015000c00040a0900020a0900010005000606000000
    000800070000c80b000c0008ffffffffffffffff0005000a060000000008000b0000ffff0008000c0000012c0008000d000000010008000e
    00000000000c000f07070707000000000005001106000000000800101092000000080012000000010008001366747000001600146e61742d
    666f6c6c6f772d6d6173746572000000";
const EXPECT6: &str = "
    130000c46b0494c90024000120010db800000000000000000000000120010db8000000000000000000000002000500020600000000080003
    b66400150024000520010db800000000000000000000000220010db80000000000000000000000010005000606000000000800070000c80a
    00240009ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0005000a060000000008000b0000ffff0008000c
    0000012c0008000d000000000008000e000000000008001366747000";

/// Every captured state message, for properties to damage.
pub(super) fn all() -> Vec<Vec<u8>> {
    let texts = [
        TCP_NEW,
        TCP_UPDATE,
        TCP_DESTROY,
        TCP_NAT,
        TCP6_NAT,
        UDP,
        UDP_ZONE,
        UDP_MARK,
        UDP_BARE,
        UDP6,
        ICMP,
        ICMPV6,
        SCTP,
        SCTP_NAT,
        GRE,
        UDPLITE_NAT,
        PROTO_200,
        SOURCE_PORT_ONLY,
        DESTINATION_PORT_ONLY,
        HELPER,
        SEQ_ADJ,
        LABELS,
        SYNPROXY,
        MASTER,
        MASTER6,
        EXPECT_NEW,
        EXPECT_NAT,
        EXPECT6,
    ];
    texts.into_iter().map(hex).collect()
}

#[test]
fn control_messages() {
    let check = |text: &str, control: Control| check(text, &Message::Control(control));
    check("1a 22 0010 6b046f39 00000000 00000000", Control::Resync);
    check("1a 02 0010 6b047031 00000000 00000000", Control::Resync);
    check("1a 30 0008 6b046f37", Control::Alive);
    check("1a 10 0008 6b047032", Control::Alive);
    let ack = |from, to| Control::Ack { from, to };
    check("1a 68 0010 6b046f3a 6b046f39 6b046f39", ack(0x6b04_6f39, 0x6b04_6f39));
    check("1a 48 0010 6b046f3a 6b046f3a 6b046f3a", ack(0x6b04_6f3a, 0x6b04_6f3a));
    check("1a 08 0010 6b046f67 6b046f67 6b046f69", ack(0x6b04_6f67, 0x6b04_6f69));
    let account = Account {
        exact: true,
        whole: true,
        injects: true,
        transfer: Some(0x6b04_6f67),
        flows: Some(500),
    };
    let text = "1a 11 0018 6b046f68 0000001f 6b046f67 000001f4 00000000";
    check(text, Control::Settled(Some(account)));
    check("1a 11 0008 6b046f68", Control::Settled(None));
}

#[test]
fn an_answer_to_loss_is_two_messages_in_one_datagram() {
    let text = "1a 08 0010 6b046fac 6b046fb4 6b046fb4 1a 04 0010 6b046fad 6b046fb5 6b046fb6";
    let ack = Control::Ack { from: 0x6b04_6fb4, to: 0x6b04_6fb4 };
    let nack = Control::Nack { from: 0x6b04_6fb5, to: 0x6b04_6fb6 };
    assert_eq!(walk(&hex(text)), [Ok(Message::Control(ack)), Ok(Message::Control(nack))]);
}

#[test]
fn tcp_through_its_life() {
    let orig = v4(ipproto::TCP).with_ports(1000, 80);
    let began = Flow { mark: 5, ..tcp(orig, 0x8, 300, 1) };
    let went_on = Flow { mark: 5, ..tcp(orig, 0xe, 400, 3) };
    check_flow(TCP_NEW, Change::New, began);
    check_flow(TCP_UPDATE, Change::Update, went_on.clone());
    check_flow(TCP_DESTROY, Change::Destroy, went_on);
}

#[test]
fn tcp_without_window_tracking() {
    // 84 bytes: the capture above without the scale factors, which the sender's configuration leaves out.
    let text =
        "10 00 0054 6b047038 000c 0000 01010101 02020202 0008 0005 00000008 0005 0002 06 000000
        0008 0003 03e8 0050 0005 0004 01 000000 0008 0006 0000012c 0008 0007 00000005
        0010 001f 00000000 00000000 00000000";
    let mut flow = Flow { mark: 5, ..tcp(v4(ipproto::TCP).with_ports(1000, 80), 0x8, 300, 1) };
    flow.proto = ProtoState::Tcp(TcpState { state: 1, ..TcpState::default() });
    check_flow(text, Change::New, flow.clone());
    flow.proto = ProtoState::Tcp(TcpState { state: 1, wscale: Some([7, 7]), flags: None });
    let options = Options { window_scale: false, ..ALL };
    let stamp = Stamp { seq: 0x6b04_7038, flags: Flags::empty() };
    assert_eq!(encoded(|w| encode_flow(Change::New, stamp, &flow, options, w)), hex(text));
}

#[test]
fn the_minimal_message_conntrackd_takes() {
    let text =
        "10 00 003c 00000001 000c 0000 01010101 02020202 0008 0005 00000008 0005 0002 06 000000
        0008 0003 03e8 0050 0005 0004 03 000000 0008 0006 0000012c";
    let mut flow = tcp(v4(ipproto::TCP).with_ports(1000, 80), 0x8, 300, 3);
    flow.known = Known::STATUS | Known::TIMEOUT;
    flow.proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
    check_flow(text, Change::New, flow);
}

/// Defect 6 of the original (`docs/defects.md`).
#[test]
fn translation() {
    let orig = v4(ipproto::TCP).with_ports(1001, 80);
    let reply = Tuple::v4([8; 4], [9; 4], ipproto::TCP).with_ports(8080, 4000);
    check_flow(TCP_NAT, Change::New, translated(tcp(orig, 0x1be, 300, 3), reply));

    let orig = Tuple::v6(V6_A, V6_B, ipproto::TCP).with_ports(1003, 443);
    let reply = Tuple::v6(v6(8), v6(9), ipproto::TCP).with_ports(8443, 4000);
    check_flow(TCP6_NAT, Change::New, translated(tcp(orig, 0x1b8, 300, 3), reply));

    let orig = v4(ipproto::UDP).with_ports(900, 80);
    let reply = orig.inverted().with_ports(80, 4000);
    check_flow(SOURCE_PORT_ONLY, Change::New, translated(flow(orig, 0x198, 300), reply));

    let orig = v4(ipproto::UDP).with_ports(901, 80);
    let reply = orig.inverted().with_ports(4000, 901);
    check_flow(DESTINATION_PORT_ONLY, Change::New, translated(flow(orig, 0x1a8, 300), reply));

    let reply = Tuple::v4([2; 4], [9; 4], ipproto::UDPLITE);
    let before = flow(v4(ipproto::UDPLITE), 0x198, 60);
    check_flow(UDPLITE_NAT, Change::New, translated(before, reply));
}

#[test]
fn udp() {
    let udp = |sport| flow(v4(ipproto::UDP).with_ports(sport, 5353), 0x8, 100);
    check_flow(UDP, Change::New, udp(53));
    let zoned = Flow { zone: 7, known: udp(54).known | Known::ZONE, ..udp(54) };
    check_flow(UDP_ZONE, Change::New, zoned);
    check_flow(UDP_MARK, Change::New, Flow { mark: 0xdead_beef, ..udp(57) });
    let orig = Tuple::v6(V6_A, V6_B, ipproto::UDP).with_ports(53, 5353);
    check_flow(UDP6, Change::New, flow(orig, 0x8, 100));
    let orig = Tuple::v4([10, 99, 0, 1], [10, 99, 0, 2], ipproto::UDP).with_ports(37256, 3781);
    let bare = Flow { known: Known::STATUS | Known::TIMEOUT, ..flow(orig, 0x8, 30) };
    check_flow(UDP_BARE, Change::New, bare);
}

#[test]
fn icmp() {
    let ping = v4(ipproto::ICMP).with_icmp(77, 8, 0);
    check_flow(ICMP, Change::New, flow(ping, 0x8, 30));
    let ping = Tuple::v6(V6_A, V6_B, ipproto::ICMPV6).with_icmp(0x1234, 128, 0);
    check_flow(ICMPV6, Change::New, flow(ping, 0x8, 30));
}

/// conntrackd adds two port attributes of zero to a translated ICMP flow. We read past them and do not send them.
#[test]
fn translated_icmp_has_no_ports() {
    let bytes = hex(ICMP_NAT);
    let orig = v4(ipproto::ICMP).with_icmp(78, 8, 0);
    let reply = Tuple::v4([2; 4], [9; 4], ipproto::ICMP).with_icmp(78, 0, 0);
    let flow = translated(flow(orig, 0x198, 30), reply);
    decodes(&bytes, &Message::Flow { change: Change::New, flow: flow.clone() });
    let again = encoded(|w| encode_flow(Change::New, Stamp::default(), &flow, ALL, w));
    assert_eq!(again.len() + 2 * 8, bytes.len());
}

#[test]
fn sctp() {
    let sctp = |ports: (u16, u16), status, state, vtag| Flow {
        proto: ProtoState::Sctp { state, vtag },
        ..flow(v4(ipproto::SCTP).with_ports(ports.0, ports.1), status, 60)
    };
    check_flow(SCTP, Change::New, sctp((2905, 2906), 0x8, 4, [258, 772]));
    let before = sctp((2907, 2906), 0x1a8, 2, [0, 0]);
    let reply = Tuple::v4([8; 4], [1; 4], ipproto::SCTP).with_ports(2906, 2907);
    check_flow(SCTP_NAT, Change::New, translated(before, reply));
}

#[test]
fn dccp() {
    // Linux 6.16 dropped its DCCP tracker, so this one is put together by the rules rather than captured.
    let text =
        "10 00 0054 00000001 000c 0000 01010101 02020202 0008 0005 00000008 0005 0002 21 000000
        0008 0003 0007 0008 0005 0014 04 000000 0005 0015 01 000000 0008 0006 0000003c
        0010 001f 00000000 00000000 00000000";
    let orig = v4(ipproto::DCCP).with_ports(7, 8);
    let mut flow = flow(orig, 0x8, 60);
    flow.known -= Known::MARK;
    flow.proto = ProtoState::Dccp { state: 4, role: 1 };
    check_flow(text, Change::New, flow);
}

#[test]
fn protocols_without_ports_on_the_wire() {
    check_flow(GRE, Change::New, flow(v4(ipproto::GRE), 0x8, 60));
    check_flow(PROTO_200, Change::New, flow(v4(200), 0x8, 60));
    // What is lost: the sender's flow had keys.
    let keyed = flow(v4(ipproto::GRE).with_ports(0x11, 0x22), 0x8, 60);
    let stamp = Stamp { seq: 0x6b04_9420, flags: Flags::empty() };
    assert_eq!(encoded(|w| encode_flow(Change::New, stamp, &keyed, ALL, w)), hex(GRE));
}

fn lan(sport: u16, dport: u16) -> Tuple {
    Tuple::v4([10, 9, 0, 1], [10, 9, 0, 2], ipproto::TCP).with_ports(sport, dport)
}

#[test]
fn what_few_flows_have() {
    let with = |flow: Flow, set: fn(&mut ctnetlink::flow::Extra)| {
        let mut flow = flow;
        set(flow.extra_mut());
        flow
    };
    let ftp =
        with(tcp(lan(46687, 21), 0x200e, 300, 3), |e| e.helper = HelperName::from_bytes(b"ftp"));
    check_flow(HELPER, Change::New, ftp);
    let adjusted = with(tcp(lan(46688, 80), 0x4e, 300, 3), |e| {
        let end = |correction_pos, offset_before, offset_after| SeqAdj {
            correction_pos,
            offset_before,
            offset_after,
        };
        e.seq_adj = Some([end(1, 2, 3), end(4, 5, 6)]);
    });
    check_flow(SEQ_ADJ, Change::New, adjusted);
    let labelled = with(tcp(lan(46690, 80), 0xe, 300, 3), |e| e.labels = Some(vec![8, 0, 1, 0]));
    check_flow(LABELS, Change::New, labelled);
    let proxied = with(tcp(lan(46691, 80), 0xe, 300, 3), |e| {
        e.synproxy = Some(Synproxy { isn: 0x1111_1111, its: 0x2222_2222, tsoff: 0x3333_3333 });
    });
    check_flow(SYNPROXY, Change::New, proxied);
}

#[test]
fn a_related_flow_names_its_master() {
    let mut related = tcp(lan(20, 5555), 0xf, 299, 3);
    related.extra_mut().master = Some(lan(46687, 21));
    check_flow(MASTER, Change::New, related);
    let v6 = |sport, dport| Tuple::v6(V6_A, V6_B, ipproto::TCP).with_ports(sport, dport);
    let mut related = tcp(v6(20, 5556), 0xf, 300, 3);
    related.extra_mut().master = Some(v6(46692, 21));
    check_flow(MASTER6, Change::New, related);
}

fn expectation(master: Tuple, tuple: Tuple, mask: Tuple) -> Expectation {
    Expectation::default().with(|expect| {
        expect.master = master;
        expect.tuple = tuple;
        expect.mask = mask.with_ports(0, 0xffff);
        expect.timeout_s = Some(300);
        expect.flags = Some(0);
        expect.class = Some(0);
        expect.helper = HelperName::from_bytes(b"ftp");
    })
}

#[test]
fn expectations() {
    let mask = Tuple::v4([0xff; 4], [0xff; 4], ipproto::TCP);
    let expected = |port| lan(46687, 21).inverted().with_ports(0, port);
    let expect = expectation(lan(46687, 21), expected(51210), mask);
    check(EXPECT_NEW, &Message::Expect { change: Change::New, expect: expect.clone() });
    let destroy = EXPECT_NEW.replacen("13", "15", 1);
    check(&destroy, &Message::Expect { change: Change::Destroy, expect });

    let saved = Tuple::v4([7; 4], [0; 4], ipproto::TCP).with_ports(4242, 0);
    let expect = expectation(lan(46687, 21), expected(51211), mask).with(|expect| {
        expect.flags = Some(ctnetlink::expectation::flag::PERMANENT);
        expect.nat = Some(ExpectNat { direction: 1, tuple: saved });
        expect.function = Name::from_bytes(b"nat-follow-master");
    });
    check(EXPECT_NAT, &Message::Expect { change: Change::New, expect });

    let master = Tuple::v6(V6_A, V6_B, ipproto::TCP).with_ports(46692, 21);
    let mask = Tuple::v6([0xff; 16], [0xff; 16], ipproto::TCP);
    let expect = expectation(master, master.inverted().with_ports(0, 51210), mask);
    check(EXPECT6, &Message::Expect { change: Change::New, expect });
}

#[test]
fn lifetimes_are_left_out_on_request() {
    let options = Options { timeout: false, ..ALL };
    let flow = flow(v4(ipproto::UDP).with_ports(53, 5353), 0x8, 100);
    let stamp = Stamp { seq: 0x6b04_9416, flags: Flags::empty() };
    let bytes = encoded(|w| encode_flow(Change::New, stamp, &flow, options, w));
    assert_eq!(bytes.len() + 8, hex(UDP).len());
    let Ok(Message::Flow { flow: back, .. }) = &walk(&bytes)[0] else { panic!("not a flow") };
    assert!(!back.has(Known::TIMEOUT));
}

/// Appends `attributes` to the UDP capture and gives its flow.
fn with_attributes(attributes: &str) -> Result<Flow, FaultKind> {
    let mut bytes = [hex(UDP), hex(attributes)].concat();
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    walk(&bytes).remove(0).map(|message| match message {
        Message::Flow { flow, .. } => flow,
        other => panic!("not a flow: {other:?}"),
    })
}

#[test]
fn unknown_attributes_are_skipped() {
    assert_eq!(with_attributes("0008 0021 00000000 0006 ffff 0102 0000"), with_attributes(""));
}

#[test]
fn a_last_word_without_a_value_is_skipped() {
    assert_eq!(with_attributes("ffffffff"), with_attributes(""));
    assert_eq!(with_attributes("ffff"), with_attributes(""));
}

#[test]
fn wrong_sizes_are_refused() {
    for text in [
        "0004 0006 00000000",
        "0003 0006 00000000",
        "0020 0006 00000000",
        "0007 0006 000000 00",
        "0008 000e 00000000",
        "000c 001f 0000000000000000",
        "0009 0020 0000000000 000000",
    ] {
        assert_eq!(with_attributes(text), Err(FaultKind::Payload), "{text}");
    }
}

/// Defect 7 of the original (`docs/defects.md`).
#[test]
fn helper_names_longer_than_the_original_takes_are_read_but_not_sent() {
    let flow = with_attributes("0014 001b 6161616161616161616161616161610 0").unwrap();
    let helper = flow.extra.as_ref().unwrap().helper.unwrap();
    assert_eq!(helper.as_bytes(), [b'a'; 15]);
    assert_eq!(
        with_attributes("0014 001b 61616161616161616161616161616161"),
        Err(FaultKind::Payload)
    );
    let bytes = encoded(|w| encode_flow(Change::New, Stamp::default(), &flow, ALL, w));
    assert_eq!(bytes.len(), hex(UDP).len());
    // 1.4.7 takes 12 bytes when the terminator is missing.
    let flow = with_attributes("0010 001b 616161616161616161616161").unwrap();
    assert_eq!(flow.extra.unwrap().helper.unwrap().as_bytes(), [b'a'; 12]);
    assert_eq!(with_attributes("0005 001b 00 000000").unwrap().extra, None);
}

#[test]
fn labels_have_a_limit() {
    let labels = |words: usize| {
        let head = std::format!("{:04x} 001c", 4 + 4 * words);
        with_attributes(&(head + &"00000001".repeat(words)))
    };
    assert_eq!(labels(256).unwrap().extra.unwrap().labels.as_deref().unwrap(), [1; 256]);
    assert_eq!(labels(257), Err(FaultKind::Payload));
    let odd = with_attributes("0007 001c 000001 00").unwrap();
    assert_eq!(odd.extra, None);
    // No message can pass such words on, so words without a label are not kept.
    assert_eq!(with_attributes("000c 001c 00000000 00000000").unwrap().extra, None);
}

#[test]
fn translation_without_status_bits_sets_them() {
    let flow = with_attributes("0008 000c 09090909").unwrap();
    assert!(
        flow.status.contains(Status::SRC_NAT_DONE) && !flow.status.contains(Status::DST_NAT_DONE)
    );
    assert_eq!(flow.source_nat().unwrap().addr.map(|addr| addr[..4] == [9; 4]), Some(true));
    assert_eq!(with_attributes("0006 000f 901f 0000").unwrap().reply.ports(), (8080, 53));
}

#[test]
fn a_flow_needs_addresses_of_one_family_and_a_protocol() {
    let head = "1000 001c 00000000";
    for body in [
        "0008 0005 00000008 0005 0002 11 000000 00000000",
        "000c 0000 01010101 02020202 0008 0005 00000008",
    ] {
        assert_eq!(walk(&hex(&std::format!("{head}{body}"))), [Err(FaultKind::Payload)], "{body}");
    }
    let v6 = std::format!("0024 0001 {}", "20".repeat(32));
    assert_eq!(with_attributes(&v6), Err(FaultKind::Payload));
    let translated = std::format!("0014 001d {}", "20".repeat(16));
    assert_eq!(with_attributes(&translated), Err(FaultKind::Payload));
}

#[test]
fn an_expectation_needs_a_master_and_what_is_expected() {
    for cut in [8, 8 + 12, 8 + 12 + 8 + 8] {
        let mut bytes = hex(EXPECT_NEW);
        bytes.truncate(cut);
        bytes[3] = u8::try_from(cut).unwrap();
        assert_eq!(walk(&bytes), [Err(FaultKind::Payload)], "{cut}");
    }
}

#[test]
fn function_names_longer_than_the_original_takes_are_read_but_not_sent() {
    let mut bytes = hex(EXPECT_NEW);
    bytes.extend(hex(&std::format!("0024 0014 {} 00", "61".repeat(31))));
    bytes[3] += 36;
    let Ok(Message::Expect { expect, .. }) = walk(&bytes).remove(0) else { panic!("refused") };
    assert_eq!(expect.function.unwrap().as_bytes(), [b'a'; 31]);
    let again = encoded(|w| encode_expectation(Change::New, Stamp::default(), &expect, ALL, w));
    assert_eq!(again.len(), bytes.len() - 36);
}

#[test]
fn captured_kinds_are_what_their_first_byte_says() {
    for bytes in all() {
        let raw = Messages::datagram(&bytes).next().unwrap().unwrap();
        assert_eq!(raw.header.kind.number(), bytes[0] & 0x0f);
        assert_ne!(raw.header.kind, Kind::Control);
    }
}
