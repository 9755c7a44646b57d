//! The filter in the hook: it judges packets as user space judges the records that they cause.

use common::filter::{FilterConfig, MarkTest, mode};
use ctnetlink::{Change, Detail, Flow, FlowKey, Message, Messages, decode};
use engine::filter::Filter;
use host::source::{Choice, Heard, KernelFilter, Settings, Source};
use std::collections::BTreeSet;
use tests::{churn, netns};

const RULES: &str = "table inet t { chain c {
    type filter hook output priority 0;
    ip daddr 127.1.0.0/25 ct mark set 5
    ct state new,established accept;
}; }";

fn filter(set: impl FnOnce(&mut FilterConfig)) -> KernelFilter {
    let mut filter = KernelFilter { destination_ports: vec![(0, 4999)], ..KernelFilter::default() };
    set(&mut filter.config);
    filter.config = filter.config.switched();
    filter
}

fn open(filter: KernelFilter) -> Source {
    let settings = Settings { choice: Choice::Hook, filter, ..Settings::default() };
    let (source, why) = Source::open(&settings).expect("a source opens");
    assert_eq!(source.name(), "hook", "{why:?}");
    source
}

/// The records: flows, and whether they have ended.
fn told(source: &mut Source) -> Vec<(Flow, bool)> {
    let mut all = Vec::new();
    let mut sink = |heard: Heard<'_>, _| match heard {
        Heard::Packet(bytes) => {
            all.push((wire::packet::decode(bytes, 100).expect("a record").flow, false));
        }
        Heard::Grown(_) => panic!("only queues tell of those"),
        Heard::Message(bytes) => {
            let raw = Messages::new(bytes).next().expect("one message").expect("it is whole");
            let Ok(Message::Flow { event, flow }) = decode(&raw) else { panic!("no event") };
            assert_eq!(event, Change::Destroy);
            all.push((flow.to_flow(Detail::Full), true));
        }
    };
    while source.drain(4096, &mut sink).expect("draining works") > 0 {}
    all
}

/// As far as a filter lets it pass, and each thing once.
fn passing(told: &[(Flow, bool)], filter: &Filter) -> BTreeSet<(FlowKey, u32, bool)> {
    let passes = |flow, ended| if ended { filter.matches(flow) } else { filter.passes(flow) };
    let passing = told.iter().filter(|(flow, ended)| passes(flow, *ended));
    passing.map(|(flow, ended)| (flow.key(), flow.mark, *ended)).collect()
}

#[test]
fn the_hook_lets_pass_what_user_space_would() {
    netns::enter_empty();
    netns::nft(RULES);
    let filters = [
        filter(|f| f.destination_port_mode = mode::IGNORE),
        filter(|f| f.sample = 4),
        filter(|f| {
            f.mark_mode = mode::ACCEPT;
            assert!(f.name_mark(MarkTest { value: 1, mask: 1 }));
        }),
        filter(|f| {
            f.protocol_mode = mode::ACCEPT;
            f.name_protocol(6);
        }),
    ];
    let mut plain = open(KernelFilter::default());
    let mut hooks: Vec<_> = filters.iter().cloned().map(open).collect();
    churn::udp_flows(0, 500);
    netns::run("conntrack", &["-D", "-p", "udp", "-d", "127.1.0.0/24"]);
    let everything = told(&mut plain);
    assert_eq!(passing(&everything, &Filter::default()).len(), 500 + 256);
    for (hook, filter) in hooks.iter_mut().zip(&filters) {
        let ports = &filter.destination_ports[..];
        let twin = Filter::new(filter.config, &[], [&[], ports, &[]]);
        let seen = passing(&told(hook), &Filter::default());
        assert_eq!(seen, passing(&everything, &twin), "{filter:?}");
    }
}

/// Age is judged by packets and events alike.
#[test]
fn only_old_flows_are_told_of_by_the_hook() {
    netns::enter_new();
    let mut hook = open(filter(|f| f.age_ns = 3_600_000_000_000));
    churn::udp_flows(0, 100);
    assert!(told(&mut hook).is_empty(), "they are too young");
    netns::run("conntrack", &["-D", "-p", "udp", "-d", "127.1.0.0/27"]);
    let ends = told(&mut hook);
    assert!(ends.len() == 32 && ends.iter().all(|(_, ended)| *ended), "{ends:?}");
    let (mut grown, later) = (0, common::Instant(u64::MAX / 2));
    hook.ripe(later, &mut |_| grown += 1).expect("the young flows can be read");
    assert_eq!(grown, 68);
}
