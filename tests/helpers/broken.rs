//! A helper that panics.

use crate::stage::{CLIENT, Nat, SERVER, Stage, alone, conf, datagrams, start};
use host::helpers::{self, HelperSettings, Parts, Settings};
use host::log::{Form, Log, Places};
use host::nfnetlink::Client;
use host::nfnetlink::helper::HelperKey;
use std::sync::Arc;
use tests::daemon::{Brand, Files};
use tests::wait::wait_until;

const TFTP_QUEUE: u16 = 11;

/// Sends a request that the server must receive.
fn passes(stage: &Stage) {
    let server = datagrams(&stage.server, SERVER, 69);
    let client = datagrams(&stage.client, CLIENT, 0);
    client.send_to(b"\0\x01file\0octet\0", (SERVER, 69)).expect("it is sent");
    server.recv_from(&mut [0; 100]).expect("the request passes");
}

fn is_enabled(key: &HelperKey) -> bool {
    let objects = Client::open().and_then(|mut client| client.helpers()).expect("netlink is there");
    objects.iter().any(|object| object.key == *key && object.is_enabled)
}

#[test]
fn a_helper_that_panics_lets_its_packets_pass_and_is_disabled_in_the_kernel() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let all = conf(&files, "all", "");
    // Rules name objects, which a daemon makes.
    drop(start(&stage.router, Brand::Ours, &files, "all", &all));
    stage.guard(Nat::None);
    let path = files.path().join("log");
    let places = Places { file: Some(path.clone()), ..Places::default() };
    let log = Arc::new(Log::open(Form::Daemon, &places).expect("a log"));
    log.report_panics();
    let key = HelperKey { name: "tftp".into(), l3_protocol: 2, l4_protocol: 17 };
    let policy = key.known_policy().expect("it is known");
    let tftp = HelperSettings { key: key.clone(), queue: TFTP_QUEUE, queue_len: 10, policy };
    let settings = Settings { setup: true, helpers: vec![tftp], ..Settings::default() };
    let parts = stage.router.within(|| Parts::open(settings, &log)).expect("the queue is free");
    let running = helpers::start(parts.read_by(|_, _, _| panic!("on purpose"))).expect("a thread");
    assert!(is_enabled(&key));

    // The packet passes before the kernel knows that the helper is disabled: only packets sent after that are not
    // shown.
    passes(&stage);
    wait_until("the kernel shows no more of its packets", || !is_enabled(&key));
    (0..2).for_each(|_| passes(&stage));
    assert!(stage.expected().is_empty(), "nobody helps");
    let [report] = &running.counts().report()[..] else { panic!("one is served") };
    assert_eq!((report.packets, report.accepted, report.broken), (1, 1, true), "{report:?}");
    assert!(running.stop(), "the thread lives on");
    log.finish();
    let text = std::fs::read_to_string(path).expect("a file");
    let lines = |word: &str| text.lines().filter(|line| line.contains(word)).count();
    assert_eq!((lines("[ERROR]"), lines("on purpose")), (1, 1), "{text}");
    assert_eq!(lines("helper `tftp' is disabled: it panicked"), 1, "{text}");
    // Other tests want the object enabled.
    drop(start(&stage.router, Brand::Ours, &files, "all", &all));
    assert!(is_enabled(&key));
}
