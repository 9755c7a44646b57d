//! `conntrackd.conf`: text to a [`Conf`], or to complaints that say where, what, and what was expected there.
//!
//! ```text
//! text --lexer--> tokens --parser--> tree --check--> Conf
//!                             |
//!                           schema: one table of every keyword
//! ```
//!
//! Every keyword of conntrack-tools is known, and every text it accepts with one meaning is accepted with that
//! meaning. What it silently cuts short, overrides or drops is an error or a warning here; `docs/spec/conf.md`, which
//! is generated from the schema, lists the language.

pub mod diagnostic;
pub mod lexer;
pub mod model;
pub mod schema;
pub mod parser;
pub mod protocol;
pub mod check;
mod file;
pub mod reference;

pub use diagnostic::{Diagnostic, Found, Place, Severity};
pub use file::{read, text};
pub use model::{
    Conf, EventSource, ExpectationSync, Facility, FailuresConf, Filter, FilterSet, FilterSide,
    General, HelperConf, HelperPolicy, HelperType, KeyFile, LinkConf, LinkKind, LogConf, LogFile,
    LogFormat, LogJournal, LogLevel, MetricsConf, ModeConf, NamedFile, PeerAddress, PeerConf,
    PeerKey, PerCpu, Policy, ReplicationConf, Report, Scheduler, SchedulerPolicy, StatsConf,
    SubscribeConf, SyncConf, SyncMode, SyncOptions, Unicast,
};
pub use schema::IpPrefix;

use diagnostic::Source;

/// The configuration in `text`, with warnings.
///
/// # Errors
/// What was found wrong, warnings included, in the order of the text. Nothing is read from the
/// system: whether an interface exists, for one, is not known here.
///
/// ```
/// let text = "Stats { LogFile on }  General { HashSize 8192 UNIX { Path /run/c.sock } }";
/// let (conf, warnings) = tools::conf::parse(text, "example.conf").unwrap();
/// assert_eq!(conf.general.hash_size, 8192);
/// assert!(warnings.is_empty());
///
/// let errors = tools::conf::parse("General { HashSise 8192 }", "example.conf").unwrap_err();
/// assert_eq!((errors[0].line(), errors[0].column()), (1, 11));
/// ```
pub fn parse(text: &str, file_name: &str) -> Result<(Conf, Found), Found> {
    let source = Source::new(file_name, text);
    let (nodes, mut found) = parser::parse(&source);
    if found.has_error() {
        return Err(found.finish());
    }
    let conf = check::check(&source, &nodes, &mut found);
    let valid = !found.has_error();
    let found = found.finish();
    if valid { Ok((conf, found)) } else { Err(found) }
}

#[cfg(test)]
mod tests;
