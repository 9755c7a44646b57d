//! Expectations for a kernel to hold, and those it holds.

use crate::ctnetlink::with_lifetime;
use crate::netns::Namespace;
use ctnetlink::flow::{HelperName, ProtoState, Status, TcpState};
use ctnetlink::{Expectation, Flow, Tuple};

/// A connection to an IRC server, with the helper that watches it. It may announce eight others; that of FTP could
/// announce but one.
#[must_use]
pub fn irc() -> Flow {
    irc_from(4000)
}

/// The same from another port.
#[must_use]
pub fn irc_from(port: u16) -> Flow {
    let tuple = Tuple::v4([10, 1, 0, 1], [10, 2, 0, 1], 6).with_ports(port, 6667);
    let mut flow = with_lifetime(Flow::new(tuple));
    flow.proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
    flow.status |= Status::SEEN_REPLY | Status::ASSURED;
    flow.extra_mut().helper = HelperName::from_bytes(b"irc");
    flow
}

/// What [`irc`] announces: a connection to this port of the client.
#[must_use]
pub fn data(port: u16) -> Expectation {
    data_of(&irc(), port)
}

/// The same of another such connection.
#[must_use]
pub fn data_of(control: &Flow, port: u16) -> Expectation {
    let master = control.orig;
    Expectation::default().with(|expect| {
        expect.master = master;
        expect.tuple = master.inverted().with_ports(0, port);
        expect.mask = Tuple::v4([255; 4], [255; 4], 6).with_ports(0, 0xffff);
        expect.timeout_s = Some(300);
        expect.flags = Some(0);
        expect.class = Some(0);
        expect.helper = HelperName::from_bytes(b"irc");
    })
}

/// The kernel's expectations, sorted, without lifetimes.
#[must_use]
pub fn lines(namespace: &Namespace) -> Vec<String> {
    let text = namespace.sh("conntrack -L expect");
    let strip = |line: &str| line.split_once(' ').map_or("", |(_, rest)| rest).to_owned();
    let mut lines: Vec<_> = text.lines().map(strip).collect();
    lines.sort();
    lines
}

/// Makes an expectation of [`irc`] by the tool `conntrack`. Version 1.4.7 takes half of the port for the protocol.
pub fn announce(namespace: &Namespace, port: u16) {
    namespace.sh(&format!(
        "conntrack -I expect -p tcp --orig-src 10.1.0.1 --orig-dst 10.2.0.1 --orig-port-src 4000 \
         --orig-port-dst 6667 --tuple-src 10.2.0.1 --tuple-dst 10.1.0.1 --tuple-port-src 0 \
         --tuple-port-dst {port} --mask-src 255.255.255.255 --mask-dst 255.255.255.255 \
         --mask-port-src 0 --mask-port-dst 65535 -t 300"
    ));
}
