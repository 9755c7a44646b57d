//! What an event source hands over, on its way to the engine: decoded, and in batches.
//!
//! ```text
//!   source.drain --> Heard: message, packet record, grown flow --> Input --> Ahead --> engine.handle
//! ```

use crate::ahead::Ahead;
use crate::ended::Ended;
use crate::source::Heard;
use common::Instant;
use ctnetlink::flow::Counters;
use ctnetlink::{Detail, EventKind, FlowKey, FlowView, Message, Messages};
use engine::{Engine, Input, Origin, Stamp};
use wire::packet;

/// Decodes what is heard, and hands it in. Nothing may be left in it at the end of a turn ([`Hearing::finish`]).
#[derive(Debug)]
pub struct Hearing {
    ahead: Ahead,
    /// Clock ticks of the kernel per second, in which packet records tell lifetimes.
    hz: u32,
    /// Messages and records that could not be decoded.
    pub malformed: u64,
    /// Packets and bytes of flows that have ended, where the kernel counts.
    pub traffic: Counters,
}

/// Who hears.
pub struct Ears<'a, F> {
    /// Whose request caused an event, by the port of the netlink socket it came from; 0 is traffic.
    pub origin: F,
    /// Whoever wants to know of each flow that ends.
    pub ended: Option<&'a mut Ended>,
}

impl Hearing {
    /// Nothing was heard yet. `hz`: clock ticks of the kernel per second.
    #[must_use]
    pub fn new(hz: u32) -> Self {
        Self { ahead: Ahead::new(), hz, malformed: 0, traffic: Counters::default() }
    }

    /// Takes what the source hands over. The engine gets it now or later, in order.
    pub fn take<F: Fn(u32) -> Origin>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        (heard, stamp): (Heard<'_>, Stamp),
        ears: &mut Ears<'_, F>,
    ) {
        match (heard, stamp) {
            (Heard::Message(bytes), _) => self.take_messages(engine, now, (bytes, stamp), ears),
            (Heard::Packet(bytes), Stamp::At(at)) => match packet::decode(bytes, self.hz) {
                Ok(seen) => {
                    let key = seen.flow.key();
                    self.ahead.push(engine, now, &key, Input::Packet { seen, at });
                }
                Err(_) => self.malformed += 1,
            },
            (Heard::Grown(bytes), _) => match bytes.first_chunk().map(FlowKey::from_bytes) {
                Some(key) => self.ahead.push(engine, now, &key, Input::Noticed(key)),
                None => self.malformed += 1,
            },
            // Only rings hold such records, and what they hold has its time.
            (Heard::Packet(_), _) => self.malformed += 1,
        }
    }

    /// Hands in all that waits.
    pub fn finish(&mut self, engine: &mut Engine, now: Instant) {
        self.ahead.finish(engine, now);
    }

    fn take_messages<F: Fn(u32) -> Origin>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        (bytes, stamp): (&[u8], Stamp),
        ears: &mut Ears<'_, F>,
    ) {
        for raw in Messages::new(bytes) {
            let decoded = raw.and_then(|raw| Ok((raw.header.portid, ctnetlink::decode(&raw)?)));
            match decoded {
                Ok((portid, Message::Flow { event, flow })) => {
                    if event == EventKind::Destroy {
                        self.on_end(engine, now, &flow, ears);
                    }
                    let (origin, flow) = ((ears.origin)(portid), flow.to_flow(Detail::State));
                    let key = flow.key();
                    let input = Input::Kernel { event, flow, origin, stamp };
                    self.ahead.push(engine, now, &key, input);
                }
                Ok(_) => {}
                Err(_) => self.malformed += 1,
            }
        }
    }

    /// A flow ended: its packets are counted, and who wants to know is told before the engine is.
    fn on_end<F>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        flow: &FlowView<'_>,
        ears: &mut Ears<'_, F>,
    ) {
        for counted in flow.counters.iter().flatten() {
            self.traffic.packets += counted.packets;
            self.traffic.bytes += counted.bytes;
        }
        if let Some(ended) = &mut ears.ended {
            self.ahead.finish(engine, now);
            ended.on_destroy(engine, &flow.to_flow(Detail::Full));
        }
    }
}
