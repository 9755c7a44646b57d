//! `ctflow top`: which flows there are and what they carry, now.
//!
//! ```text
//!  walk --flow by flow--> sample (meter: rates) --> arrange (filter, first rows, groups) --> picture
//! ```

pub mod meter;
pub mod heavy;
pub mod sample;
pub mod arrange;
