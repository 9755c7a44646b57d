//! An FTP session whose router dies between the announcement of a data connection and its beginning, with either
//! helper on the router.
//!
//! ```text
//!              +-- router A, then dead --+
//!  client C ---+                         +--- server S        both routers: helper "ftp", new flows to port 21 only
//!              +-- router B -------------+
//! ```

use crate::conf::End;
use crate::daemon::Daemon;
use crate::expect::lines;
use crate::netns::{Namespace, sysctl};
use crate::stage::Stage;
use crate::wait::{wait_equal, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const CLIENT: &str = "10.1.0.1";
const SERVER: &str = "10.2.0.1";
/// 195 * 256 + 80.
const DATA_PORT: u16 = 50_000;
/// How long a connection may take that the router lets through; a connection that it refuses is given up earlier.
const PATIENCE: Duration = Duration::from_secs(20);
const REFUSED_AFTER: Duration = Duration::from_secs(2);

const RULES: &str = "table ip firewall {
    ct helper watch { type \"ftp\" protocol tcp; l3proto ip; }
    chain arriving { type filter hook prerouting priority 0; tcp dport 21 ct helper set \"watch\"; }
    chain passing {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept;
        tcp dport 21 ct state new accept;
    }
}";

/// Client and server, each with a cable to both routers.
struct Ends {
    client: Namespace,
    server: Namespace,
}

impl Ends {
    fn new(stage: &Stage) -> Self {
        let ends = Self { client: Namespace::new(), server: Namespace::new() };
        let mut subnet = 50;
        for (namespace, addr) in [(&ends.client, CLIENT), (&ends.server, SERVER)] {
            namespace.sh(&format!("ip addr add {addr}/32 dev lo"));
            for (router, name) in [(&stage.a, "to-a"), (&stage.b, "to-b")] {
                namespace.cable(name, router, &format!("end{subnet}"), subnet);
                router.sh(&format!("ip route add {addr} via 10.99.{subnet}.1"));
                subnet += 1;
            }
        }
        for router in [&stage.a, &stage.b] {
            router.within(|| {
                sysctl("net/ipv4/ip_forward", "1");
                // A connection that goes on is outside every tracked window.
                sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1");
            });
            router.nft(RULES);
        }
        ends
    }

    /// Both talk through this router from here on: number 0 is A, number 1 is B.
    fn route(&self, router: u8) {
        let name = ["to-a", "to-b"][usize::from(router)];
        for (namespace, to, from, first) in
            [(&self.client, SERVER, CLIENT, 50), (&self.server, CLIENT, SERVER, 52)]
        {
            let via = format!("10.99.{}.2", first + router);
            namespace.sh(&format!("ip route replace {to} via {via} dev {name} src {from}"));
        }
    }

    fn listen(&self, port: u16) -> TcpListener {
        let addr = format!("{SERVER}:{port}");
        self.server.within(|| TcpListener::bind(addr).expect("the server listens"))
    }

    fn connect(&self, port: u16, patience: Duration) -> std::io::Result<TcpStream> {
        let addr: SocketAddr = format!("{SERVER}:{port}").parse().expect("an address");
        self.client.within(|| TcpStream::connect_timeout(&addr, patience))
    }
}

fn say(stream: &mut TcpStream, line: &str) {
    stream.write_all(format!("{line}\r\n").as_bytes()).expect("the other end is there");
}

fn hear(stream: &TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("the other end speaks");
    line
}

/// Begins a transfer through A, kills A's daemon, and goes on through B. `start` starts a daemon that replicates
/// expectations, and serves the helper if the kernel is not to.
///
/// # Panics
/// When the data connection does not pass, or does before B has taken over.
pub fn passes_the_router_that_took_over<'a>(
    stage: &'a Stage,
    start: impl Fn(&'a Stage, &str, End) -> Daemon<'a>,
) {
    let b = start(stage, "b", End::B);
    let mut a = start(stage, "a", End::A);
    let ends = Ends::new(stage);
    ends.route(0);

    let (listener, data) = (ends.listen(21), ends.listen(DATA_PORT));
    let mut control = ends.connect(21, PATIENCE).expect("A lets the control connection through");
    let (mut server, _) = listener.accept().expect("the server accepts");
    say(&mut server, "220 ready");
    hear(&control);
    say(&mut control, "PASV");
    hear(&server);
    say(&mut server, "227 Entering Passive Mode (10,2,0,1,195,80).");
    hear(&control);
    wait_until("the helper has announced it", || lines(&stage.a).len() == 1);
    wait_equal("B has heard of it", || b.external_expectations(), || lines(&stage.a));
    wait_until("B knows the control connection", || {
        b.external().iter().any(|line| line.contains("ESTABLISHED") && line.contains("helper=ftp"))
    });

    a.kill_hard();
    ends.route(1);
    let refused = ends.connect(DATA_PORT, REFUSED_AFTER);
    assert!(refused.is_err(), "before the commit, B knows of nothing");
    b.ask(&["-c"]);
    assert_eq!(lines(&stage.b).len(), 1);
    let mut transfer =
        ends.connect(DATA_PORT, PATIENCE).expect("B lets the data connection through");
    say(&mut transfer, "the file");
    let (received, _) = data.accept().expect("the server accepts");
    assert_eq!(hear(&received), "the file\r\n");
    let shown = stage.b.sh("conntrack -L");
    assert_eq!(lines(&stage.b), [""; 0], "it was fulfilled: {shown}");
    // And the control connection goes on.
    let heard = thread::scope(|scope| {
        let heard = scope.spawn(|| hear(&control));
        say(&mut server, "226 done");
        heard.join().expect("the client hears it")
    });
    assert_eq!(heard, "226 done\r\n");
}
