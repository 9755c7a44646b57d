//! What a packet costs: ours beside the original, and beside the least that any daemon costs, by the same traffic. It is
//! measured, not asserted, but for lost packets.

use crate::ftp::greeted;
use crate::stage::{Nat, Stage, alone, conf, of_ftp, start};
use ctnetlink::{Messages, Writer};
use host::netlink::Socket;
use host::nfnetlink::Client;
use rustix::net::RecvFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};
use tests::daemon::{Brand, Daemon, Files};
use wire::queue::{PacketView, Verdict};

/// How often each has its turn: other work on the machine disturbs some.
const TURNS: usize = 5;
/// Questions and answers on one control connection in a turn, each a packet.
const ROUNDS: usize = 2000;
/// Questions that are asked before the first is answered: one, as people do, and so many that packets wait.
const WINDOWS: [usize; 2] = [1, 50];
/// `USER_HZ`: what proc_pid_stat(5) counts in.
const TICK_MS: u64 = 10;
/// How often the floor looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// The queue of FTP.
const QUEUE: u16 = 3;

/// Who gives the verdicts.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Daemon(Brand),
    /// A loop that takes a packet and lets it pass, and reads nothing of it: no daemon costs less.
    Floor,
}

#[test]
#[ignore = "a measurement, see benches/RESULTS.md"]
fn packets_of_a_control_connection() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let text = of_ftp(&files, "d");
    drop(start(&stage.router, Brand::Ours, &files, "all", &conf(&files, "all", "")));
    stage.guard(Nat::None);
    let subjects = [Subject::Daemon(Brand::Original), Subject::Daemon(Brand::Ours), Subject::Floor];
    for window in WINDOWS {
        let mut all = subjects.map(|subject| (subject, Vec::new()));
        for _ in 0..TURNS {
            for (subject, costs) in &mut all {
                let cost = match *subject {
                    Subject::Daemon(brand) => of_daemon(&stage, &files, (&text, brand), window),
                    Subject::Floor => of_floor(&stage, window),
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

fn report(window: usize, subject: Subject, costs: &mut [Cost]) {
    costs.sort_by_key(|cost| cost.cpu_ms);
    let total: u64 = costs.iter().map(|cost| cost.cpu_ms).sum();
    let user: u64 = costs.iter().map(|cost| cost.user_ms).sum();
    let packets: u64 = costs.iter().map(|cost| cost.packets).sum();
    let Cost { p50_us, p99_us, .. } = costs[0];
    println!(
        "helpers: speed of {subject:?}, {window} at a time: CPU {total} ms ({user} of them user) for {packets} packets; \
         in the quickest turn {p50_us} us (p50), {p99_us} us (p99) for all that was asked at a time"
    );
}

/// What one turn took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu_ms: u64,
    user_ms: u64,
    packets: u64,
    p50_us: u128,
    p99_us: u128,
}

impl Cost {
    fn new([cpu_ms, user_ms]: [u64; 2], packets: u64, mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |share: usize| times[times.len() * share / 100].as_micros();
        Self { cpu_ms, user_ms, packets, p50_us: at(50), p99_us: at(99) }
    }
}

fn of_daemon(stage: &Stage, files: &Files, (text, brand): (&str, Brand), window: usize) -> Cost {
    let _ = fs::remove_file(files.path().join("d.lock"));
    let daemon = start(&stage.router, brand, files, "d", text);
    let (client, server) = greeted(stage, Nat::None);
    let before = (cpu_ms(&daemon), shown(stage));
    let times = talk(client, server, window);
    let after = (cpu_ms(&daemon), shown(stage));
    let [cpu_ms, user_ms] = [after.0[0] - before.0[0], after.0[1] - before.0[1]];
    Cost::new([cpu_ms, user_ms], after.1 - before.1, times)
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
        Cost::new([spent.as_millis() as u64, 0], packets, times)
    })
}

/// CPU time of the thread.
fn pass_all(socket: &Socket, is_to_end: &AtomicBool) -> Duration {
    let (mut packet, mut verdict) = (vec![0; 1 << 16], [0; 64]);
    while !is_to_end.load(Ordering::Relaxed) {
        let Ok((got, _)) = rustix::net::recv(socket, &mut packet[..], RecvFlags::empty()) else {
            continue;
        };
        for raw in Messages::new(&packet[..got]).map_while(Result::ok) {
            let Some((queue, id)) = PacketView::number(&raw) else { continue };
            let mut writer = Writer::new(&mut verdict);
            Verdict { queue, id, ..Verdict::default() }.encode(&mut writer, 0);
            let len = writer.finish().expect("it is short");
            socket.send(&verdict[..len]).expect("the packet waits");
        }
    }
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// How many packets the queue has shown; none may be lost (`seq_show`, kernel v6.12 `net/netfilter/nfnetlink_queue.c`).
fn shown(stage: &Stage) -> u64 {
    let queue = stage.router.within(|| {
        fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").expect("a queue")
    });
    let columns: Vec<_> = queue.split_whitespace().collect();
    assert_eq!((columns[5], columns[6]), ("0", "0"), "packets were lost: {queue}");
    columns[7].parse().expect("the number of the last packet")
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

/// Fields 14 and 15 of proc_pid_stat(5), user and system time: both, and the first alone.
fn cpu_ms(daemon: &Daemon<'_>) -> [u64; 2] {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).expect("it runs");
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let words: Vec<i64> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // Behind the name comes the state, which is no number.
    [words[10] + words[11], words[10]].map(|ticks| ticks as u64 * TICK_MS)
}
