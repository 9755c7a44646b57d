//! Packets that wait while the daemon does not read.

use crate::queue::Queue;
use crate::stage::{CLIENT, Nat, SERVER, Stage, alone, conf, datagrams, start};
use rustix::process::Signal;
use tests::daemon::{Brand, Files};
use tests::wait::{wait_or_explain, wait_until};

/// The queue of TFTP.
const QUEUE: u16 = 11;
/// So many of these take some 9 MiB of a socket's memory: more than a buffer of 4 MiB lets wait, which the kernel
/// doubles, and less than one of 8 MiB does.
const QUEUE_LEN: u64 = 4096;
const DATAGRAM_LEN: usize = 1000;
/// Datagrams sent before their arrival is awaited: a network device keeps so few that none is lost on the way.
const AT_A_TIME: u64 = 64;
/// Datagrams beyond what the queue holds.
const BEYOND: u64 = 7;

#[test]
fn as_many_packets_wait_as_the_queue_holds_and_what_is_dropped_beyond_is_counted() {
    let _alone = alone();
    let (stage, files) = (Stage::new(), Files::new());
    let text = conf(&files, "d", "").replace("QueueLen 1024", &format!("QueueLen {QUEUE_LEN}"));
    let daemon = start(&stage.router, Brand::Ours, &files, "d", &text);
    stage.guard(Nat::None);
    let server = datagrams(&stage.server, SERVER, 69);
    let client = datagrams(&stage.client, CLIENT, 0);
    let mut datagram = [0; DATAGRAM_LEN];
    // Data: it announces nothing, and is not understood here.
    datagram[1] = 3;
    let mut sent = 0;
    let mut send = |count: u64| {
        for _ in 0..count {
            client.send_to(&datagram, (SERVER, 69)).expect("it is sent");
            sent += 1;
            if sent % AT_A_TIME == 0 {
                wait_until("they came", || Queue::of(&stage, QUEUE).came() == sent);
            }
        }
        wait_until("all came", || Queue::of(&stage, QUEUE).came() == sent);
    };
    // The flow is confirmed when its first packet has passed.
    send(1);
    server.recv_from(&mut [0; DATAGRAM_LEN]).expect("it passes");

    daemon.freeze();
    send(QUEUE_LEN);
    let full = Queue { waiting: QUEUE_LEN, no_room: 0, no_room_in_socket: 0, shown: 1 + QUEUE_LEN };
    assert_eq!(Queue::of(&stage, QUEUE), full);
    send(BEYOND);
    assert_eq!(Queue::of(&stage, QUEUE), Queue { no_room: BEYOND, ..full });

    daemon.signal(Signal::CONT);
    let all = 1 + QUEUE_LEN;
    let passed = || {
        let status = daemon.status();
        let helpers = status["helpers"].as_array().expect("a list").iter();
        let tftp: Vec<_> = helpers.filter(|helper| helper["name"] == "tftp").collect();
        let numbers = ["packets", "accepted", "queue_dropped"];
        let numbers = numbers.map(|name| tftp[0][name].as_u64().expect("a number"));
        if numbers == [all, all, BEYOND] { Ok(()) } else { Err(tftp[0].clone()) }
    };
    wait_or_explain(passed, |last| format!("not each packet that waited has its verdict: {last}"));
    assert_eq!(Queue::of(&stage, QUEUE), Queue { waiting: 0, no_room: BEYOND, ..full });
}
