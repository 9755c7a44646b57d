//! Fixtures shared by the tests that need more than one crate.
//!
//! Helpers panic instead of returning `Result`, so that a failure carries the line that caused it.

pub mod netns;
pub mod churn;
