//! Peers of replication, version 2.

use host::nodes::{PeerReport, RefusedReport};
use host::secure::Refusal;
use serde::{Deserialize, Serialize};
use std::time::Duration;

object! {
    /// A peer of replication, version 2.
    Peer {
        /// The peer's name.
        name: String,
        /// Where its session stands: `none`, `asking`, `answered`, `up`, `renewing` or `silent`.
        session: String,
        /// Where data goes; `null` before it is known.
        address: Option<String>,
        /// How long the present session lasts, seconds.
        session_s: Option<u64>,
        /// How often a key took the place of another.
        rekeys: u64,
        /// How long ago it was heard, milliseconds.
        heard_ms: Option<u64>,
        /// Everything that it claims was here once, in this run of it.
        complete: bool,
        /// The last comparison, at most three seconds ago, found both equal.
        equal: bool,
        /// How long ago a comparison found both equal, milliseconds.
        equal_ms: Option<u64>,
        /// There was no room for some of its flows (`RemoteLimit`), and there is none for all of them yet.
        full: bool,
        /// The peer claims by traffic only.
        standby: bool,
        /// Its flows that are here.
        flows: u64,
        /// Its expectations that are here.
        expectations: u64,
        /// Changes of this node that it has not acknowledged, at most.
        behind: u64,
        /// How long the oldest of these waits, milliseconds; 0: none waits.
        behind_ms: u64,
        /// How long news took to it, microseconds: from the kernel's event to its acknowledgement, less the time that
        /// this waited there. Half of the samples of the last minute took no longer; `null` without any.
        lag_p50_us: Option<u64>,
        /// The lag of all but one in a hundred.
        lag_p99_us: Option<u64>,
        /// The longest of the last minute.
        lag_max_us: Option<u64>,
        /// How long news took from it, microseconds: from its kernel's event, by its word and half of the least round
        /// trip.
        heard_lag_p50_us: Option<u64>,
        /// The lag of all but one in a hundred.
        heard_lag_p99_us: Option<u64>,
        /// The longest of the last minute.
        heard_lag_max_us: Option<u64>,
        /// Bytes in flight to it.
        in_flight_bytes: u64,
        /// Round trip to it, microseconds; `null` before one was measured.
        round_trip_us: Option<u64>,
        /// What the path to it carries, as far as is known: bytes a second.
        rate_bytes_s: u64,
        /// Bytes of the longest datagram that the path to it carries, as far as is known: what UDP holds.
        path_bytes: u64,
        /// Datagrams sent.
        sent: u64,
        /// Datagrams received that it sealed.
        received: u64,
        /// Records sent.
        records_sent: u64,
        /// Of these, sent again, because they were lost.
        records_sent_again: u64,
        /// Claims of it that were taken.
        taken: u64,
        /// Claims of it that were known.
        again: u64,
        /// Claims of it that lost against another node's.
        beaten: u64,
        /// Claims of it that found no room.
        no_space: u64,
        /// Flows that both nodes translate, and differently.
        nat_conflicts: u64,
        /// Frames or records of it that make no sense.
        malformed: u64,
        /// Comparisons that found a difference.
        unequal: u64,
        /// Flows and expectations that went because it did not list them.
        unlisted: u64,
        /// Flows and expectations sent to it to mend a difference.
        repaired: u64,
    }
}

object! {
    /// Datagrams on the port of replication, version 2, that no peer sealed or that came before, by what was wrong.
    Refused {
        /// No datagram of the protocol: its first byte, its length, or what must be zero.
        malformed: u64,
        /// No session and no handshake has this index.
        unknown_index: u64,
        /// A handshake whose sender does not know this node's public key.
        bad_mac: u64,
        /// Handshakes beyond those that are read in a second: they were answered by a cookie.
        cookies: u64,
        /// Handshakes with a right cookie, too many of one address.
        flood: u64,
        /// Came before, or is too old.
        replayed: u64,
        /// The sender did not have the key.
        forged: u64,
        /// A genuine handshake of a key that no peer has.
        unknown_key: u64,
        /// A peer's key with another name than the configuration's.
        other_name: u64,
        /// A peer that speaks no version of this build's.
        no_version: u64,
        /// Handshakes that this node's own went before.
        ties: u64,
        /// Datagrams that this node could not seal or send.
        unsent: u64,
    }
}

impl Refused {
    pub(super) fn of(report: &RefusedReport) -> Self {
        Self {
            malformed: report.count(Refusal::Malformed),
            unknown_index: report.count(Refusal::UnknownIndex),
            bad_mac: report.count(Refusal::BadMac),
            cookies: report.count(Refusal::Cookie),
            flood: report.count(Refusal::Flood),
            replayed: report.count(Refusal::Replayed),
            forged: report.count(Refusal::Forged),
            unknown_key: report.count(Refusal::UnknownKey),
            other_name: report.count(Refusal::OtherName),
            no_version: report.count(Refusal::NoVersion),
            ties: report.count(Refusal::Tie),
            unsent: report.unsent,
        }
    }
}

impl Peer {
    pub(super) fn of(report: &PeerReport) -> Self {
        let PeerReport { name, session, address, since, rekeys, engine } = report;
        let ms = |time: Duration| time.as_millis() as u64;
        let us = |time: Duration| time.as_micros() as u64;
        let c = &engine.counts;
        Self {
            name: name.to_string(),
            session: (*session).into(),
            address: address.map(|address| address.to_string()),
            session_s: since.map(|since| since.as_secs()),
            rekeys: *rekeys,
            heard_ms: engine.heard.map(ms),
            complete: engine.complete,
            equal: engine.equal,
            equal_ms: engine.equal_since.map(ms),
            full: engine.full,
            standby: engine.standby,
            flows: engine.rows.into(),
            expectations: engine.expectations.into(),
            behind: engine.behind,
            behind_ms: ms(engine.behind_for),
            lag_p50_us: engine.lag.map(|lag| us(lag.p50)),
            lag_p99_us: engine.lag.map(|lag| us(lag.p99)),
            lag_max_us: engine.lag.map(|lag| us(lag.max)),
            heard_lag_p50_us: engine.heard_lag.map(|lag| us(lag.p50)),
            heard_lag_p99_us: engine.heard_lag.map(|lag| us(lag.p99)),
            heard_lag_max_us: engine.heard_lag.map(|lag| us(lag.max)),
            in_flight_bytes: engine.in_flight,
            round_trip_us: engine.trip.map(us),
            rate_bytes_s: engine.rate,
            path_bytes: engine.path_len as u64,
            sent: c.sent,
            received: c.received,
            records_sent: c.records_sent,
            records_sent_again: c.records_sent_again,
            taken: c.taken,
            again: c.again,
            beaten: c.beaten,
            no_space: c.no_space,
            nat_conflicts: c.nat_conflicts,
            malformed: c.malformed + c.unopened,
            unequal: c.unequal,
            unlisted: c.unlisted,
            repaired: c.repaired,
        }
    }

    /// Whether this node has all that the peer claims, as far as a comparison of late says.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.session.as_str(), self.equal, self.complete) {
            ("up" | "renewing", ..) if self.full => "full",
            ("up" | "renewing", true, _) => "equal",
            ("up" | "renewing", false, true) => "catching up",
            ("up" | "renewing", false, false) => "filling",
            _ => "not there",
        }
    }
}
