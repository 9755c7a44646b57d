//! The rows of `Metrics`.

use super::{NETWORK, PER_CPU, keyword};
use crate::conf::model::MetricsConf;
use crate::conf::schema::Block::Metrics;
use crate::conf::schema::{Body, Key, Keyword, Kind, Value};

pub(super) const ROWS: &[Keyword] = &[
    keyword(Key::Listen, "Listen", &[Metrics]).takes(Kind::Endpoint).repeats().doc(
        "Where to listen, at most four times; nothing listens unless asked. A path is a socket that the owner and \
             the group of the daemon may use. An address that cannot be had is warned of and tried again every ten \
             seconds; the daemon runs all the same.",
    ),
    keyword(Key::Allow, "Allow", &[Metrics])
        .opens(Body::List { item: NETWORK, trailer: &[] })
        .repeats()
        .doc("Addresses and networks that may ask over TCP; without it, everybody who reaches the address."),
    keyword(Key::PerCpu, "PerCpu", &[Metrics])
        .takes(PER_CPU)
        .default(|| Value::Choice(MetricsConf::default().per_cpu.name()))
        .doc("Whether the kernel's counters are told for each CPU; `auto`: on machines with at most 32."),
    keyword(Key::SeriesMax, "SeriesMax", &[Metrics])
        .takes(Kind::Number { min: 100, max: 1_000_000 })
        .default(|| MetricsConf::default().series_max.into())
        .doc("Most time series of an answer; what is beyond is left out, whole metrics, and counted."),
    keyword(Key::Census, "Census", &[Metrics])
        .takes(Kind::Number { min: 0, max: 3600 })
        .default(|| MetricsConf::default().census_s.into())
        .doc("Seconds between two counts of the table by zone, protocol and state, in slices between events; 0: none."),
    keyword(Key::ZonesMax, "ZonesMax", &[Metrics])
        .takes(Kind::Number { min: 0, max: 256 })
        .default(|| MetricsConf::default().zones_max.into())
        .doc("Most zones that have numbers of their own, those with the most flows; the others are `zone=\"other\"`."),
];
