//! The hook against the kernel and against the other sources: over the same traffic, all of them end with the table that
//! the kernel has.

use common::Instant;
use ctnetlink::Flow;
use ctnetlink::flow::{Extra, Known, ProtoState, Status, TcpFlags};
use engine::drive::{Io, drive};
use engine::{Config, Engine, Origin, Side};
use host::clock;
use host::hear::{Ears, Hearing};
use host::kernel::KernelWriter;
use host::source::{Account, Choice, Heard, HookAccount, KernelFilter, Settings, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;
use tests::churn;
use tests::conntrack;
use tests::daemon::{Brand, Daemon};
use tests::netns::{self, Family, Namespace, address, sysctl};
use tests::solo::{Solo, solo};
use tests::wait::wait_equal;

fn hook() -> Settings {
    Settings { choice: Choice::Hook, ..Settings::default() }
}

fn open(settings: &Settings) -> Source {
    let (source, why) = Source::open(settings).expect("the source opens");
    assert!(why.is_none(), "{why:?}");
    source
}

/// An engine that follows a kernel through one source, without a daemon around them.
pub(crate) struct Listener {
    pub(crate) source: Source,
    engine: Engine,
    writer: KernelWriter,
    hearing: Hearing,
}

/// The kernel, without peers.
struct Kernel<'a> {
    writer: &'a mut KernelWriter,
}

impl Io<Engine> for Kernel<'_> {
    type Error = Infallible;

    fn kernel(&mut self, engine: &mut Engine, now: Instant) -> Result<usize, Infallible> {
        Ok(self.writer.read_dump(engine, now) + self.writer.execute(engine, now))
    }

    fn transmit(&mut self, engine: &mut Engine, now: Instant) -> Result<usize, Infallible> {
        while engine.poll_transmit(now, &mut [0; 1500]).is_some() {}
        Ok(0)
    }

    fn report(&mut self, engine: &mut Engine, _: Instant) -> Result<(), Infallible> {
        while engine.poll_event().is_some() {}
        Ok(())
    }
}

impl Listener {
    /// Listens in the namespace of the calling thread.
    pub(crate) fn new(settings: &Settings) -> Self {
        let source = open(settings);
        let config = Config { hears_requests: source.hears_requests(), ..Config::default() };
        let engine = Engine::new(config, clock::now());
        let writer = KernelWriter::open().expect("sockets");
        let hearing = Hearing::new(clock::jiffies_per_second());
        let mut listener = Self { source, engine, writer, hearing };
        listener.turn();
        listener
    }

    /// Takes what there is, as a shard does, until nothing is left to do.
    pub(crate) fn turn(&mut self) {
        let mut ears = Ears { origin: |_| Origin::Foreign, ends: None };
        loop {
            let Self { source, engine, writer, hearing } = self;
            let now = clock::now();
            let mut sink = |heard: Heard<'_>, stamp| {
                hearing.take(engine, now, (heard, stamp), &mut ears);
            };
            let heard = source.drain(4096, &mut sink).expect("draining works");
            hearing.finish(engine, now, &mut ears);
            let Ok(turn) = drive(engine, now, &mut Kernel { writer });
            if heard + turn.kernel == 0 && !writer.is_dumping() {
                assert_eq!(hearing.malformed, 0);
                return;
            }
        }
    }

    /// The table by identity, in the words that all sources have in common.
    pub(crate) fn table(&mut self) -> BTreeMap<String, Flow> {
        self.turn();
        let flows = self.engine.flows(Side::Local);
        flows.map(|flow| (format!("{:?}", flow.key()), common_words(flow))).collect()
    }

    fn hook_account(&self) -> HookAccount {
        self.source.account().hook.expect("there is a hook")
    }
}

/// What a reading of the kernel's table says of a flow, without the fields that no source reports at every change:
/// the time left, the kernel's id, which the hook cannot know, and what TCP's tracker notes between changes of its
/// state.
fn common_words(mut flow: Flow) -> Flow {
    flow.drop_volatile();
    (flow.timeout_s, flow.id) = (0, 0);
    flow.known.remove(Known::TIMEOUT | Known::ID | Known::MARK);
    if let ProtoState::Tcp(tcp) = &mut flow.proto {
        // Window scale, selective acknowledgements, liberal.
        tcp.flags = tcp.flags.map(|flags| flags.map(|f| TcpFlags { flags: f.flags & 0x0b, ..f }));
    }
    flow
}

const RULES: &str = "
table inet t {
    ct helper ftp { type \"ftp\" protocol tcp; }
    chain help { type filter hook prerouting priority mangle; tcp dport 7009 ct helper set \"ftp\"; }
    chain apart {
        type filter hook prerouting priority raw;
        udp dport 7007 ct zone set 7
        udp sport 7007 ct zone set 7
    }
    chain paint {
        type filter hook forward priority 0;
        udp dport 7000 ct mark set 5
        udp dport 7001 ct label set 3
        tcp dport 7000 ct state established ct mark set ct mark or 0x100
    }
    chain before {
        type nat hook prerouting priority dstnat;
        tcp dport 7009 ip daddr 10.99.1.1 dnat ip to 10.99.2.2:7000
        tcp dport 7009 ip6 daddr fd99:1::1 dnat ip6 to [fd99:2::2]:7000
    }
    chain behind {
        type nat hook postrouting priority srcnat;
        udp dport 7001 masquerade
        tcp sport 20000-30000 masquerade
    }
}
";

/// A router between a client and a server.
struct Routed {
    client: Namespace,
    router: Namespace,
    server: Namespace,
}

impl Routed {
    fn new() -> Self {
        let routed =
            Self { client: Namespace::new(), router: Namespace::new(), server: Namespace::new() };
        routed.router.cable("c0", &routed.client, "c1", 1);
        routed.router.cable("s0", &routed.server, "s1", 2);
        routed.router.within(|| {
            sysctl("net/ipv4/ip_forward", "1");
            sysctl("net/ipv6/conf/all/forwarding", "1");
        });
        for (end, subnet) in [(&routed.client, 1), (&routed.server, 2)] {
            for (family, flag) in [(Family::V4, "-4"), (Family::V6, "-6")] {
                let router = address(family, subnet, 1);
                end.sh(&format!("ip {flag} route add default via {router}"));
            }
        }
        routed.router.nft(RULES);
        routed
    }

    /// Traffic of every kind, through the router and to it.
    fn talk(&self) {
        let services: Vec<_> = [Family::V4, Family::V6]
            .into_iter()
            .map(|family| self.server.within(|| serve(address(family, 2, 2))))
            .collect();
        for family in [Family::V4, Family::V6] {
            let (server, router) = (address(family, 2, 2), address(family, 1, 1));
            self.client.within(|| {
                for n in 0..8 {
                    connect((server, 7000).into(), n);
                    connect((router, 7009).into(), n);
                    // No server is there.
                    let _ = TcpStream::connect((server, 9999));
                }
                for port in [7000, 7001, 7007, 7008] {
                    for n in 0..6 {
                        ask((server, port).into(), n);
                    }
                }
                ask((router, 7000).into(), 1);
            });
            self.client.within(|| {
                sysctl("net/ipv4/ping_group_range", "0 0");
                [server, router].into_iter().for_each(ping);
            });
        }
        drop(services);
    }
}

/// Answers TCP and UDP at an address, as long as the sockets stand.
fn serve(at: IpAddr) {
    let listener = TcpListener::bind((at, 7000)).expect("a listener");
    thread::spawn(move || {
        for end in listener.incoming() {
            let mut end = end.expect("a connection");
            thread::spawn(move || {
                let mut heard = [0; 64];
                while let Ok(len @ 1..) = end.read(&mut heard) {
                    end.write_all(&heard[..len]).expect("the other end listens");
                    if &heard[..len] == b"leave" {
                        return;
                    }
                }
            });
        }
    });
    for port in [7000, 7001, 7007] {
        let socket = UdpSocket::bind((at, port)).expect("a socket");
        thread::spawn(move || {
            let mut heard = [0; 64];
            while let Ok((len, from)) = socket.recv_from(&mut heard) {
                let _ = socket.send_to(&heard[..len], from);
            }
        });
    }
}

/// A connection that ends in one of the ways connections end, or does not.
fn connect(to: SocketAddr, n: u32) {
    let mut end = TcpStream::connect(to).expect("the service answers");
    let mut heard = [0; 5];
    for _ in 0..=n {
        end.write_all(b"hello").expect("the connection stands");
        end.read_exact(&mut heard).expect("an echo");
    }
    match n % 4 {
        0 => {}
        1 => {
            end.shutdown(Shutdown::Write).expect("the connection stands");
            assert_eq!(end.read(&mut heard).expect("the other end closes"), 0);
        }
        2 => {
            end.write_all(b"leave").expect("the connection stands");
            end.read_exact(&mut heard).expect("an echo");
            assert_eq!(end.read(&mut heard).expect("the other end closes"), 0);
        }
        _ => drop(Box::leak(Box::new(end))),
    }
}

/// Datagrams to a service that may not be there: one, or several with answers.
fn ask(to: SocketAddr, n: u32) {
    let here: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((here, 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    for _ in 0..=n % 3 {
        socket.send_to(b"hi", to).expect("a datagram leaves");
        if n % 2 == 1 && socket.recv_from(&mut [0; 8]).is_err() {
            return;
        }
    }
}

/// Two echo requests.
fn ping(to: IpAddr) {
    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
    let (family, protocol, kind) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128),
    };
    let socket = socket(family, SocketType::DGRAM, Some(protocol)).expect("a ping socket");
    for seq in 0..2 {
        let request = [kind, 0, 0, 0, 0, 0, 0, seq];
        let to = SocketAddr::new(to, 0);
        sendto(&socket, &request, SendFlags::empty(), &to).expect("a request leaves");
    }
}

/// What one table says and the other does not.
pub(crate) fn differences(
    reported: &BTreeMap<String, Flow>,
    kernel: &BTreeMap<String, Flow>,
) -> Vec<String> {
    let keys: BTreeSet<_> = reported.keys().chain(kernel.keys()).collect();
    let differ = keys.into_iter().filter(|&key| reported.get(key) != kernel.get(key));
    differ.map(|key| format!("{key}:\n{:?}\n{:?}", reported.get(key), kernel.get(key))).collect()
}

#[test]
fn all_sources_end_with_the_table_that_the_kernel_has() {
    let routed = Routed::new();
    routed.router.enter();
    let settings = |choice| Settings { choice, buffer_bytes: Some(64 << 20), ..hook() };
    let mut listeners =
        [Choice::Hook, Choice::Tap, Choice::Netlink].map(|choice| Listener::new(&settings(choice)));
    routed.talk();
    let kernel = || Listener::new(&settings(Choice::Netlink)).table();
    for listener in &mut listeners {
        let name = listener.source.name();
        let what = format!("what the {name} reports is what the kernel has");
        let left = || differences(&listener.table(), &kernel());
        wait_equal(&what, left, Vec::<String>::new);
        assert_eq!(listener.source.account().lost, 0);
    }
    let flows = listeners[0].table();
    let count = |f: &dyn Fn(&Flow) -> bool| flows.values().filter(|flow| f(flow)).count();
    let family = |family| count(&|flow: &Flow| flow.orig.family == family);
    println!("{} flows, {:?}", flows.len(), listeners[0].hook_account());
    assert!(family(2) >= 40 && family(10) >= 40, "{}", flows.len());
    assert!(count(&|flow| flow.source_nat().is_some()) >= 12);
    assert!(count(&|flow| flow.destination_nat().is_some()) >= 16);
    assert!(count(&|flow| flow.zone == 7) >= 12);
    assert!(count(&|flow| flow.mark == 5) >= 12 && count(&|flow| flow.mark == 0x100) >= 16);
    assert!(count(&|flow| flow.orig.is_icmp()) >= 4);
    let has = |f: &dyn Fn(&Extra) -> bool| count(&|flow| flow.extra.as_deref().is_some_and(f));
    assert!(has(&|extra| extra.helper.is_some()) >= 16, "helpers are asked for");
    assert!(has(&|extra| extra.labels.is_some()) >= 12, "labels are asked for");
    routed.router.sh("conntrack -F");
    for listener in &mut listeners {
        wait_equal("all have ended", || listener.table().len(), || 0);
    }
}

/// Every record is handed out, and each of these packets is counted once.
fn check_balance(account: &Account, packets: u64) {
    let hook = account.hook.expect("there is a hook");
    let HookAccount { settled, untracked, recorded, filtered, lost_full, lost_other, .. } = hook;
    let counted = settled + untracked + recorded + filtered + lost_full + lost_other;
    assert_eq!(counted, packets, "{hook:?}");
    let records = account.delivered - account.ring - account.from_socket;
    assert_eq!(records, recorded + hook.repeated, "{account:?}");
    assert_eq!(account.lost, lost_full + lost_other, "nothing is lost elsewhere");
}

/// Drops all records; returns how many there were.
fn drain(source: &mut Source) -> usize {
    let mut taken = 0;
    loop {
        match source.drain(4096, &mut |_, _| {}).expect("draining works") {
            0 => return taken,
            some => taken += some,
        }
    }
}

/// A socket that sends on loopback, one that receives what is sent to its port there, at whatever address, and that
/// port.
fn ends() -> (UdpSocket, UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let sink = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let port = sink.local_addr().expect("it is bound").port();
    (socket, sink, port)
}

#[test]
fn a_flow_is_reported_once_and_each_packet_is_counted_once() {
    netns::enter_new();
    let mut source = open(&hook());
    let (socket, sink, port) = ends();
    for n in 0..5_000_u16 {
        let [high, low] = n.to_be_bytes();
        socket
            .send_to(b"hi", SocketAddr::from(([127, 9, high, low], port)))
            .expect("loopback takes a datagram");
        // A busy machine delivers late. By then other flows may have taken the slot of this one's signature.
        sink.recv_from(&mut [0; 8]).expect("it is delivered");
    }
    assert_eq!(drain(&mut source), 5_000);
    // Each datagram passes twice: as it leaves, and as it is delivered.
    check_balance(&source.account(), 10_000);
    assert_eq!(source.account().hook.expect("there is a hook").settled, 5_000);
}

#[test]
fn what_found_a_ring_full_is_counted_and_reported_by_the_next_packet() {
    netns::enter_new();
    // One page of ring holds 30 records, and eight CPUs share their rings.
    let mut listener = Listener::new(&Settings { ring_bytes: 4096, ..hook() });
    let (socket, _sink, port) = ends();
    let targets = (0..500_u16).map(|n| SocketAddr::from(([127, 9, (n >> 8) as u8, n as u8], port)));
    let targets: Vec<_> = targets.collect();
    let send = |to: &SocketAddr| assert_eq!(socket.send_to(b"hi", to).ok(), Some(2));
    targets.iter().for_each(send);
    let lost = listener.source.account().lost;
    assert!(lost > 400, "the rings were meant to be full: {lost}");
    for to in &targets {
        send(to);
        listener.turn();
    }
    check_balance(&listener.source.account(), 2_000);
    assert_eq!(listener.source.account().lost, lost);
    assert_eq!(listener.table().len(), 500);
}

#[test]
fn the_filter_in_the_kernel_holds_for_the_hook_too() {
    netns::enter_new();
    let mut filter = KernelFilter { ipv4: vec![([127, 1, 0, 0], 24)], ..KernelFilter::default() };
    filter.config.ipv4_mode = common::filter::mode::ACCEPT;
    let mut some = open(&Settings { filter, ..hook() });
    let mut filter = KernelFilter::default();
    filter.config.protocol_mode = common::filter::mode::IGNORE;
    filter.config.name_protocol(17);
    let mut none = open(&Settings { filter, ..hook() });
    churn::udp_flows(0, 1_000);
    for (source, expected) in [(&mut some, 256), (&mut none, 0)] {
        assert_eq!(drain(source), expected);
        check_balance(&source.account(), 2_000);
        let filtered = source.account().hook.expect("there is a hook").filtered;
        assert_eq!(filtered, 1_000 - expected as u64, "refused once, then settled");
    }
}

/// A rule at the priority of conntrack's own last step comes in front of it if it is younger.
const TRAP: &str = "
table inet trap {
    chain c { type filter hook postrouting priority 2147483647; udp dport 5000 drop; }
}
";

#[test]
fn flows_that_never_come_to_be_do_not_stay() {
    netns::enter_new();
    netns::nft(TRAP);
    let mut listener = Listener::new(&hook());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let sink = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = sink.local_addr().expect("it is bound");
    socket.send_to(b"hi", to).expect("a datagram leaves");
    for n in 0..100 {
        // The rule makes it fail.
        let _ = socket.send_to(b"hi", SocketAddr::from(([127, 1, 0, n], 5000)));
    }
    assert_eq!(listener.table().len(), 101, "the hook saw them begin");
    wait_equal("the one that came to be is left", || listener.table().len(), || 1);
    let flow = listener.table().pop_first().expect("there is one").1;
    assert_eq!(flow.orig.ports().1, to.port());
}

/// Flows whose end the kernel does not report, because they began before the first listener.
#[test]
fn of_flows_older_than_it_the_hook_hears_their_news_and_they_go_when_they_end() {
    netns::enter_new();
    sysctl("net/netfilter/nf_conntrack_events", "0");
    let pairs: Vec<_> = (0..20)
        .map(|_| {
            let [here, there] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
            here.connect(there.local_addr().expect("it is bound")).expect("it can be");
            there.connect(here.local_addr().expect("it is bound")).expect("it can be");
            here.send(b"hi").expect("a datagram leaves");
            (here, there)
        })
        .collect();
    sysctl("net/netfilter/nf_conntrack_events", "2");
    let mut listener = Listener::new(&hook());
    let answered = |listener: &mut Listener| {
        let flows = listener.table();
        flows.values().filter(|flow| flow.status.contains(Status::SEEN_REPLY)).count()
    };
    assert_eq!((listener.table().len(), answered(&mut listener)), (20, 0));
    pairs.iter().for_each(|(_, there)| assert_eq!(there.send(b"hi").ok(), Some(2)));
    assert_eq!(answered(&mut listener), 20);
    netns::run("conntrack", &["-D", "-p", "udp"]);
    wait_equal("their ends are noticed", || listener.table().len(), || 0);
}

/// More sources than the kernel has places for at once.
#[test]
fn a_closed_source_leaves_nothing_behind() {
    netns::enter_new();
    for _ in 0..12 {
        let mut source = open(&hook());
        churn::udp_flows(0, 10);
        drain(&mut source);
    }
    let together: Vec<_> = (0..8).map(|_| open(&hook())).collect();
    let (ninth, why) = Source::open(&hook()).expect("there is another way");
    assert_eq!((together[7].name(), ninth.name()), ("hook", "tap"));
    let why = why.expect("it says why").to_string();
    assert!(why.contains("attaching the program"), "{why}");
}

#[test]
fn a_killed_daemon_leaves_nothing_behind() {
    let stage = Solo::new();
    for _ in 0..10 {
        let mut daemon = stage.ours("a", &solo("EventSource hook"));
        daemon.wait_to_say("conntrack events come through: hook");
        daemon.kill_hard();
        fs::remove_file(daemon.path("log")).expect("it wrote one");
    }
}

#[test]
fn a_daemon_on_the_hook_holds_what_the_kernel_holds() {
    let routed = Routed::new();
    let stage = Solo { node: routed.router.another(), ..Solo::default() };
    let daemon = stage.ours("a", &solo("EventSource hook"));
    routed.talk();
    let mut kernel = || conntrack::sources(&conntrack::lines(&stage.node));
    wait_equal("the tables are equal", || conntrack::sources(&daemon.internal()), &mut kernel);
    let reported = daemon.status()["events"]["hook"]["recorded"].as_u64().expect("it is a number");
    assert!(
        reported >= kernel().len() as u64,
        "{reported} are reported, of {} flows",
        kernel().len()
    );
    routed.router.sh("conntrack -F");
    wait_equal("all have ended", || daemon.internal().len(), || 0);
}

#[test]
fn without_the_right_to_read_the_kernel_a_daemon_falls_back_and_says_so() {
    let stage = Solo::new();
    stage.write("a", &solo("EventSource hook"));
    let mut command = Command::new("setpriv");
    let dropped = "-perfmon,-sys_admin";
    command
        .args(["--inh-caps", dropped, "--bounding-set", dropped, "--"])
        .arg(Brand::Ours.program());
    let (node, files) = (&stage.node, &stage.files);
    let daemon = Daemon::start_with(command, node, Brand::Ours, files, "a");
    daemon.wait_to_say("[warning] conntrack events come through");
    daemon.wait_to_say("(not through the hook: ");
    daemon.wait_to_say("CAP_PERFMON");
}
