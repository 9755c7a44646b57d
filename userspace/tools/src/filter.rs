//! The filter language: which flows (`docs/spec/filter.md`).
//!
//! ```text
//!  text --lexer--> tokens --parser--> engine::query::Expr --print--> normal form
//!                            |  ^
//!              @FILE, names of services and labels: world
//! ```
//!
//! ```
//! use tools::filter::{Limits, Sealed, parse, print};
//! let parsed = parse("TCP dst port 443 zone 5", &Limits::TYPED, &mut Sealed).unwrap();
//! assert_eq!(print(&parsed.expr), "tcp and dst port 443 and zone 5");
//! let error = parse("tcp prot 443", &Limits::TYPED, &mut Sealed).unwrap_err();
//! assert_eq!((error.kind.name(), error.column("tcp prot 443")), ("unknown-word", 5));
//! ```

pub mod error;
pub mod lexer;
pub mod world;
pub mod value;
pub mod parser;
pub mod term;
pub mod print;
pub mod spelling;

pub use error::{Error, Kind};
pub use parser::{Limits, Parsed, parse};
pub use print::print;
pub use world::{Sealed, System, World};

#[cfg(test)]
mod tests;
