//! A helper's object that is enabled while no process reads its queue: the kernel lets packets pass and confirms no
//! new flow of that protocol, so a router that lets known flows in only loses the protocol until the operator ends
//! that.

use crate::stage::{CLIENT, Nat, SERVER, Stage, alone, conf, datagrams, start};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::process::Command;
use tests::daemon::{Brand, Daemon, Files};

/// A datagram to TFTP's port, which the server receives; the flows of that port that the kernel knows then.
fn flows_of_a_request(stage: &Stage) -> usize {
    stage.router.sh("conntrack -F");
    let server = datagrams(&stage.server, SERVER, 69);
    let client = datagrams(&stage.client, CLIENT, 0);
    // The request announces nothing, so that no expectation is left.
    client.send_to(b"\0\x03", (SERVER, 69)).expect("it is sent");
    server.recv_from(&mut [0; 100]).expect("it passes");
    let flows = stage.router.sh("conntrack -L");
    flows.lines().filter(|line| line.contains("dport=69 ")).count()
}

/// A connection to FTP's port carries data in both directions.
fn converses(stage: &Stage) {
    let (mut client, mut server) = stage.connection(Nat::None, 21);
    let mut bytes = [0; 5];
    client.write_all(b"NOOP\n").expect("the server is there");
    server.read_exact(&mut bytes).expect("the client's words pass");
    server.write_all(b"200 \n").expect("the client is there");
    client.read_exact(&mut bytes).expect("the server's words pass");
}

fn serves<'a>(stage: &'a Stage, files: &Files, text: &str) -> Daemon<'a> {
    let _ = std::fs::remove_file(files.path().join("d.lock"));
    start(&stage.router, Brand::Ours, files, "d", text)
}

fn disable(stage: &Stage, name: &str, protocol: &str) {
    let mut command = Command::new(Brand::Ours.program().with_file_name("nfct"));
    command.args(["disable", "helper", name, "inet", protocol]);
    let output = stage.router.within(|| command.output().expect("it starts"));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn while_an_enabled_object_has_no_reader_no_new_flow_is_confirmed_and_each_remedy_ends_that() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let text = conf(&files, "d", "");
    let mut daemon = serves(&stage, &files, &text);
    stage.guard(Nat::None);
    assert_eq!(flows_of_a_request(&stage), 1, "it is served");
    converses(&stage);

    daemon.kill_hard();
    assert_eq!(flows_of_a_request(&stage), 0, "nobody reads");
    for (name, protocol) in [("tftp", "udp"), ("ftp", "tcp")] {
        disable(&stage, name, protocol);
    }
    assert_eq!(flows_of_a_request(&stage), 1, "nfct disabled the object");
    converses(&stage);

    drop(daemon);
    let mut daemon = serves(&stage, &files, &text);
    daemon.kill_hard();
    assert_eq!(flows_of_a_request(&stage), 0, "it had been enabled again");
    drop(daemon);
    let mut daemon = serves(&stage, &files, &text);
    assert_eq!(flows_of_a_request(&stage), 1, "the next start reads the queue");
    converses(&stage);

    daemon.signal(Signal::TERM);
    assert!(daemon.wait_for_end().success());
    assert_eq!(flows_of_a_request(&stage), 1, "the end disabled the object");
    converses(&stage);

    // `HelperDisableOnExit off`: as the original leaves it.
    drop(daemon);
    let text = conf(&files, "d", "\n HelperDisableOnExit off");
    let mut daemon = serves(&stage, &files, &text);
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_for_end().success());
    assert_eq!(flows_of_a_request(&stage), 0, "the end left the object enabled");
    // Other tests want the objects enabled, as this leaves them.
}
