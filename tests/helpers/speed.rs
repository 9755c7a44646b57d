//! What a packet costs, and how long it waits: ours beside the original, and beside the least that any daemon costs, by
//! the same traffic. It is measured, not asserted, but for lost packets.

use crate::ftp::greeted;
use crate::queue::Queue;
use crate::stage::{Nat, Stage, alone, conf, of_ftp, start};
use crate::trace::Trace;
use ctnetlink::Writer;
use host::netlink::Socket;
use host::nfnetlink::Client;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};
use tests::daemon::{Brand, Daemon, Files};
use wire::queue::Verdict;

/// How often each has its turn: other work on the machine disturbs some.
const TURNS: usize = 5;
/// Turns where waits are measured, which are nearly the same each time.
const WAITING_TURNS: usize = 2;
/// Questions and answers on one control connection in a turn, each a packet.
const ROUNDS: usize = 2000;
/// Questions that are asked before the first is answered: one, as people do, and so many that packets wait.
const WINDOWS: [usize; 2] = [1, 50];
/// How often the floor looks whether it must end.
const LOOK: Duration = Duration::from_millis(100);
/// The queue of FTP.
const QUEUE: u16 = 3;

/// The program that gives the verdicts.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Daemon(Brand),
    /// Ours in real time, as the original always is.
    InRealTime,
    /// A loop that takes a packet and lets it pass, and reads its number alone: no daemon costs less.
    Floor,
}

/// The daemons.
const DAEMONS: [Subject; 3] =
    [Subject::Daemon(Brand::Original), Subject::Daemon(Brand::Ours), Subject::InRealTime];

/// The stage, with the objects of helpers, and where daemons have their files.
fn prepared() -> (Stage, Files) {
    let (stage, files) = (Stage::new(), Files::new());
    drop(start(&stage.router, Brand::Ours, &files, "all", &conf(&files, "all", "")));
    stage.guard(Nat::None);
    (stage, files)
}

/// Starts one of [`DAEMONS`].
fn started<'a>(stage: &'a Stage, files: &Files, subject: Subject) -> Daemon<'a> {
    let _ = fs::remove_file(files.path().join("d.lock"));
    let text = of_ftp(files, "d");
    let (brand, text) = match subject {
        Subject::Daemon(brand) => (brand, text),
        _ => (Brand::Ours, text.replace("Systemd off", "Systemd off\n Scheduler { Type RR\n }")),
    };
    start(&stage.router, brand, files, "d", &text)
}

#[test]
#[ignore = "a measurement, see benches/RESULTS.md"]
fn packets_of_a_control_connection() {
    let _alone = alone();
    let (stage, files) = prepared();
    for window in WINDOWS {
        let mut all = [DAEMONS.as_slice(), &[Subject::Floor]].concat();
        let mut all: Vec<_> = all.drain(..).map(|subject| (subject, Vec::new())).collect();
        for _ in 0..TURNS {
            for (subject, costs) in &mut all {
                let cost = match subject {
                    Subject::Floor => of_floor(&stage, window),
                    _ => of_daemon(&stage, &started(&stage, &files, *subject), window),
                };
                println!("helpers: {window} at a time: {subject:?}: {cost:?}");
                costs.push(cost);
            }
        }
        for (subject, costs) in &mut all {
            report(window, *subject, costs);
        }
    }
}

/// The kernel's tracing costs, too: so this is apart from what packets cost.
#[test]
#[ignore = "a measurement, see benches/RESULTS.md"]
fn waits_for_verdicts() {
    let _alone = alone();
    let (stage, files) = prepared();
    for window in WINDOWS {
        let mut all = DAEMONS.map(|subject| (subject, Vec::new()));
        for _ in 0..WAITING_TURNS {
            for (subject, waits) in &mut all {
                let daemon = started(&stage, &files, *subject);
                let (client, server) = greeted(&stage, Nat::None);
                let trace = Trace::start();
                talk(client, server, window);
                waits.extend(trace.waits());
                shown(&stage);
                drop(daemon);
            }
        }
        for (subject, waits) in &mut all {
            waits.sort();
            let at = |share: usize| waits[(waits.len() * share / 1000).min(waits.len() - 1)];
            println!(
                "helpers: {window} at a time: {subject:?}: {} packets waited {:?} (p50), {:?} (p90), {:?} (p99), \
                 {:?} (p99.9), {:?} (the longest)",
                waits.len(),
                at(500),
                at(900),
                at(990),
                at(999),
                at(1000)
            );
        }
    }
}

fn report(window: usize, subject: Subject, costs: &mut [Cost]) {
    costs.sort_by_key(|cost| cost.cpu);
    let total: Duration = costs.iter().map(|cost| cost.cpu).sum();
    let packets: u64 = costs.iter().map(|cost| cost.packets).sum();
    let Cost { p50, p99, .. } = costs[0];
    println!(
        "helpers: speed of {subject:?}, {window} at a time: CPU {total:?} for {packets} packets, {} ns each; in the \
         quickest turn {p50:?} (p50), {p99:?} (p99) for all that was asked at a time",
        total.as_nanos() / u128::from(packets)
    );
}

/// What one turn took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu: Duration,
    packets: u64,
    p50: Duration,
    p99: Duration,
}

impl Cost {
    fn new(cpu: Duration, packets: u64, mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |share: usize| times[times.len() * share / 100];
        Self { cpu, packets, p50: at(50), p99: at(99) }
    }
}

fn of_daemon(stage: &Stage, daemon: &Daemon<'_>, window: usize) -> Cost {
    let (client, server) = greeted(stage, Nat::None);
    let before = (cpu(daemon), shown(stage));
    let times = talk(client, server, window);
    let after = (cpu(daemon), shown(stage));
    Cost::new(after.0 - before.0, after.1 - before.1, times)
}

fn of_floor(stage: &Stage, window: usize) -> Cost {
    let is_to_end = AtomicBool::new(false);
    thread::scope(|scope| {
        let socket = stage.router.within(|| {
            let socket = Socket::open::<std::io::Error>(0, |fd| {
                rustix::io::ioctl_fionbio(fd, false).map_err(Into::into)
            });
            let mut client = Client::of(socket.expect("a socket"));
            client.take_queue(QUEUE, 1024).expect("the queue is free");
            client.into_parts().0
        });
        set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(LOOK)).expect("an option");
        let ends = &is_to_end;
        let floor = scope.spawn(move || pass_all(&socket, ends));
        let (client, server) = greeted(stage, Nat::None);
        let before = shown(stage);
        let times = talk(client, server, window);
        let packets = shown(stage) - before;
        is_to_end.store(true, Ordering::Relaxed);
        let spent = floor.join().expect("the floor holds");
        Cost::new(spent, packets, times)
    })
}

/// CPU time of the thread.
fn pass_all(socket: &Socket, is_to_end: &AtomicBool) -> Duration {
    let (mut packet, mut verdict) = (vec![0; 1 << 16], [0; 32]);
    let mut writer = Writer::new(&mut verdict);
    Verdict { queue: QUEUE, ..Verdict::default() }.encode(&mut writer, 0);
    assert_eq!(writer.finish(), Ok(verdict.len()));
    while !is_to_end.load(Ordering::Relaxed) {
        // The packet's number is the first thing in its first attribute, and the last one in a verdict.
        if let Ok((28.., _)) = rustix::net::recv(socket, &mut packet[..], RecvFlags::empty()) {
            verdict[28..].copy_from_slice(&packet[24..28]);
            rustix::net::send(socket, &verdict, SendFlags::empty()).expect("the packet waits");
        }
    }
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// How many packets the queue has shown; none may be lost.
fn shown(stage: &Stage) -> u64 {
    let queue = Queue::of(stage, QUEUE);
    assert_eq!((queue.no_room, queue.no_room_in_socket), (0, 0), "packets were lost");
    queue.shown
}

/// Asks and is answered; how long that took, each time.
fn talk(mut client: TcpStream, mut server: TcpStream, window: usize) -> Vec<Duration> {
    let answering = thread::spawn(move || {
        let mut line = [0; 6];
        for _ in 0..ROUNDS {
            server.read_exact(&mut line).expect("the client speaks");
            server.write_all(b"200 ok\r\n").expect("the client is there");
        }
    });
    let mut answer = [0; 8];
    let round = |_| {
        let began = Instant::now();
        for _ in 0..window {
            client.write_all(b"NOOP\r\n").expect("the server is there");
        }
        for _ in 0..window {
            client.read_exact(&mut answer).expect("the server answers");
        }
        began.elapsed()
    };
    let times = (0..ROUNDS / window).map(round).collect();
    answering.join().expect("the server ends");
    times
}

/// What all threads of the daemon have spent: the first number of `/proc/PID/task/TID/schedstat`, nanoseconds
/// (`Documentation/scheduler/sched-stats.rst`).
fn cpu(daemon: &Daemon<'_>) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs");
    let texts =
        tasks.map(|task| fs::read_to_string(task.expect("an entry").path().join("schedstat")));
    let spent = texts.map(|text| text.ok()?.split_once(' ')?.0.parse().ok());
    Duration::from_nanos(spent.map(Option::<u64>::unwrap_or_default).sum())
}
