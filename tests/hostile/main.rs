//! A stranger on the link sends arbitrary messages, as fast as it can, while the peer replicates in FTFW.
//!
//! ```text
//!   A (flows come and go) --- FTFW ---> B          the forger, in the peer's name where strangers are not heard
//!         ^                             ^             |
//!         '-----------------------------'-------------'   random bytes, the peer's own datagrams again or
//!                                                         damaged, forged flows, ACKs, NACKs, RESYNCs
//! ```
//!
//! Version 1 of the protocol has no authentication. So a forged flow stays, a forged end ends a flow until the peer
//! sends it again, and a forged ACK makes a sender believe that an end arrived which did not. What must hold: the
//! daemons live, answer, keep their memory and their logs short, and once the forger is gone B comes by itself to
//! know every flow of A as A knows it, unless forged flows have filled its table. Flows at B that A does not have may
//! be left over; emptying the external cache and requesting everything (`-f external`, `-n`) is what the operator has
//! against them, and the only thing that helps against a full table.
//!
//! Version 2 is another matter: see [`sealed`].
//!
//! `CTFLOW_HOSTILE_S` says for how many seconds the forger works; 5 unless it is set.

mod forger;
mod raw;
mod recording;
mod sealed;

use forger::Forger;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::conf::{Conf, End, Transport};
use tests::ctnetlink::{Requests, udp};
use tests::daemon::{Brand, Daemon};
use tests::stage::Stage;
use tests::wait::{wait_equal, wait_until};

/// Most flows a table takes. What a forger can make a daemon keep is this many flows of about 1.5 KiB each, with all
/// labels and names they can have.
const HASH_LIMIT: u32 = 20_000;
/// How much a daemon may grow while it is attacked: both tables, twice, and its queues.
const GROWTH_MAX: usize = 128 << 20;
/// Lines a second that a forger may cause, and as many once.
const LINES_PER_S: usize = 10;
const LINES_ONCE: usize = 200;
/// Flows that come and go at A.
const FLOWS: u32 = 500;

fn seconds() -> u64 {
    let given = std::env::var("CTFLOW_HOSTILE_S");
    given.map_or(5, |text| text.parse().expect("CTFLOW_HOSTILE_S is a number of seconds"))
}

fn conf(end: End, transport: Transport) -> Conf {
    Conf { hash_limit: HASH_LIMIT, ..Conf::new(end).transport(transport) }
}

/// Starts ours in FTFW.
fn start<'a>(stage: &'a Stage, name: &str, conf: &Conf) -> Daemon<'a> {
    let text = conf.text(stage.files.path(), name).replace("Mode NOTRACK", "Mode FTFW");
    let path = stage.files.path().join(format!("{name}.conf"));
    std::fs::write(path, text).expect("a configuration is written");
    let command = std::process::Command::new(Brand::Ours.program());
    Daemon::start_with(command, stage.node(conf.end), Brand::Ours, &stage.files, name)
}

#[test]
fn a_forger_on_a_udp_link_does_no_lasting_harm() {
    attack(Transport::Udp);
}

#[test]
fn a_forger_in_a_multicast_group_does_no_lasting_harm() {
    attack(Transport::Multicast);
}

#[test]
fn a_forger_that_connects_over_tcp_does_no_lasting_harm() {
    attack(Transport::Tcp);
}

/// An answer can be a million times as large as the request, so who is no peer gets none.
#[test]
fn a_strangers_requests_for_everything_cost_little() {
    const TIMES: u32 = 500;
    let stage = Stage::new();
    let a = start(&stage, "a", &conf(End::A, Transport::Udp));
    let b = start(&stage, "b", &conf(End::B, Transport::Udp));
    let mut churn = Churn::new(&stage);
    churn.turn();
    wait_equal("B knows every flow of A", || missing(&a, &b), Vec::new);
    let number = |name: &str| a.status()["links"][0][name].as_u64().expect("a number");
    let before = number("sent_bytes");
    let asked = forger::ask_as_stranger(&stage, TIMES);
    wait_until("A has refused them all", || number("refused") >= u64::from(TIMES));
    let cost = number("sent_bytes") - before;
    println!("a stranger sent {asked} bytes, and A {cost}");
    assert!(cost < 10 * asked, "A sent {cost} bytes for {asked}");
}

fn attack(transport: Transport) {
    let stage = Stage::new();
    let samples = recording::datagrams(&stage);
    let mut a = start(&stage, "a", &conf(End::A, transport));
    let mut b = start(&stage, "b", &conf(End::B, transport));
    let mut churn = Churn::new(&stage);
    churn.turn();
    wait_equal("B knows every flow of A", || missing(&a, &b), Vec::new);
    let before = [&a, &b].map(|daemon| State::of(daemon));
    let work = Duration::from_secs(seconds());
    let forger = Forger::start(&stage, transport, samples, work);
    let begin = Instant::now();
    while begin.elapsed() < work {
        churn.turn();
        // Each is a client of its own, which waits no longer than its patience.
        for daemon in [&a, &b] {
            daemon.ask(&["-s"]);
        }
    }
    let sent = forger.join();
    for (daemon, before) in [(&mut a, &before[0]), (&mut b, &before[1])] {
        assert!(daemon.is_running(), "{}", daemon.log());
        before.check(daemon, work);
    }
    println!("{transport:?}: {sent} pieces sent in {work:?}");
    recovers(&a, &b);
}

/// B comes to know what A knows; with the operator's help, exactly that.
fn recovers(a: &Daemon<'_>, b: &Daemon<'_>) {
    let count = || identities(&a.internal()).len();
    wait_equal("nobody forges what A's kernel says", count, || FLOWS as usize);
    let flows = identities(&a.internal());
    let known = b.external().len();
    println!("B knows {known} flows, of which A has {}", flows.len());
    // A forged flow looks like any other, so a table that is full of them stays full.
    if known + flows.len() <= HASH_LIMIT as usize {
        wait_equal("B knows every flow of A again", || missing(a, b), Vec::new);
    }
    // What the forger sent last may still wait in B's socket, and come in behind the operator's back.
    wait_until("with the operator's help B knows that and no more", || {
        b.ask(&["-f", "external"]);
        b.ask(&["-n"]);
        let end = Instant::now() + Duration::from_secs(4);
        let exact = || identities(&b.external()).len() == flows.len() && missing(a, b).is_empty();
        while !exact() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
        exact()
    });
}

/// The first few flows of A that B does not know as they are.
fn missing(a: &Daemon<'_>, b: &Daemon<'_>) -> Vec<String> {
    let at_b = identities(&b.external());
    identities(&a.internal()).into_iter().filter(|line| !at_b.contains(line)).take(5).collect()
}

/// Lines without what travels only of some flows: the reply, and marks of 0.
fn identities(lines: &[String]) -> BTreeSet<String> {
    let line = |line: &String| {
        let mut seen = BTreeSet::new();
        let is_new = |word: &&str| {
            *word != "mark=0" && name_of(word).is_none_or(|name| seen.insert(name.to_owned()))
        };
        line.split_whitespace().filter(is_new).collect::<Vec<_>>().join(" ")
    };
    lines.iter().map(line).collect()
}

fn name_of(word: &str) -> Option<&str> {
    word.split_once('=').map(|(name, _)| name)
}

/// Flows at A that come, change and go all the time.
struct Churn {
    requests: Requests,
    turns: u32,
}

impl Churn {
    fn new(stage: &Stage) -> Self {
        Self { requests: Requests::open(&stage.a), turns: 0 }
    }

    /// Replaces all flows but a few, which change.
    fn turn(&mut self) {
        let lasting = 50;
        let numbers = |turn: u32| (0..FLOWS - lasting).map(move |n| udp(1000 + turn * FLOWS + n));
        let stay: Vec<_> = (0..lasting).map(udp).collect();
        if self.turns == 0 {
            self.requests.create(&stay);
        } else {
            self.requests.delete(&numbers(self.turns - 1).collect::<Vec<_>>());
            let changed = stay.into_iter().map(|mut flow| {
                flow.mark = self.turns;
                flow.known |= ctnetlink::flow::Known::MARK;
                flow
            });
            self.requests.update(&changed.collect::<Vec<_>>());
        }
        self.requests.create(&numbers(self.turns).collect::<Vec<_>>());
        self.turns += 1;
    }
}

/// What a daemon had used and written before the attack.
struct State {
    memory: usize,
    lines: usize,
}

impl State {
    fn of(daemon: &Daemon<'_>) -> Self {
        Self { memory: daemon.memory(), lines: daemon.log().lines().count() }
    }

    /// What the attack has made of it.
    fn check(&self, daemon: &Daemon<'_>, work: Duration) {
        let after = Self::of(daemon);
        let grown = after.memory.saturating_sub(self.memory);
        let written = after.lines - self.lines;
        let name = daemon.path("log");
        println!(
            "{}: {} -> {} KiB, {written} lines, {:.1} s of processor",
            Path::new(&name).display(),
            self.memory >> 10,
            after.memory >> 10,
            processor_s(daemon.pid()),
        );
        assert!(grown < GROWTH_MAX, "grown by {grown} bytes");
        let most = LINES_ONCE + LINES_PER_S * work.as_secs() as usize;
        assert!(written < most, "{written} lines, at most {most}:\n{}", daemon.log());
    }
}

/// Seconds of processor time a process has used.
fn processor_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks: Vec<i64> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // utime and stime, whose first neighbours are the state, which is no number, and eight that are.
    (ticks[10] + ticks[11]) as f64 / 100.0
}
