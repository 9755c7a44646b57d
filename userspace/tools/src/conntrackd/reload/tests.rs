//! Every keyword either changes live or has the engine started anew.

use super::{rebuilds, remarks};
use crate::conf::{self, Conf};

const SYNC: &str = "Sync {
  Mode NOTRACK { CommitTimeout 100
    PurgeTimeout 5 }
  UDP { IPv4_address 10.0.0.1
    IPv4_Destination_Address 10.0.0.2
    Port 3780
    Interface eth0 }
}
General {
  HashLimit 1000
  LogFile /a.log
  LockFile /a.lock
  UNIX { Path /a.sock }
  NetlinkBufferSize 1000
  Filter From Kernelspace { Protocol Accept { TCP } }
}
";

fn parse(text: &str) -> Conf {
    conf::parse(text, "test").unwrap_or_else(|found| panic!("{text}\n{found:?}")).0
}

/// What of a changed file needs an engine started anew.
fn check(from: &str, to: &str, names: &[&str]) {
    let (running, wanted) = (parse(from), parse(to));
    assert_ne!(running, wanted, "{to}");
    assert_eq!(rebuilds(&running, &wanted), names, "{to}");
}

fn swap(from: &str, to: &str) -> String {
    assert!(SYNC.contains(from), "{from}");
    SYNC.replacen(from, to, 1)
}

fn add(line: &str) -> String {
    swap("General {\n", &format!("General {{\n  {line}\n"))
}

#[test]
fn what_changes_live_leaves_the_engine_as_it_is() {
    for text in [
        swap("CommitTimeout 100", "CommitTimeout 7"),
        swap("CommitTimeout 100", ""),
        swap("PurgeTimeout 5", "PurgeTimeout 6"),
        swap("/a.log", "/b.log"),
        swap("Accept", "Ignore"),
        swap("From Kernelspace", "From Userspace"),
        swap("Filter From Kernelspace { Protocol Accept { TCP } }", ""),
        add("Syslog local3"),
        add("HashSize 4096"),
        add("Systemd off"),
        swap("/a.lock", "/b.lock"),
        swap("/a.sock", "/b.sock"),
        format!("{SYNC}Helper {{ Setup yes Type ftp inet tcp {{ QueueNum 1 }} }}"),
        add("NetlinkBufferSizeMaxGrowth 77"),
        add("NetlinkOverrunResync off"),
        add("EventIterationLimit 5"),
        add("Scheduler { Type FIFO\n Priority 3 }"),
    ] {
        check(SYNC, &text, &[]);
    }
    check("Stats { LogFile /x }", "Stats { LogFile /x\n Syslog on }", &[]);
}

#[test]
fn what_does_not_is_named() {
    for (text, names) in [
        (swap("HashLimit 1000", "HashLimit 2000"), "HashLimit"),
        (swap("NetlinkBufferSize 1000", "NetlinkBufferSize 1001"), "NetlinkBufferSize"),
        (add("EventSource netlink"), "EventSource"),
        (add("NetlinkEventsReliable on"), "NetlinkEventsReliable"),
        (add("PollSecs 3"), "PollSecs"),
        (swap("PurgeTimeout 5", "DisableExternalCache on\n PurgeTimeout 5"), "Mode"),
        (swap("Mode NOTRACK", "Mode FTFW"), "Mode"),
        (swap("10.0.0.2", "10.0.0.3"), "the dedicated link"),
        (swap("  UDP {", "  Options { TCPWindowTracking on }\n  UDP {"), "Options"),
    ] {
        check(SYNC, &text, &[names]);
    }
    check("Stats { }", "Stats { }\nGeneral { Shards 2\n }", &["Shards"]);
    let general = &SYNC[SYNC.find("General").expect("there is one")..];
    check(SYNC, &format!("Stats {{ }}\n{general}"), &["Mode"]);
}

#[test]
fn what_changes_nothing_now_is_named() {
    let say = |text: &str| remarks(&parse(SYNC), &parse(text)).join("\n");
    assert!(say(&add("HashSize 4096")).contains("HashSize"));
    let with_a_new_engine =
        SYNC.replacen("General {", "General {\n HashSize 4096\n PollSecs 3\n", 1);
    assert_eq!(say(&with_a_new_engine), "", "a new engine takes it");
    assert_eq!(say(&add("Syslog local3")), "");
}
