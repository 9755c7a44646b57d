//! What clients receive besides records: one JSON object on a line, or in a frame of its own.

use super::request::Format;
use host::shard::TableState;
use serde::Serialize;
use serde_json::{Map, Value, json};
use wire::feed::{Frame, Lost, Op, frame};

/// Where records were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// In the queue of a client.
    Client,
    /// In the lane of a shard.
    Lane,
}

/// A control line in the form of a client.
pub(super) fn framed(format: Format, value: &Value) -> Vec<u8> {
    let text = value.to_string();
    match format {
        Format::Json => (text + "\n").into_bytes(),
        Format::Binary => {
            let mut out = frame(Frame::Control, 0, text.len() as u32).to_vec();
            out.extend_from_slice(text.as_bytes());
            out
        }
    }
}

pub(super) fn error((code, text): &(&str, String)) -> Value {
    json!({"v": 1, "control": "error", "code": code, "text": text})
}

pub(super) fn bye(why: &str) -> Value {
    json!({"v": 1, "control": "bye", "why": why})
}

/// A table was emptied; `seq` is the number of that record.
pub(super) fn cleared(shard: u16, seq: u64) -> Value {
    json!({"v": 1, "control": "state", "state": "cleared", "shard": shard, "seq": seq})
}

/// Records were lost. `for_ms`: for how long; `limit`: how many bytes the client's queue may hold.
pub(super) fn gap(scope: Scope, shard: u16, lost: &Lost, (for_ms, limit): (u64, usize)) -> Value {
    let mut kinds = Map::new();
    for (op, name) in Op::NAMED.into_iter().chain([(Op::Cleared, "cleared")]) {
        let count = lost.kinds[op as usize];
        if count > 0 {
            kinds.insert(name.into(), count.into());
        }
    }
    let (scope, why) = match scope {
        Scope::Client => {
            ("client", format!("the client read too slowly: its queue of {limit} bytes was full"))
        }
        Scope::Lane => ("lane", "the daemon had no time to write them down".to_owned()),
    };
    json!({
        "v": 1, "control": "gap", "scope": scope, "shard": shard, "from": lost.from, "to": lost.to,
        "lost": kinds, "for_ms": for_ms, "why": why,
        "do": "send {\"op\":\"resync\"} for a new snapshot",
    })
}

/// The control line about the state of the table.
pub(super) fn state(state: TableState) -> Value {
    let missing = match state {
        TableState::Degraded { lost, .. } | TableState::Repairing { lost, .. } => lost,
        TableState::Loading { .. } | TableState::Exact => 0,
    };
    let mut value = json!({"v": 1, "control": "state", "state": state.word()});
    if missing > 0 {
        value["missing"] = missing.into();
    }
    value
}
