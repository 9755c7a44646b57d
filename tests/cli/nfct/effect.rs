//! What a policy and a default do to real connections.

use super::{THEIRS, nfct, ours};
use host::nfnetlink::Client;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use tests::netns::{Namespace, run};
use tests::wait::wait_until;

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

/// nft has policies of its own, which `nfct` does not list and which hold beside a default that `nfct` has set.
#[test]
fn connections_live_as_long_as_the_policy_of_nft_says() {
    let namespace = Namespace::new();
    namespace.nft(
        "table inet t {
            ct timeout slow {
                protocol tcp
                l3proto ip
                policy = { established : 4000 }
            }
            chain c {
                type filter hook output priority 0
                tcp dport 7000 ct timeout set \"slow\"
            }
        }",
    );
    namespace.within(|| {
        does("default-set timeout inet tcp established 40");
        let listener = TcpListener::bind("127.0.0.1:7000").expect("the namespace is ours");
        let _client = TcpStream::connect("127.0.0.1:7000").expect("somebody listens");
        let _server = listener.accept().expect("a connection came");
        assert_lives("tcp");
        let listed = nfct(&ours(), &["list", "timeout"]);
        assert!(listed.status.success() && listed.stdout.is_empty(), "{listed:?}");
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

/// One that `ip netns` has made; nothing changes in the caller's.
#[test]
fn another_namespace_is_worked_in_by_name() {
    let name = format!("ctflow-nfct-{}", std::process::id());
    let here = Namespace::new();
    here.sh(&format!("ip netns add {name}"));
    let listed = here.within(|| {
        let run = |line: &str| nfct(&ours(), &line.split(' ').collect::<Vec<_>>());
        let added = run(&format!("add timeout far inet udp replied 5 --netns {name}"));
        [added, run(&format!("list timeout --netns {name}")), run("list timeout")]
    });
    here.sh(&format!("ip netns del {name}"));
    let [added, there, none] = listed.map(|output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    assert_eq!((added.as_str(), none.as_str()), ("", ""));
    assert!(there.starts_with(".far = {\n"), "{there}");
}

/// Every request needs a capability, those that only read too.
#[test]
fn who_may_not_gets_the_originals_error() {
    let namespace = Namespace::new();
    for line in ["list timeout", "add timeout t inet udp replied 5", "default-get timeout inet udp"]
    {
        let [ours, theirs] = [ours(), THEIRS.into()].map(|program| {
            let mut command = Command::new("setpriv");
            command.arg("--bounding-set=-all").arg(program).args(line.split(' '));
            let output = namespace.within(|| command.output().expect("setpriv starts"));
            assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            said.split_once(": ").expect("a name in front").1.to_owned()
        });
        assert_eq!(ours, theirs, "{line}");
        assert_eq!(ours, "netlink error: Operation not permitted\n");
    }
}

/// The kernel lists the queue and what it shows (2: whole packets). Not every kernel can show flows with them.
#[test]
fn a_queue_is_taken_once_and_goes_with_its_socket() {
    let queues = || std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue");
    Namespace::new().within(|| {
        let mut client = Client::open().expect("netlink is there");
        if let Err(error) = client.take_queue(7, 100) {
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
            println!("cli: this kernel shows no flows with packets");
            return;
        }
        let listed = queues().expect("the kernel has queues");
        let columns: Vec<_> = listed.split_whitespace().collect();
        assert_eq!((columns[0], columns[3], columns[4]), ("7", "2", "65531"), "{listed}");
        let refused = Client::open().and_then(|mut other| other.take_queue(7, 100)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        drop(client);
        // A program that another test starts just now has the socket, too, until it is executed.
        wait_until("the queue goes", || queues().expect("the kernel has queues").is_empty());
    });
}
