//! Records of flows that have ended.
//!
//! ```text
//!   shard 0 --lane--> EndsReader --.
//!   shard 1 --lane--> EndsReader --+--> decode, once for each life --> sink, such as a line of a log
//! ```

use ctnetlink::{Detail, Flow, FlowKey, Message, Messages};
use engine::Bounded;
use host::ended::{End, EndsReader};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashSet;

/// Limit of lives whose record is remembered. The kernel may report an end more than once to reliable listeners; a
/// report after that many others is taken for a new one.
const REMEMBERED: usize = 32_768;
/// The longest sleep, seconds: bounds how late a loss is reported.
const SLEEP_MAX_S: i64 = 1;

/// One life of a flow: its identity, the kernel's id, and when it began, nanoseconds since 1970 (0: unknown).
type Life = (FlowKey, u32, u64);

/// What the records are made of.
pub trait Sink {
    /// A flow has ended, as was heard at `at_ns`, nanoseconds since 1970.
    fn on_end(&mut self, at_ns: u64, flow: &Flow);

    /// So many ends found no room, because records are made more slowly than flows end.
    fn on_lost(&mut self, ends: u64);
}

/// The lives that were recorded lately.
#[derive(Debug)]
struct RecordedLives {
    lives: HashSet<Life>,
    order: Bounded<Life>,
}

impl Default for RecordedLives {
    fn default() -> Self {
        Self { lives: HashSet::new(), order: Bounded::new(REMEMBERED) }
    }
}

impl RecordedLives {
    /// Whether this life is new.
    fn is_new(&mut self, flow: &Flow) -> bool {
        let times = flow.extra.as_deref().and_then(|extra| extra.timestamps.as_ref());
        let life = (flow.key(), flow.id, times.map_or(0, |times| times.start_ns));
        if !self.lives.insert(life) {
            return false;
        }
        if let Some(oldest) = self.order.displace(life) {
            self.lives.remove(&oldest);
        }
        true
    }
}

/// Makes records until all shards are gone and what they left is done.
pub fn run(mut readers: Vec<EndsReader>, sink: &mut impl Sink) {
    let mut recorded = RecordedLives::default();
    loop {
        // A shard that is gone now adds nothing any more.
        let gone = readers.iter().all(EndsReader::is_closed);
        if take(&mut readers, &mut recorded, sink) {
            continue;
        }
        if gone {
            return;
        }
        readers.iter().for_each(EndsReader::arm);
        // The second look that an armed reader owes.
        if !take(&mut readers, &mut recorded, sink) && !readers.iter().all(EndsReader::is_closed) {
            sleep(&readers);
        }
    }
}

/// Makes records of what waits, and reports what found no room. Returns whether anything waited.
fn take(readers: &mut [EndsReader], recorded: &mut RecordedLives, sink: &mut impl Sink) -> bool {
    let mut any = false;
    for reader in &mut *readers {
        reader.drain(&mut |at_ns, end| {
            any = true;
            on_end(recorded, sink, at_ns, end);
        });
    }
    let lost = readers.iter().map(EndsReader::take_lost).sum();
    if lost > 0 {
        sink.on_lost(lost);
    }
    any
}

fn on_end(recorded: &mut RecordedLives, sink: &mut impl Sink, at_ns: u64, end: End<'_>) {
    match end {
        End::Reported { known, message } => {
            for raw in Messages::new(message).flatten() {
                let Ok(Message::Flow { flow, .. }) = ctnetlink::decode(&raw) else { continue };
                let flow = flow.to_flow(Detail::Full);
                // The table held it until now: this is another life, even if it looks like the last one.
                if recorded.is_new(&flow) || known {
                    sink.on_end(at_ns, &flow);
                }
            }
        }
        End::Unseen(flow) if recorded.is_new(&flow) => sink.on_end(at_ns, &flow),
        End::Unseen(_) => {}
    }
}

/// Until a shard has something, or for a while.
fn sleep(readers: &[EndsReader]) {
    let mut fds: Vec<_> = readers
        .iter()
        .map(|reader| PollFd::from_borrowed_fd(reader.descriptor(), PollFlags::IN))
        .collect();
    // A signal ends it early, and so does whatever else goes wrong: then it looks again.
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: SLEEP_MAX_S, tv_nsec: 0 }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Instant;
    use ctnetlink::request::{self, Ticket};
    use ctnetlink::{Change, Tuple, Writer};
    use engine::{Config, Engine, Input, Origin, Stamp};
    use host::ended::{Ends, ends};

    #[derive(Debug, Default)]
    struct Seen {
        flows: Vec<(u16, u32)>,
        lost: u64,
    }

    impl Sink for Seen {
        fn on_end(&mut self, _: u64, flow: &Flow) {
            self.flows.push((u16::from_be_bytes([flow.orig.l4[0], flow.orig.l4[1]]), flow.id));
        }

        fn on_lost(&mut self, ends: u64) {
            self.lost += ends;
        }
    }

    fn flow(port: u16, id: u32) -> Flow {
        let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17).with_ports(port, 53);
        Flow { id, reply: orig.inverted(), ..Flow::new(orig) }
    }

    /// A report of an end looks like the request for one.
    fn report(ends: &mut Ends, engine: &Engine, flow: &Flow) {
        let mut bytes = [0; 256];
        let mut writer = Writer::new(&mut bytes);
        request::delete(&mut writer, Ticket::default(), &flow.key(), Some(flow.id));
        let len = writer.finish().expect("it fits");
        ends.on_destroy(engine, flow, &bytes[..len]);
    }

    #[test]
    fn each_life_is_recorded_once_unless_the_table_held_it_until_then() {
        let (mut ends, reader) = ends().expect("a lane");
        let mut engine = Engine::new(Config::default(), Instant(0));
        // Reported twice, and then found gone by a reading.
        report(&mut ends, &engine, &flow(1, 7));
        report(&mut ends, &engine, &flow(1, 7));
        ends.on_vanished(Box::new(flow(1, 7)));
        report(&mut ends, &engine, &flow(1, 8));
        ends.on_vanished(Box::new(flow(2, 0)));
        let (event, origin, stamp) = (Change::New, Origin::Foreign, Stamp::InOrder);
        engine.handle(Instant(1), Input::Kernel { event, flow: flow(1, 8), origin, stamp });
        report(&mut ends, &engine, &flow(1, 8));
        drop(ends);
        let mut seen = Seen::default();
        run(vec![reader], &mut seen);
        assert_eq!((seen.flows, seen.lost), (vec![(1, 7), (1, 8), (1, 8), (2, 0)], 0));
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told() {
        let (mut ends, reader) = ends().expect("a lane");
        let engine = Engine::new(Config::default(), Instant(0));
        const ALL: u32 = 200_000;
        (0..ALL).for_each(|id| report(&mut ends, &engine, &flow(1, id)));
        drop(ends);
        let mut seen = Seen::default();
        run(vec![reader], &mut seen);
        assert!(seen.lost > 0, "the lane is bounded");
        assert_eq!(seen.flows.len() as u64 + seen.lost, u64::from(ALL));
    }

    #[test]
    fn a_sleeping_reader_is_woken_by_each_kind_of_end() {
        let (mut ends, reader) = ends().expect("a lane");
        let (recorded, heard) = std::sync::mpsc::sync_channel(1);
        struct Forward(std::sync::mpsc::SyncSender<u32>);
        impl Sink for Forward {
            fn on_end(&mut self, _: u64, flow: &Flow) {
                self.0.send(flow.id).expect("somebody listens");
            }

            fn on_lost(&mut self, _: u64) {}
        }
        let thread = std::thread::spawn(move || run(vec![reader], &mut Forward(recorded)));
        let engine = Engine::new(Config::default(), Instant(0));
        for id in 1..50 {
            if id % 2 == 0 {
                report(&mut ends, &engine, &flow(1, id));
                ends.hand_over();
            } else {
                ends.on_vanished(Box::new(flow(1, id)));
            }
            assert_eq!(heard.recv(), Ok(id));
        }
        drop(ends);
        thread.join().expect("it ends with its shards");
    }
}
