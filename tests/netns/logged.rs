//! What the daemon's log says to machines: JSON in the file, fields to journald.

use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::solo::{Solo, solo};
use tests::wait::wait_until;

fn lines(text: &str) -> Vec<serde_json::Value> {
    let json = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    text.lines().map(json).collect()
}

#[test]
fn every_line_is_an_object_with_a_code_and_a_reload_goes_back_to_plain_text() {
    let stage = Solo::new();
    let conf = solo("");
    let daemon = stage.ours("a", &format!("{conf}Log {{ Format json }}\n"));
    daemon.wait_to_say("\"code\":\"ready\"");
    let log = lines(&daemon.log());
    let of = |code: &str| log.iter().find(|line| line["code"] == code).expect("there is one");
    assert_eq!(of("event-source")["level"], "notice");
    assert!(["tap", "netlink"].map(Into::into).contains(&of("event-source")["source"]));
    assert_eq!(of("kernel-table-read")["flows"], 0);
    assert!(log.iter().all(|line| line["ts"].as_str().is_some_and(|ts| ts.ends_with('Z'))));
    // Ended flows are recorded as ever.
    Requests::open(&stage.node).create(&udp_flows(0..1));
    wait_until("it is known", || daemon.internal().len() == 1);
    Requests::open(&stage.node).delete(&udp_flows(0..1));
    wait_until("its end is a line", || daemon.file("records").contains("\tudp "));
    stage.write("a", &conf);
    daemon.signal(Signal::HUP);
    daemon.wait_to_say("[notice] Log changed: the engine goes on");
}

#[test]
fn journald_gets_each_line_with_code_and_fields() {
    let stage = Solo::new();
    let journal = stage.files.path().join("journal");
    std::fs::create_dir(&journal).expect("it is new");
    let journald = UnixDatagram::bind(journal.join("socket")).expect("it can listen");
    stage.write("a", &format!("{}Log {{ Journal on }}\n", solo("")));
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
         mount --bind {} /run/systemd/journal && exec \"$0\" \"$@\"",
        journal.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(Brand::Ours.program());
    let daemon = Daemon::start_with(command, &stage.node, Brand::Ours, &stage.files, "a");
    let mut bytes = [0; 4096];
    let mut lines = String::new();
    while !lines.contains("CTFLOW_CODE=ready\n") {
        let len = journald.recv(&mut bytes).expect("it receives");
        lines += &String::from_utf8_lossy(&bytes[..len]);
    }
    assert!(lines.contains("\nCTFLOW_CODE=event-source\nCTFLOW_SOURCE="), "{lines}");
    assert!(lines.contains("MESSAGE=initialization completed\nPRIORITY=5\n"), "{lines}");
    // The file has them too, as ever.
    daemon.wait_to_say("[notice] initialization completed");
}
