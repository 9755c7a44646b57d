//! The ports, or GRE keys, that a command line names.

use super::protocol::Which;

/// At most one per tuple and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports([[Option<u16>; 2]; 4]);

const TUPLES: [Which; 4] = [Which::Orig, Which::Reply, Which::Mask, Which::Tuple];

impl Ports {
    /// The port of a tuple's source, or, with `dst`, of its destination; host order.
    #[must_use]
    pub const fn of(&self, which: Which, dst: bool) -> Option<u16> {
        self.0[which as usize][dst as usize]
    }

    /// Names one; the last one named counts.
    pub const fn set(&mut self, which: Which, dst: bool, port: u16) {
        self.0[which as usize][dst as usize] = Some(port);
    }

    /// Whether one of this tuple is named.
    #[must_use]
    pub fn has_any_of(&self, which: Which) -> bool {
        self.0[which as usize] != [None; 2]
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [[None; 2]; 4]
    }

    /// Each: tuple, whether it is the destination's, port.
    pub fn iter(&self) -> impl Iterator<Item = (Which, bool, u16)> {
        let ends = TUPLES.into_iter().flat_map(|which| [(which, false), (which, true)]);
        ends.filter_map(|(which, dst)| Some((which, dst, self.of(which, dst)?)))
    }
}
