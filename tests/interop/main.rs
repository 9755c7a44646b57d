//! Our daemon and conntrackd 1.4.7 on two nodes, in every combination: what one sends, the other must understand.

mod cell;
mod matrix;
