//! How long until a difference is found and mended (R11): B's table is full, so that it lacks flows of A's; then there
//! is room for one of them.

use crate::Figure;
use crate::scenario::{is_equal, peer, scattered, seconds, sized, until};
use tests::ctnetlink::Requests;
use tests::mesh::{Mesh, name};
use tests::netns::Family;

/// Flows that B has room for.
const FLOWS: u32 = 1_000_000;
/// How often it is measured: so many flows find no room at first.
const ROUNDS: u32 = 3;

pub(crate) fn repair() -> Vec<Figure> {
    let mesh = Mesh::new(2, Family::V4);
    let flows = scattered(FLOWS + ROUNDS);
    let mut requests = Requests::open(&mesh.nodes[0]);
    requests.create(&flows);
    let a = mesh.start_as(0, &sized(&mesh.conf(0, "", "")));
    until("A has read its kernel", || a.status()["local"]["flows"] == FLOWS + ROUNDS);
    let b = mesh.start_as(1, &sized(&mesh.conf(1, &format!("  RemoteLimit {FLOWS}"), "")));
    until("B is full", || peer(&b, &name(0))["flows"] == FLOWS);
    let taken = || peer(&b, &name(0))["taken"].as_u64().expect("a number");
    let mut times = Vec::new();
    for flow in &flows[..ROUNDS as usize] {
        let before = taken();
        requests.delete(std::slice::from_ref(flow));
        // The end, and one of those that found no room.
        let is_mended = || taken() >= before + 2 && peer(&b, &name(0))["flows"] == FLOWS;
        times.push(until("B has another one", is_mended));
    }
    until("both are equal", || is_equal(&b, &name(0), FLOWS));
    times.sort_unstable();
    let middle = times[times.len() / 2];
    vec![(
        format!("one of 1 M is missing, idle: from when there is room (middle one of {ROUNDS})"),
        "3 s",
        seconds(middle),
    )]
}
