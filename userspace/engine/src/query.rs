//! Selects flows by a filter: the tree that the parser makes, and the program that runs over tables.
//!
//! ```text
//!  text --tools::filter--> Expr --Program::new--> steps --matches(row or flow)--> yes or no
//!                            |
//!                            '--lower--> ctnetlink::request::Selection, for kernel dumps
//! ```
//!
//! A test has three results: true, false and *unknown*, where the source does not carry what it needs. `not` of unknown
//! is unknown. A flow is selected if the whole filter is true of it, so that a delete never hits a flow on doubt.

mod tree;
mod subject;
mod test;
mod program;
mod lower;
mod scan;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;

pub use lower::lower;
pub use program::{DEPTH_MAX, Program, TERMS_MAX, TooLarge};
pub use scan::scan;
pub use subject::{Age, Instance, Read, Subject};
pub use test::{Gap, gap};
pub use tree::{Expr, Measure, Op, PeerIs, Quantity, Scope, States, Term, Unit, Which};

#[cfg(test)]
mod tests;
