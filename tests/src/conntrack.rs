//! What a kernel holds, as the tool `conntrack` shows it, and flows for it to hold.

use crate::ctnetlink::{Requests, with_lifetime};
use crate::netns::{Namespace, feed};
use ctnetlink::flow::{ProtoState, Status, TcpState};
use ctnetlink::{Flow, Tuple};
use std::collections::{BTreeMap, BTreeSet};

/// Flows by their line, without lifetime and use count, and with the lifetime beside it.
pub type Table = BTreeMap<String, u32>;

/// The kernel's table.
#[must_use]
pub fn table(namespace: &Namespace) -> Table {
    let text = namespace.sh("conntrack -L -o extended");
    text.lines().map(line).collect()
}

/// The lines of the kernel's table.
#[must_use]
pub fn lines(namespace: &Namespace) -> Vec<String> {
    table(namespace).into_keys().collect()
}

/// The lines of the kernel's table as they look to a peer: version 1 does not carry GRE keys and UDP-Lite ports.
#[must_use]
pub fn lines_for_peer(namespace: &Namespace) -> Vec<String> {
    let mut lines: Vec<_> = lines(namespace).iter().map(|line| for_peer(line)).collect();
    lines.sort();
    lines
}

/// The source addresses in lines of any kind; they distinguish the flows of [`crate::ctnetlink::udp`].
///
/// # Panics
/// When a line has none.
#[must_use]
pub fn sources(lines: &[String]) -> BTreeSet<String> {
    let words = lines.iter().map(|line| line.split(' ').find(|word| word.starts_with("src=")));
    words.map(|word| word.expect("every line has a source").to_owned()).collect()
}

/// How many flows the kernel holds.
#[must_use]
pub fn count(namespace: &Namespace) -> usize {
    let text = namespace.sh("conntrack -C");
    text.trim().parse().expect("a number")
}

/// `ipv4 2 tcp 6 299 ESTABLISHED src=... use=1` without the fifth word and the last.
fn line(text: &str) -> (String, u32) {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let lifetime_s = words.remove(4).parse().expect("the fifth word is the lifetime");
    words.retain(|word| !word.starts_with("use="));
    (words.join(" "), lifetime_s)
}

fn for_peer(line: &str) -> String {
    let lossy = ["gre", "udplite"].iter().any(|name| line.split(' ').nth(2) == Some(name));
    let lost = |word: &str| match word.split_once('=') {
        Some((key @ ("srckey" | "dstkey"), _)) if lossy => format!("{key}=0x0"),
        Some((key @ ("sport" | "dport"), _)) if lossy => format!("{key}=0"),
        _ => word.to_owned(),
    };
    line.split(' ').map(lost).collect::<Vec<_>>().join(" ")
}

/// One of each kind of flow, as arguments of `conntrack`.
const CATALOGUE: &str = "\
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1001 --dport 80 --state SYN_SENT -t 3000
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1002 --dport 80 --state SYN_RECV -t 3000 -u SEEN_REPLY
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1003 --dport 80 --state ESTABLISHED -t 3000 -u SEEN_REPLY,ASSURED -m 5
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1004 --dport 80 --state FIN_WAIT -t 3000 -u SEEN_REPLY,ASSURED
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1005 --dport 80 --state CLOSE_WAIT -t 3000 -u SEEN_REPLY,ASSURED
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1006 --dport 80 --state LAST_ACK -t 3000 -u SEEN_REPLY,ASSURED
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1007 --dport 80 --state TIME_WAIT -t 3000 -u SEEN_REPLY,ASSURED
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1008 --dport 80 --state CLOSE -t 3000 -u SEEN_REPLY,ASSURED
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1009 --dport 80 --state ESTABLISHED -t 3000 -u SEEN_REPLY,ASSURED --src-nat 9.9.9.9
-I -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1010 --dport 80 --state ESTABLISHED -t 3000 -u SEEN_REPLY --dst-nat 8.8.8.8:8080
-I -p udp -s 1.1.1.1 -d 2.2.2.2 --sport 10 --dport 20 -t 3000
-I -p udp -s 1.1.1.1 -d 2.2.2.2 --sport 11 --dport 20 -t 3000 -u SEEN_REPLY -w 7
-I -p udp -s 1.1.1.1 -d 2.2.2.2 --sport 12 --dport 20 -t 3000 --src-nat 9.9.9.9
-I -p udp -s 1.1.1.1 -d 2.2.2.2 --sport 13 --dport 20 -t 3000 --dst-nat 8.8.8.8 -m 4294967295
-I -p udp -s 1.1.1.1 -d 2.2.2.2 --sport 14 --dport 20 -t 3000 --src-nat 9.9.9.9:4000 --dst-nat 8.8.8.8:5353
-I -p icmp -s 1.1.1.1 -d 2.2.2.2 --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 3000
-I -p icmp -s 1.1.1.1 -d 2.2.2.3 --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 3000 -u SEEN_REPLY --src-nat 9.9.9.9
-I -p icmpv6 -s 2001:db8::1 -d 2001:db8::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 78 -t 3000
-I -p sctp -s 1.1.1.1 -d 2.2.2.2 --orig-port-src 5000 --orig-port-dst 5001 --state ESTABLISHED --orig-vtag 258 --reply-vtag 772 -t 3000 -u SEEN_REPLY
-I -p gre -s 1.1.1.1 -d 2.2.2.2 --srckey 1 --dstkey 2 -t 3000
-I -p udplite -s 1.1.1.1 -d 2.2.2.2 --orig-port-src 5000 --orig-port-dst 5001 -t 3000
-I -p 200 -s 1.1.1.1 -d 2.2.2.2 -t 3000
-I -p tcp -s 2001:db8::1 -d 2001:db8::2 --sport 1001 --dport 80 --state ESTABLISHED -t 3000 -u SEEN_REPLY,ASSURED -m 5
-I -p tcp -s 2001:db8::1 -d 2001:db8::2 --sport 1002 --dport 80 --state ESTABLISHED -t 3000 -u SEEN_REPLY,ASSURED --src-nat 2001:db8::9
-I -p udp -s 2001:db8::1 -d 2001:db8::2 --sport 1003 --dport 53 -t 3000 --dst-nat 2001:db8::8
-I -p udp -s 2001:db8::1 -d 2001:db8::2 --sport 1004 --dport 53 -t 3000 -w 9
";

/// Flows that [`insert_catalogue`] makes.
#[must_use]
pub fn catalogue_len() -> usize {
    CATALOGUE.lines().count() + 2
}

/// Puts one flow of each kind into the kernel: every protocol and TCP state, translation at either and both ends,
/// zones, marks, labels, and a flow that was expected by another.
pub fn insert_catalogue(namespace: &Namespace) {
    namespace.within(|| feed("conntrack", &["-R", "-"], CATALOGUE));
    let mut requests = Requests::open(namespace);
    requests.create(&[labelled(), expected()]);
}

/// Makes labels exist in a namespace: the kernel keeps none until a rule mentions them. Such a rule also turns tracking
/// on, so all packets are exempted: flows still come only from requests.
pub fn allow_labels(namespace: &Namespace) {
    namespace.nft(
        "table inet labels {
            chain mention { ct label 3 counter; }
            chain arriving { type filter hook prerouting priority raw; notrack; }
            chain leaving { type filter hook output priority raw; notrack; }
        }",
    );
}

fn labelled() -> Flow {
    let mut flow = Flow::new(Tuple::v4([1; 4], [2; 4], 17).with_ports(15, 20));
    flow.extra_mut().labels = Some(vec![8, 0, 0, 1 << 31]);
    with_lifetime(flow)
}

/// The data connection of the flow from port 1003.
fn expected() -> Flow {
    let mut flow = Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(1011, 81));
    flow.status = Status::SEEN_REPLY;
    flow.proto = ProtoState::Tcp(TcpState { state: 3, ..TcpState::default() });
    flow.extra_mut().master = Some(Tuple::v4([1; 4], [2; 4], 6).with_ports(1003, 80));
    with_lifetime(flow)
}
