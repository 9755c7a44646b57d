//! The program `conntrack`: shows and changes the kernel's connection tracking table.
//!
//! ```text
//!  argv --getopt--> options --command--> Command --act--> kernel --print--> stdout
//!                                           |                         summary, errors --> stderr
//!                              filter: what of a dump is meant
//! ```

pub mod failure;
pub mod definition;
pub mod getopt;
pub mod values;
pub mod protocol;
pub mod labels;
pub mod command;
