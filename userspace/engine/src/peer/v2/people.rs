//! What people ask of the session with a peer.

use super::compare::Comparing;
use super::session::V2;
use crate::input::CommandId;
use crate::node::Node;
use crate::output::Event;
use crate::told::PeerId;
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
        let peer = self.peer(peer).ok_or("there is no such peer")?;
        if !peer.up || !peer.opened {
            return Err("there is no session with the peer");
        }
        if peer.comparing.is_some() {
            return Err("the peer's flows are being compared already");
        }
        peer.comparing = Some(Box::new(Comparing::new(now, id)));
        Ok(())
    }

    /// A peer shows one of its flows to people.
    pub(super) fn on_shown(&mut self, now: Instant, from: PeerId, record: &FlowRecord<'_>) {
        let Self { claims, peers, .. } = self;
        let comparing = peers.get_mut(from.index()).and_then(|peer| peer.comparing.as_mut());
        let Some(comparing) = comparing.filter(|_| !record.claim.what.is_end()) else { return };
        let flow = record.to_flow();
        if let Some(mark) = claims.id_and_print(&flow) {
            comparing.on_shown(now, mark, flow);
        }
    }

    /// Ends comparisons that are over, or get no answer.
    pub(super) fn compare_on(&mut self, node: &mut Node, now: Instant) {
        let Self { claims, peers, .. } = self;
        for peer in peers {
            let Some(comparing) = &mut peer.comparing else { continue };
            let id = comparing.id;
            let (over, late) = (comparing.is_over(), now >= comparing.due());
            let event = if !peer.up {
                Event::CommandRefused(id, "the session with the peer ended meanwhile")
            } else if over || late {
                let held = claims.held_flows(node, peer.owner, |id| comparing.is_shown_here(id));
                let found = over.then(|| comparing.finish(&held)).flatten();
                match found.or_else(|| comparing.give_up(&held).filter(|_| late)) {
                    Some(found) => Event::Compared(id, Box::new(found)),
                    None if late => Event::CommandRefused(id, "the peer gives no answer"),
                    None => continue,
                }
            } else {
                continue;
            };
            peer.comparing = None;
            node.tell(event);
        }
    }
}
