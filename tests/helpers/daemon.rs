//! The daemon itself: its end, its restart, what it counts and says.

use crate::stage::{CLIENT, Nat, SERVER, Stage, alone, conf, datagrams, start};
use tests::daemon::{Brand, Files};

/// Sends a request and says what the router expects then.
fn request(stage: &Stage) -> usize {
    let server = datagrams(&stage.server, SERVER, 69);
    let client = datagrams(&stage.client, CLIENT, 0);
    client.send_to(b"\0\x01file\0octet\0", (SERVER, 69)).unwrap();
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
    daemon.kill_hard();
    assert_eq!(request(&stage), 0, "nobody helps");
    drop(daemon);
    let daemon = start(&stage.router, Brand::Ours, &files, "d", &text);
    assert_eq!(request(&stage), 1);
    let status = daemon.status();
    let helpers = status["helpers"].as_array().expect("a list");
    let tftp = helpers.iter().find(|helper| helper["name"] == "tftp").expect("it is served");
    let numbers = ["packets", "accepted", "expectations", "not_understood", "queue_dropped"];
    let numbers = numbers.map(|name| tftp[name].as_u64().expect("a number"));
    assert_eq!(numbers, [1, 1, 1, 0, 0], "{tftp}");
}
