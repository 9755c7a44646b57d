//! Generators of values for property tests, here and in the floors above.
//!
//! [`v1_flow`] and [`v1_expectation`] give what version 1 of the replication protocol carries whole, so that
//! decoding an encoding must give the same value back. [`v2_flow`] and [`v2_expectation`] give any at all: version 2
//! carries the canonical form of each.

use crate::sync::v1::{Account, Control, Flags, Options, Stamp};
use crate::sync::v2::{self, Claim, What};
use alloc::sync::Arc;
use alloc::vec::Vec;
use ctnetlink::expectation::ExpectNat;
use ctnetlink::flow::{
    Extra, HelperName, Known, Name, ProtoState, SeqAdj, Status, Synproxy, TcpState,
};
use ctnetlink::tuple::ipproto;
use ctnetlink::{Change, Expectation, Flow, Tuple};
use proptest::prelude::{Just, Strategy, any};
use proptest::{collection, option, prop_oneof};

/// A protocol number: mostly one that has a tracker, sometimes any.
pub fn protocol() -> impl Strategy<Value = u8> {
    const TRACKED: [u8; 8] = [
        ipproto::TCP,
        ipproto::UDP,
        ipproto::ICMP,
        ipproto::ICMPV6,
        ipproto::SCTP,
        ipproto::DCCP,
        ipproto::GRE,
        ipproto::UDPLITE,
    ];
    prop_oneof![8 => proptest::sample::select(&TRACKED[..]), 1 => any::<u8>()]
}

/// A tuple of this protocol, with whatever layer-4 bytes.
pub fn tuple_of(proto: u8) -> impl Strategy<Value = Tuple> {
    let v4 = any::<([u8; 4], [u8; 4])>().prop_map(move |(src, dst)| Tuple::v4(src, dst, proto));
    let v6 = any::<([u8; 16], [u8; 16])>().prop_map(move |(src, dst)| Tuple::v6(src, dst, proto));
    (prop_oneof![v4, v6], any::<[u8; 4]>()).prop_map(|(tuple, l4)| Tuple { l4, ..tuple })
}

/// Any known tuple.
pub fn tuple() -> impl Strategy<Value = Tuple> {
    protocol().prop_flat_map(tuple_of)
}

/// A tuple as version 1 carries it: without GRE keys, UDP-Lite ports and the like.
fn v1_tuple() -> impl Strategy<Value = Tuple> {
    tuple().prop_map(|tuple| match tuple.proto {
        ipproto::UDPLITE => Tuple { l4: [0; 4], ..tuple },
        _ if tuple.has_ports() || tuple.is_icmp() => tuple,
        _ => Tuple { l4: [0; 4], ..tuple },
    })
}

/// A helper name of 1 to `len_max` bytes.
pub fn helper_name(len_max: usize) -> impl Strategy<Value = HelperName> {
    name::<15>(len_max)
}

fn name<const N: usize>(len_max: usize) -> impl Strategy<Value = Name<N>> {
    let bytes = collection::vec(b'!'..=b'~', 1..=len_max);
    bytes.prop_filter_map("too long for the type", |bytes| Name::from_bytes(&bytes))
}

/// Protocol state that fits `proto`.
fn state(proto: u8) -> impl Strategy<Value = ProtoState> {
    let raw = (any::<u8>(), any::<u8>(), any::<[u32; 2]>(), any::<Option<[u8; 2]>>());
    option::of(raw).prop_map(move |raw| match (proto, raw) {
        (ipproto::TCP, Some((state, _, _, wscale))) => {
            ProtoState::Tcp(TcpState { state, wscale, flags: None })
        }
        (ipproto::DCCP, Some((state, role, _, _))) => ProtoState::Dccp { state, role },
        (ipproto::SCTP, Some((state, _, vtag, _))) => ProtoState::Sctp { state, vtag },
        _ => ProtoState::None,
    })
}

/// Extras that version 1 carries; `None` rather than empty.
fn v1_extra() -> impl Strategy<Value = Option<Arc<Extra>>> {
    let master = v1_tuple().prop_map(|master| match master.is_icmp() {
        true => Tuple { l4: [0; 4], ..master },
        false => master,
    });
    let words = collection::vec(any::<u32>(), 1..=8);
    let labels = words.prop_filter("no label set", |words| words.iter().any(|&word| word != 0));
    let seq_adj = any::<[[u32; 3]; 2]>().prop_map(|ends| {
        ends.map(|[correction_pos, offset_before, offset_after]| SeqAdj {
            correction_pos,
            offset_before,
            offset_after,
        })
    });
    let synproxy = any::<[u32; 3]>()
        .prop_map(|[isn, its, tsoff]| Synproxy { isn, its, tsoff })
        .prop_filter("zeros are kept outside", |synproxy| *synproxy != Synproxy::default());
    let parts = (
        option::of(master),
        option::of(helper_name(11)),
        option::of(labels),
        option::of(seq_adj),
        option::of(synproxy),
    );
    parts.prop_map(|(master, helper, labels, seq_adj, synproxy)| {
        let extra = Extra::default().with(|extra| {
            extra.master = master;
            extra.helper = helper;
            extra.labels = labels;
            extra.seq_adj = seq_adj;
            extra.synproxy = synproxy;
        });
        (extra != Extra::default()).then(|| Arc::new(extra))
    })
}

/// The reply to `orig`, with both ends translated or not as the status says.
fn v1_reply(orig: Tuple, status: Status) -> impl Strategy<Value = Tuple> {
    (any::<[Option<[u8; 16]>; 2]>(), any::<[Option<u16>; 2]>()).prop_map(move |(addr, port)| {
        let mut reply = orig.inverted();
        let len = if orig.family == ctnetlink::tuple::FAMILY_IPV6 { 16 } else { 4 };
        let (mut sport, mut dport) = reply.ports();
        if status.contains(Status::SRC_NAT_DONE) {
            addr[0].inspect(|addr| reply.dst[..len].copy_from_slice(&addr[..len]));
            dport = port[0].unwrap_or(dport);
        }
        if status.contains(Status::DST_NAT_DONE) {
            addr[1].inspect(|addr| reply.src[..len].copy_from_slice(&addr[..len]));
            sport = port[1].unwrap_or(sport);
        }
        if orig.has_ports() { reply.with_ports(sport, dport) } else { reply }
    })
}

/// A flow that version 1 carries whole, given [`Options`] that leave nothing out.
pub fn v1_flow() -> impl Strategy<Value = Flow> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u16>());
    let head = (v1_tuple(), any::<u16>(), numbers);
    head.prop_flat_map(|(orig, known, (status, timeout_s, mark, zone))| {
        let carried = Known::STATUS | Known::TIMEOUT | Known::MARK | Known::ZONE | Known::SYNPROXY;
        let known = (Known::from_bits_truncate(known) & carried) | Known::STATUS;
        let status = Status::from_bits_retain(status);
        let parts = (v1_reply(orig, status), state(orig.proto), v1_extra());
        (parts, Just((orig, known, status, timeout_s, mark, zone)))
    })
    .prop_map(|((reply, proto, extra), (orig, known, status, timeout_s, mark, zone))| {
        let given = |field, value| if known.contains(field) { value } else { 0 };
        let synproxy = extra.as_deref().is_some_and(|extra| extra.synproxy.is_some());
        Flow {
            orig,
            reply,
            zone: given(Known::ZONE, u32::from(zone)) as u16,
            known: known | if synproxy { Known::SYNPROXY } else { Known::empty() },
            status,
            timeout_s: given(Known::TIMEOUT, timeout_s),
            mark: given(Known::MARK, mark),
            id: 0,
            proto,
            extra,
        }
    })
}

/// An expectation that version 1 carries whole, given [`Options`] that leave nothing out.
pub fn v1_expectation() -> impl Strategy<Value = Expectation> {
    protocol()
        .prop_flat_map(|proto| {
            let has_ports =
                matches!(proto, ipproto::TCP | ipproto::UDP | ipproto::SCTP | ipproto::DCCP);
            let end = move || {
                let l4 = move |tuple| if has_ports { tuple } else { Tuple { l4: [0; 4], ..tuple } };
                tuple_of(proto).prop_map(l4)
            };
            let nat = (any::<u32>(), end()).prop_filter_map("IPv6", |(direction, tuple)| {
                let v4 = tuple.family == ctnetlink::tuple::FAMILY_IPV4;
                v4.then_some(ExpectNat { direction, tuple })
            });
            let numbers = any::<(Option<u32>, Option<u32>, Option<u32>)>();
            let names = (option::of(helper_name(11)), option::of(name::<31>(27)));
            ((end(), end(), option::of(end())), numbers, option::of(nat), names)
        })
        .prop_map(|((master, tuple, mask), (timeout_s, flags, class), nat, (helper, function))| {
            let mask = mask.unwrap_or_default();
            Expectation::default().with(|expect| {
                expect.master = master;
                expect.tuple = tuple;
                expect.mask = mask;
                expect.timeout_s = timeout_s;
                expect.flags = flags;
                expect.class = class;
                expect.nat = nat;
                expect.helper = helper;
                expect.function = function;
            })
        })
}

/// Any flow whose original direction is known: of every protocol, translated in any way or not, in any zone, with
/// any of the fields that the kernel may send. Many values come again, so that flows have parts in common.
pub fn v2_flow() -> impl Strategy<Value = Flow> {
    let numbers = (few_numbers(), few_numbers(), few_numbers(), zone());
    let head = (few_tuples(), any::<u16>(), status(), numbers);
    head.prop_flat_map(|(orig, known, status, numbers)| {
        let parts = (v2_reply(orig), any_state(), v2_extra());
        (parts, Just((orig, known, status, numbers)))
    })
    .prop_map(
        |((reply, proto, extra), (orig, known, status, (timeout_s, mark, id, zone)))| Flow {
            orig,
            reply,
            zone,
            known: Known::from_bits_truncate(known),
            status,
            timeout_s,
            mark,
            id,
            proto,
            extra,
        },
    )
}

fn few_numbers() -> impl Strategy<Value = u32> {
    prop_oneof![0..3_u32, any::<u32>(), (0..20_u32).prop_map(|shift| 0xabcd_u32 << shift >> 4)]
}

fn zone() -> impl Strategy<Value = u16> {
    prop_oneof![4 => Just(0_u16), 1 => 1..3_u16, 1 => any::<u16>()]
}

/// Tuples that have addresses and ports in common.
fn few_tuples() -> impl Strategy<Value = Tuple> {
    let parts = (protocol(), any::<bool>(), 0..4_u8, 0..3_u8, 0..3_u8, 0..3_u8);
    let alike = parts.prop_map(|(proto, v6, net, host, sport, dport)| {
        let tuple = if v6 {
            let mut src = [net; 16];
            src[15] = host;
            Tuple::v6(src, [0x20; 16], proto)
        } else {
            Tuple::v4([10, net, net, host], [192, 0, 2, net], proto)
        };
        tuple.with_ports(u16::from(sport), 0x1bb + u16::from(dport))
    });
    prop_oneof![3 => alike, 1 => tuple()]
}

fn v2_reply(orig: Tuple) -> impl Strategy<Value = Tuple> {
    let mirror = orig.inverted();
    let source = (0..3_u8, option::of(0..3_u8)).prop_map(move |(host, port)| {
        let len = if orig.family == ctnetlink::tuple::FAMILY_IPV6 { 16 } else { 4 };
        let mut reply = mirror;
        reply.dst[..len].fill(200 + host);
        if let Some(port) = port {
            let at = if reply.is_icmp() { 1 } else { 3 };
            reply.l4[at] = port;
        }
        reply
    });
    let end = any::<[u8; 4]>().prop_map(move |address| {
        let mut reply = mirror;
        reply.src[..4].copy_from_slice(&address);
        reply
    });
    let unknown = Just(Tuple::UNKNOWN);
    prop_oneof![3 => Just(mirror), 4 => source, 1 => end, 1 => tuple(), 1 => unknown]
}

fn status() -> impl Strategy<Value = Status> {
    const USUAL: [u32; 8] = [0x08, 0x0a, 0x0e, 0x188, 0x18a, 0x18e, 0x19e, 0x1ae];
    let bits = prop_oneof![3 => proptest::sample::select(&USUAL[..]), 1 => any::<u32>()];
    bits.prop_map(Status::from_bits_retain)
}

/// State of any tracker, whatever the protocol.
fn any_state() -> impl Strategy<Value = ProtoState> {
    let tcp = (0..17_u8, any::<Option<[u8; 2]>>(), any::<bool>());
    let tcp = tcp.prop_map(|(state, wscale, small)| {
        let wscale = wscale.map(|scales| scales.map(|s| if small { s % 15 } else { s }));
        ProtoState::Tcp(TcpState { state, wscale, flags: None })
    });
    let dccp = any::<(u8, u8)>().prop_map(|(state, role)| ProtoState::Dccp { state, role });
    let sctp = any::<(u8, [u32; 2])>().prop_map(|(state, vtag)| ProtoState::Sctp { state, vtag });
    prop_oneof![6 => tcp, 2 => Just(ProtoState::None), 1 => dccp, 1 => sctp]
}

fn v2_extra() -> impl Strategy<Value = Option<Arc<Extra>>> {
    let ends = option::of(any::<[[u32; 3]; 2]>().prop_map(|ends| {
        ends.map(|[correction_pos, offset_before, offset_after]| SeqAdj {
            correction_pos,
            offset_before,
            offset_after,
        })
    }));
    let synproxy = any::<[u32; 3]>().prop_map(|[isn, its, tsoff]| Synproxy { isn, its, tsoff });
    let labels = collection::vec(prop_oneof![Just(0_u32), any::<u32>()], 0..40);
    let parts = (
        option::of(tuple()),
        option::of(helper_name(15)),
        option::of(labels),
        ends,
        option::of(prop_oneof![Just(Synproxy::default()), synproxy]),
        any::<([Option<u16>; 2], Option<u32>)>(),
    );
    let extra =
        parts.prop_map(|(master, helper, labels, seq_adj, synproxy, (zones, use_count))| {
            Arc::new(Extra::default().with(|extra| {
                extra.master = master;
                extra.helper = helper;
                extra.labels = labels;
                extra.seq_adj = seq_adj;
                extra.synproxy = synproxy;
                extra.zones = zones;
                extra.use_count = use_count;
            }))
        });
    prop_oneof![3 => Just(None), 1 => extra.prop_map(Some)]
}

/// An expectation as version 2 carries it: whole, but for the number that this kernel gave it.
pub fn v2_expectation() -> impl Strategy<Value = Expectation> {
    let nat = option::of(
        (any::<u32>(), tuple()).prop_map(|(direction, tuple)| ExpectNat { direction, tuple }),
    );
    let numbers = any::<(Option<u32>, Option<u32>, Option<u32>, Option<u16>)>();
    let names = (option::of(helper_name(15)), option::of(name::<31>(31)));
    let parts = ((tuple(), tuple(), option::of(tuple())), numbers, nat, names);
    parts.prop_map(
        |((master, tuple, mask), (timeout_s, flags, class, zone), nat, (helper, function))| {
            Expectation::new(master, tuple, mask.unwrap_or_default()).with(|expect| {
                expect.timeout_s = timeout_s;
                expect.flags = flags;
                expect.class = class;
                expect.zone = zone;
                expect.nat = nat;
                expect.helper = helper;
                expect.function = function;
            })
        },
    )
}

/// Any claim, with versions near either end.
pub fn v2_claim() -> impl Strategy<Value = Claim> {
    let count = || prop_oneof![0..200_u64, any::<u64>(), Just(v2::number::MAX)];
    let what = [What::State, What::New, What::Closed, What::Expired];
    let epoch = prop_oneof![4 => Just(0_u32), 2 => 1..3_u32, 1 => any::<u32>()];
    (count(), epoch, count(), proptest::sample::select(Vec::from(what))).prop_map(
        |(version, epoch, base, what)| {
            let base = if epoch == 0 { 0 } else { base & v2::number::MAX };
            Claim { version: version & v2::number::MAX, epoch, base, what }
        },
    )
}

/// Any change.
pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![Just(Change::New), Just(Change::Update), Just(Change::Destroy)]
}

/// Any account of a sender's table.
fn account() -> impl Strategy<Value = Account> {
    let word = || option::of(any::<u32>());
    (any::<[bool; 3]>(), word(), word()).prop_map(|([exact, whole, injects], transfer, flows)| {
        Account { exact, whole, injects, transfer, flows }
    })
}

/// Any control message that a sender makes.
pub fn control() -> impl Strategy<Value = Control> {
    let range = || (any::<u32>(), 0..1_u32 << 20);
    prop_oneof![
        Just(Control::Alive),
        option::of(account()).prop_map(Control::Settled),
        Just(Control::Resync),
        range().prop_map(|(from, len)| Control::Ack { from, to: from.wrapping_add(len) }),
        range().prop_map(|(from, len)| Control::Nack { from, to: from.wrapping_add(len) }),
    ]
}

/// Any sequence number with any greeting.
pub fn stamp() -> impl Strategy<Value = Stamp> {
    let greetings =
        [Flags::empty(), Flags::HELLO, Flags::HELLO_BACK, Flags::HELLO | Flags::HELLO_BACK];
    (any::<u32>(), proptest::sample::select(Vec::from(greetings)))
        .prop_map(|(seq, flags)| Stamp { seq, flags })
}

/// Any options.
pub fn options() -> impl Strategy<Value = Options> {
    any::<(bool, bool)>().prop_map(|(timeout, window_scale)| Options { timeout, window_scale })
}
