use super::*;

/// Sets that hold what their names say.
struct Small;

impl Sets for Small {
    fn hold_ipv4(&self, addr: [u8; 4]) -> bool {
        addr[0] == 10
    }

    fn hold_ipv6(&self, addr: [u8; 16]) -> bool {
        addr[0] == 0xfd
    }

    fn hold_number(&self, set: Numbers, number: u16) -> bool {
        match set {
            Numbers::SourcePorts => number >= 1024,
            Numbers::DestinationPorts => number == 443,
            Numbers::Zones => number == 7,
        }
    }
}

fn tcp(src: u16, dst: u16) -> Subject {
    let tuple = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], ipproto::TCP).with_ports(src, dst);
    Subject {
        key: FlowKey::new(tuple, 7),
        reply_src: [9; 16],
        mark: 0x15,
        tcp_state: 3,
        known: known::REPLY | known::ZONE | known::MARK | known::TCP_STATE,
    }
}

fn config(set: impl FnOnce(&mut FilterConfig)) -> FilterConfig {
    let mut config = FilterConfig::PASS;
    set(&mut config);
    config.switched()
}

fn check(config: &FilterConfig, subject: &Subject, change: Change, passes: bool) {
    assert_eq!(config.enabled, 1);
    assert_eq!(config.passes(subject, &Small, change), passes, "{config:?} {subject:?} {change:?}");
}

#[test]
fn what_a_flow_keeps_for_life_counts_for_its_end_too() {
    for change in [Change::New, Change::Update, Change::Destroy] {
        let ports = config(|c| c.destination_port_mode = mode::ACCEPT);
        check(&ports, &tcp(5000, 443), change, true);
        check(&ports, &tcp(443, 80), change, false);
        let ports = config(|c| c.source_port_mode = mode::IGNORE);
        check(&ports, &tcp(5000, 443), change, false);
        check(&ports, &tcp(443, 80), change, true);
        let zone = config(|c| c.zone_mode = mode::IGNORE);
        check(&zone, &tcp(1, 1), change, false);
        let addresses = config(|c| c.ipv4_mode = mode::IGNORE);
        check(&addresses, &tcp(1, 1), change, false);
    }
}

#[test]
fn what_changes_counts_for_news_and_not_for_the_end() {
    let other_state = config(|c| (c.tcp_state_mode, c.tcp_states) = (mode::ACCEPT, 1 << 4));
    let mark = |mode, value, mask| {
        config(|c| {
            c.mark_mode = mode;
            assert!(c.name_mark(MarkTest { value: 0xf00, mask: u32::MAX }));
            assert!(c.name_mark(MarkTest { value, mask }));
        })
    };
    let (other_mark, not_this) = (mark(mode::ACCEPT, 1, 0xf), mark(mode::IGNORE, 5, 0xf));
    for refusing in [other_state, other_mark, not_this] {
        check(&refusing, &tcp(1, 1), Change::New, false);
        check(&refusing, &tcp(1, 1), Change::Update, false);
        check(&refusing, &tcp(1, 1), Change::Destroy, true);
    }
    check(&mark(mode::ACCEPT, 5, 0xf), &tcp(1, 1), Change::New, true);
    check(
        &config(|c| (c.tcp_state_mode, c.tcp_states) = (mode::ACCEPT, 1 << 3)),
        &tcp(1, 1),
        Change::New,
        true,
    );
}

#[test]
fn what_is_not_known_passes() {
    let silent = Subject { known: 0, ..tcp(1, 1) };
    for config in [
        config(|c| c.zone_mode = mode::IGNORE),
        config(|c| c.mark_mode = mode::ACCEPT),
        config(|c| c.tcp_state_mode = mode::ACCEPT),
        config(|c| c.sample = u32::MAX),
    ] {
        check(&config, &silent, Change::New, true);
    }
}

#[test]
fn protocols_without_ports_and_states_pass() {
    let tuple = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], ipproto::ICMP).with_icmp(443, 8, 0);
    let ping = Subject { key: FlowKey::new(tuple, 0), ..tcp(0, 0) };
    let config = config(|c| {
        (c.source_port_mode, c.destination_port_mode) = (mode::ACCEPT, mode::IGNORE);
        c.tcp_state_mode = mode::ACCEPT;
    });
    check(&config, &ping, Change::New, true);
}

#[test]
fn marks_beyond_the_limit_find_no_room() {
    let mut config = FilterConfig::PASS;
    let room = (0..100).take_while(|&n| config.name_mark(MarkTest { value: n, mask: 1 })).count();
    assert_eq!(room, MARKS_MAX);
}

#[test]
fn an_untouched_filter_stays_off() {
    assert_eq!(config(|_| {}), FilterConfig::PASS);
    assert_eq!(config(|c| c.sample = 1).enabled, 0);
}

#[test]
fn samples_are_fair_and_nested() {
    // Flows as a scanner, a NAT box and a resolver make them: all but a few bits are alike.
    let scan = |n: u32| Tuple::v4(n.to_be_bytes(), [10, 0, 0, 1], 6).with_ports(40_000, 443);
    let nat = |n: u32| Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(n as u16, 53);
    let zones = |n: u32| FlowKey::new(nat(7), n as u16);
    for share in [2_u32, 8, 100] {
        let fair = |keys: &dyn Fn(u32) -> FlowKey, of: u32| {
            let kept = (0..of).filter(|&n| in_sample(&keys(n), share)).count() as f64;
            let wanted = f64::from(of / share);
            assert!((kept - wanted).abs() < 5.0 * wanted.sqrt(), "{kept} of {of}, 1/{share}");
        };
        fair(&|n| FlowKey::new(scan(n), 0), 100_000);
        fair(&|n| FlowKey::new(nat(n), 0), 60_000);
        fair(&zones, 60_000);
    }
    let key = |n| FlowKey::new(scan(n), 0);
    assert!((0..10_000).all(|n| !in_sample(&key(n), 16) || in_sample(&key(n), 8)));
}
