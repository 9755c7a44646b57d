//! Recorded datagrams of a real peer, which tests send again or damage.

use std::net::UdpSocket;
use std::time::Duration;
use tests::conf::{Conf, End, SUBNET};
use tests::ctnetlink::{Requests, udp_flows};
use tests::netns::{Family, address};
use tests::stage::Stage;

/// Datagrams kept at most.
const DATAGRAMS: usize = 200;
/// So many datagrams are recorded before a short one ends the recording.
const FLOWS_DATAGRAMS: usize = 20;

/// Datagrams of an earlier life of A: a daemon that sends flows to a peer that never answers.
pub(crate) fn datagrams(stage: &Stage) -> Vec<Vec<u8>> {
    let at = (address(Family::V4, SUBNET, 2), 3780);
    let peer = stage.b.within(|| UdpSocket::bind(at).expect("nobody has the port"));
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a timeout");
    let _a = crate::start(stage, "recorded", &Conf::new(End::A));
    let flows = udp_flows(0..300);
    let mut requests = Requests::open(&stage.a);
    requests.create(&flows);
    requests.update(&flows[..100]);
    requests.delete(&flows);
    let mut recorded = Vec::new();
    let mut bytes = [0; 2048];
    // The message with the end of the last flow is among them, and a few ALIVEs after it.
    while recorded.len() < DATAGRAMS {
        let len = peer.recv(&mut bytes).expect("it sends at least once a second");
        recorded.push(bytes[..len].to_vec());
        if len < 100 && recorded.len() > FLOWS_DATAGRAMS {
            break;
        }
    }
    recorded
}
