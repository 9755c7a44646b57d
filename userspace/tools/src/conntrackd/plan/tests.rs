//! What is decided from a configuration, and what a reload does about each of its keywords.

use super::Plan;
use crate::conf::schema::{Block, KEYWORDS};
use crate::conf::{self, Conf};
use engine::Config;
use host::source::{Choice, group};
use host::sys::Scheduling;
use std::collections::BTreeSet;

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

fn plan(text: &str) -> Plan {
    Plan::from(&parse(text))
}

/// Checks which parts of a changed file need a new engine, which change live, and whether anything comes later.
fn check(from: &str, to: &str, rebuilds: &[&str], live: &[&str]) {
    assert_ne!(parse(from), parse(to), "{to}");
    let difference = plan(from).difference(&plan(to));
    assert_eq!(difference.rebuilds, rebuilds, "{to}");
    assert_eq!(difference.live, live, "{to}");
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
    for (text, name) in [
        (swap("CommitTimeout 100", "CommitTimeout 7"), "CommitTimeout"),
        (swap("CommitTimeout 100", ""), "CommitTimeout"),
        (swap("PurgeTimeout 5", "PurgeTimeout 6"), "PurgeTimeout"),
        (swap("/a.log", "/b.log"), "LogFile"),
        (swap("Accept", "Ignore"), "Filter"),
        (swap("From Kernelspace", "From Userspace"), "Filter"),
        (swap("Filter From Kernelspace { Protocol Accept { TCP } }", ""), "Filter"),
        (add("Syslog local3"), "Syslog"),
        (add("Systemd off"), "Systemd"),
        (format!("{SYNC}Log {{ Format json }}"), "Log"),
        (format!("{SYNC}Log {{ Journal on }}"), "Log"),
        (format!("{SYNC}Log {{ Level error }}"), "Log"),
        (swap("/a.lock", "/b.lock"), "LockFile"),
        (swap("/a.sock", "/b.sock"), "UNIX"),
        (format!("{SYNC}Helper {{ Setup yes Type ftp inet tcp {{ QueueNum 1 }} }}"), "Helper"),
        (format!("{SYNC}Metrics {{ Listen 127.0.0.1:10466 }}"), "Metrics"),
        (add("NetlinkBufferSizeMaxGrowth 77"), "NetlinkBufferSizeMaxGrowth"),
        (add("NetlinkOverrunResync off"), "NetlinkOverrunResync"),
        (add("EventIterationLimit 5"), "EventIterationLimit"),
        (add("EventLatency 5"), "EventLatency"),
        (add("Scheduler { Type FIFO\n Priority 3 }"), "Scheduler"),
    ] {
        check(SYNC, &text, &[], &[name]);
        let lines = plan(SYNC).difference(&plan(&text)).lines();
        assert_eq!(lines, [format!("{name} changed: the engine goes on")]);
    }
    let (from, to) = ("Stats { LogFile /y }", "Stats { LogFile /x\n Syslog on }");
    check(from, to, &[], &["LogFile", "Syslog"]);
}

#[test]
fn what_does_not_is_named() {
    for (text, name) in [
        (swap("HashLimit 1000", "HashLimit 2000"), "HashLimit"),
        (swap("NetlinkBufferSize 1000", "NetlinkBufferSize 1001"), "NetlinkBufferSize"),
        (add("EventSource netlink"), "EventSource"),
        (add("NetlinkEventsReliable on"), "NetlinkEventsReliable"),
        (add("PollSecs 3"), "PollSecs"),
        (swap("PurgeTimeout 5", "DisableInternalCache on\n PurgeTimeout 5"), "Mode"),
        (swap("PurgeTimeout 5", "StartupResync on\n PurgeTimeout 5"), "Mode"),
        (swap("Mode NOTRACK", "Mode FTFW"), "Mode"),
        (swap("10.0.0.2", "10.0.0.3"), "the dedicated link"),
        (swap("Port 3780", "Port 3780 Checksum off"), "the dedicated link"),
        (swap("Port 3780", "Port 3780 SndSocketBuffer 5"), "the dedicated link"),
        (swap("Port 3780", "Port 3780 RcvSocketBuffer 5"), "the dedicated link"),
        (swap("  UDP {", "  Options { TCPWindowTracking on }\n  UDP {"), "Options"),
        (swap("  UDP {", "  Options { ExpectationSync { ftp } }\n  UDP {"), "Options"),
    ] {
        check(SYNC, &text, &[name], &[]);
        let lines = plan(SYNC).difference(&plan(&text)).lines();
        assert_eq!(lines, [format!("{name} changed: the engine is started again")]);
    }
    // Nothing is committed without a table of the peer's flows, so `CommitTimeout` ends with it.
    let no_external = swap("PurgeTimeout 5", "DisableExternalCache on\n PurgeTimeout 5");
    check(SYNC, &no_external, &["Mode"], &["CommitTimeout"]);
    check("Stats { }", "Stats { }\nGeneral { Shards 2\n }", &["Shards"], &[]);
    check("Stats { }", "Stats { LogFile /x }", &["whether ended flows are recorded"], &[]);
    let general = &SYNC[SYNC.find("General").expect("there is one")..];
    check(SYNC, &format!("Stats {{ }}\n{general}"), &["Mode"], &[]);
    // Only a source that opens with a minimum age has room for young flows.
    let aged = swap("From Kernelspace {", "From Kernelspace {\n MinimumAge 500\n");
    check(SYNC, &aged, &["MinimumAge"], &["Filter"]);
    check(&aged, SYNC, &[], &["Filter"]);
    check(&aged, &aged.replace("500", "600"), &[], &["Filter"]);
}

/// With a line for the block and one for its peer.
fn replicating(line: &str, peer: (&str, &str)) -> String {
    let (name, of_peer) = peer;
    let key = "PublicKey gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=";
    format!(
        "Sync {{ Replication {{ Name x\n KeyFile /k\n {line}\n Port 1\n Peer {name} {{ {key}\n Address 192.0.2.2\n \
         {of_peer}\n }} }} }} General {{ UNIX {{ Path /a.sock }} }}"
    )
}

#[test]
fn r3_1_keys_addresses_and_rates_of_peers_change_live_and_who_they_are_does_not() {
    let plain = replicating("", ("fw-b", ""));
    let second = "PublicKey HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    for (text, name) in [
        (replicating("KeyFile /l", ("fw-b", "")), "KeyFile"),
        (replicating("", ("fw-b", second)), "PublicKey"),
        (replicating("", ("fw-b", "Address 192.0.2.3")), "Address"),
        (replicating("", ("fw-b", "Port 2")), "Address"),
        (replicating("", ("fw-b", "Rate 9")), "Rate"),
    ] {
        check(&plain, &text, &[], &[name]);
    }
    for (text, name) in [
        (replicating("", ("fw-c", "")), "Peer"),
        (replicating("PresharedKeyFile /p", ("fw-b", "")), "PresharedKeyFile"),
        (replicating("IPv4_address 192.0.2.1", ("fw-b", "")), "the addresses of Replication"),
        (replicating("Inject on", ("fw-b", "")), "Inject"),
        (plain.replace("Name x", "Name y"), "Name"),
        (plain.replace("Port 1", "Port 2"), "Port of Replication"),
    ] {
        let difference = plan(&plain).difference(&plan(&text));
        assert_eq!(difference.rebuilds, [name], "{text}");
    }
    // Where it stands in the file does not matter.
    let lower = format!("\n\n{plain}");
    assert_eq!(plan(&plain).difference(&plan(&lower)).lines(), [""; 0]);
}

#[test]
fn room_for_flows_takes_effect_with_the_next_engine_and_is_said_to() {
    let difference = |text: &str| plan(SYNC).difference(&plan(text));
    let alone = difference(&add("HashSize 4096"));
    assert!(alone.rebuilds.is_empty() && alone.live.is_empty(), "{alone:?}");
    let [line] = &alone.lines()[..] else { panic!("{alone:?}") };
    assert!(line.contains("HashSize") && line.contains("takes effect with the next"), "{line}");
    // The plan that is adopted holds it: an engine that is started later makes that room.
    assert_eq!(plan(&add("HashSize 4096")).config.flows_expected, 8192);
    let with_a_new_engine = difference(&add("HashSize 4096\n PollSecs 3"));
    assert_eq!(with_a_new_engine.lines(), ["PollSecs changed: the engine is started again"]);
    let with_a_user = difference(&add("User nobody\n PollSecs 3")).lines();
    assert!(with_a_user.len() == 2 && with_a_user[1].contains("restart"), "{with_a_user:?}");
    let beside_another = difference(&add("HashSize 4096\n Syslog local3")).lines();
    assert!(beside_another[0].starts_with("Syslog changed"), "{beside_another:?}");
    assert!(beside_another[1].starts_with("HashSize"), "{beside_another:?}");
}

/// Ways to write every keyword of `General` other than it is by default.
const OTHERWISE: &[&str] = &[
    "EventSource netlink",
    "HashSize 7",
    "HashLimit 7",
    "LogFile /x",
    "Syslog local3",
    "LockFile /x",
    "UNIX { Path /x }",
    "NetlinkBufferSize 7",
    "NetlinkBufferSizeMaxGrowth 7",
    "NetlinkOverrunResync 7",
    "NetlinkEventsReliable on",
    "PollSecs 7",
    "EventIterationLimit 7",
    "EventLatency 7",
    "Shards 7",
    "Systemd off",
    "Scheduler { }",
    "User nobody",
    "Group nogroup",
    "Filter { Protocol Accept { TCP } }",
];

#[test]
fn no_keyword_of_general_changes_without_a_word() {
    let name = |line: &'static str| line.split(' ').next().expect("it is not empty");
    for &line in OTHERWISE {
        let difference =
            plan("Stats { }").difference(&plan(&format!("Stats {{ }} General {{ {line} }}")));
        let lines = difference.lines();
        assert!(lines.len() == 1 && lines[0].contains(name(line)), "{line}: {lines:?}");
    }
    let tried: BTreeSet<_> = OTHERWISE.iter().map(|line| name(line)).collect();
    let rows = KEYWORDS.iter().filter(|row| row.places.contains(&Block::General));
    let all = rows.filter(|row| row.deprecated.is_none()).map(|row| row.name).collect();
    assert_eq!(tried, all);
}

/// The list of the reference is the one that holds.
#[test]
fn the_reference_says_what_a_reload_does_about_each_keyword() {
    let reference = conf::reference::markdown();
    let paragraph = |start: &str| {
        let at = reference.find(start).unwrap_or_else(|| panic!("{start}"));
        reference[at..].split("\n\n").next().expect("there is one")
    };
    let live = paragraph("These change while the engine runs");
    let rebuilds = paragraph("Every other change restarts the engine");
    let later = paragraph("`HashSize` is room made");
    let restarts = paragraph("`User` and `Group` are taken once");
    let restarts = restarts.split(". A\n").next().expect("it is not empty");
    for &line in OTHERWISE {
        let name = line.split(' ').next().expect("it is not empty");
        let wanted = plan(&format!("Stats {{ }} General {{ {line} }}"));
        let difference = plan("Stats { }").difference(&wanted);
        let told = |text: &str| text.contains(&format!("`{name}`"));
        let is = [told(live), told(rebuilds), told(later), told(restarts)];
        let holds = [
            !difference.live.is_empty(),
            !difference.rebuilds.is_empty(),
            !difference.later.is_empty(),
            !difference.restarts.is_empty(),
        ];
        assert_eq!(is, holds, "{name}: live, new engine, next engine, restart");
    }
}

#[test]
fn the_same_text_is_the_same_plan() {
    for text in [SYNC, "Stats { LogFile /x }", "Helper { Type ftp inet tcp { QueueNum 1 } }"] {
        assert_eq!(plan(text).difference(&plan(text)).lines(), [""; 0], "{text}");
    }
}

#[test]
fn what_has_no_effect_is_no_difference() {
    let link = "Sync { Mode FTFW { } TCP { IPv4_address 10.0.0.1\n IPv4_Destination_Address 10.0.0.2\n Port 1\n \
                Interface eth0 } }";
    let off = link.replace("Port 1", "Port 1\n Checksum off");
    assert_eq!(plan(link).difference(&plan(&off)).lines(), [""; 0]);
    assert!(plan(&off).links.unwrap().links[0].checksum, "TCP has checksums");
    assert!(!plan(&swap("Port 3780", "Port 3780 Checksum off")).links.unwrap().links[0].checksum);
}

#[test]
fn a_scheduler_that_is_taken_away_leaves_no_thread_in_real_time() {
    let real_time = plan(&add("Scheduler { Type FIFO\n Priority 3 }"));
    let change = real_time.change(&plan(SYNC));
    assert_eq!(change.tuning.scheduling, Some(Scheduling::Ordinary));
    assert_eq!(plan(SYNC).change(&real_time).tuning.scheduling, Some(Scheduling::Fifo(3)));
    assert_eq!(plan(SYNC).change(&plan(SYNC)).tuning.scheduling, None);
}

#[test]
fn a_running_shard_is_told_what_changes_live() {
    let wanted = plan(
        &swap("CommitTimeout 100", "CommitTimeout 7")
            .replace("General {", "General {\n NetlinkOverrunResync 9"),
    );
    let change = plan(SYNC).change(&wanted);
    assert_eq!((change.commit_timeout_s, change.filter.is_some()), (Some(7), false));
    assert_eq!(change.repair_after.map(|after| after.as_secs()), Some(9));
    let in_kernel = |text: &str| plan(SYNC).change(&plan(text)).filter.expect("it changes").1;
    let everything = Plan::from(&Conf::default()).source.filter;
    assert_eq!(in_kernel(&swap("From Kernelspace", "From Userspace")), everything);
    assert_ne!(in_kernel(&swap("Accept", "Ignore")), everything);
}

#[test]
fn the_source_is_chosen_by_all_that_bears_on_it() {
    let opened = |text: &str| {
        let plan = plan(text);
        (plan.source.choice, plan.source.groups, plan.declines_hook())
    };
    let stats = |line: &str| opened(&format!("Stats {{ }} General {{ {line} }}"));
    assert_eq!(stats("EventSource hook"), (Choice::Hook, group::FLOWS, false));
    assert_eq!(stats("EventSource tap"), (Choice::Tap, group::FLOWS, false));
    assert_eq!(stats("EventSource tap PollSecs 3"), (Choice::Netlink, 0, false));
    let no_cache = add("EventSource hook").replace("PurgeTimeout 5", "DisableInternalCache on");
    assert_eq!(opened(&no_cache), (Choice::Auto, group::FLOWS, true));
    let helper = "Helper { Type ftp inet tcp { QueueNum 1 } } General { PollSecs 3 Shards 4 }";
    assert_eq!(opened(helper), (Choice::Netlink, 0, false));
    let plan = plan(helper);
    assert_eq!((plan.poll, plan.shards, plan.index_bytes()), (None, 1, 0));
    assert!(plan.helpers.is_some() && plan.links.is_none());
}

#[test]
fn a_plan_holds_nothing_of_one_start() {
    let Config { first_seq, hash_seed, .. } = plan(SYNC).config;
    let standard = Config::default();
    assert_eq!((first_seq, hash_seed), (standard.first_seq, standard.hash_seed));
}

/// How long events coalesce follows from who waits, unless it is written; the reference names both.
#[test]
fn events_coalesce_for_a_shorter_time_where_a_peer_waits() {
    let us = |text: &str| plan(text).tuning.coalesce.as_micros();
    let (peer, nobody) = (us(SYNC), us("Stats { }"));
    assert!(0 < peer && peer < nobody, "{peer} {nobody}");
    for text in ["Stats { } General { EventLatency 70 }", &add("EventLatency 70")] {
        assert_eq!(us(text), 70);
    }
    assert_eq!(us(&add("EventLatency 0")), 0);
    let told = format!("`EventLatency NUMBER` (default: {peer} with a peer, {nobody} without)");
    assert!(conf::reference::markdown().contains(&told), "{told}");
}
