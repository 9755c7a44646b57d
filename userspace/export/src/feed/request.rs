//! What clients say: one JSON object on a line.

use super::Question;
use engine::Side;
use serde::Deserialize;
use serde_json::Value;
use wire::feed::Op;

/// The longest line of a client, bytes.
pub(super) const LINE_MAX: usize = 4096;
/// The version of this protocol.
const VERSION: u64 = 1;

/// How records are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Lines of JSON.
    Json,
    /// Frames of records.
    Binary,
}

/// What happens when a client has lost records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnGap {
    /// The client receives a gap message.
    Tell,
    /// The client receives a gap message and a new snapshot.
    Resync,
    /// The client receives a gap message, and the hub closes the connection.
    Close,
}

/// What a client wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The encoding.
    pub(super) format: Format,
    /// A filter in normal form, which selects the flows.
    pub(super) filter: String,
    /// The kinds of records: a bit for each [`Op`].
    pub(super) kinds: u8,
    /// Whether it begins with all flows of the table.
    pub(super) snapshot: bool,
    /// Whether records carry the counters and times of flows.
    pub(super) counters: bool,
    /// What happens when records are lost.
    pub(super) on_gap: OnGap,
    /// The side of the table.
    pub(super) side: Side,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The client subscribes to records.
    Subscribe(Subscription),
    /// The client requests a new snapshot.
    Resync,
    /// The client asks a question.
    Ask(Question),
    /// The client asks for the present state of a flow: the table, and the flow as JSON.
    Get(Side, String),
    /// The client leaves.
    Bye,
}

#[derive(Debug, Deserialize)]
struct Words {
    #[serde(default)]
    v: Option<u64>,
    op: String,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    filter: String,
    #[serde(default)]
    kinds: Option<Vec<String>>,
    #[serde(default)]
    snapshot: bool,
    #[serde(default)]
    counters: bool,
    #[serde(default)]
    on_gap: Option<String>,
    #[serde(default)]
    table: Option<String>,
    #[serde(default)]
    flow: Option<Value>,
}

/// Why a line is not understood: the code and the text of the error.
pub(super) type Refusal = (&'static str, String);

/// Understands a line.
///
/// # Errors
/// [`Refusal`].
pub(super) fn parse(line: &[u8]) -> Result<Request, Refusal> {
    let words: Words =
        serde_json::from_slice(line).map_err(|error| ("request", error.to_string()))?;
    if let Some(version) = words.v.filter(|version| *version != VERSION) {
        return Err(("version", format!("version {version} is not known, {VERSION} is")));
    }
    Ok(match words.op.as_str() {
        "subscribe" => Request::Subscribe(subscription(words)?),
        "resync" => Request::Resync,
        "status" => Request::Ask(Question::Status),
        "ready" => Request::Ask(Question::Ready),
        "get" => get(&words)?,
        "bye" => Request::Bye,
        _ => {
            let text = "expected one of the ops subscribe, resync, get, status, ready, bye";
            return Err(("request", text.into()));
        }
    })
}

fn side(table: Option<&str>) -> Result<Side, Refusal> {
    match table {
        None | Some("local") => Ok(Side::Local),
        Some("remote") => Ok(Side::Remote),
        Some(_) => Err(("request", "expected the table local or remote".to_owned())),
    }
}

fn get(words: &Words) -> Result<Request, Refusal> {
    let flow = words.flow.as_ref().filter(|flow| flow.is_object());
    let Some(flow) = flow else {
        return Err(("request", "expected the member flow: the object of a record".into()));
    };
    Ok(Request::Get(side(words.table.as_deref())?, flow.to_string()))
}

fn subscription(words: Words) -> Result<Subscription, Refusal> {
    let wrong = |text: &str| ("request", text.to_owned());
    let Words { filter, snapshot, counters, .. } = words;
    let format = match words.format.as_deref() {
        None | Some("json") => Format::Json,
        Some("binary") => Format::Binary,
        Some(_) => return Err(wrong("expected the format json or binary")),
    };
    let on_gap = match words.on_gap.as_deref() {
        None | Some("tell") => OnGap::Tell,
        Some("resync") => OnGap::Resync,
        Some("close") => OnGap::Close,
        Some(_) => return Err(wrong("expected on_gap tell, resync or close")),
    };
    let side = side(words.table.as_deref())?;
    let mut kinds = 1 << Op::Cleared as u8;
    match words.kinds {
        None => kinds |= (1 << Op::New as u8) | (1 << Op::Update as u8) | (1 << Op::Destroy as u8),
        Some(names) => {
            for name in names {
                let named = Op::NAMED.iter().find(|(op, known)| *known == name && *op != Op::Have);
                let Some((op, _)) = named else {
                    return Err(wrong("expected the kinds new, update, destroy or failure"));
                };
                kinds |= 1 << *op as u8;
            }
        }
    }
    if snapshot || on_gap == OnGap::Resync {
        kinds |= 1 << Op::Have as u8;
    }
    Ok(Subscription { format, filter, kinds, snapshot, counters, on_gap, side })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flow_is_asked_for_by_an_object() {
        let wanted = Request::Get(Side::Remote, r#"{"zone":5}"#.into());
        let line = br#"{"op":"get","table":"remote","flow":{"zone":5}}"#;
        assert_eq!(parse(line), Ok(wanted));
        for wrong in [
            r#"{"op":"get"}"#,
            r#"{"op":"get","flow":7}"#,
            r#"{"op":"get","flow":{},"table":"both"}"#,
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn requests_are_understood_and_wrong_ones_named() {
        let Ok(Request::Subscribe(all)) = parse(br#"{"v":1,"op":"subscribe"}"#) else {
            panic!("it is understood")
        };
        assert_eq!((all.format, all.kinds, all.side), (Format::Json, 0b10_1110, Side::Local));
        let line = br#"{"op":"subscribe","format":"binary","filter":"tcp","kinds":["new"],
            "snapshot":true,"on_gap":"resync","table":"remote","later":[1]}"#;
        let Ok(Request::Subscribe(some)) = parse(line) else { panic!("it is understood") };
        assert_eq!(
            (some.kinds, some.on_gap, some.filter.as_str()),
            (0b10_0011, OnGap::Resync, "tcp")
        );
        assert_eq!(parse(br#"{"op":"ready"}"#), Ok(Request::Ask(Question::Ready)));
        let code = |line: &str| parse(line.as_bytes()).unwrap_err().0;
        assert_eq!(code(r#"{"v":2,"op":"subscribe"}"#), "version");
        for wrong in [
            "",
            "{}",
            r#"{"op":"nothing"}"#,
            r#"{"op":"subscribe","format":"xml"}"#,
            r#"{"op":"subscribe","kinds":["have"]}"#,
            r#"{"op":"subscribe","table":"both"}"#,
            r#"{"op":"subscribe","on_gap":"weep"}"#,
        ] {
            assert_eq!(code(wrong), "request", "{wrong}");
        }
    }
}
