//! What an event source hands over, on its way to the engine: decoded, and in batches.
//!
//! ```text
//!   source.drain --> Heard: message, packet record, grown flow --> Input --> Prefetch --> engine.handle
//! ```

use crate::ended::Ends;
use crate::prefetch::Prefetch;
use crate::source::Heard;
use common::Instant;
use ctnetlink::flow::Counters;
use ctnetlink::{Change, Detail, FlowKey, FlowView, Messages};
use engine::{Engine, Input, Origin, Stamp};
use wire::packet;

/// Decodes what is heard, and hands it in. Nothing may be left in it at the end of a turn ([`Hearing::finish`]).
#[derive(Debug)]
pub struct Hearing {
    prefetch: Prefetch,
    /// Clock ticks of the kernel per second: packet records carry lifetimes in ticks.
    hz: u32,
    /// Messages and records that could not be decoded.
    pub malformed: u64,
    /// Packets and bytes of flows that have ended, where the kernel counts.
    pub traffic: Counters,
}

/// The receivers of what a source hands out.
pub struct Ears<'a, F> {
    /// The cause of an event, by the port of the netlink socket it came from; 0 is traffic.
    pub origin: F,
    /// The listener to ends of flows, if there is one.
    pub ends: Option<&'a mut Ends>,
}

impl Hearing {
    /// Nothing was heard yet. `hz`: clock ticks of the kernel per second.
    #[must_use]
    pub fn new(hz: u32) -> Self {
        Self { prefetch: Prefetch::new(), hz, malformed: 0, traffic: Counters::default() }
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
                    let input = Input::Packet { seen, at };
                    self.prefetch.push(
                        engine,
                        now,
                        (&key, input),
                        (None, ears.ends.as_deref_mut()),
                    );
                }
                Err(_) => self.malformed += 1,
            },
            (Heard::Grown(bytes), _) => match bytes.first_chunk().map(FlowKey::from_bytes) {
                Some(key) => {
                    let input = Input::Noticed(key);
                    self.prefetch.push(
                        engine,
                        now,
                        (&key, input),
                        (None, ears.ends.as_deref_mut()),
                    );
                }
                None => self.malformed += 1,
            },
            // Only rings hold such records, and what they hold has its time.
            (Heard::Packet(_), _) => self.malformed += 1,
        }
    }

    /// Hands in all that waits, at the end of a turn.
    pub fn finish<F>(&mut self, engine: &mut Engine, now: Instant, ears: &mut Ears<'_, F>) {
        self.prefetch.finish(engine, now, ears.ends.as_deref_mut());
        ears.ends.iter_mut().for_each(|ends| ends.hand_over());
    }

    fn take_messages<F: Fn(u32) -> Origin>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        (bytes, stamp): (&[u8], Stamp),
        ears: &mut Ears<'_, F>,
    ) {
        let mut view = FlowView::default();
        for raw in Messages::new(bytes) {
            let Ok(raw) = raw else {
                self.malformed += 1;
                continue;
            };
            let Some(event) = ctnetlink::flow_event(&raw) else {
                self.malformed += u64::from(ctnetlink::decode(&raw).is_err());
                continue;
            };
            if ctnetlink::read_flow(&raw, &mut view).is_err() {
                self.malformed += 1;
                continue;
            }
            let ended = event == Change::Destroy;
            if ended {
                self.count(&view);
            }
            let origin = (ears.origin)(raw.header.portid);
            let detail = if engine.wants_counters() { Detail::Full } else { Detail::State };
            let flow = view.to_flow(detail);
            let key = flow.key();
            let input = Input::Kernel { event, flow, origin, stamp };
            let whole = raw.at..raw.at + raw.header.len as usize;
            let message = bytes.get(whole).filter(|_| ended && ears.ends.is_some());
            let ends = ears.ends.as_deref_mut();
            self.prefetch.push(engine, now, (&key, input), (message, ends));
        }
    }

    /// A flow ended, after so many packets.
    fn count(&mut self, flow: &FlowView<'_>) {
        for counted in flow.counters.iter().flatten() {
            self.traffic.packets += counted.packets;
            self.traffic.bytes += counted.bytes;
        }
    }
}
