//! The tap against the kernel: nothing is lost unaccounted, order holds, the filter filters, the reader is woken.

use host::source::{Account, Choice, Heard, KernelFilter, Settings, Source, Stamp};
use tests::wait::scaled;
use tests::{churn, netns};

fn open(settings: &Settings) -> Source {
    Source::open(settings).expect("the source opens").0
}

fn tap() -> Settings {
    Settings { choice: Choice::Tap, ..Settings::default() }
}

fn drain_all(source: &mut Source) -> Vec<(u16, Stamp)> {
    let mut seen = Vec::new();
    loop {
        let mut sink = |heard: Heard<'_>, stamp| {
            let bytes = heard.message().expect("the tap hands out messages");
            seen.push((u16::from_ne_bytes([bytes[4], bytes[5]]), stamp));
        };
        if source.drain(4096, &mut sink).expect("draining works") == 0 {
            return seen;
        }
    }
}

/// Every event the kernel produced is accounted for once.
pub(crate) fn check_balance(account: &Account, produced: u64) {
    let spilled = account.spilled_full + account.spilled_other;
    assert_eq!(account.seen, produced, "{account:?}");
    assert_eq!(account.ring + account.filtered + spilled, account.seen, "{account:?}");
    assert_eq!(account.from_socket + account.lost, spilled, "{account:?}");
    assert_eq!(account.delivered, account.ring + account.from_socket, "{account:?}");
}

#[test]
fn every_event_arrives_through_the_rings_and_the_socket_stays_empty() {
    netns::enter_new();
    let mut source = open(&tap());
    churn::udp_flows(0, 5_000);
    let seen = drain_all(&mut source);
    let account = source.account();
    assert_eq!(seen.len(), 5_000);
    assert_eq!(account.from_socket, 0);
    check_balance(&account, 5_000);
    assert!(seen.windows(2).all(|w| match (w[0].1, w[1].1) {
        (Stamp::At(a), Stamp::At(b)) => a <= b,
        _ => false,
    }));
}

/// Keeps the calling thread on one CPU.
fn stay_on(cpu: usize) {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    rustix::thread::sched_setaffinity(None, &cpus).expect("the machine has this CPU");
}

#[test]
fn order_holds_when_events_move_from_one_cpu_to_another() {
    netns::enter_new();
    let mut source = open(&tap());
    for (at, cpu) in [0, 1, 0, 1].into_iter().enumerate() {
        stay_on(cpu);
        churn::udp_flows(at as u32 * 1500, 1500);
    }
    let seen = drain_all(&mut source);
    assert_eq!(seen.len(), 6_000);
    let time = |stamp| match stamp {
        Stamp::At(at) => at,
        other => panic!("not from a ring: {other:?}"),
    };
    assert!(seen.windows(2).all(|w| time(w[0].1) <= time(w[1].1)), "an event came late");
}

#[test]
fn an_overflowing_ring_spills_and_every_event_is_accounted_for() {
    netns::enter_new();
    // One page of ring holds 15 small records; a small socket buffer then overflows too.
    let settings = Settings { ring_bytes: 4096, buffer_bytes: Some(200_000), ..tap() };
    let mut source = open(&settings);
    let flows = scaled(20_000);
    churn::udp_flows(0, flows);
    let seen = drain_all(&mut source);
    let account = source.account();
    println!("{account:?}");
    check_balance(&account, flows.into());
    assert!(account.spilled_full > 0 && account.lost > 0 && account.ring > 0);
    assert_eq!(seen.len() as u64, account.delivered);
}

/// A burst comes from one CPU, and the rings of the others are empty.
#[test]
fn a_full_ring_spills_into_those_of_other_cpus_first() {
    netns::enter_new();
    stay_on(0);
    // One page of ring holds 15 small records.
    let settings = Settings { ring_bytes: 4096, ..tap() };
    let mut source = open(&settings);
    let rings = source.ring_descriptors().len().min(8) as u32;
    let flows = 15 * rings;
    churn::udp_flows(0, flows);
    let account = source.account();
    assert_eq!((account.ring, account.spilled_full), (flows.into(), 0), "{account:?}");
    let seen = drain_all(&mut source);
    assert_eq!(seen.len(), flows as usize);
    assert!(seen.windows(2).all(|w| match (w[0].1, w[1].1) {
        (Stamp::At(a), Stamp::At(b)) => a <= b,
        _ => false,
    }));
    check_balance(&source.account(), flows.into());
    // When all are full, the socket takes what comes.
    churn::udp_flows(flows, flows + 10);
    let account = source.account();
    assert_eq!(account.spilled_full, 10, "{account:?}");
    assert_eq!(drain_all(&mut source).len(), flows as usize + 10);
    check_balance(&source.account(), (2 * flows + 10).into());
}

#[test]
fn the_tap_keeps_what_plain_netlink_loses() {
    netns::enter_new();
    let buffer = Some(200_000);
    let plain = Settings { choice: Choice::Netlink, buffer_bytes: buffer, ..tap() };
    let (mut plain, mut tapped) = (open(&plain), open(&Settings { buffer_bytes: buffer, ..tap() }));
    churn::udp_flows(0, 5_000);
    let (plain_seen, tap_seen) = (drain_all(&mut plain).len(), drain_all(&mut tapped).len());
    println!("plain {:?}\ntap   {:?}", plain.account(), tapped.account());
    assert_eq!(tap_seen, 5_000);
    assert!(plain_seen < 5_000, "the buffer was meant to overflow");
    assert_eq!(plain_seen as u64 + plain.account().lost, 5_000);
}

#[test]
fn the_filter_in_the_kernel_drops_by_protocol_and_by_address() {
    netns::enter_new();
    let mut filter = KernelFilter::default();
    filter.config.protocol_mode = common::filter::mode::IGNORE;
    filter.config.name_protocol(17);
    let mut no_udp = open(&Settings { filter, ..tap() });

    let mut filter = KernelFilter { ipv4: vec![([127, 0, 0, 0], 8)], ..KernelFilter::default() };
    filter.config.ipv4_mode = common::filter::mode::IGNORE;
    let mut no_loopback = open(&Settings { filter, ..tap() });

    // The reply of every flow comes from 127.1.x.x; the original source is 127.0.0.1.
    let mut filter = KernelFilter { ipv4: vec![([127, 1, 0, 0], 24)], ..KernelFilter::default() };
    filter.config.ipv4_mode = common::filter::mode::ACCEPT;
    let mut some = open(&Settings { filter, ..tap() });

    churn::udp_flows(0, 1_000);
    for (source, expected) in [(&mut no_udp, 0), (&mut no_loopback, 0), (&mut some, 256)] {
        assert_eq!(drain_all(source).len(), expected);
        check_balance(&source.account(), 1_000);
    }
}

#[test]
fn an_armed_reader_is_woken_and_an_unarmed_one_is_left_alone() {
    use rustix::event::{PollFd, PollFlags, poll};
    let wait = |source: &Source| {
        let fds = source.descriptors();
        let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        poll(&mut fds, Some(&wait)).expect("poll works")
    };
    netns::enter_new();
    let mut source = open(&tap());
    churn::udp_flows(0, 100);
    drain_all(&mut source);
    assert_eq!(source.account().wakeups, 0, "nobody asked to be woken");
    source.arm();
    assert_eq!(wait(&source), 0, "nothing has happened since");
    churn::udp_flows(100, 100);
    assert!(wait(&source) > 0, "an armed ring wakes its reader");
    assert!((1..=4).contains(&source.account().wakeups), "{:?}", source.account());
}
