//! What a packet costs: ours beside the original, by the same traffic. It is measured, not asserted, but for lost
//! packets.

use crate::ftp::greeted;
use crate::stage::{Nat, Stage, alone, conf, of_ftp, start};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use std::{fs, thread};
use tests::daemon::{Brand, Daemon, Files};

/// How often each daemon has its turn: other work on the machine disturbs some.
const TURNS: usize = 5;
/// Questions and answers on one control connection in a turn, each a packet.
const ROUNDS: usize = 2000;
/// `USER_HZ`: what proc_pid_stat(5) counts in.
const TICK_MS: u64 = 10;

#[test]
#[ignore = "a measurement, see benches/RESULTS.md"]
fn packets_of_a_control_connection() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let text = of_ftp(&files, "d");
    drop(start(&stage.router, Brand::Ours, &files, "all", &conf(&files, "all", "")));
    stage.guard(Nat::None);
    let mut all = [Brand::Original, Brand::Ours].map(|brand| (brand, Vec::new()));
    for _ in 0..TURNS {
        for (brand, costs) in &mut all {
            let cost = one_turn(&stage, &files, &text, *brand);
            println!("helpers: {brand:?}: {cost:?}");
            costs.push(cost);
        }
    }
    for (brand, costs) in &mut all {
        costs.sort_by_key(|cost| cost.cpu_ms);
        let total: u64 = costs.iter().map(|cost| cost.cpu_ms).sum();
        let user: u64 = costs.iter().map(|cost| cost.user_ms).sum();
        let Cost { cpu_ms, p50_us, p99_us, .. } = costs[0];
        println!(
            "helpers: speed of {brand:?}: CPU {total} ms ({user} of them user) for {TURNS} times {} packets, {cpu_ms} ms the quickest time, \
             in which a round of two packets took {p50_us} us (p50), {p99_us} us (p99)",
            2 * ROUNDS
        );
    }
}

/// What one turn took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu_ms: u64,
    user_ms: u64,
    p50_us: u128,
    p99_us: u128,
}

fn one_turn(stage: &Stage, files: &Files, text: &str, brand: Brand) -> Cost {
    let _ = fs::remove_file(files.path().join("d.lock"));
    let daemon = start(&stage.router, brand, files, "d", text);
    let (client, server) = greeted(stage, Nat::None);
    let before = cpu_ms(&daemon);
    let mut times = talk(client, server);
    let after = cpu_ms(&daemon);
    let [cpu_ms, user_ms] = [after[0] - before[0], after[1] - before[1]];
    times.sort();
    let at = |share: usize| times[times.len() * share / 100].as_micros();
    let queue = stage.router.within(|| {
        fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").expect("a queue")
    });
    let columns: Vec<_> = queue.split_whitespace().collect();
    assert_eq!((columns[5], columns[6]), ("0", "0"), "packets were lost: {queue}");
    Cost { cpu_ms, user_ms, p50_us: at(50), p99_us: at(99) }
}

/// Asks and is answered; how long each round took.
fn talk(mut client: TcpStream, mut server: TcpStream) -> Vec<Duration> {
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
        client.write_all(b"NOOP\r\n").expect("the server is there");
        client.read_exact(&mut answer).expect("the server answers");
        began.elapsed()
    };
    let times = (0..ROUNDS).map(round).collect();
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
