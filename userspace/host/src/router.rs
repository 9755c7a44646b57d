//! Routes an event to the shard that holds its flow.

use crate::source::queue::Feed;
use crate::source::{Heard, Stamp};
use ctnetlink::uapi::subsystem;
use ctnetlink::{FlowKey, Messages, RawMessage, view};
use engine::{Share, ShareBy};
use wire::packet;

/// Sorts events by flow, and keeps the order of those that go to one shard.
#[derive(Debug)]
pub(crate) struct Router {
    feeds: Vec<Feed>,
    share: Share,
}

impl Router {
    /// For as many shards as there are feeds; `by` as in their engines' [`Share`].
    pub(crate) fn new(feeds: Vec<Feed>, by: ShareBy) -> Self {
        let share = Share { index: 0, count: feeds.len(), by };
        Self { feeds, share }
    }

    /// Passes on what a source handed out. `wait` is called while the queue of its shard is full, until it says that
    /// no shard takes events any more.
    pub(crate) fn route(
        &mut self,
        heard: Heard<'_>,
        stamp: Stamp,
        wait: &mut impl FnMut() -> bool,
    ) {
        let datagram = match heard {
            Heard::Message(datagram) => datagram,
            Heard::Packet(bytes) => return self.put(packet::identity(bytes), heard, stamp, wait),
            Heard::Grown(bytes) => {
                let key = bytes.first_chunk().map(FlowKey::from_bytes);
                return self.put(key, heard, stamp, wait);
            }
        };
        let mut rest = 0;
        for raw in Messages::new(datagram) {
            let Ok(raw) = raw else { break };
            let end = raw.at + raw.header.len as usize;
            self.put(
                identity(&raw, self.share.by),
                Heard::Message(&datagram[raw.at..end]),
                stamp,
                wait,
            );
            rest = end.next_multiple_of(4);
        }
        // What cannot be read is counted by a shard like all that cannot.
        if let Some(rest @ [_, ..]) = datagram.get(rest..) {
            self.put(None, Heard::Message(rest), stamp, wait);
        }
    }

    /// Lets the shards have what was passed on. False when one of them is too far behind to take it now.
    pub(crate) fn hand_over(&mut self) -> bool {
        self.feeds.iter_mut().filter_map(|feed| (!feed.hand_over()).then_some(())).count() == 0
    }

    fn put(
        &mut self,
        about: Option<FlowKey>,
        heard: Heard<'_>,
        stamp: Stamp,
        wait: &mut impl FnMut() -> bool,
    ) {
        let owner = about.map_or(0, |key| self.share.owner(&key));
        while !self.feeds[owner].put(heard, stamp) {
            // The others need not wait for what is theirs.
            self.hand_over();
            if !wait() {
                return;
            }
        }
    }
}

fn identity(raw: &RawMessage<'_>, by: ShareBy) -> Option<FlowKey> {
    if raw.header.subsystem() != subsystem::CTNETLINK {
        return None;
    }
    match by {
        // Zones do not matter, and stand behind much else.
        ShareBy::Seed(_) => view::original(raw.payload).map(|tuple| FlowKey::new(tuple, 0)),
        ShareBy::Slices(_) => view::identity(raw.payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::source::Source;
    use crate::source::queue;
    use crate::waits::{Wait, Waits};
    use common::Instant;
    use ctnetlink::request::{self, Ticket};
    use ctnetlink::{Flow, Tuple, Writer};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rustix::event::{EventfdFlags, eventfd};
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    const BY: ShareBy = ShareBy::Seed(11);

    fn tuple(flow: u16) -> Tuple {
        Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(flow, 80)
    }

    /// A message about a flow that carries a number.
    fn message(flow: u16, number: u32) -> Vec<u8> {
        let mut buffer = [0; 512];
        let mut writer = Writer::new(&mut buffer);
        request::update(&mut writer, Ticket::acked(number), &Flow::new(tuple(flow)));
        let len = writer.finish().unwrap();
        buffer[..len].to_vec()
    }

    /// What a shard saw of each flow.
    #[derive(Default)]
    struct Seen(HashMap<u16, Vec<u32>>);

    impl Seen {
        fn take(&mut self, source: &mut Source, budget: usize) -> usize {
            let sink = &mut |heard: Heard<'_>, stamp| {
                let raw = Messages::new(heard.message().unwrap()).next().unwrap().unwrap();
                let (flow, _) = identity(&raw, BY).unwrap().tuple.ports();
                let number = raw.header.seq;
                assert_eq!(stamp, Stamp::At(Instant(number.into())), "stamps are carried along");
                self.0.entry(flow).or_default().push(number);
            };
            source.drain(budget, sink).unwrap()
        }
    }

    fn take_all(sources: &mut [Source], seen: &mut [Seen], budget: usize) {
        for (source, seen) in sources.iter_mut().zip(seen) {
            seen.take(source, budget);
        }
    }

    /// Every event of every flow was seen, in order, by the shard whose flow it is and by no other.
    fn check(seen: &[Seen], flows: &[u16]) {
        let share = Share { index: 0, count: seen.len(), by: BY };
        let mut expected: Vec<HashMap<u16, Vec<u32>>> = vec![HashMap::new(); seen.len()];
        for (number, &flow) in flows.iter().enumerate() {
            let owner = share.owner(&FlowKey::new(tuple(flow), 0));
            expected[owner].entry(flow).or_default().push(number as u32);
        }
        for (seen, expected) in seen.iter().zip(expected) {
            assert_eq!(seen.0, expected);
        }
    }

    fn shards(count: usize, size: [usize; 2]) -> (Router, Vec<Source>) {
        let queue = |_| queue::sized(Arc::default(), size).unwrap();
        let (feeds, sources): (Vec<_>, Vec<_>) = (0..count).map(queue).unzip();
        (Router::new(feeds, BY), sources.into_iter().map(Source::Queue).collect())
    }

    proptest! {
        #[test]
        fn each_shard_sees_its_flows_in_order(
            count in 1..6_usize,
            flows in vec(0..20_u16, 0..300),
            turns in vec((1..9_usize, 0..6_usize, 0..30_usize), 1..30),
        ) {
            // So small that they are full all the time.
            let (mut router, mut sources) = shards(count, [2, 400]);
            let mut seen: Vec<Seen> = (0..count).map(|_| Seen::default()).collect();
            let mut turns = turns.iter().cycle();
            let mut events = flows.iter().enumerate().peekable();
            while events.peek().is_some() {
                let &(few, shard, budget) = turns.next().unwrap();
                for (number, &flow) in events.by_ref().take(few) {
                    let stamp = Stamp::At(Instant(number as u64));
                    let bytes = message(flow, number as u32);
                    router.route(Heard::Message(&bytes), stamp, &mut || {
                        take_all(&mut sources, &mut seen, 1);
                        true
                    });
                }
                router.hand_over();
                seen[shard % count].take(&mut sources[shard % count], budget);
            }
            while !router.hand_over() {
                take_all(&mut sources, &mut seen, 9);
            }
            take_all(&mut sources, &mut seen, usize::MAX);
            check(&seen, &flows);
        }
    }

    /// With threads that sleep when they have nothing, as shards do.
    #[test]
    fn no_event_is_left_lying_when_shards_sleep() {
        const EVENTS: usize = 100_000;
        let flows: Vec<u16> = (0..EVENTS).map(|n| (n * n % 1009) as u16).collect();
        let (mut router, sources) = shards(3, [4, 4096]);
        let mut expected = [0; 3];
        flows
            .iter()
            .for_each(|&flow| expected[router.share.owner(&FlowKey::new(tuple(flow), 0))] += 1);
        let shard = |(mut source, expected): (Source, usize)| {
            let orders = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
            let waits = Waits::new(&source, Arc::new(orders)).unwrap();
            let (mut seen, mut taken) = (Seen::default(), 0);
            while taken < expected {
                source.arm();
                taken += match seen.take(&mut source, 100) {
                    0 => {
                        let longest = Duration::from_secs(60);
                        let began = clock::now();
                        waits.wait(Wait::Sleep, began, longest).unwrap();
                        assert!(clock::now().since(began) < longest, "slept through an event");
                        0
                    }
                    taken => taken,
                };
            }
            seen
        };
        let seen = std::thread::scope(|scope| {
            let shards = sources.into_iter().zip(expected);
            let threads: Vec<_> =
                shards.map(|shard_of| scope.spawn(move || shard(shard_of))).collect();
            for (number, &flow) in flows.iter().enumerate() {
                let bytes = message(flow, number as u32);
                let stamp = Stamp::At(Instant(number as u64));
                router.route(Heard::Message(&bytes), stamp, &mut || {
                    std::thread::yield_now();
                    true
                });
                if number % 7 == 0 {
                    router.hand_over();
                }
            }
            while !router.hand_over() {
                std::thread::yield_now();
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        check(&seen, &flows);
    }

    #[test]
    fn what_cannot_be_read_and_what_is_about_no_flow_is_passed_on_too() {
        let (mut router, mut sources) = shards(4, [4, 4096]);
        let [one, two] = [message(1, 1), message(2, 2)];
        let torn = &two[..two.len() - 4];
        let datagram = [&one[..], &two, torn].concat();
        router.route(Heard::Message(&datagram), Stamp::InOrder, &mut || panic!("there is room"));
        router.route(Heard::Packet(&[1, 2, 3]), Stamp::InOrder, &mut || panic!("there is room"));
        assert!(router.hand_over());
        let mut seen = Vec::new();
        for source in &mut sources {
            source
                .drain(9, &mut |heard, _| {
                    let (Heard::Message(bytes) | Heard::Packet(bytes) | Heard::Grown(bytes)) =
                        heard;
                    seen.push(bytes.to_vec());
                })
                .unwrap();
        }
        let mut expected = [one, two.clone(), torn.to_vec(), vec![1, 2, 3]];
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected);
    }
}
