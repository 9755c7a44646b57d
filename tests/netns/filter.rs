//! The filter in the kernel: it lets pass what user space would, and what it refuses is accounted for.

use crate::tap::check_balance;
use common::Instant;
use common::filter::{FilterConfig, MarkTest, mode};
use ctnetlink::flow::{Known, ProtoState, TcpState};
use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6};
use ctnetlink::{Change, Detail, Flow, FlowKey, Message, Messages, Tuple, decode};
use engine::filter::{Filter, Prefix};
use host::clock;
use host::source::{Choice, Heard, KernelFilter, Settings, Source};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use tests::conntrack::{catalogue_len, insert_catalogue};
use tests::ctnetlink::{Requests, udp, udp_flows, with_lifetime};
use tests::netns::Namespace;
use tests::wait::scaled;

fn open(choice: Choice, filter: KernelFilter) -> Source {
    let settings = Settings { choice, filter, buffer_bytes: Some(64 << 20), ..Settings::default() };
    Source::open(&settings).expect("the source opens").0
}

/// Everything that waits, as messages.
fn drain(source: &mut Source) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut sink =
        |heard: Heard<'_>, _| all.push(heard.message().expect("it is a message").to_vec());
    while source.drain(4096, &mut sink).expect("draining works") > 0 {}
    all
}

fn decoded(message: &[u8]) -> (Change, Flow) {
    let raw = Messages::new(message).next().expect("one message").expect("it is whole");
    let Ok(Message::Flow { event, flow }) = decode(&raw) else { panic!("not an event") };
    (event, flow.to_flow(Detail::Full))
}

/// The same filter, for user space.
fn in_user_space(filter: &KernelFilter) -> Filter {
    let wide = |addr: [u8; 4]| {
        let mut wide = [0; 16];
        wide[..4].copy_from_slice(&addr);
        wide
    };
    let v4 = filter.ipv4.iter();
    let v4 = v4.map(|&(addr, bits)| Prefix { addr: wide(addr), family: FAMILY_IPV4, bits });
    let v6 = filter.ipv6.iter();
    let v6 = v6.map(|&(addr, bits)| Prefix { addr, family: FAMILY_IPV6, bits });
    let prefixes: Vec<_> = v4.chain(v6).collect();
    let numbers = [&filter.source_ports, &filter.destination_ports, &filter.zones];
    Filter::new(filter.config, &prefixes, numbers.map(|set| &set[..]))
}

fn filter(set: impl FnOnce(&mut KernelFilter)) -> KernelFilter {
    let mut filter = KernelFilter::default();
    set(&mut filter);
    filter.config = filter.config.switched();
    filter
}

/// A filter by each thing that one can go by, accepting or ignoring, and one by everything.
fn filters(of: u32) -> Vec<KernelFilter> {
    let marks = |config: &mut FilterConfig| {
        config.mark_mode = of;
        for (value, mask) in [(5, u32::MAX), (0x40, 0xf0)] {
            assert!(config.name_mark(MarkTest { value, mask }));
        }
    };
    vec![
        filter(|f| {
            f.config.protocol_mode = of;
            [17, 132, 200].into_iter().for_each(|proto| f.config.name_protocol(proto));
        }),
        filter(|f| {
            (f.config.ipv4_mode, f.config.ipv6_mode) = (of, of);
            f.ipv4 = vec![([2, 2, 2, 0], 30), ([9, 0, 0, 0], 8)];
            f.ipv6 = vec![([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8], 128)];
        }),
        filter(|f| {
            f.config.source_port_mode = of;
            f.source_ports = vec![(10, 12), (1003, 1007), (5000, 5000)];
        }),
        filter(|f| {
            f.config.destination_port_mode = of;
            f.destination_ports = vec![(0, 20), (53, 53)];
        }),
        filter(|f| (f.config.zone_mode, f.zones) = (of, vec![(1, 7), (9, 9)])),
        filter(|f| (f.config.tcp_state_mode, f.config.tcp_states) = (of, 1 << 3 | 1 << 7)),
        filter(|f| marks(&mut f.config)),
        filter(|f| f.config.sample = 2),
        filter(|f| {
            let accept = mode::ACCEPT;
            (f.config.protocol_mode, f.config.zone_mode, f.config.sample) = (accept, accept, 2);
            [6, 17].into_iter().for_each(|proto| f.config.name_protocol(proto));
            f.zones = vec![(0, 100)];
            marks(&mut f.config);
        }),
    ]
}

/// One flow of each kind, in each zone and state; then their marks change; then they end.
#[test]
fn the_kernel_lets_pass_what_user_space_would() {
    let node = Namespace::new();
    let mut filters = [filters(mode::ACCEPT), filters(mode::IGNORE)].concat();
    filters.truncate(filters.len().min(scaled(90) as usize));
    let (mut plain, mut taps) = node.within(|| {
        let tap = |f: &KernelFilter| open(Choice::Tap, f.clone());
        let taps: Vec<_> = filters.iter().map(tap).collect();
        (open(Choice::Netlink, KernelFilter::default()), taps)
    });
    insert_catalogue(&node);
    let mut all = drain(&mut plain);
    let flows: Vec<_> = all.iter().map(|message| decoded(message).1).collect();
    let mut requests = Requests::open(&node);
    for mark in [0x4f, 0, 5] {
        let marked = flows.iter().map(|flow| Flow {
            zone: flow.zone,
            mark,
            known: Known::MARK,
            ..Flow::new(flow.orig)
        });
        requests.update(&marked.collect::<Vec<_>>());
    }
    node.sh("conntrack -F");
    all.extend(drain(&mut plain));
    assert_eq!(all.len(), 5 * catalogue_len());
    for (tap, filter) in taps.iter_mut().zip(&filters) {
        let twin = in_user_space(filter);
        let wanted = all.iter().filter(|message| match decoded(message) {
            (Change::Destroy, flow) => twin.matches(&flow),
            (_, flow) => twin.passes(&flow),
        });
        let (seen, wanted) = (drain(tap), wanted.cloned().collect::<Vec<_>>());
        assert_eq!(seen, wanted, "{filter:?}");
        assert!(!seen.is_empty() && seen.len() < all.len(), "{} {filter:?}", seen.len());
        check_balance(&tap.account(), all.len() as u64);
        assert_eq!(tap.account().filtered, (all.len() - seen.len()) as u64);
    }
}

#[test]
fn thousands_of_prefixes_of_both_families() {
    let node = Namespace::new();
    let v6 = |n: u32| {
        let mut addr = [0; 16];
        addr[..2].copy_from_slice(&[0x20, 1]);
        addr[12..].copy_from_slice(&n.to_be_bytes());
        addr
    };
    // Every other flow is named.
    let named = || (0..5000_u32).map(|n| 2 * n);
    let both = filter(|f| {
        (f.config.ipv4_mode, f.config.ipv6_mode) = (mode::ACCEPT, mode::ACCEPT);
        f.ipv4 = named().map(|n| ((100 << 24 | n).to_be_bytes(), 32)).collect();
        f.ipv6 = named().map(|n| (v6(n), 128)).collect();
    });
    let (mut tap, mut plain) = node.within(|| {
        let tap = open(Choice::Tap, KernelFilter::default());
        (tap, open(Choice::Netlink, KernelFilter::default()))
    });
    let began = clock::now();
    tap.set_filter(&both).expect("the maps are written");
    println!("5,000 prefixes of each family were set in {:?}", clock::now().since(began));
    let wide = |n| Tuple::v6(v6(n), [9; 16], 17).with_ports(1, 2);
    let flows: Vec<_> =
        (0..scaled(10_000)).flat_map(|n| [udp(n), with_lifetime(Flow::new(wide(n)))]).collect();
    let mut requests = Requests::open(&node);
    for flows in flows.chunks(1000) {
        requests.create(flows);
        let twin = in_user_space(&both);
        let wanted: Vec<_> =
            drain(&mut plain).into_iter().filter(|m| twin.passes(&decoded(m).1)).collect();
        assert_eq!(wanted.len(), 500);
        assert_eq!(drain(&mut tap), wanted);
    }
    check_balance(&tap.account(), scaled(20_000).into());
    // Other prefixes, and none.
    let began = clock::now();
    tap.set_filter(&filter(|f| (f.config.ipv4_mode, f.ipv4) = (mode::ACCEPT, vec![([9; 4], 32)])))
        .expect("the maps are written");
    println!("and taken out in {:?}", clock::now().since(began));
    requests.delete(&flows[..10]);
    assert_eq!(drain(&mut tap).len(), 5, "flows of IPv6 pass again, those of IPv4 do not");
    tap.set_filter(&KernelFilter::default()).expect("the maps are written");
    requests.delete(&flows[10..20]);
    assert_eq!(drain(&mut tap).len(), 10);
}

/// TCP connections over loopback, from the first packet to the last.
fn connections(numbers: std::ops::Range<u32>, listener: &TcpListener) {
    let port = listener.local_addr().expect("it is bound").port();
    for n in numbers {
        let [_, b, c, d] = (0x0001_0000 + n).to_be_bytes();
        let client = TcpStream::connect((Ipv4Addr::new(127, b, c, d), port)).expect("it listens");
        let server = listener.accept().expect("somebody called");
        drop((client, server));
    }
}

#[test]
fn a_sample_keeps_whole_flows_and_both_sources_keep_the_same() {
    let all_flows = scaled(20_000);
    let node = Namespace::new();
    node.nft(
        "table inet t { chain c { type filter hook output priority 0; ct state new,established accept; }; }",
    );
    let sample = filter(|f| f.config.sample = 8);
    let (mut tap, mut plain) = node.within(|| {
        (open(Choice::Tap, sample.clone()), open(Choice::Netlink, KernelFilter::default()))
    });
    let twin = in_user_space(&sample);
    // By id: how many events there were, and how many the tap and user space let pass.
    let mut lives: BTreeMap<(FlowKey, u32), [u32; 3]> = BTreeMap::new();
    let mut ends = 0;
    let mut seen = 0_u64;
    // The program lets an event pass that interrupts its own look at another one: user space filters again.
    let mut unjudged = 0_u64;
    let mut count = |plain: &mut Source, tap: &mut Source| {
        for message in drain(plain) {
            let (event, flow) = decoded(&message);
            let life = lives.entry((flow.key(), flow.id)).or_default();
            life[0] += 1;
            life[2] += u32::from(twin.passes(&flow));
            ends += u32::from(event == Change::Destroy);
            seen += 1;
        }
        for message in drain(tap) {
            let flow = decoded(&message).1;
            if twin.passes(&flow) {
                lives.entry((flow.key(), flow.id)).or_default()[1] += 1;
            } else {
                unjudged += 1;
            }
        }
    };
    let listener = node.within(|| TcpListener::bind("0.0.0.0:0").expect("a listener"));
    for from in (0..all_flows).step_by(500) {
        node.within(|| connections(from..from + 500, &listener));
        count(&mut plain, &mut tap);
    }
    node.sh("conntrack -F");
    count(&mut plain, &mut tap);
    check_balance(&tap.account(), seen);
    assert_eq!((lives.len() as u32, ends), (all_flows, all_flows));
    let mut kept = 0;
    for (life, [all, by_tap, by_twin]) in lives {
        assert!(all >= 5, "{life:?} had {all} events");
        assert!(by_tap == 0 || by_tap == all, "{life:?}: {by_tap} of {all}");
        assert_eq!(by_tap, by_twin, "{life:?}");
        kept += u32::from(by_tap > 0);
    }
    println!(
        "{kept} of {all_flows} flows with {seen} events were kept, {unjudged} events passed unjudged"
    );
    assert!(unjudged < seen / 4, "a program that judges nothing lets 7 of 8 pass");
    let wanted = all_flows / 8;
    assert!((wanted * 8 / 10..wanted * 12 / 10).contains(&kept), "{kept}");
}

/// A time by which every flow has become old enough.
fn much_later(age: u64) -> Instant {
    Instant(clock::now().0 + 10 * age)
}

fn ripe(source: &mut Source, now: Instant) -> Vec<FlowKey> {
    let mut keys = Vec::new();
    source.ripe(now, &mut |key| keys.push(key)).expect("the young flows can be read");
    keys.sort_unstable();
    keys
}

fn events(source: &mut Source, of: Change) -> usize {
    let all = drain(source);
    let kinds: Vec<_> = all.iter().map(|message| decoded(message).0).collect();
    assert!(kinds.iter().all(|kind| *kind == of), "{kinds:?}");
    kinds.len()
}

fn only_old_flows_are_reported(choice: Choice) {
    const AGE: u64 = 3_600_000_000_000;
    let node = Namespace::new();
    let mut requests = Requests::open(&node);
    requests.create(&udp_flows(900..910));
    let mut source = node.within(|| open(choice, filter(|f| f.config.age_ns = AGE)));
    requests.create(&udp_flows(0..100));
    assert_eq!(drain(&mut source).len(), 0, "they are too young");
    let marked = |numbers| {
        let mark = |flow| Flow { mark: 1, known: Known::MARK, ..flow };
        udp_flows(numbers).into_iter().map(mark).collect::<Vec<_>>()
    };
    requests.update(&marked(0..100));
    assert_eq!(drain(&mut source).len(), 0, "they still are");
    requests.update(&marked(900..910));
    assert_eq!(events(&mut source, Change::Update), 10, "they began before anybody heard");
    assert_eq!(ripe(&mut source, clock::now()), [], "none is old");
    requests.delete(&udp_flows(0..50));
    assert_eq!(events(&mut source, Change::Destroy), 50, "an end passes always");
    let keys = |numbers| udp_flows(numbers).iter().map(Flow::key).collect::<Vec<_>>();
    assert_eq!(ripe(&mut source, much_later(AGE)), keys(50..100));
    requests.update(&[Flow { mark: 2, ..marked(50..51).remove(0) }]);
    assert_eq!(events(&mut source, Change::Update), 1, "it has been let in");
    assert_eq!(ripe(&mut source, much_later(2 * AGE)), []);
    // Without the filter, no flow is too young.
    requests.create(&udp_flows(200..210));
    assert_eq!(drain(&mut source).len(), 0);
    source.open_filter().expect("the maps are written");
    source.set_filter(&KernelFilter::default()).expect("the maps are written");
    requests.create(&udp_flows(210..220));
    assert_eq!(events(&mut source, Change::New), 10);
    source.set_filter(&filter(|f| f.config.age_ns = 1)).expect("the maps are written");
    requests.create(&udp_flows(220..221));
    assert_eq!(drain(&mut source).len(), 0);
    requests.update(&marked(220..221));
    assert_eq!(events(&mut source, Change::Update), 1, "a moment later it is old");
    assert_eq!(ripe(&mut source, much_later(3 * AGE)), []);
}

#[test]
fn only_old_flows_are_reported_by_the_tap() {
    only_old_flows_are_reported(Choice::Tap);
}

#[test]
fn only_old_flows_are_reported_by_netlink() {
    only_old_flows_are_reported(Choice::Netlink);
}

/// A state that is refused keeps news back, but not the end.
#[test]
fn the_end_of_a_flow_passes_whatever_it_has_become() {
    let node = Namespace::new();
    let established = |config: &mut FilterConfig| {
        (config.tcp_state_mode, config.tcp_states) = (mode::ACCEPT, 1 << 3);
    };
    let mut tap = node.within(|| open(Choice::Tap, filter(|f| established(&mut f.config))));
    let state = |state| {
        let tuple = Tuple::v4([1; 4], [2; 4], 6).with_ports(1, 2);
        let mut flow = with_lifetime(Flow::new(tuple));
        flow.proto = ProtoState::Tcp(TcpState { state, ..TcpState::default() });
        flow
    };
    let mut requests = Requests::open(&node);
    requests.create(&[state(1)]);
    assert_eq!(drain(&mut tap).len(), 0);
    requests.update(&[state(3)]);
    assert_eq!(events(&mut tap, Change::Update), 1);
    requests.update(&[state(4)]);
    assert_eq!(drain(&mut tap).len(), 0);
    requests.delete(&[state(4)]);
    assert_eq!(events(&mut tap, Change::Destroy), 1);
    let twin = in_user_space(&filter(|f| established(&mut f.config)));
    assert!(!twin.passes(&state(4)) && twin.matches(&state(4)));
}
