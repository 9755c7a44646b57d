//! Inputs from the kernel and the peers, collected before the engine takes them, so that its table lines can be
//! prefetched.
//!
//! ```text
//!   source --> decode --> [ 16 flows ] --> fetch what all of them will look at --> engine.handle, one by one
//! ```
//!
//! A table of many flows is in no cache, and a flow that is looked for alone waits for memory longer than all else
//! takes that is done about it. Of several at once, the waits overlap.

use crate::ended::Ends;
use crate::sys;
use common::Instant;
use ctnetlink::FlowKey;
use engine::flows::table::{FlowTable, Probe};
use engine::{Engine, Input, Side};
use wire::sync::v1::{Messages, hint};

/// Flows at once: a processor has about as many lines of memory under way.
const ROOM: usize = 16;
/// So few are handed in at once: fetching would take longer than it saves.
const FEW: usize = 2;
/// Flows of a datagram at most: as many as one of Ethernet's length holds. What is fetched must not push out what was
/// fetched before.
const HINTS_MAX: usize = 40;

/// Inputs about flows, in order, on their way to the engine. Nothing may be left in it at the end of a turn.
#[derive(Debug)]
pub struct Prefetch {
    waiting: Vec<Waiting>,
    /// The kernel's messages of the ends that wait, one behind the other.
    messages: Vec<u8>,
}

/// An input on its way.
#[derive(Debug)]
struct Waiting {
    probe: Probe,
    input: Input<'static>,
    /// Where its message ends in [`Prefetch::messages`], if a listener to ends needs the message.
    message_end: Option<usize>,
}

impl Default for Prefetch {
    fn default() -> Self {
        Self::new()
    }
}

impl Prefetch {
    /// With nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self { waiting: Vec::with_capacity(ROOM), messages: Vec::new() }
    }

    /// Takes an input about the flow `key`. The engine gets it now or later, after those that were taken before;
    /// `ends` receives it just before that, if there is a `message` for it.
    #[inline]
    pub fn push(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        (key, input): (&FlowKey, Input<'static>),
        (message, ends): (Option<&[u8]>, Option<&mut Ends>),
    ) {
        let message_end = message.map(|message| {
            self.messages.extend_from_slice(message);
            self.messages.len()
        });
        let probe = engine.table(Side::Local).probe(key);
        self.waiting.push(Waiting { probe, input, message_end });
        if self.waiting.len() == ROOM {
            self.finish(engine, now, ends);
        }
    }

    /// Hands the engine all of them.
    pub fn finish(&mut self, engine: &mut Engine, now: Instant, mut ends: Option<&mut Ends>) {
        if self.waiting.len() > FEW {
            fetch(engine.table(Side::Local), self.waiting.iter().map(|waiting| waiting.probe));
        }
        let mut from = 0;
        for Waiting { input, message_end, .. } in self.waiting.drain(..) {
            if let (Some(end), Some(ends), Input::Kernel { flow, .. }) =
                (message_end, &mut ends, &input)
            {
                ends.on_destroy(engine, flow, &self.messages[from..end]);
                from = end;
            }
            engine.handle(now, input);
        }
        self.messages.clear();
    }
}

/// Flows that a datagram of the peer is about.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    probes: Vec<Probe>,
}

impl Hints {
    /// Has the memory fetched that the engine will look at for this datagram.
    pub(crate) fn take(&mut self, engine: &Engine, datagram: &[u8]) {
        let table = engine.table(Side::Remote);
        let flows = Messages::datagram(datagram).flatten().filter_map(|raw| hint(&raw));
        self.probes.clear();
        self.probes.extend(flows.take(HINTS_MAX).map(|key| table.probe(&key)));
        if self.probes.len() > FEW {
            fetch(table, self.probes.iter().copied());
        }
    }
}

fn fetch(table: &FlowTable, probes: impl Iterator<Item = Probe> + Clone) {
    for probe in probes.clone() {
        table.index_line(probe).into_iter().for_each(sys::fetch);
    }
    for probe in probes {
        table.row_line(probe).into_iter().for_each(sys::fetch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::tuple::{FAMILY_IPV4, ipproto};
    use ctnetlink::{Change, Flow, Tuple, Writer};
    use engine::{Config, Origin, Stamp};
    use wire::sync::v1::{self};

    fn flow(n: u8) -> Flow {
        let tuple = Tuple { family: FAMILY_IPV4, proto: ipproto::UDP, ..Tuple::UNKNOWN };
        let orig = Tuple { l4: [0, n, 0, 53], ..tuple };
        Flow { orig, reply: orig.inverted(), ..Flow::UNKNOWN }
    }

    fn push(prefetch: &mut Prefetch, engine: &mut Engine, event: Change, n: u8) {
        let (flow, stamp) = (flow(n), Stamp::InOrder);
        let input = Input::Kernel { event, flow: flow.clone(), origin: Origin::Foreign, stamp };
        prefetch.push(engine, Instant(1), (&flow.key(), input), (None, None));
    }

    #[test]
    fn all_of_it_arrives_in_order() {
        let mut engine = Engine::new(Config::default(), Instant(0));
        let mut prefetch = Prefetch::new();
        for n in 0..40 {
            push(&mut prefetch, &mut engine, Change::New, n);
            if n % 2 == 0 {
                push(&mut prefetch, &mut engine, Change::Destroy, n);
            }
        }
        let events = |engine: &Engine| engine.counters().events;
        assert_eq!(events(&engine), 60 / ROOM as u64 * ROOM as u64, "what is together goes on");
        prefetch.finish(&mut engine, Instant(1), None);
        assert_eq!((events(&engine), engine.table(Side::Local).alive()), (60, 20));
        prefetch.finish(&mut engine, Instant(1), None);
        assert_eq!(events(&engine), 60);
    }

    #[test]
    fn a_hint_sees_the_flows_and_survives_garbage() {
        let engine = Engine::new(Config::default(), Instant(0));
        let (mut bytes, mut hints) = ([0; 4096], Hints::default());
        let mut writer = Writer::new(&mut bytes);
        let options = v1::Options { timeout: true, window_scale: true };
        for n in 0..5 {
            let stamp = v1::Stamp::default();
            v1::encode_flow(Change::New, stamp, &flow(n), options, &mut writer);
        }
        let len = writer.finish().unwrap();
        hints.take(&engine, &bytes[..len]);
        let probe = |n| engine.table(Side::Remote).probe(&flow(n).key());
        assert_eq!(hints.probes, [0, 1, 2, 3, 4].map(probe));
        hints.take(&engine, &bytes[..len - 3]);
        assert_eq!(hints.probes.len(), 4);
        hints.take(&engine, &[0xff; 100]);
        assert!(hints.probes.is_empty());
    }
}
