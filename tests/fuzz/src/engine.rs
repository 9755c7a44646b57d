//! The engine, whatever happens to it.

use crate::plan::{Plan, Step};
use common::Instant;
use core::time::Duration;
use engine::config::{Config, limit};
use engine::peer::v1::Outbox;
use engine::{CommandId, Engine, Event, Input, Request, Sender, Side};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use wire::sync::v1::{Messages, decode};

/// Events that one input can cause beside answers to commands: far more would mean that a peer can make lines at will.
const EVENTS_PER_INPUT: usize = limit::EVENTS_MAX + 64;
/// Datagrams the engine may want to send without anything happening.
const DATAGRAMS_AT_ONCE: usize = 1_000;
/// Messages about a table's flows that can wait, in units of what the table holds.
const MOST_WAITING: usize = limit::OUTBOX_CONTROLS_MAX + limit::OUTBOX_MESSAGES_MAX;

/// The sender of the engine's input.
const PEER: Sender = Sender { link: 0, addr: IpAddr::V4(Ipv4Addr::LOCALHOST) };

/// Steps through the plan in the bytes: no panic, tables and queues keep their limits, whatever is sent can be read,
/// and sending comes to an end.
///
/// # Panics
/// When one of these does not hold.
pub fn engine(data: &[u8]) {
    let mut plan = Plan::new(data);
    let mut world = World::new(plan.config());
    let next = |world: &World| world.engine.outbox().map_or(0, Outbox::next_seq);
    while let Some(step) = plan.step(world.now, world.heard, next(&world)) {
        world.play(step);
        world.check();
    }
    world.send(DATAGRAMS_AT_ONCE, 1472);
    world.check();
}

/// An engine and what is around it.
struct World {
    engine: Engine,
    now: Instant,
    /// The number of the last message of the peer.
    heard: u32,
    /// Tokens of what the kernel was asked, and whether it was for a dump.
    asked: VecDeque<(u32, bool)>,
    commands: u64,
    answered: u64,
}

impl World {
    fn new(config: Config) -> Self {
        let now = Instant(1_000_000_000);
        let engine = Engine::new(config, now);
        Self { engine, now, heard: 5000, asked: VecDeque::new(), commands: 0, answered: 0 }
    }

    fn play(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Wait(time) => self.wait(time),
            Step::Datagram(bytes) => {
                if let Some(Ok(raw)) = Messages::datagram(&bytes).next() {
                    self.heard = raw.header.seq;
                }
                self.engine.handle(now, Input::Datagram { from: PEER, bytes: &bytes });
            }
            Step::Kernel(event, flow, origin, stamp) => {
                self.engine.handle(now, Input::Kernel { event, flow, origin, stamp });
            }
            Step::Settle(count, errno) => self.settle(count, errno),
            Step::Astray(token, errno) => {
                self.engine.handle(now, Input::KernelFailed { token, errno });
            }
            Step::Dumped(flow) => self.engine.handle(now, Input::Dumped(flow)),
            Step::DumpDone(complete) => self.engine.handle(now, Input::DumpDone { complete }),
            Step::Verified(flow, exists) => {
                let key = flow.key();
                self.engine.handle(now, Input::Verified { key, flow: exists.then_some(flow) });
            }
            Step::Command(command) => {
                self.engine.handle(now, Input::Command(CommandId(self.commands), command));
                self.commands += 1;
            }
            Step::Send(count, len) => self.send(count.into(), len),
        }
    }

    /// Time passes, as a thread sees it that wakes when the engine wants it to, a few times.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..4 {
            let due = self.engine.poll_timeout().0.max(self.now.0).min(end.0);
            self.now = Instant(due);
            self.engine.handle(self.now, Input::Timeout);
            self.send(8, 1472);
        }
        self.now = end;
        self.engine.handle(self.now, Input::Timeout);
    }

    /// The kernel has done the first `count` requests; the first one failed with this errno, if it is one.
    fn settle(&mut self, count: usize, errno: i32) {
        let done: Vec<_> = self.asked.drain(..count.min(self.asked.len())).collect();
        let Some(&(last, _)) = done.last() else { return };
        let (now, token) = (self.now, done[0].0);
        if errno != 0 {
            self.engine.handle(now, Input::KernelFailed { token, errno });
        }
        self.engine.handle(now, Input::KernelSettled { token: last });
        if done.iter().any(|(_, dump)| *dump) && errno == 0 {
            self.engine.handle(now, Input::DumpDone { complete: true });
        }
    }

    /// The link takes up to `count` datagrams of at most `len` bytes.
    fn send(&mut self, count: usize, len: usize) {
        let mut datagram = vec![0; len];
        for _ in 0..count {
            let Some(sent) = self.engine.poll_transmit(self.now, &mut datagram) else { return };
            assert!((8..=len).contains(&sent), "{sent} bytes");
            for raw in Messages::datagram(&datagram[..sent]) {
                decode(&raw.expect("what is sent has headers")).expect("and can be read");
            }
        }
        assert!(count < DATAGRAMS_AT_ONCE, "sending does not end");
    }

    fn check(&mut self) {
        let most = self.engine.config().flows_max;
        for side in [Side::Local, Side::Remote] {
            let table = self.engine.table(side);
            assert!(table.len() <= most, "{} flows, limit {most}", table.len());
            assert!(table.alive() <= table.len());
        }
        while let Some(op) = self.engine.poll_kernel() {
            self.asked.push_back((op.token, *op.request == Request::Dump));
        }
        assert!(self.asked.len() <= limit::KERNEL_IN_FLIGHT_MAX, "{} in flight", self.asked.len());
        let mut events = 0;
        while let Some(event) = self.engine.poll_event() {
            let answer = matches!(event, Event::CommandDone(_) | Event::CommandRefused(..));
            self.answered += u64::from(answer);
            events += usize::from(!answer);
        }
        assert!(events <= EVENTS_PER_INPUT, "{events} events");
        assert!(self.answered <= self.commands, "more answers than commands");
        let waiting = self.engine.outbox_len();
        assert!(waiting <= MOST_WAITING + 4 * most, "{waiting} messages wait");
        let _ = self.engine.standing(self.now);
    }
}
