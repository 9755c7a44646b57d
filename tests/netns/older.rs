//! Flows that began before the first listener: the kernel reports neither their changes nor their end
//! (`nf_conntrack_events=2`, the default).

use ctnetlink::flow::Known;
use tests::ctnetlink::{Requests, udp, udp_flows};
use tests::netns::sysctl;
use tests::solo::{Solo, solo};
use tests::wait::{wait_equal, wait_until};

/// More than are asked for one by one.
const FLOWS: u32 = 1000;

/// A node with flows that carry no event extension, as if they were older than the first listener. (Daemons of other
/// tests listen, and who has a listener is counted for the whole machine.)
fn with_silent_flows() -> Solo {
    let stage = Solo::new();
    stage.node.within(|| sysctl("net/netfilter/nf_conntrack_events", "0"));
    Requests::open(&stage.node).create(&udp_flows(0..FLOWS));
    stage.node.within(|| sysctl("net/netfilter/nf_conntrack_events", "2"));
    stage
}

/// Section 3 of the original's measured defects: it keeps them for ever, and `-R` does not help.
#[test]
fn when_they_end_without_an_event_they_go() {
    let stage = with_silent_flows();
    let daemon = stage.ours("a", &solo(""));
    wait_until("they are known", || daemon.internal().len() == FLOWS as usize);
    let mut requests = Requests::open(&stage.node);
    requests.delete(&udp_flows(10..FLOWS));
    wait_equal("those that are left are left", || daemon.internal().len(), || 10);
    // These are few, and asked for one by one.
    requests.delete(&udp_flows(0..9));
    wait_equal("the last one is left", || daemon.internal().len(), || 1);
    // Another thread writes them.
    let recorded = || daemon.file("records").lines().count();
    wait_equal("each end is a line", recorded, || FLOWS as usize - 1);
}

#[test]
fn what_becomes_of_them_is_known() {
    let stage = with_silent_flows();
    let daemon = stage.ours("a", &solo(""));
    wait_until("they are known", || daemon.internal().len() == FLOWS as usize);
    let mut flow = udp(5);
    flow.mark = 77;
    flow.known |= Known::MARK;
    Requests::open(&stage.node).update(&[flow]);
    let marked = || daemon.internal().iter().filter(|line| line.contains("mark=77")).count();
    wait_equal("the mark is known", marked, || 1);
}
