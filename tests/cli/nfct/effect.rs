//! What a policy and a default do to real connections.

use super::{nfct, ours};
use std::net::{TcpListener, TcpStream, UdpSocket};
use tests::netns::{Namespace, run};

/// Far from every default of the kernel.
const SECONDS: u64 = 4000;

#[test]
fn connections_live_as_long_as_the_policy_of_a_rule_says() {
    Namespace::new().within(|| {
        does("add timeout quick inet tcp established 4000");
        does("add timeout brief inet udp unreplied 4000");
        rule("tcp", "quick");
        rule("udp", "brief");
        let listener = TcpListener::bind("127.0.0.1:7000").expect("the namespace is ours");
        let _client = TcpStream::connect("127.0.0.1:7000").expect("somebody listens");
        let _server = listener.accept().expect("a connection came");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.send_to(b"x", "127.0.0.1:7000").expect("loopback takes it");
        assert_lives("tcp");
        assert_lives("udp");
    });
}

#[test]
fn connections_without_a_policy_live_as_long_as_the_default_says() {
    let namespace = Namespace::new();
    namespace.nft(
        "table inet t { chain c { type filter hook output priority 0; ct state new accept; }; }",
    );
    namespace.within(|| {
        does("default-set timeout inet udp unreplied 4000");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.send_to(b"x", "127.0.0.1:7000").expect("loopback takes it");
        assert_lives("udp");
    });
}

fn does(line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    let output = nfct(&ours(), &words);
    assert!(output.status.success(), "{line}: {output:?}");
}

fn rule(protocol: &str, policy: &str) {
    let rule = ["-t", "raw", "-A", "OUTPUT", "-p", protocol, "--dport", "7000", "-j", "CT"];
    run("iptables", &[&rule[..], &["--timeout", policy]].concat());
}

/// The one flow of a protocol has nearly all of the time left.
fn assert_lives(protocol: &str) {
    let flows = run("conntrack", &["-L", "-p", protocol]);
    let lifetimes = flows.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok());
    let lifetimes: Vec<u64> = lifetimes.collect();
    assert_eq!(lifetimes.len(), 1, "{flows}");
    assert!((SECONDS / 2..=SECONDS).contains(&lifetimes[0]), "{flows}");
}
