//! What must hold of our output, whatever Debian's is.

use crate::mask::same;
use crate::side::Side;
use crate::twins::Twins;
use serde_json::Value;

/// The forms that `-o json` has to agree with.
const WORDS: &str = "xml,labels,ktimestamp";

#[test]
fn what_save_prints_makes_the_same_table_again() {
    let twins = Twins::new();
    for table in ["flows", "expect"] {
        twins.ours.prepare(table);
        let before = twins.ours.table();
        let saved = twins.ours.output("-L -o save", "");
        twins.ours.prepare("empty");
        assert_eq!(twins.ours.table(), "");
        let loaded = twins.ours.output("-R -", &saved.stdout);
        assert_eq!(loaded.exit, 0, "{}{}", saved.stdout, loaded.stderr);
        let (before, after) = (flows(&before), flows(&twins.ours.table()));
        assert!(same(&before, &after), "before:\n{before}\nafter:\n{after}");
    }
}

#[test]
fn json_says_what_xml_says() {
    let twins = Twins::new();
    twins.ours.prepare("flows");
    let xml = agreed(&twins.ours, WORDS);
    assert_eq!(xml, agreed(&twins.ours, &WORDS.replace("xml", "json")));
    assert!(xml.len() > 20);
}

/// The lines of flows; expectations are not saved.
fn flows(table: &str) -> String {
    let lines = table.lines().filter(|line| line.starts_with("-t "));
    // A TCP flow made by hand is followed without looking at windows, whatever the one before was.
    let flags = ("TcpFlags { flags: 0,", "TcpFlags { flags: 10,");
    lines.map(|line| line.replace(flags.0, flags.1)).collect::<Vec<_>>().join("\n")
}

/// Every flow as `name value` pairs in one form for both, sorted. Lifetimes are left out: they go on.
fn agreed(side: &Side, words: &str) -> Vec<Vec<String>> {
    let text = side.output(&format!("-L -o {words}"), "").stdout;
    let mut flows: Vec<Vec<String>> = if words.starts_with("json") {
        let array: Vec<Value> = serde_json::from_str(&text).expect("an array");
        array.iter().map(of_json).collect()
    } else {
        text.lines().filter(|line| line.starts_with("<flow>")).map(of_xml).collect()
    };
    for pairs in &mut flows {
        pairs.retain(|pair| !pair.starts_with("timeout ") && !pair.starts_with("deltatime "));
        pairs.sort();
    }
    flows.sort();
    flows
}

/// The members that XML has too, under its names.
fn of_json(flow: &Value) -> Vec<String> {
    let mut pairs = Vec::new();
    for direction in ["orig", "reply"] {
        let members = flow[direction].as_object().expect("an object");
        // XML does not carry the fields that identify ICMP.
        let members =
            members.iter().filter(|(name, _)| !["type", "code", "id"].contains(&name.as_str()));
        pairs.extend(
            members.map(|(name, value)| format!("{direction}.{name} {}", plain(name, value))),
        );
        pairs.push(format!("{direction}.protonum {}", flow["protonum"]));
        pairs.push(format!("{direction}.proto {}", plain("", &flow["proto"])));
        pairs.push(format!("{direction}.family {}", plain("", &flow["family"])));
    }
    for name in ["state", "timeout", "mark", "zone", "use", "id", "deltatime", "start_ns", "helper"]
    {
        pairs.extend(flow.get(name).map(|value| format!("{name} {}", plain(name, value))));
    }
    for label in flow["labels"].as_array().into_iter().flatten() {
        pairs.push(format!("label {}", plain("", label)));
    }
    let has =
        |bit: &str| flow["status"].as_array().is_some_and(|bits| bits.iter().any(|b| b == bit));
    pairs.extend(has("ASSURED").then(|| "assured".to_owned()));
    pairs.extend((!has("SEEN_REPLY")).then(|| "unreplied".to_owned()));
    pairs
}

fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(key) if name.ends_with("key") => format!("{:#x}", key.as_u64().unwrap_or(0)),
        other => other.to_string(),
    }
}

/// The leaves of an element, with the direction in front of those that have one.
fn of_xml(line: &str) -> Vec<String> {
    let mut pairs = Vec::new();
    let (mut direction, mut open) = ("", "");
    for piece in line.split('<').filter(|piece| !piece.is_empty()) {
        let (tag, text) = piece.split_once('>').expect("tags end");
        let attribute = |name: &str| {
            let value = tag.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
            value.and_then(|rest| rest.split('"').next()).unwrap_or_default()
        };
        match tag.split(' ').next().unwrap_or_default() {
            "meta" => {
                direction = match attribute("direction") {
                    "original" => "orig.",
                    "reply" => "reply.",
                    _ => "",
                };
            }
            "layer3" => pairs.push(format!("{direction}family {}", attribute("protoname"))),
            "layer4" => {
                pairs.push(format!("{direction}protonum {}", attribute("protonum")));
                pairs.push(format!("{direction}proto {}", attribute("protoname")));
            }
            "assured/" => pairs.push("assured".to_owned()),
            "unreplied/" => pairs.push("unreplied".to_owned()),
            name if name.strip_prefix('/') == Some(open) => open = "",
            name => {
                open = name;
                let name = if name == "start" { "start_ns" } else { name };
                if !text.is_empty() {
                    pairs.push(format!("{direction}{name} {text}"));
                }
            }
        }
    }
    pairs
}
