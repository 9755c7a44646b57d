//! Flows that come and go, in the statistics.

use engine::turnover::{self, Changes, LIFETIME_BOUNDS_S, PROTOS};
use serde::{Deserialize, Serialize};

/// The zone that stands for all zones not shown separately.
const OTHER: &str = "other";

object! {
    /// What came and went in the local table since the engine began.
    Turnover {
        /// By zone.
        zones: Vec<Zone>,
        /// How long flows lived whose beginning and end were heard, by protocol.
        lifetimes: Vec<Lifetime>,
    }
}

object! {
    /// What happened to the flows of a zone.
    Zone {
        /// Its number, or `other`. The zones shown separately never change: they are the first ones seen.
        zone: String,
        /// Flows added.
        created: u64,
        /// How many changes.
        updated: u64,
        /// Flows removed.
        ended: u64,
    }
}

object! {
    /// How long flows of a protocol lived.
    Lifetime {
        /// `tcp`, `udp`, `icmp` or `other`.
        proto: String,
        /// How many flows.
        count: u64,
        /// Their lives added, seconds.
        sum_s: u64,
        /// The same flows by how long they lived; longer ones than the last bucket's are in none.
        buckets: Vec<Lived>,
    }
}

object! {
    /// How many flows lived so long.
    Lived {
        /// The longest life that counts here, whole seconds; longer ones are in the next bucket.
        le_s: u64,
        /// How many flows.
        count: u64,
    }
}

impl Turnover {
    /// With so many zones one by one.
    pub(super) fn of(turnover: &turnover::Turnover, zones_max: usize) -> Self {
        let (zones, rest) = turnover.zones(zones_max);
        let named = zones.into_iter().map(|(zone, changes)| Zone::of(zone.to_string(), changes));
        let rest = Some(rest).filter(|rest| *rest != Changes::default());
        let lives = PROTOS.into_iter().zip(turnover.lifetimes());
        Self {
            zones: named.chain(rest.map(|rest| Zone::of(OTHER.into(), rest))).collect(),
            lifetimes: lives.map(|(proto, lives)| Lifetime::of(proto, lives)).collect(),
        }
    }
}

impl Zone {
    const fn of(zone: String, Changes { created, updated, ended }: Changes) -> Self {
        Self { zone, created, updated, ended }
    }
}

impl Lifetime {
    fn of(proto: &str, lives: &turnover::Lifetimes) -> Self {
        let bounded = LIFETIME_BOUNDS_S.into_iter().zip(lives.buckets);
        Self {
            proto: proto.into(),
            count: lives.buckets.iter().sum(),
            sum_s: lives.sum_s,
            buckets: bounded.map(|(le_s, count)| Lived { le_s: le_s.into(), count }).collect(),
        }
    }
}
