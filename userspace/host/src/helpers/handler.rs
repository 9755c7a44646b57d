//! From a packet to its verdict.

use super::announcer::Announce;
use super::counters::Shared;
use super::verdicts::Verdicts;
use ctnetlink::flow::HelperName;
use ctnetlink::request::IfExists;
use ctnetlink::{Expectation, Messages, RawMessage};
use engine::helper::{Announcement, Context, Direction, Kind, Outcome, Packet, Policy};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::queue::{PacketView, Verdict, VerdictRefusal, WatchedFlow};
use wire::transport::{Edit, Segment};

/// Longest packet that a verdict can hold: an attribute's value.
const PACKET_LEN_MAX: usize = 65_531;
/// Most private data that a helper has in the kernel (`NFCTH_PRIV_DATA_LEN` of ftp is 24).
const PRIVATE_LEN_MAX: usize = 128;

/// A helper that is served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) kind: Kind,
    pub(super) queue: u16,
    pub(super) policy: Policy,
    pub(super) counts: Arc<Shared>,
}

/// What reads a packet: [`Kind::packet`].
pub type Read = fn(Kind, &mut Context<'_>, &Packet<'_>) -> Outcome;

/// Decides about packets of the helpers that are served.
#[derive(Debug)]
pub(super) struct PacketHandler<A> {
    served: Vec<Served>,
    announcer: A,
    pub(super) read: Read,
    /// Helpers that panicked and that the kernel still has enabled.
    pub(super) broken: Vec<Kind>,
    /// The packet with another text.
    changed: Vec<u8>,
    /// The private data of its flow.
    private: [u8; PRIVATE_LEN_MAX],
}

/// What happens to a packet besides that it passes.
#[derive(Debug, Default)]
struct Decision {
    is_changed: bool,
    timeout_s: Option<u32>,
    /// So many bytes of private data go back to this helper.
    private: Option<(HelperName, usize)>,
    expectation: Option<Expectation>,
}

impl<A: Announce> PacketHandler<A> {
    pub(super) fn new(served: Vec<Served>, announcer: A) -> Self {
        let read: Read = |kind, context, packet| kind.packet(context, packet);
        let (changed, private) = (Vec::new(), [0; PRIVATE_LEN_MAX]);
        Self { served, announcer, read, broken: Vec::new(), changed, private }
    }

    /// Decides about the packets of a datagram.
    pub(super) fn datagram(&mut self, datagram: &[u8], verdicts: &mut Verdicts) {
        for raw in Messages::new(datagram).map_while(Result::ok) {
            if PacketView::is_packet(&raw.header) {
                self.message(&raw, verdicts);
            } else if let Some(refusal) = VerdictRefusal::parse(&raw) {
                self.refused(&refusal, verdicts);
            }
        }
    }

    fn message(&mut self, raw: &RawMessage<'_>, verdicts: &mut Verdicts) {
        let Some((queue, id)) = PacketView::number(raw) else { return };
        let at = self.served.iter().position(|served| served.queue == queue);
        let decision = at.map(|at| {
            self.served[at].counts.packets.count();
            let decision = PacketView::parse(raw).ok().and_then(|view| self.packet(at, &view));
            let counts = &self.served[at].counts;
            counts.accepted.count();
            decision.unwrap_or_else(|| {
                counts.not_understood.count();
                Decision::default()
            })
        });
        let decision = decision.unwrap_or_default();
        let private = decision.private.map(|(name, len)| (name, &self.private[..len]));
        verdicts.push(&Verdict {
            queue,
            id,
            drop: false,
            payload: decision.is_changed.then_some(self.changed.as_slice()),
            timeout_s: decision.timeout_s,
            private,
            expectation: decision.expectation.as_ref(),
        });
    }

    /// The kernel refused a verdict: it gets one that changes nothing, unless it was that or the packet is gone.
    fn refused(&self, refusal: &VerdictRefusal, verdicts: &mut Verdicts) {
        let &VerdictRefusal { errno, queue, id, is_plain } = refusal;
        if let Some(served) = self.served.iter().find(|served| served.queue == queue) {
            served.counts.verdicts_refused.count();
        }
        if !is_plain && errno != libc::ENOENT {
            verdicts.push(&Verdict { queue, id, ..Verdict::default() });
        }
    }

    /// Decides about a packet; `None` if it is not understood.
    fn packet(&mut self, at: usize, view: &PacketView<'_>) -> Option<Decision> {
        let served = &self.served[at];
        if served.counts.broken.load(Ordering::Relaxed) {
            return Some(Decision::default());
        }
        let flow = view.flow.as_ref().filter(|_| !view.is_cut())?;
        let segment = Segment::decode(view.payload).ok()?;
        let private = self.private.get_mut(..flow.private.len())?;
        private.copy_from_slice(flow.private);
        let mut context = Context {
            original: flow.orig,
            reply: flow.reply,
            zone: flow.zone,
            status: flow.status,
            policy: served.policy,
            private,
        };
        let direction = if view.is_reply() { Direction::Reply } else { Direction::Original };
        let packet = Packet { direction, seq: segment.seq, payload: segment.payload() };
        let (kind, read) = (served.kind, self.read);
        let outcome = catch_unwind(AssertUnwindSafe(|| read(kind, &mut context, &packet)));
        match outcome {
            Ok(outcome) => {
                if outcome.not_understood {
                    served.counts.not_understood.count();
                }
                // What the packet says beside that counts: a third party's PORT moves the place of the next command.
                Some(self.carry_out(at, flow, &segment, &outcome))
            }
            Err(_) => {
                self.take_out(kind);
                None
            }
        }
    }

    fn take_out(&mut self, kind: Kind) {
        for served in self.served.iter().filter(|served| served.kind == kind) {
            served.counts.broken.store(true, Ordering::Relaxed);
        }
        self.broken.push(kind);
    }

    /// Creates the announced expectations in the kernel, and builds the verdict.
    fn carry_out(
        &mut self,
        at: usize,
        flow: &WatchedFlow<'_>,
        segment: &Segment<'_>,
        outcome: &Outcome,
    ) -> Decision {
        let Self { served, announcer, changed, .. } = self;
        let Served { kind, counts, .. } = &served[at];
        let mut decision = Decision { timeout_s: outcome.timeout_s, ..Decision::default() };
        if outcome.private_changed && !flow.private.is_empty() {
            let name = flow.helper.or_else(|| HelperName::from_bytes(kind.name().as_bytes()));
            decision.private = name.map(|name| (name, flow.private.len()));
        }
        let mut edits = Vec::new();
        for announcement in &outcome.announced {
            if announcement.searches() {
                edits.extend(search(announcer, announcement, counts).unwrap_or_default());
                continue;
            }
            let first = announcement.ports().next().unwrap_or_default();
            let expectation = announcement.expectation(first);
            // One goes with the verdict, which works where the flow is not confirmed yet.
            if decision.expectation.is_none() {
                counts.expectations.count();
                decision.expectation = Some(expectation);
            } else {
                settle(&announcer.create(&expectation, IfExists::Change), counts);
            }
        }
        let is_changed = !edits.is_empty() && segment.rewrite(&edits, changed).is_ok();
        decision.is_changed = is_changed && changed.len() <= PACKET_LEN_MAX;
        if decision.is_changed {
            counts.mangled.count();
        } else if !edits.is_empty() {
            counts.not_understood.count();
        }
        decision
    }
}

fn settle(outcome: &io::Result<()>, counts: &Shared) {
    match outcome {
        Ok(()) => counts.expectations.count(),
        Err(_) => counts.expectations_refused.count(),
    }
}

/// Finds a free port for what is announced and has the kernel expect it there; what the packet then has to say.
fn search(
    announcer: &mut impl Announce,
    announcement: &Announcement,
    counts: &Shared,
) -> Option<Vec<Edit>> {
    for port in announcement.ports() {
        let expectation = announcement.expectation(port);
        let outcome = announcer.create(&expectation, IfExists::Fail);
        match outcome.as_ref().map_err(io::Error::raw_os_error) {
            Err(Some(libc::EEXIST | libc::EBUSY)) => {
                let key = ctnetlink::FlowKey::new(expectation.tuple, expectation.zone.unwrap_or(0));
                let existing = announcer.existing(&key);
                if existing.is_ok_and(|existing| announcement.is_made(port, &existing)) {
                    return Some(announcement.edits(port));
                }
            }
            _ => {
                settle(&outcome, counts);
                return outcome.is_ok().then(|| announcement.edits(port));
            }
        }
    }
    counts.refused_ports.count();
    None
}

#[cfg(test)]
mod tests;
