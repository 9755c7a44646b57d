//! Decoding conntrack events: `ctnetlink` beside `netlink-packet-netfilter`, time and allocations.
//! `cargo bench -p benches --bench ctnetlink`.
//!
//! Both read the same datagrams, captured from a kernel. What they make of them differs: `ctnetlink` reads all
//! attributes into a view that borrows, or into an owned `Flow`; the other reads six of them, and copies the rest as
//! they are into an owned message. So the figures are what a user of either has, not what the same work costs twice.

#[path = "../userspace/ctnetlink/src/message/tests/vectors.rs"]
#[expect(dead_code, reason = "the unit tests of `ctnetlink` use the rest")]
mod vectors;
mod counted;

use criterion::{Criterion, Throughput};
use ctnetlink::{Detail, Message, Messages};
use netlink_packet_core::NetlinkMessage;
use netlink_packet_netfilter::NetfilterMessage;
use std::hint::black_box;
use std::time::Duration;

type Decoder = fn(&[u8]);

const DECODERS: [(&str, Decoder); 4] = [
    ("ctnetlink, view", view),
    ("ctnetlink, view and flow", |event| flow(event, Detail::State)),
    ("ctnetlink, view and flow with counters", |event| flow(event, Detail::Full)),
    ("netlink-packet-netfilter, message", message),
];

/// The most frequent events of a router: UDP and the life of a TCP connection, without counters.
const COMMON: [&str; 7] = [
    "udp",
    "udp v6",
    "tcp begins",
    "tcp is answered",
    "tcp is established",
    "tcp is over",
    "tcp v6 is established",
];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let all = events(|_| true);
    let common = events(|name| COMMON.contains(&name));
    for (what, events) in [("all kinds", all), ("common kinds", common)] {
        let name = format!("event decode, per event, {} of {what}", events.len());
        let mut group = criterion.benchmark_group(&name);
        group.throughput(Throughput::Elements(events.len() as u64));
        for (who, decode) in DECODERS {
            let taken = counted::allocations(|| events.iter().for_each(|event| decode(event)));
            println!("{name}/{who}: {:.2} allocations", taken as f64 / events.len() as f64);
            let each = || events.iter().for_each(|event| decode(black_box(event)));
            group.bench_function(who, |b| b.iter(each));
        }
        group.finish();
    }
    criterion.final_summary();
}

/// The captured flow events of these names that both decoders take.
fn events(wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let named = vectors::EVENTS.iter().filter(|vector| wanted(vector.name));
    let bytes = named.map(|vector| {
        let (digits, _) = vector.hex.as_bytes().as_chunks::<2>();
        let byte = |d: &[u8; 2]| {
            let text = str::from_utf8(d).expect("vectors are ASCII");
            u8::from_str_radix(text, 16).expect("vectors are hexadecimal")
        };
        digits.iter().map(byte).collect::<Vec<u8>>()
    });
    let both = |event: &Vec<u8>| {
        let raw = Messages::new(event).next().and_then(Result::ok);
        raw.is_some_and(|raw| matches!(ctnetlink::decode(&raw), Ok(Message::Flow { .. })))
            && NetlinkMessage::<NetfilterMessage>::deserialize(event).is_ok()
    };
    bytes.filter(both).collect()
}

fn view(event: &[u8]) {
    for raw in Messages::new(event).map_while(Result::ok) {
        let _ = black_box(ctnetlink::decode(&raw));
    }
}

fn flow(event: &[u8], detail: Detail) {
    for raw in Messages::new(event).map_while(Result::ok) {
        if let Ok(Message::Flow { flow, .. }) = ctnetlink::decode(&raw) {
            drop(black_box(flow.to_flow(detail)));
        }
    }
}

fn message(event: &[u8]) {
    drop(black_box(NetlinkMessage::<NetfilterMessage>::deserialize(event)));
}
