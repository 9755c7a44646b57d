//! The three namespaces, their rules, and the daemon.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tests::daemon::{Brand, Daemon, Files};
use tests::netns::{Namespace, sysctl};

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 1);
/// How the server knows the client behind SNAT.
pub(crate) const CLIENT_OUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 77);
/// How the client knows the server behind DNAT.
pub(crate) const SERVER_OUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 99);
/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Helpers of the daemon: name, transport protocol, port of the watched flows, queue.
pub(crate) const HELPERS: [(&str, &str, u16, u16); 12] = [
    ("amanda", "udp", 10_080, 1),
    ("dhcpv6", "udp", 547, 2),
    ("ftp", "tcp", 21, 3),
    ("mdns", "udp", 5353, 4),
    ("rpc", "tcp", 111, 5),
    ("rpc", "udp", 111, 6),
    ("sane", "tcp", 6566, 7),
    ("slp", "udp", 427, 8),
    ("ssdp", "tcp", 2869, 9),
    ("ssdp", "udp", 1900, 10),
    ("tftp", "udp", 69, 11),
    ("tns", "tcp", 1521, 12),
];

/// The addresses that the router translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    None,
    Source,
    Destination,
    Both,
}

impl Nat {
    const ALL: [Self; 4] = [Self::None, Self::Source, Self::Destination, Self::Both];

    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Source => "SNAT",
            Self::Destination => "DNAT",
            Self::Both => "both",
        }
    }

    const fn source(self) -> bool {
        matches!(self, Self::Source | Self::Both)
    }

    const fn destination(self) -> bool {
        matches!(self, Self::Destination | Self::Both)
    }

    /// How the server knows the client.
    pub(crate) const fn client(self) -> Ipv4Addr {
        if self.source() { CLIENT_OUTER } else { CLIENT }
    }

    /// How the client knows the server.
    pub(crate) const fn server(self) -> Ipv4Addr {
        if self.destination() { SERVER_OUTER } else { SERVER }
    }
}

/// Client, router, server.
pub(crate) struct Stage {
    pub(crate) client: Namespace,
    pub(crate) router: Namespace,
    pub(crate) server: Namespace,
}

impl Stage {
    /// Makes the namespaces, without rules.
    pub(crate) fn new() -> Self {
        let made =
            Self { client: Namespace::new(), router: Namespace::new(), server: Namespace::new() };
        let Self { client, router, server } = &made;
        client.cable("c0", router, "rc", 1);
        server.cable("s0", router, "rs", 2);
        router.within(|| {
            sysctl("net/ipv4/ip_forward", "1");
            sysctl("net/ipv6/conf/all/forwarding", "1");
        });
        router.sh(&format!("ip addr add {SERVER_OUTER}/32 dev rc"));
        router.sh(&format!("ip addr add {CLIENT_OUTER}/32 dev rs"));
        client.sh("ip route add default via 10.99.1.2");
        server.sh("ip route add default via 10.99.2.2");
        client.sh("ip -6 route add default via fd99:1::2");
        server.sh("ip -6 route add default via fd99:2::2");
        made
    }

    /// Makes the router watch flows, translate, and drop unexpected packets. The helpers' objects must be there: or
    /// the kernel takes its own.
    pub(crate) fn guard(&self, nat: Nat) {
        let Rules { objects, watch, pass, translated } = Rules::new();
        let post = format!("meta nfproto ipv4 oifname rs snat ip to {CLIENT_OUTER}\n");
        let pre = if nat.destination() { &translated } else { "" };
        let post = if nat.source() { &post } else { "" };
        self.router.nft(&format!(
            "table inet f {{
                {objects}
                chain watch {{
                    type filter hook prerouting priority -150
                    {watch}
                }}
                chain sent {{
                    type filter hook output priority -150
                    {watch}
                }}
                chain pass {{
                    type filter hook forward priority 0; policy drop
                    ct state established accept
                    ct state related accept
                    {pass}
                }}
                chain take {{
                    type filter hook input priority 0; policy drop
                    iif lo accept
                    meta l4proto icmpv6 accept
                    ct state established accept
                    ct state related accept
                }}
                chain pre {{
                    type nat hook prerouting priority -100
                    {pre}
                }}
                chain post {{
                    type nat hook postrouting priority 100
                    {post}
                }}
            }}",
        ));
    }

    /// A connection of the client to the server's port, and the server's end of it.
    pub(crate) fn connection(&self, nat: Nat, port: u16) -> (TcpStream, TcpStream) {
        let listener = listen(&self.server, SERVER, port);
        let client = connect(&self.client, nat.server(), port);
        (client, accept(&listener))
    }

    /// What the kernel expects: lines of `conntrack -L expect`, sorted, without lifetimes and the helper's flags.
    pub(crate) fn expected(&self) -> Vec<String> {
        tests::expect::lines(&self.router)
    }

    /// Asserts that the kernel expects this and nothing else.
    pub(crate) fn expects(&self, expected: &Expected<'_>) {
        assert_eq!(self.expected(), [expected.line()]);
    }
}

/// Lines of rules about each helper.
#[derive(Default)]
struct Rules {
    objects: String,
    watch: String,
    pass: String,
    translated: String,
}

impl Rules {
    fn new() -> Self {
        let mut rules = Self::default();
        for (name, protocol, port, queue) in HELPERS {
            let is_v6 = name == "dhcpv6";
            let (family, l3) = if is_v6 { ("ipv6", "ip6") } else { ("ipv4", "ip") };
            rules.watches(&format!("h{queue}"), name, protocol, (family, l3), port);
            rules.pass += &format!("{protocol} dport {port} accept\n");
            rules.translated +=
                &format!("ip daddr {SERVER_OUTER} {protocol} dport {port} dnat ip to {SERVER}\n");
        }
        rules.watches("six", "ftp", "tcp", ("ipv6", "ip6"), 21);
        rules
    }

    fn watches(
        &mut self,
        object: &str,
        name: &str,
        protocol: &str,
        (family, l3): (&str, &str),
        port: u16,
    ) {
        self.objects += &format!(
            "ct helper {object} {{ type \"{name}\" protocol {protocol}; l3proto {l3}; }}\n"
        );
        self.watch +=
            &format!("meta nfproto {family} {protocol} dport {port} ct helper set \"{object}\"\n");
    }
}

/// A socket that gives up after a while.
pub(crate) fn datagrams(namespace: &Namespace, address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = namespace.within(|| UdpSocket::bind((address, port)).expect("a port is free"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

pub(crate) fn listen(namespace: &Namespace, address: impl Into<IpAddr>, port: u16) -> TcpListener {
    let address = address.into();
    namespace.within(|| TcpListener::bind((address, port)).expect("a port is free"))
}

pub(crate) fn connect(namespace: &Namespace, address: impl Into<IpAddr>, port: u16) -> TcpStream {
    let to = (address.into(), port).into();
    let made = namespace.within(|| TcpStream::connect_timeout(&to, PATIENCE));
    patient(made.unwrap_or_else(|error| panic!("connecting to {to}: {error}")))
}

pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("somebody connects");
    patient(stream)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Takes the next connection, which must come from this address.
pub(crate) fn accept_from(listener: &TcpListener, address: Ipv4Addr) -> TcpStream {
    let stream = accept(listener);
    assert_eq!(stream.peer_addr().expect("it is connected").ip(), IpAddr::from(address));
    stream
}

/// A line of `conntrack -L expect`: the expected source and destination, and the announcing flow.
pub(crate) struct Expected<'a> {
    pub(crate) protocol: u8,
    /// The expected source; unspecified for any.
    pub(crate) from: Ipv4Addr,
    /// The source port; 0 for any.
    pub(crate) from_port: u16,
    pub(crate) to: (Ipv4Addr, u16),
    /// Source and destination of the flow that announced it.
    pub(crate) master: [(Ipv4Addr, u16); 2],
    pub(crate) permanent: bool,
    pub(crate) helper: &'a str,
}

impl<'a> Expected<'a> {
    /// A flow from any port, once.
    pub(crate) const fn once(
        helper: &'a str,
        protocol: u8,
        from: Ipv4Addr,
        to: (Ipv4Addr, u16),
        master: [(Ipv4Addr, u16); 2],
    ) -> Self {
        Self { protocol, from, from_port: 0, to, master, permanent: false, helper }
    }

    /// Flows from any address and any port.
    pub(crate) const fn from_anybody(
        helper: &'a str,
        protocol: u8,
        to: (Ipv4Addr, u16),
        master: [(Ipv4Addr, u16); 2],
    ) -> Self {
        let once = Self::once(helper, protocol, Ipv4Addr::UNSPECIFIED, to, master);
        Self { permanent: true, ..once }
    }

    pub(crate) fn line(&self) -> String {
        let Self { protocol, from, from_port, to, master: [source, target], permanent, helper } =
            self;
        let mask = if from.is_unspecified() { "0.0.0.0" } else { "255.255.255.255" };
        let mask_port = if *from_port == 0 { 0 } else { u16::MAX };
        let flag = if *permanent { "PERMANENT " } else { "" };
        format!(
            "proto={protocol} src={from} dst={} sport={from_port} dport={} mask-src={mask} \
             mask-dst=255.255.255.255 sport={mask_port} dport=65535 master-src={} master-dst={} sport={} \
             dport={} {flag}class=0 helper={helper}",
            to.0, to.1, source.0, target.0, source.1, target.1
        )
    }
}

/// Only helpers: no table of flows.
pub(crate) fn conf(files: &Files, name: &str, more: &str) -> String {
    let stem = format!("{}/{name}", files.path().display());
    let mut types = String::new();
    for (helper, protocol, _, queue) in HELPERS {
        let family = if helper == "dhcpv6" { "inet6" } else { "inet" };
        types +=
            &format!("Type {helper} {family} {protocol} {{ QueueNum {queue} QueueLen 1024 }}\n");
    }
    types += "Type ftp inet6 tcp { QueueNum 13 }\n";
    format!(
        "General {{ LockFile {stem}.lock\n LogFile {stem}.log\n UNIX {{ Path {stem}.sock }}\n Systemd off }}
         Helper {{ Setup on {more}\n {types} }}\n"
    )
}

/// FTP alone, as the original takes it, too.
pub(crate) fn of_ftp(files: &Files, name: &str) -> String {
    let text = "General { LockFile @.lock\n LogFile @.log\n UNIX { Path @.sock\n }\n Systemd off\n }\n\
                Helper { Setup on\n Type ftp inet tcp { QueueNum 3\n QueueLen 1024\n \
                Policy ftp { ExpectMax 1\n ExpectTimeout 300\n } } }\n";
    text.replace('@', &format!("{}/{name}", files.path().display()))
}

/// Starts a daemon with such a configuration.
pub(crate) fn start<'a>(
    namespace: &'a Namespace,
    brand: Brand,
    files: &Files,
    name: &str,
    text: &str,
) -> Daemon<'a> {
    std::fs::write(files.path().join(format!("{name}.conf")), text).expect("a file");
    Daemon::start_with(Command::new(brand.program()), namespace, brand, files, name)
}

/// One stage per variant, with a daemon, for all tests: they are made once.
struct Shared {
    stage: &'static Stage,
    daemon: Daemon<'static>,
}

fn shared(nat: Nat) -> &'static Shared {
    static MADE: [LazyLock<Shared>; 4] = [
        LazyLock::new(|| make(Nat::None)),
        LazyLock::new(|| make(Nat::Source)),
        LazyLock::new(|| make(Nat::Destination)),
        LazyLock::new(|| make(Nat::Both)),
    ];
    &MADE[nat as usize]
}

fn make(nat: Nat) -> Shared {
    let stage: &'static Stage = Box::leak(Box::new(Stage::new()));
    let files: &'static Files = Box::leak(Box::new(Files::new()));
    let daemon = start(&stage.router, Brand::Ours, files, nat.name(), &conf(files, nat.name(), ""));
    stage.guard(nat);
    Shared { stage, daemon }
}

/// Objects of helpers are the machine's.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a scene in every variant and says which passed, as a line of a table.
pub(crate) fn in_every_variant(name: &str, scene: fn(&Stage, Nat)) {
    in_variants(name, &Nat::ALL, scene);
}

/// Runs a scene in some variants.
pub(crate) fn in_variants(name: &str, variants: &[Nat], scene: fn(&Stage, Nat)) {
    let _alone = alone();
    let run = |nat: Nat| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let shared = shared(nat);
            scene(shared.stage, nat);
            let left = shared.stage.expected();
            assert!(left.is_empty(), "left over: {left:?}");
        }));
        if outcome.is_err() {
            let shared = shared(nat);
            println!("{}{}", shared.daemon.log(), shared.daemon.ask(&["-s", "json"]));
            println!("{}", shared.stage.router.sh("conntrack -L"));
            shared
                .stage
                .router
                .within(|| Command::new("conntrack").args(["-F", "expect"]).output())
                .ok();
        }
        outcome.is_ok()
    };
    let outcomes = Nat::ALL.map(|nat| (nat, variants.contains(&nat).then(|| run(nat))));
    let word =
        |passed: Option<bool>| passed.map_or("-   ", |yes| if yes { "pass" } else { "FAIL" });
    let row: Vec<_> =
        outcomes.iter().map(|(nat, passed)| format!("{} {}", nat.name(), word(*passed))).collect();
    println!("helpers: {name:<16} {}", row.join("   "));
    assert!(outcomes.iter().all(|(_, passed)| *passed != Some(false)), "{name}: see above");
}
