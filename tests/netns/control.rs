//! The control socket and the client: every command, and clients that misbehave.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::thread;
use tests::conf::{Conf, End};
use tests::conntrack::{self, lines};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon, run_ours};
use tests::stage::Stage;
use tests::wait::{wait_for, wait_until};

const FLOWS: u32 = 20;

/// Ours on both nodes, and flows of A that B knows.
fn pair(stage: &Stage, flows: u32) -> (Daemon<'_>, Daemon<'_>) {
    let b = stage.ours("b", &Conf::new(End::B));
    let a = stage.ours("a", &Conf::new(End::A));
    Requests::open(&stage.a).create(&udp_flows(0..flows));
    await_flows(&a, &b, flows);
    (a, b)
}

/// Until B has so many flows of A; asks again for what the link has lost.
fn await_flows(a: &Daemon<'_>, b: &Daemon<'_>, flows: u32) {
    wait_until("A has all", || active(a, "internal") == u64::from(flows));
    wait_until("B has all", || {
        let all = active(b, "external") == u64::from(flows);
        if !all {
            b.ask(&["-n"]);
        }
        all
    });
}

fn active(daemon: &Daemon<'_>, cache: &str) -> u64 {
    daemon.stat(&["-s", "cache"], &format!("cache:{cache}\tactive objects:"))
}

#[test]
fn every_command_does_what_it_is_for() {
    let stage = Stage::new();
    let (a, b) = pair(&stage, FLOWS);
    assert_eq!(a.internal().len(), FLOWS as usize);
    assert_eq!(a.ask(&["-i", "ct"]).lines().count(), FLOWS as usize);
    assert_eq!(b.ask(&["-e", "ct"]).lines().count(), FLOWS as usize);
    assert_eq!((a.external(), b.internal()), (vec![], vec![]));

    assert_eq!(a.ask(&["-f", "internal"]), "");
    assert_eq!(a.internal(), [""; 0]);
    a.ask(&["-R"]);
    assert_eq!(a.internal().len(), FLOWS as usize);
    a.ask(&["-f"]);
    a.ask(&["-R", "ct"]);
    assert_eq!(a.internal().len(), FLOWS as usize);

    b.ask(&["-f", "external"]);
    assert_eq!(b.external(), [""; 0]);
    a.ask(&["-B"]);
    wait_until("the bulk arrives", || b.external().len() == FLOWS as usize);
    b.ask(&["-f"]);
    b.ask(&["-n"]);
    wait_until("the answer arrives", || b.external().len() == FLOWS as usize);
    b.ask(&["-c"]);
    assert_eq!(lines(&stage.b), lines(&stage.a));
    b.wait_to_say(&format!("Committed {FLOWS} new entries"));
    b.ask(&["-c", "ct"]);
    assert_eq!(lines(&stage.b), lines(&stage.a));
}

#[test]
fn every_statistic_shows_what_happened() {
    let stage = Stage::new();
    let (a, b) = pair(&stage, FLOWS);
    let general = a.ask(&["-s"]);
    for words in ["cache internal:", "cache external:", "UDP traffic (active device=va)"] {
        assert!(general.contains(words), "{words} is not in: {general}");
    }
    assert_eq!(a.ask(&["-s", "ct"]).lines().count(), general.lines().count());
    assert_eq!(b.stat(&["-s", "network"], "Malformed messages:"), 0);
    assert_eq!(b.stat(&["-s", "network"], "Packets lost:"), 0);
    assert_eq!(active(&b, "external"), u64::from(FLOWS));
    assert!(a.stat(&["-s", "runtime"], "events received:") >= FLOWS.into());
    assert_eq!(a.stat(&["-s", "runtime"], "lost:"), 0);
    assert!(a.ask(&["-s", "link"]).contains("role=ACTIVE"));
    assert_eq!(a.ask(&["-s", "multicast"]).lines().count(), a.ask(&["-s", "link"]).lines().count());
}

#[test]
fn without_a_daemon_every_command_fails_and_says_why() {
    let stage = Stage::new();
    let path = stage.files.conf("a", &Conf::new(End::A));
    let conf = path.to_str().expect("paths are text");
    for verb in ["-s", "-i", "-e", "-c", "-f", "-F", "-n", "-B", "-R", "-t", "-k"] {
        let output = run_ours(&stage.a, &["-C", conf, verb]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {said}");
        assert!(said.contains("is it running?"), "{verb}: {said}");
    }
}

/// Every way to ask: a program of ours, and what it is asked.
const QUESTIONS: [(&str, &[&str]); 8] = [
    ("conntrackd", &["-i"]),
    ("conntrackd", &["-i", "-x"]),
    ("conntrackd", &["-s"]),
    ("conntrackd", &["-s", "network"]),
    ("conntrackd", &["-s", "json"]),
    ("ctflow", &["status"]),
    ("ctflow", &["status", "--json"]),
    ("ctflow", &["ready"]),
];

/// `conntrackd -i | head -n1`: as `SIGPIPE` ends a C program.
#[test]
fn a_client_without_a_reader_ends_silently() {
    const SIGPIPE: i32 = 13;
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A));
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    wait_until("A has all", || active(&a, "internal") == u64::from(FLOWS));
    for (program, args) in QUESTIONS {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let done = a.ask_into(program, args, writer.into());
        assert_eq!(done.status.signal(), Some(SIGPIPE), "{program} {args:?}: {done:?}");
        assert!(done.stderr.is_empty(), "{program} {args:?}: {done:?}");
    }
    assert_eq!(a.internal().len(), FLOWS as usize);
}

/// The daemon is there; the disk has no room.
#[test]
fn a_client_that_cannot_write_names_the_cause() {
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A));
    Requests::open(&stage.a).create(&udp_flows(0..FLOWS));
    wait_until("A has all", || active(&a, "internal") == u64::from(FLOWS));
    for (program, args) in QUESTIONS {
        let full = File::options().write(true).open("/dev/full").expect("it is there");
        let done = a.ask_into(program, args, full.into());
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(said, format!("{program}: write error: No space left on device\n"), "{args:?}");
        // For `ctflow`, 1 is an answer.
        let code = if program == "ctflow" { 2 } else { 1 };
        assert_eq!(done.status.code(), Some(code), "{program} {args:?}");
    }
}

/// Defect 10 of the original, and its like: exit codes that say the opposite.
#[test]
fn a_refusal_of_the_daemon_is_a_failure_of_the_client() {
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A).mode("DisableInternalCache on"));
    let output = a.try_ask(&["-R"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("resync is unsupported in this mode"), "{said}");
}

/// Defect 33 of the original: it stands still until such a client speaks.
#[test]
fn clients_that_say_nothing_or_half_a_word_hold_up_nobody() {
    let stage = Stage::new();
    let (a, b) = pair(&stage, FLOWS);
    let connect = || UnixStream::connect(a.path("sock")).expect("the daemon listens");
    let mut held: Vec<_> = (0..100).map(|_| connect()).collect();
    held.iter_mut().take(50).for_each(|client| client.write_all(&[21, 0]).expect("it listens"));
    a.ask(&["-s"]);
    Requests::open(&stage.a).create(&udp_flows(FLOWS..2 * FLOWS));
    wait_until("flows arrive", || b.external().len() == 2 * FLOWS as usize);
}

#[test]
fn unknown_requests_are_closed_without_an_answer() {
    let stage = Stage::new();
    let a = stage.ours("a", &Conf::new(End::A));
    for number in [2, 15, 27, 49, -1, i32::MAX] {
        let mut client = UnixStream::connect(a.path("sock")).expect("the daemon listens");
        client.write_all(&number.to_ne_bytes()).expect("the daemon reads");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("the daemon closes");
        assert_eq!(answer, b"", "{number}");
    }
    assert_eq!(a.stat(&["-s", "runtime"], "local unknown request:"), 6);
    drop(UnixStream::connect(a.path("sock")).expect("the daemon listens"));
    wait_until("who says nothing is counted", || {
        a.stat(&["-s", "runtime"], "local read failed:") == 1
    });
}

#[test]
fn clients_that_leave_in_the_middle_do_no_harm() {
    let stage = Stage::new();
    let flows = 20_000;
    let (a, b) = pair(&stage, flows);
    for number in [16_i32, 16, 21, 22, 44, 18, 20_000] {
        let mut client = UnixStream::connect(b.path("sock")).expect("the daemon listens");
        client.write_all(&number.to_ne_bytes()).expect("the daemon reads");
        drop(client);
        let mut client = UnixStream::connect(a.path("sock")).expect("the daemon listens");
        client.write_all(&number.to_ne_bytes()).expect("the daemon reads");
        let mut some = [0; 100];
        let _ = client.read(&mut some);
    }
    assert_eq!(a.ask(&["-i"]).lines().count(), flows as usize);
    wait_until("the commit goes on without its client", || {
        conntrack::count(&stage.b) == flows as usize
    });
}

/// Defects 2 and 4 of the original: after a short commit its tables can never be emptied again, and a second commit
/// beside the first is not noticed.
#[test]
fn dumps_that_nobody_reads_and_clients_that_are_killed_in_one_cost_no_memory() {
    let stage = Stage::new();
    let flows = 20_000;
    let (a, _b) = pair(&stage, flows);
    a.ask(&["-i"]);
    let before = a.memory();
    let held = (0..100).map(|_| {
        let mut client = UnixStream::connect(a.path("sock")).expect("the daemon listens");
        client.write_all(&16_i32.to_ne_bytes()).expect("the daemon reads");
        client
    });
    let held: Vec<_> = held.collect();
    for _ in 0..20 {
        let mut client = Command::new(Brand::Ours.program());
        client.arg("-C").arg(a.path("conf")).arg("-i").stdout(Stdio::piped());
        let mut client = client.spawn().expect("the client can be started");
        let mut some = [0; 1000];
        let pipe = client.stdout.as_mut().expect("it is piped");
        pipe.read_exact(&mut some).expect("the dump begins");
        client.kill().expect("it is still writing, or has just ended");
        client.wait().expect("it is our child");
    }
    assert_eq!(a.ask(&["-i"]).lines().count(), flows as usize);
    // A page and a text of it for each client, not the whole table of 3 MB.
    let grown = a.memory().saturating_sub(before);
    assert!(grown < 100 << 20, "grown by {grown} bytes");
    drop(held);
    a.ask(&["-s"]);
}

#[test]
fn while_a_commit_runs_tables_are_not_emptied_and_no_second_one_begins() {
    let stage = Stage::new();
    let flows = 40_000;
    let (a, b) = pair(&stage, flows);
    let refused = |args: &[&str]| {
        let output = b.try_ask(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        !output.status.success() && said.contains("commit is still in progress")
    };
    // A commit that is over too soon to be disturbed is repeated.
    wait_for("a commit is disturbed", || {
        let begun = b.log().matches("committing all external caches").count();
        thread::scope(|scope| {
            let commit = scope.spawn(|| b.ask(&["-c"]));
            wait_until("it begins", || {
                b.log().matches("committing all external caches").count() > begun
            });
            let seen = refused(&["-c"]) && refused(&["-f", "external"]) && refused(&["-f"]);
            commit.join().expect("the commit itself succeeds");
            seen.then_some(())
        })
        .or_else(|| {
            await_flows(&a, &b, flows);
            None
        })
    });
    assert_eq!(conntrack::count(&stage.b), flows as usize);
    b.ask(&["-f", "external"]);
    assert_eq!(active(&b, "external"), 0);
}

#[test]
fn two_bulk_transfers_at_once_out_of_the_kernel_are_both_answered() {
    let stage = Stage::new();
    Requests::open(&stage.a).create(&udp_flows(0..20_000));
    let a = stage.ours("a", &Conf::new(End::A).mode("DisableInternalCache on"));
    let ask = || a.try_ask(&["-B"]).status.code();
    thread::scope(|scope| {
        let [first, second] = [(); 2].map(|()| scope.spawn(ask));
        let both = [first, second].map(|client| client.join().expect("a client ends"));
        assert!(both.contains(&Some(0)), "one of them is carried out: {both:?}");
        assert!(both.iter().all(|code| matches!(code, Some(0 | 1))), "both end: {both:?}");
    });
    a.ask(&["-s"]);
}
