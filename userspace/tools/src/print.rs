//! Flows and expectations as people and scripts read them, one file per format.
//!
//! Printing goes to any [`fmt::Write`](std::fmt::Write) and never ends a line, so that callers can add to it.

pub mod address;
pub mod state;
pub mod text;
pub mod stats;

pub use text::{Age, Line, Origin, Tag};

#[cfg(test)]
mod tests;
