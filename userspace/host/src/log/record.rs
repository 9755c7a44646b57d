//! What a line of the log says to machines: a code that stays, and fields.

use super::Level;
use std::fmt::Write as _;

/// Declares the codes from one table: variant, name, names of its fields, meaning; in the order of the reference.
macro_rules! codes {
    ($($(#[$attribute:meta])* $code:ident $name:literal, $fields:expr, $meaning:literal;)*) => {
        /// What a line is about. A code keeps its name and its meaning: alerts are written against it.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$attribute])* #[doc = $meaning] $code,)*
        }

        impl Code {
            /// Each of them, in the order of the reference.
            pub const ALL: [Self; [$(Code::$code),*].len()] = [$(Self::$code),*];

            const fn row(self) -> (&'static str, &'static [&'static str], &'static str) {
                match self {
                    $(Self::$code => ($name, $fields, $meaning),)*
                }
            }
        }
    };
}

codes! {
    BulkDone "bulk-done", &["flows"], "All flows have been sent to the other node.";
    BulkStarted "bulk-started", &[], "All flows are being sent to the other node.";
    CommandRefused "command-refused", &[], "The engine refused a request of a client.";
    CommitDone "commit-done", COMMIT,
        "A commit of flows has ended. `failed` were refused by the kernel.";
    CommitProgress "commit-progress", &["done", "of"], "A long commit is under way.";
    CommitStarted "commit-started", &[], "A commit begins.";
    ConfigRead "config-read", &[], "A reload has applied the configuration.";
    ConfigRefused "config-refused", &[], "A reload has changed nothing.";
    EventSource "event-source", &["source"], "Where kernel events are heard.";
    EventsLost "events-lost", &["lost", "source"],
        "The kernel had no room for events. With `NetlinkEventsReliable` it holds them back.";
    ExpectationsCommitted "expectations-committed", COMMIT, "A commit of expectations has ended.";
    Failure "failure", &["reason", "count"],
        "The kernel refused, dropped or evicted something; `count` since the last line of this `reason`.";
    KernelRefusesPart "kernel-refuses-part", &["errno"],
        "Flows are written without a part that the kernel refuses.";
    KernelTableRead "kernel-table-read", &["flows", "purged"],
        "The kernel's table has been read whole.";
    KernelWriteFailed "kernel-write-failed", &["errno"], "The kernel refused to write a flow.";
    LinesLeftOut "lines-left-out", &["lines"], "Lines like the next one came too often.";
    LinesLost "lines-lost", &["lines"], "The disk or the journal did not take lines.";
    #[default]
    Message "message", &[], "Anything that has no code of its own.";
    Panic "panic", &[], "A thread has failed in an unforeseen way: please report it.";
    PeerBack "peer-back", &[], "The other node is heard again.";
    PeerDiffers "peer-differs", &["theirs", "ours"],
        "The other node counts other flows than are known of it.";
    PeerDown "peer-down", &["peer"], "The session with a node of version 2 is over.";
    PeerMissedMessages "peer-missed-messages", &[],
        "The other node lacks messages that are not kept: all is sent.";
    PeerRestarted "peer-restarted", &[], "The other node began a new sequence.";
    PeerSilent "peer-silent", &["silent_s"], "The other node has not been heard for so long.";
    PeerUp "peer-up", &["peer"], "There is a session with a node of version 2.";
    Ready "ready", &[], "The daemon serves.";
    ResyncRequested "resync-requested", &[], "The other node asks for all flows.";
    Shutdown "shutdown", &[], "The daemon ends, as requested.";
    StaleRemoved "stale-removed", &["flows"],
        "Flows went that the other node does not have any more.";
    TableExact "table-exact", &["lost", "after_ms"],
        "The internal cache is again what the kernel's table is.";
    TableFull "table-full", &["table", "limit"], "A cache holds `HashLimit` flows.";
    TableNotExact "table-not-exact", &["cause"],
        "The internal cache differs from the kernel's table, or may.";
    User "user", &["user"], "The daemon has given up root's rights.";
}

impl Code {
    /// How it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The names of its fields.
    #[must_use]
    pub const fn fields(self) -> &'static [&'static str] {
        self.row().1
    }

    /// What a line with this code means.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.row().2
    }

    /// What journald knows it by (`MESSAGE_ID`): FNV-1a over `ctflow:` and the name, 128 bits.
    #[must_use]
    pub const fn message_id(self) -> u128 {
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
        let parts = [b"ctflow:", self.name().as_bytes()];
        let mut part = 0;
        while part < parts.len() {
            let mut at = 0;
            while at < parts[part].len() {
                hash = (hash ^ parts[part][at] as u128).wrapping_mul(PRIME);
                at += 1;
            }
            part += 1;
        }
        hash
    }
}

const COMMIT: &[&str] = &["committed", "failed", "took_us"];

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A word.
    Text(String),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Names, as in [`Code::fields`], and values.
pub type Fields = Vec<(&'static str, Value)>;

/// A line before it has a form.
#[derive(Clone, Debug)]
pub struct Record {
    /// The severity of the line.
    pub level: Level,
    /// The kind of event that it reports.
    pub code: Code,
    /// The text for people.
    pub text: String,
    /// The fields for machines.
    pub fields: Fields,
}

impl Record {
    /// One line of JSON, newline included: `ts` in UTC, `level`, `code`, `msg`, then the fields.
    #[must_use]
    pub(super) fn json(&self, utc: &str) -> String {
        let word = self.level.word().to_ascii_lowercase();
        let (code, text) = (self.code.name(), quoted(&self.text));
        let mut out = format!(r#"{{"ts":"{utc}","level":"{word}","code":"{code}","msg":{text}"#);
        for (name, value) in &self.fields {
            let _ = match value {
                Value::Number(number) => write!(out, r#","{name}":{number}"#),
                Value::Text(text) => write!(out, r#","{name}":{}"#, quoted(text)),
            };
        }
        out.push_str("}\n");
        out
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_listed_once_each_in_order_and_known_by_different_ids() {
        let names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(Code::ALL.iter().collect::<HashSet<_>>().len(), Code::ALL.len());
        assert_eq!(
            Code::ALL.iter().map(|code| code.message_id()).collect::<HashSet<_>>().len(),
            Code::ALL.len()
        );
        // Alerts and `journalctl MESSAGE_ID=` hold on to it.
        assert_eq!(
            format!("{:032x}", Code::EventsLost.message_id()),
            "5ddf951901aee7ee2fd2c301ae0ae36e"
        );
    }

    #[test]
    fn json_holds_whatever_a_text_says() {
        let record = Record {
            level: Level::Error,
            code: Code::EventsLost,
            text: "a \"b\"\n\u{1} é".into(),
            fields: vec![("lost", 7.into()), ("source", "t\"ap".into())],
        };
        let line = record.json("2026-11-28T14:03:27.123456Z");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line.lines().count(), 1);
        assert_eq!((&json["lost"], &json["source"]), (&7.into(), &"t\"ap".into()));
        assert_eq!((&json["level"], &json["msg"]), (&"error".into(), &record.text.into()));
        assert!(line.starts_with(
            r#"{"ts":"2026-11-28T14:03:27.123456Z","level":"error","code":"events-lost","msg":"#
        ));
    }
}
