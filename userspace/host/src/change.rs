//! Lets the event source change between tap and hook, and tells the log.

use crate::log::record::Code;
use crate::log::{Level, Log};
use crate::source::{Source, Switch};
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
        Err(error) => {
            let error = error.on_one_line();
            log.warning(format!("conntrack events go on to come through: {name} ({error})"));
        }
    }
}
