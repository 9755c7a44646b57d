//! What the daemon says of one flow: how far its last change has come to the peers, and what the daemon doubts.

use super::row::Row;
use crate::print::tame::Name;
use ctnetlink::FlowKey;
use serde_json::Value;

/// Peers that are shown.
const PEERS_MAX: usize = 16;

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of which flow.
    pub key: FlowKey,
    /// Lines about it.
    pub lines: Vec<String>,
}

impl Answer {
    /// What a daemon answered to `get` (`docs/spec/feed.md`, F13).
    #[must_use]
    pub fn new(key: FlowKey, answer: &Value) -> Self {
        let lines = match answer["flow"].is_object() {
            true => about(answer),
            false => vec!["replication: the daemon does not know the flow".into()],
        };
        Self { key, lines }
    }

    /// There is no answer.
    #[must_use]
    pub fn unknown(key: FlowKey, why: &str) -> Self {
        Self { key, lines: vec![format!("replication: not known, {why}")] }
    }

    /// What is said of a flow that is shown; nothing of another.
    #[must_use]
    pub fn of(&self, row: &Row) -> &[String] {
        if self.key == row.flow.key() { &self.lines } else { &[] }
    }
}

fn about(answer: &Value) -> Vec<String> {
    let peers = answer["replication"].as_array().map(Vec::as_slice);
    let first = match peers {
        // A daemon of an earlier version.
        None => "replication: the daemon does not say".into(),
        Some([]) => "replication: none, this daemon has no peers".into(),
        Some(peers) => {
            let parts: Vec<_> = peers.iter().take(PEERS_MAX).map(peer).collect();
            format!("replication: {}", parts.join("; "))
        }
    };
    let doubts = answer["doubts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let doubts = doubts.filter_map(|doubt| match doubt {
        "silent" => Some("the kernel may not report its end: the daemon looks after it"),
        "unsure" => Some("the kernel may not have it: only its first packet was seen"),
        _ => None,
    });
    [first].into_iter().chain(doubts.map(str::to_owned)).collect()
}

/// How far a peer has heard of it.
fn peer(peer: &Value) -> String {
    let word = match peer["state"].as_str().unwrap_or_default() {
        "untold" => "not sent",
        "queued" => "waits to be sent",
        "sent" => "sent, not acknowledged",
        "acked" => "acknowledged",
        "theirs" => "the flow is its own",
        _ => "not known",
    };
    let waits = peer["waits_ms"].as_u64().map(|ms| match ms {
        0..10_000 => format!(" for {ms} ms"),
        _ => format!(" for {} s", ms / 1000),
    });
    let name = peer["peer"].as_str().map(|name| format!("{}: ", Name(name)));
    [name.unwrap_or_default(), word.into(), waits.unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::{Flow, Tuple};
    use serde_json::json;

    fn lines(replication: &Value, doubts: &Value) -> Vec<String> {
        let answer = json!({"flow": {}, "replication": replication, "doubts": doubts});
        Answer::new(FlowKey::default(), &answer).lines
    }

    #[test]
    fn each_state_has_its_words() {
        let all = [
            (json!([]), "none, this daemon has no peers"),
            (Value::Null, "the daemon does not say"),
            (json!([{"peer": null, "state": "acked", "waits_ms": null}]), "acknowledged"),
            (json!([{"peer": null, "state": "queued"}]), "waits to be sent"),
            (
                json!([{"peer": "r2", "state": "sent", "waits_ms": 3}, {"peer": "r3", "state": "theirs"}]),
                "r2: sent, not acknowledged for 3 ms; r3: the flow is its own",
            ),
            (
                json!([{"peer": "r2", "state": "queued", "waits_ms": 61_000}]),
                "r2: waits to be sent for 61 s",
            ),
            (json!([{"peer": "r2", "state": "untold"}]), "r2: not sent"),
            (json!([{"peer": "\u{1b}[2J", "state": "of a later version"}, 7]), "not known"),
        ];
        for (replication, text) in all {
            let said = lines(&replication, &json!([]));
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with("replication: ") && said[0].ends_with(text), "{said:?}");
            assert!(!said[0].contains('\u{1b}'), "{said:?}");
        }
        let said = lines(&json!([]), &json!(["silent", "unsure", "of a later version", 3]));
        assert_eq!(said.len(), 3, "{said:?}");
        let none = Answer::new(FlowKey::default(), &json!({"flow": null}));
        assert_eq!(none.lines, ["replication: the daemon does not know the flow"]);
    }

    #[test]
    fn it_is_said_of_the_flow_that_was_asked_about_alone() {
        let row = |port| {
            let flow = Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(port, 80));
            Row::new(flow, Default::default())
        };
        let answer = Answer::unknown(row(7).flow.key(), "no feed");
        assert_eq!(answer.of(&row(7)), ["replication: not known, no feed"]);
        assert!(answer.of(&row(8)).is_empty());
    }
}
