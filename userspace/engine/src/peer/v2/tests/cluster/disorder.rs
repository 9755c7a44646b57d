//! Events of a kernel that come out of order.

use super::{S, World, flow};
use crate::{Input, Origin, Side, Stamp};
use ctnetlink::flow::Known;
use ctnetlink::{Change, Flow};

impl World {
    /// The kernel of node 0 has this entry now, and says so.
    fn entry(&mut self, event: Change, id: u32, state: u8) {
        let flow = flow(1_000, state);
        let flow = Flow { id, known: flow.known | Known::ID, ..flow };
        let now = self.now;
        let node = self.at(0);
        node.kernel.insert(1_000, flow.clone());
        let (origin, stamp) = (Origin::Foreign, Stamp::At(now));
        node.engine.handle(now, Input::Kernel { event, flow, origin, stamp });
    }
}

/// Found by the simulation (the mesh, 1796015454000002): the node took the update, asked the kernel whether it is true, and
/// claimed nothing when it was, so that its peers went on holding the closed connection and all said that they are equal.
#[test]
fn what_follows_a_beginning_that_is_late_is_claimed_when_the_kernel_confirms_it() {
    let mut world = World::new(2);
    world.run(S(2));
    world.entry(Change::New, 1, 1);
    world.run(S(1));
    world.entry(Change::Update, 1, 7);
    world.run(S(1));
    // The end of this connection and the beginning of the next one are on their way.
    world.entry(Change::Update, 2, 2);
    world.run(S(1));
    let node = world.nodes[1].as_ref().unwrap();
    let state = |flow: Flow| flow.tcp().map(|tcp| tcp.state);
    let held: std::vec::Vec<_> = node.engine.flows(Side::Remote).map(state).collect();
    assert_eq!(held, [Some(2)]);
}
