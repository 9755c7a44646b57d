//! Links of every kind and family: messages over them arrive, whichever program is at the other end.

use crate::cell::heard;
use tests::conf::{Conf, End, Transport};
use tests::conntrack::{catalogue_len, insert_catalogue};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::netns::Family;
use tests::stage::Stage;
use tests::wait::wait_until;

crate::in_each_direction!(
    multicast_over_ipv4,
    multicast_over_ipv6,
    tcp_over_ipv4,
    tcp_over_ipv6,
    udp_over_ipv4,
    udp_over_ipv6,
    a_pulled_multicast_cable_moves_both_to_the_other_link,
    a_pulled_tcp_cable_moves_both_to_the_other_link,
    a_pulled_udp_cable_moves_both_to_the_other_link,
    statistics_of_links_look_the_same,
);

fn multicast_over_ipv4(from: Brand, to: Brand) {
    life_of_flows(from, to, Transport::Multicast, Family::V4);
}

fn multicast_over_ipv6(from: Brand, to: Brand) {
    life_of_flows(from, to, Transport::Multicast, Family::V6);
}

fn tcp_over_ipv4(from: Brand, to: Brand) {
    life_of_flows(from, to, Transport::Tcp, Family::V4);
}

fn tcp_over_ipv6(from: Brand, to: Brand) {
    life_of_flows(from, to, Transport::Tcp, Family::V6);
}

fn udp_over_ipv4(from: Brand, to: Brand) {
    life_of_flows(from, to, Transport::Udp, Family::V4);
}

fn udp_over_ipv6(from: Brand, to: Brand) {
    life_of_flows(from, to, Transport::Udp, Family::V6);
}

/// Flows appear, change and end, and come again in bulk.
fn life_of_flows(from: Brand, to: Brand, transport: Transport, family: Family) {
    let stage = crate::cell::stage();
    let conf = |end| Conf::new(end).transport(transport).link(family);
    let b = stage.start(to, "b", &conf(End::B));
    let a = stage.start(from, "a", &conf(End::A));
    // The original drops what it has to say while it is not connected.
    wait_until("A and B hear each other", || heard(&a) > 0 && heard(&b) > 0);
    insert_catalogue(&stage.a);
    let count = |words: &str| b.external().iter().filter(|line| line.contains(words)).count();
    wait_until("flows appear", || b.external().len() == catalogue_len());
    stage.a.sh("conntrack -U -p tcp -s 1.1.1.1 -m 9");
    let changed = || a.internal().iter().filter(|line| line.contains("mark=9")).count();
    wait_until("flows change", || count("mark=9") > 0 && count("mark=9") == changed());
    stage.a.sh("conntrack -D -p icmp");
    wait_until("flows end", || count("icmp     1") == 0 && b.external().len() < catalogue_len());
    let flows = b.external().len() + 2000;
    Requests::open(&stage.a).create(&udp_flows(1000..3000));
    wait_until("there are many", || b.external().len() == flows);
    b.ask(&["-f", "external"]);
    wait_until("the table is empty", || b.external().is_empty());
    b.ask(&["-n"]);
    wait_until("the bulk arrives", || b.external().len() == flows);
}

fn a_pulled_multicast_cable_moves_both_to_the_other_link(from: Brand, to: Brand) {
    other_link(from, to, Transport::Multicast);
}

fn a_pulled_tcp_cable_moves_both_to_the_other_link(from: Brand, to: Brand) {
    other_link(from, to, Transport::Tcp);
}

fn a_pulled_udp_cable_moves_both_to_the_other_link(from: Brand, to: Brand) {
    other_link(from, to, Transport::Udp);
}

fn other_link(from: Brand, to: Brand, transport: Transport) {
    let stage = Stage::with_cables(2);
    let conf = |end| Conf::new(end).transport(transport).links(2);
    let b = stage.start(to, "b", &conf(End::B));
    let a = stage.start(from, "a", &conf(End::A));
    wait_until("A and B hear each other", || heard(&a) > 0 && heard(&b) > 0);
    stage.plug(0, false);
    let active = |daemon: &Daemon<'_>, name: &str| {
        daemon.ask(&["-s", "link"]).contains(&format!("device={name} status=RUNNING role=ACTIVE"))
    };
    wait_until("both have changed links", || active(&a, "va1") && active(&b, "vb1"));
    wait_until("A and B hear each other again", || heard(&a) > 0 && heard(&b) > 0);
    Requests::open(&stage.a).create(&udp_flows(0..50));
    wait_until("flows arrive", || b.external().len() == 50);
    stage.plug(0, true);
    stage.plug(1, false);
    wait_until("both are back", || active(&a, "va") && active(&b, "vb"));
    let mut next = 100;
    wait_until("flows arrive on the first link again", || {
        Requests::open(&stage.a).create(&udp_flows(next..next + 1));
        next += 1;
        b.external().len() > 50
    });
}

/// Titles and labels, without the numbers.
fn shape(text: &str) -> Vec<String> {
    let word = |word: &str| if word.parse::<u64>().is_ok() { "#".into() } else { word.to_owned() };
    text.lines()
        .map(|line| {
            let numbers = line.split(' ').map(word).collect::<Vec<_>>().join(" ");
            // A number takes the place of the blanks in front of it.
            format!("{:>3} {}", line.len(), numbers.replace("  ", ""))
        })
        .collect()
}

/// Both ends of each kind of link show theirs in the same form; A is `from`, and B the other, with A's names.
fn statistics_of_links_look_the_same(from: Brand, to: Brand) {
    for transport in [Transport::Multicast, Transport::Udp, Transport::Tcp] {
        let stage = Stage::with_cables(2);
        let conf = |end| Conf::new(end).transport(transport).links(2);
        let b = stage.start(to, "b", &conf(End::B));
        let a = stage.start(from, "a", &conf(End::A));
        wait_until("A and B hear each other", || heard(&a) > 0 && heard(&b) > 0);
        let link = |daemon: &Daemon<'_>| {
            let general = daemon.ask(&["-s"]);
            let from = general.find("traffic (active").expect("a block of the link");
            let from = general[..from].rfind('\n').map_or(0, |at| at + 1);
            let all = general[from..].to_owned() + &daemon.ask(&["-s", "link"]);
            shape(&all.replace("=vb", "=va"))
        };
        wait_until("they look the same", || link(&a) == link(&b));
        stage.plug(1, false);
        let down = |daemon: &Daemon<'_>, word: &str| {
            daemon.ask(&["-s", "link"]).contains(&format!("status={word} role=BACKUP"))
        };
        wait_until("a cable is out", || down(&a, "NO-CARRIER") && down(&b, "DOWN"));
    }
}
