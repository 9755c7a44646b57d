//! Which shard an event goes to: the one whose flow it is about.

use crate::source::queue::Feed;
use crate::source::{Heard, Stamp};
use common::{FlowKey, Tuple};
use engine::Share;
use wire::netlink::uapi::subsystem;
use wire::netlink::{Messages, RawMessage, conntrack};
use wire::packet;

/// Sorts events by flow, and keeps the order of those that go to one shard.
#[derive(Debug)]
pub(crate) struct Router {
    feeds: Vec<Feed>,
    share: Share,
}

impl Router {
    /// For as many shards as there are feeds; `seed` as in their engines' [`Share`].
    pub(crate) fn new(feeds: Vec<Feed>, seed: u64) -> Self {
        let share = Share { index: 0, count: feeds.len(), seed };
        Self { feeds, share }
    }

    /// Passes on what was heard. `wait` is called while the queue of its shard is full, until it says that nobody takes
    /// events any more.
    pub(crate) fn route(
        &mut self,
        heard: Heard<'_>,
        stamp: Stamp,
        wait: &mut impl FnMut() -> bool,
    ) {
        let datagram = match heard {
            Heard::Message(datagram) => datagram,
            Heard::Packet(bytes) => return self.put(packet::original(bytes), heard, stamp, wait),
            Heard::Grown(bytes) => {
                let tuple = bytes.first_chunk().map(|bytes| FlowKey::from_bytes(bytes).tuple);
                return self.put(tuple, heard, stamp, wait);
            }
        };
        let mut rest = 0;
        for raw in Messages::new(datagram) {
            let Ok(raw) = raw else { break };
            let end = raw.at + raw.header.len as usize;
            self.put(original(&raw), Heard::Message(&datagram[raw.at..end]), stamp, wait);
            rest = end.next_multiple_of(4);
        }
        // What cannot be read is counted by a shard like all that cannot.
        if let Some(rest @ [_, ..]) = datagram.get(rest..) {
            self.put(None, Heard::Message(rest), stamp, wait);
        }
    }

    /// Lets the shards have what was passed on. False when one of them is too far behind to take it now.
    pub(crate) fn hand_over(&mut self) -> bool {
        self.feeds.iter_mut().fold(true, |all, feed| feed.hand_over() && all)
    }

    fn put(
        &mut self,
        about: Option<Tuple>,
        heard: Heard<'_>,
        stamp: Stamp,
        wait: &mut impl FnMut() -> bool,
    ) {
        let owner = about.map_or(0, |tuple| self.share.owner(&tuple));
        while !self.feeds[owner].put(heard, stamp) {
            // The others need not wait for what is theirs.
            self.hand_over();
            if !wait() {
                return;
            }
        }
    }
}

fn original(raw: &RawMessage<'_>) -> Option<Tuple> {
    let about_flow = raw.header.subsystem() == subsystem::CTNETLINK;
    about_flow.then(|| conntrack::original(raw.payload)).flatten()
}
