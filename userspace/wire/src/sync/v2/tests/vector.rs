//! The bytes of each kind of frame and record, with what they decode to: `vectors.txt` holds both. `UPDATE=1` writes
//! it.

use super::*;
use core::fmt::Write as _;
use ctnetlink::Expectation;
use ctnetlink::expectation::ExpectNat;
use ctnetlink::flow::{HelperName, Name, SeqAdj, Synproxy};
use std::string::String;

fn flows(flags: FlowsFlags, list: &[(Claim, Flow)]) -> Vec<u8> {
    packed(|d| {
        for (claim, flow) in list {
            assert!(d.flow(flags, claim, &Canonical::of(flow).unwrap()));
        }
    })
}

fn new(version: u64) -> Claim {
    claim(version, What::New)
}

fn rare() -> Flow {
    let mut flow = Flow { mark: 0x2a, zone: 7, ..v4(1) };
    flow.status |= Status::HELPER | Status::SEQ_ADJUST;
    let extra = flow.extra_mut();
    extra.master = Some(v6(1, 2).orig);
    extra.helper = HelperName::from_bytes(b"ftp");
    extra.labels = Some(vec![1, 0x8000_0000, 0]);
    let end = SeqAdj { correction_pos: 1, offset_before: 2, offset_after: 3 };
    extra.seq_adj = Some([end, SeqAdj::default()]);
    extra.synproxy = Some(Synproxy { isn: 4, its: 5, tsoff: 6 });
    extra.zones[1] = Some(9);
    flow
}

fn of_proto(proto: u8, l4: [u8; 4], state: ProtoState) -> Flow {
    let orig = Tuple { l4, ..Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], proto) };
    Flow { reply: orig.inverted(), proto: state, ..tcp(orig, 0) }
}

fn protocols() -> Vec<(Claim, Flow)> {
    let sctp = ProtoState::Sctp { state: 3, vtag: [1, 2] };
    let dccp = ProtoState::Dccp { state: 2, role: 1 };
    let mut ping = Tuple::v6([0x20; 16], [0x30; 16], ipproto::ICMPV6).with_icmp(9, 128, 0);
    ping.src[15] = 1;
    let list = [
        of_proto(ipproto::UDP, [1, 2, 3, 4], ProtoState::None),
        of_proto(ipproto::ICMP, [0, 7, 8, 0], ProtoState::None),
        of_proto(ipproto::SCTP, [1, 2, 3, 4], sctp),
        of_proto(ipproto::DCCP, [1, 2, 3, 4], dccp),
        of_proto(ipproto::GRE, [0, 1, 0, 2], ProtoState::None),
        of_proto(ipproto::UDPLITE, [1, 2, 3, 5], ProtoState::None),
        of_proto(50, [0; 4], ProtoState::None),
        Flow { reply: ping.inverted(), ..tcp(ping, 0) },
    ];
    list.into_iter().enumerate().map(|(at, flow)| (new(at as u64 + 1), flow)).collect()
}

fn expectation() -> Expectation {
    let master = v4(1).orig;
    let tuple = Tuple::v6([1; 16], [2; 16], ipproto::TCP).with_ports(0, 2_000);
    let mask = Tuple::v6([0xff; 16], [0xff; 16], ipproto::TCP).with_ports(0, 0xffff);
    Expectation::new(master, tuple, mask).with(|expect| {
        (expect.timeout_s, expect.flags, expect.class) = (Some(300), Some(1), Some(0));
        expect.zone = Some(7);
        expect.nat = Some(ExpectNat { direction: 1, tuple: tuple.inverted() });
        expect.helper = HelperName::from_bytes(b"ftp-with-a-name");
        expect.function = Name::from_bytes(b"nat-follow-master-and-more");
    })
}

/// The frames that are no flows.
fn others() -> Vec<(&'static str, Vec<u8>)> {
    let ids = [(5, 0x1122_3344), (9, 0)]
        .map(|(low, print)| digest::IdRow { id: FlowId::of(0x0102, low), print });
    let open = Open {
        mine: 0x1111,
        yours: 0x2222,
        round: 2,
        slices: [16, 32],
        leaf_bits: 10,
        flows_max: 1_000_000,
        hold: Some(Hold { incarnation: 0x2222, version: 77, rows: 5 }),
    };
    let cut = Cut {
        upto: 1000,
        settled: 90,
        stable: 950,
        rows: 42,
        digest: 0x0123_4567_89ab_cdef,
        table: Table::Exact,
        role: Role::Standby,
    };
    let bulk = Bulk { upto: 1000, rows: 500, sent: 250, left_s: 3, over: true };
    vec![
        (
            "EXPECTS",
            packed(|d| {
                assert!(
                    d.expect(8, What::New, &expectation())
                        && d.expect(9, What::Expired, &expectation())
                );
            }),
        ),
        (
            "ACK",
            packed(|d| {
                assert!(d.ack(|w| control::put_ack(
                    w,
                    1500,
                    4096,
                    [95..=100, 10..=90].into_iter()
                )));
            }),
        ),
        ("CUT", packed(|d| assert!(d.cut(&cut)))),
        ("OPEN", packed(|d| assert!(d.open(&open)))),
        (
            "SUMS of slices",
            packed(|d| {
                assert!(d.sums(|w| {
                    digest::put_level(w, Level::Slices);
                    digest::put_node(w, 0, 0..64);
                }));
            }),
        ),
        (
            "SUMS of leaves",
            packed(|d| {
                assert!(d.sums(|w| {
                    digest::put_level(w, Level::Leaves);
                    digest::put_node(w, 0x7ff, 100..132);
                }));
            }),
        ),
        (
            "IDS",
            packed(|d| {
                assert!(d.ids(1000, |w| {
                    digest::put_part(w, 0x0102, [true, true], ids.iter());
                    digest::put_part(w, 0x0102, [false, false], ids.iter());
                }));
            }),
        ),
        (
            "WANT",
            packed(|d| {
                assert!(d.wants(1000, |w| digest::put_wants(
                    w,
                    (0x0102, false),
                    [ids[0].id].iter()
                )));
            }),
        ),
        (
            "WANT for people",
            packed(|d| {
                assert!(d.wants(1000, |w| digest::put_wants(
                    w,
                    (0x0102, true),
                    [ids[0].id].iter()
                )));
            }),
        ),
        (
            "BEATEN",
            packed(|d| {
                let claim = Claim { version: 3, epoch: 2, base: 70, what: What::Closed };
                assert!(d.beaten_end(&claim, &v4(1).key()));
            }),
        ),
        ("BULK", packed(|d| assert!(d.bulk(&bulk)))),
        ("RELEASE", packed(|d| assert!(d.release(1000)))),
        (
            "PROBE and PAD",
            packed(|d| {
                assert!(d.probe());
                d.pad();
            })[..20]
                .to_vec(),
        ),
        ("BYE", packed(|d| assert!(d.bye(Bye::Removed)))),
    ]
}

/// Each by its name.
pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let superseding = Claim { version: 400, epoch: 1, base: 20_000, what: What::State };
    let translated = [
        (new(5), translated(v4(1), 200, None)),
        (new(6), translated(v4(2), 200, Some(77))),
        (new(7), translated(v4(3), 200, None)),
    ];
    let mut destination = v4(4);
    destination.reply.src[..4].copy_from_slice(&[172, 16, 0, 1]);
    destination.status |= Status::DST_NAT | Status::SRC_NAT_DONE | Status::DST_NAT_DONE;
    let marked = Flow { mark: 0xbeef, ..v4(1) };
    let mut list = vec![
        ("FLOWS: TCP over IPv4", flows(FlowsFlags::empty(), &[(new(5), v4(1))])),
        (
            "FLOWS: TCP over IPv6, two clients",
            flows(FlowsFlags::empty(), &[(new(5), v6(1, 1)), (new(6), v6(1, 2))]),
        ),
        ("FLOWS: source translation", flows(FlowsFlags::empty(), &translated)),
        ("FLOWS: destination translation", flows(FlowsFlags::empty(), &[(new(5), destination)])),
        ("FLOWS: epoch and base, as repair", flows(FlowsFlags::REPAIR, &[(superseding, v4(1))])),
        (
            "FLOWS: marks",
            flows(
                FlowsFlags::empty(),
                &[
                    (new(5), marked.clone()),
                    (new(6), Flow { orig: v4(2).orig, reply: v4(2).reply, ..marked }),
                ],
            ),
        ),
        ("FLOWS: everything rare, in a zone", flows(FlowsFlags::empty(), &[(new(5), rare())])),
        ("FLOWS: protocols", flows(FlowsFlags::empty(), &protocols())),
        (
            "FLOWS: ends",
            flows(
                FlowsFlags::empty(),
                &[(claim(5, What::Closed), v4(1)), (claim(6, What::Expired), v4(1))],
            ),
        ),
    ];
    list.extend(others());
    list
}

/// What the bytes say, one line for each record, frame or part.
fn said(bytes: &[u8], out: &mut String) {
    for frame in Frames::of(bytes).unwrap().1.map(Result::unwrap) {
        match frame {
            Frame::Flows { records, .. } | Frame::Beaten(records) => {
                records.for_each(|record| {
                    let record = record.unwrap();
                    writeln!(out, "  {:?}\n    {:?}", record.claim, record.to_flow()).unwrap();
                });
            }
            Frame::Expects(e) => {
                e.records().for_each(|r| writeln!(out, "  {:?}", r.unwrap()).unwrap());
            }
            Frame::Ack(ack) => {
                let ranges: Vec<_> = ack.ranges().map(Result::unwrap).collect();
                let Ack { greatest, delay_us, room_kib, .. } = ack;
                writeln!(out, "  {greatest} {delay_us} us, {room_kib} KiB, {ranges:?}").unwrap();
            }
            Frame::Sums(sums @ Sums { level, .. }) => sums.nodes().for_each(|(node, sums)| {
                writeln!(out, "  {level:?} {node}: {:?}", sums.collect::<Vec<_>>()).unwrap();
            }),
            Frame::Ids(ids) => ids.parts().map(Result::unwrap).for_each(|part| {
                writeln!(out, "  {:?} {:?}", part.range, part.rows().collect::<Vec<_>>()).unwrap();
            }),
            Frame::Wants(wants) if wants.is_for_people() => {
                writeln!(out, "  for people: {}", wants.leaves().count()).unwrap();
            }
            Frame::Wants(wants) => wants.leaves().map(Result::unwrap).for_each(|(leaf, ids)| {
                writeln!(out, "  {leaf} {:?}", ids.collect::<Vec<_>>()).unwrap();
            }),
            other => writeln!(out, "  {other:?}").unwrap(),
        }
    }
}

#[test]
fn the_bytes_of_each_frame_are_those_that_were_written_down() {
    let mut text = String::new();
    for (name, bytes) in all() {
        let hex: Vec<_> = bytes.iter().map(|byte| std::format!("{byte:02x}")).collect();
        writeln!(text, "{name}").unwrap();
        hex.chunks(40).for_each(|line| writeln!(text, "  {}", line.concat()).unwrap());
        said(&bytes, &mut text);
        text.push('\n');
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sync/v2/tests/vectors.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "{path} is stale; run: UPDATE=1 cargo test -p ctflow-wire vector");
}
