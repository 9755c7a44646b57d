//! Lets the event source change between tap and hook, and logs each change.

use crate::log::record::Code;
use crate::log::{Level, Log};
use crate::source::{Source, SourceError, Switch};
use common::Instant;

/// Has `source` change if that costs less. To be called several times a second.
pub(crate) fn adapt(source: &mut Source, now: Instant, log: &Log) {
    let Some(outcome) = source.adapt(now) else { return };
    let name = source.name();
    match outcome {
        Ok(Switch { events, packets_per_ten }) => {
            let (packets, tenths) = (packets_per_ten / 10, packets_per_ten % 10);
            let text = format!(
                "conntrack events come through: {name} ({events} events a second, {packets}.{tenths} packets each)"
            );
            let fields = vec![
                ("source", name.into()),
                ("events", events.into()),
                ("packets_per_ten", packets_per_ten.into()),
            ];
            log.record(Level::Notice, Code::EventSource, text, fields);
        }
        Err(error) => refused(name, &error, log),
    }
}

/// Writing so few flows takes less time than a change of sides; a reading finds what the hook does not report.
const MANY: u64 = 20_000;

/// Has the hook take over, where it may, before a commit of `theirs` flows begins beside `own` ones: the kernel then
/// builds no messages about what is written. To hear messages again later costs a reading of all flows, so the peers'
/// must be at least as many as this node's.
pub(crate) fn before_commit(
    source: &mut Source,
    now: Instant,
    (theirs, own): (u64, u64),
    log: &Log,
) {
    if theirs < MANY.max(own) {
        return;
    }
    match source.take_hook(now) {
        Ok(false) => {}
        Ok(true) => {
            let name = source.name();
            let text =
                format!("conntrack events come through: {name} (a commit of {theirs} flows)");
            let fields = vec![("source", name.into()), ("flows", theirs.into())];
            log.record(Level::Notice, Code::EventSource, text, fields);
        }
        Err(error) => refused(source.name(), &error, log),
    }
}

fn refused(name: &str, error: &SourceError, log: &Log) {
    let error = error.on_one_line();
    log.warning(format!("conntrack events go on to come through: {name} ({error})"));
}
