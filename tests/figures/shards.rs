//! What several shards make of a machine with as many CPUs as this one: flows in bulk from one node to the other.

use crate::Figure;
use crate::scenario::{cpu_s, peer, scattered, seconds, sized, until};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};
use tests::ctnetlink::Requests;
use tests::mesh::{Mesh, name};
use tests::netns::Family;

const FLOWS: u32 = 500_000;

/// Both nodes have so many shards: how long until B has all, from the first flow on, and the CPU time of both.
fn bulk(shards: usize) -> (Duration, f64) {
    let mesh = Mesh::new(2, Family::V4);
    Requests::open(&mesh.nodes[0]).create(&scattered(FLOWS));
    let general = format!("Shards {shards}");
    let a = mesh.start_as(0, &sized(&mesh.conf(0, "", &general)));
    until("A has read its kernel", || a.status()["local"]["flows"] == FLOWS);
    // A node alone waits for its peers before it claims.
    sleep(Duration::from_secs(12));
    let before = cpu_s(&a);
    let b = mesh.start_as(1, &sized(&mesh.conf(1, "", &general)));
    until("it begins", || peer(&b, &name(0))["flows"].as_u64() > Some(0));
    let began = Instant::now();
    until("B has all", || peer(&b, &name(0))["flows"] == FLOWS);
    (began.elapsed(), cpu_s(&a) - before + cpu_s(&b))
}

pub(crate) fn shards() -> Vec<Figure> {
    let cpus = available_parallelism().map_or(1, usize::from);
    let figure = |shards: usize| {
        let (took, cpu) = bulk(shards);
        let each = cpu * 1e6 / f64::from(FLOWS);
        (
            format!("500 k flows, {shards} shards at both nodes, {cpus} CPUs: time; CPU per flow"),
            if shards == 4 { "a third of one shard's, with 4 CPUs" } else { "" },
            format!("{}; {each:.2} us", seconds(took)),
        )
    };
    [1, 2, 4].map(figure).into()
}
