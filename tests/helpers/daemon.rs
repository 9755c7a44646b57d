//! The daemon itself: its end, its restart, what it counts and says.

use crate::ftp::{announces, greeted};
use crate::stage::{CLIENT, HELPERS, Nat, SERVER, Stage, alone, conf, datagrams, of_ftp, start};
use host::nfnetlink::Client;
use host::nfnetlink::helper::HelperKey;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use tests::conf::{Conf, End, Transport, swap};
use tests::daemon::{Brand, Daemon, Files, run_ours};
use tests::transfer::passes_the_router_that_took_over;
use tests::wait::wait_until;

/// Sends a request and says what the router expects then.
fn request(stage: &Stage) -> usize {
    let server = datagrams(&stage.server, SERVER, 69);
    let client = datagrams(&stage.client, CLIENT, 0);
    client.send_to(b"\0\x01file\0octet\0", (SERVER, 69)).expect("it is sent");
    server.recv_from(&mut [0; 100]).expect("the request passes");
    let expected = stage.expected().len();
    stage.router.sh("conntrack -F");
    expected
}

#[test]
fn packets_pass_without_help_when_the_daemon_is_killed_and_with_it_when_it_is_back() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let text = conf(&files, "d", "");
    let mut daemon = start(&stage.router, Brand::Ours, &files, "d", &text);
    stage.guard(Nat::None);
    assert_eq!(request(&stage), 1);
    let log = daemon.log();
    let named = |line: &str| {
        let (_, rest) = line.split_once("configuring helper `")?;
        rest.split_once('\'').map(|(name, _)| name.to_owned())
    };
    let told: Vec<_> = log.lines().filter_map(named).collect();
    let of_file = HELPERS.map(|(name, ..)| name).into_iter().chain(["ftp"]);
    assert_eq!(told, of_file.rev().collect::<Vec<_>>(), "the last type of the file comes first");
    daemon.kill_hard();
    assert_eq!(request(&stage), 0, "nobody helps");
    drop(daemon);
    let daemon = start(&stage.router, Brand::Ours, &files, "d", &text);
    assert_eq!(request(&stage), 1);
    let status = daemon.status();
    assert_eq!(status["ready"], true, "{status}");
    let helpers = status["helpers"].as_array().expect("a list");
    let tftp = helpers.iter().find(|helper| helper["name"] == "tftp").expect("it is served");
    let numbers = ["packets", "accepted", "expectations", "not_understood", "queue_dropped"];
    let numbers = numbers.map(|name| tftp[name].as_u64().expect("a number"));
    assert_eq!(numbers, [1, 1, 1, 0, 0], "{tftp}");
}

/// Objects, queues and verdicts need `CAP_NET_ADMIN` alone, which it keeps; metrics need nothing.
#[test]
fn helpers_and_metrics_go_on_as_another_user_than_root() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o1777)).expect("it is ours");
    let text = swap(&conf(&files, "d", ""), "Systemd off }", "Systemd off\n User nobody\n }");
    let text = text + "Metrics { Listen 127.0.0.1:10466\n }\n";
    let daemon = start(&stage.router, Brand::Ours, &files, "d", &text);
    daemon.wait_to_say("runs as user nobody with CAP_NET_ADMIN alone");
    stage.guard(Nat::None);
    assert_eq!(request(&stage), 1);
    let mut scraped = String::new();
    stage.router.within(|| {
        let mut stream = TcpStream::connect("127.0.0.1:10466").expect("it listens");
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").expect("it reads");
        stream.read_to_string(&mut scraped).expect("it answers");
    });
    let told = |line: &&str| {
        line.starts_with("ctflow_helper_packets_accepted_total{helper=\"tftp\"")
            && line.ends_with(" 1")
    };
    assert!(scraped.lines().any(|line| told(&line)), "{scraped}");
    assert!(scraped.lines().any(|line| line == "ctflow_up 1"), "{scraped}");
}

/// A packet waits for the thread that reads it, so that thread has to be the fast one.
#[test]
fn packets_of_helpers_are_read_in_real_time_where_the_configuration_says_so() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let ordinary = of_ftp(&files, "d");
    let real_time =
        ordinary.replace("Systemd off", "Systemd off\n Scheduler { Type FIFO\n Priority 7\n }");
    let daemon = start(&stage.router, Brand::Ours, &files, "d", &ordinary);
    let reads_as = |text: &str, policy: &str| {
        fs::write(daemon.path("conf"), text).expect("a file");
        daemon.signal(rustix::process::Signal::HUP);
        wait_until(policy, || daemon.scheduling("helpers").as_deref() == Some(policy));
    };
    assert_eq!(daemon.scheduling("helpers").as_deref(), Some("0/0"));
    reads_as(&real_time, "1/7");
    reads_as(&ordinary, "0/0");
    drop(daemon);
    let daemon = start(&stage.router, Brand::Ours, &files, "d", &real_time);
    wait_until("it begins so", || daemon.scheduling("helpers").as_deref() == Some("1/7"));
}

/// The configuration of a node of a cluster, and helpers (as VyOS writes them).
fn clustered(files: &Files, name: &str, end: End) -> String {
    let conf = Conf { transport: Transport::Multicast, ..Conf::new(end) };
    let conf = conf.option("ExpectationSync {\n ftp\n }");
    format!(
        "{}\nHelper {{ Setup on\n Type ftp inet tcp {{ QueueNum 3\n QueueLen 10240\n \
         Policy ftp {{ ExpectMax 1\n ExpectTimeout 300\n }} }} }}\n",
        conf.text(files.path(), name)
    )
}

#[test]
fn what_a_helper_announces_is_replicated_and_passes_the_router_that_takes_over() {
    let _alone = alone();
    let stage = tests::stage::Stage::new();
    passes_the_router_that_took_over(&stage, |stage, name, end| {
        let text = clustered(&stage.files, name, end);
        start(stage.node(end), Brand::Ours, &stage.files, name, &text)
    });
}

/// A session outlives the daemon that began to help it: private data and objects are the same.
#[test]
fn ours_takes_the_place_of_the_original_and_it_takes_ours() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let text = of_ftp(&files, "d");
    let guard = start(&stage.router, Brand::Ours, &files, "all", &conf(&files, "all", ""));
    stage.guard(Nat::None);
    drop(guard);
    let (mut session, mut said) = (None, None);
    for brand in [Brand::Original, Brand::Ours, Brand::Original, Brand::Ours] {
        let mut daemon = start(&stage.router, brand, &files, "d", &text);
        let (client, server) = session.get_or_insert_with(|| greeted(&stage, Nat::None));
        announces(&stage, client, server);
        let answers = answers(&daemon);
        assert_eq!(said.get_or_insert_with(|| answers.clone()), &answers, "{brand:?}");
        daemon.kill_hard();
        let _ = fs::remove_file(daemon.path("lock"));
        stage.router.sh("conntrack -F expect");
    }
}

/// The answers of a daemon that serves helpers alone; of `-s runtime` all but how long it has run, and the lines
/// that ours prints beyond the original.
fn answers(daemon: &Daemon<'_>) -> Vec<String> {
    let asked: [&[&str]; 7] = [
        &["-s"],
        &["-i"],
        &["-e"],
        &["-s", "queue"],
        &["-s", "network"],
        &["-s", "process"],
        &["-s", "runtime"],
    ];
    let text = |args: &[&str]| -> String {
        let text = daemon.ask(args);
        let lines = text.lines().take_while(|line| !line.starts_with("event source"));
        lines.filter(|line| !line.contains("uptime")).flat_map(|line| [line, "\n"]).collect()
    };
    asked.map(text).to_vec()
}

/// `AF_INET6`: the address family of IPv6.
const V6: u16 = 10;

fn enabled(name: &str, l3_protocol: u16) -> Option<bool> {
    let objects = Client::open().and_then(|mut client| client.helpers()).expect("netlink is there");
    let mut objects = objects.into_iter();
    let ours = objects.find(|o| o.key.name == name && o.key.l3_protocol == l3_protocol);
    ours.map(|object| object.is_enabled)
}

#[test]
fn a_changed_configuration_serves_other_helpers_and_objects_are_disabled_at_the_end() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let stem = files.path().join("d").display().to_string();
    let text = |types: &str| {
        format!(
            "General {{ LockFile @.lock\n LogFile @.log\n UNIX {{ Path @.sock\n }} Systemd off\n }}
             Helper {{ Setup on\n {types} }}\n"
        )
        .replace('@', &stem)
    };
    let mut daemon =
        start(&stage.router, Brand::Ours, &files, "d", &text("Type tns inet6 tcp { QueueNum 1 }"));
    assert_eq!(enabled("tns", V6), Some(true));
    let served = |daemon: &Daemon<'_>| {
        let status = daemon.status();
        let helpers = status["helpers"].as_array().expect("a list");
        helpers.iter().map(|helper| helper["name"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(served(&daemon), ["\"tns\""]);

    let reload = |types: &str| {
        fs::write(daemon.path("conf"), text(types)).expect("a file");
        daemon.signal(rustix::process::Signal::HUP);
    };
    reload("Type rpc inet6 tcp { QueueNum 1 }");
    wait_until("the other helper is served", || served(&daemon) == ["\"rpc\""]);
    assert_eq!((enabled("tns", V6), enabled("rpc", V6)), (Some(false), Some(true)));

    // Another one has the queue: the old ones stay in force.
    let other = Client::open().and_then(|mut other| {
        stage.router.within(Client::open).and_then(|mut client| {
            client.take_queue(2, 10)?;
            other.helpers()?;
            Ok(client)
        })
    });
    let other = other.expect("the queue is free");
    reload("Type sane inet6 tcp { QueueNum 2 }");
    wait_until("that is told", || daemon.log().contains("old configuration stay in force"));
    let log = daemon.log();
    assert!(log.contains("taking queue 2 for the helper `sane': Operation not permitted"), "{log}");
    assert_eq!(served(&daemon), ["\"rpc\""]);
    assert_eq!(enabled("rpc", V6), Some(true));
    drop(other);

    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait_for_end().success());
    assert_eq!(enabled("rpc", V6), Some(false));
}

#[test]
fn a_helper_that_the_kernel_lacks_is_told_in_the_originals_words() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let path = files.path().join("d.conf");
    let text = "General { LockFile @.lock\n UNIX { Path @.sock\n } Systemd off\n }
         Helper { Type slp inet6 udp { QueueNum 1 } }\n";
    let text = text.replace('@', &files.path().join("d").display().to_string());
    fs::write(&path, &text).expect("a file");
    let output = run_ours(&stage.router, &["-C", path.to_str().expect("text")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["trying to configure cthelper `slp': Invalid argument", "Setup on"] {
        assert!(said.contains(words), "{said}");
    }
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = "configuring helper `slp' with queuenum=1 and queuelen=1024";
    assert!(told.contains(lines), "{told}");
    assert!(told.contains("policy name=slp expect_timeout=16 expect_max=8"), "{told}");

    // As people do who configure no `Setup`.
    let key = HelperKey { name: "slp".into(), l3_protocol: V6, l4_protocol: 17 };
    let policy = key.known_policy().expect("it is known");
    let added = Client::open().and_then(|mut client| client.add_helper(&key, policy));
    added.expect("the kernel has none of its own");
    assert_eq!(enabled("slp", V6), Some(false));
    let daemon = start(&stage.router, Brand::Ours, &files, "d", &text);
    assert_eq!(enabled("slp", V6), Some(true));
    drop(daemon);
    assert_eq!(enabled("slp", V6), Some(true), "a daemon that is killed leaves it so");
}
