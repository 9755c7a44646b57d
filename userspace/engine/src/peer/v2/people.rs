//! What people ask of the session with a peer.

use super::association::AssociationId;
use super::compare::{Comparing, Comparison};
use super::session::V2;
use crate::input::CommandId;
use crate::message_id::PeerId;
use crate::node::Node;
use crate::output::{Compared, Event};
use alloc::boxed::Box;
use common::Instant;
use wire::sync::v2::FlowRecord;

impl V2 {
    /// What is held of a peer is compared with what it has, and nothing is mended meanwhile.
    ///
    /// # Errors
    /// Why that cannot be.
    pub(crate) fn begin_comparing(
        &mut self,
        now: Instant,
        peer: PeerId,
        id: CommandId,
    ) -> Result<(), &'static str> {
        let mut streams = self.with_peer(peer).peekable();
        streams.peek().ok_or("there is no such peer")?;
        for stream in streams {
            if !stream.up || !stream.opened {
                return Err("there is no session with the peer");
            }
            if stream.comparing.is_some() || stream.compared.is_some() {
                return Err("the peer's flows are being compared already");
            }
        }
        self.with_peer(peer)
            .for_each(|stream| stream.comparing = Some(Box::new(Comparing::new(now, id))));
        Ok(())
    }

    /// A peer shows one of its flows to people.
    pub(super) fn on_shown(&mut self, now: Instant, from: AssociationId, record: &FlowRecord<'_>) {
        let Self { claims, peers, .. } = self;
        let comparing = peers.get_mut(from.0).and_then(|peer| peer.comparing.as_mut());
        let Some(comparing) = comparing.filter(|_| !record.claim.what.is_end()) else { return };
        let flow = record.to_flow();
        if let Some(mark) = claims.id_and_print(&flow) {
            comparing.on_shown(now, mark, flow);
        }
    }

    /// Ends comparisons that are over, or get no answer.
    pub(super) fn compare_on(&mut self, node: &mut Node, now: Instant) {
        for at in 0..self.peers.len() {
            if let Some((id, outcome)) = self.end_comparing(node, now, at) {
                let stream = &mut self.peers[at];
                (stream.comparing, stream.compared) = (None, Some((id, outcome)));
            }
        }
        for at in 0..self.peers.len() {
            if self.peers[at].compared.is_some() {
                self.report_compared(node, self.peers[at].peer);
            }
        }
    }

    /// How the comparison of a stream ended, if it did.
    fn end_comparing(
        &mut self,
        node: &Node,
        now: Instant,
        at: usize,
    ) -> Option<(CommandId, Comparison)> {
        let Self { claims, peers, .. } = self;
        let peer = &mut peers[at];
        let comparing = peer.comparing.as_mut()?;
        let id = comparing.id;
        let (over, late) = (comparing.is_over(), now >= comparing.due());
        if !peer.up {
            return Some((id, Err("the session with the peer ended meanwhile")));
        }
        if !over && !late {
            return None;
        }
        let held = claims.held_flows(node, peer.owner, |id| comparing.is_shown_here(id));
        let found = over.then(|| comparing.finish(&held)).flatten();
        match found.or_else(|| comparing.give_up(&held).filter(|_| late)) {
            Some(found) => Some((id, Ok(Box::new(found)))),
            None => late.then_some((id, Err("the peer gives no answer"))),
        }
    }

    /// The result of a comparison is reported when the last stream of the peer has ended its part.
    fn report_compared(&mut self, node: &mut Node, peer: PeerId) {
        if self.with_peer(peer).any(|stream| stream.comparing.is_some()) {
            return;
        }
        let outcomes = self.with_peer(peer).filter_map(|stream| stream.compared.take());
        let joined = outcomes.reduce(|(id, all), (_, more)| {
            let join = |mut all: Box<Compared>, more: Box<Compared>| {
                all.join(*more);
                all
            };
            (id, all.and_then(|all| more.map(|more| join(all, more))))
        });
        node.report(match joined {
            Some((id, Ok(found))) => Event::Compared(id, found),
            Some((id, Err(why))) => Event::CommandRefused(id, why),
            None => return,
        });
    }
}
