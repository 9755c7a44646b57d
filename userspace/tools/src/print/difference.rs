//! What `ctflow diff` shows: flows that are not the same here and at the peer that owns them.

use super::conntrack::{Format, Style, table_flow, table_object};
use ctnetlink::Flow;
use ctnetlink::flow::Known;
use engine::output::{Compared, Differing};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// How many flows differ: at least one where that is not known for sure.
#[must_use]
pub fn count(found: &Compared) -> u64 {
    match found.counts {
        Some(counts) => counts.iter().sum(),
        None => (found.differing.len() as u64).max(1),
    }
}

/// What people must know of what was found; `name`: the peer.
#[must_use]
pub fn notes(found: &Compared, name: &str) -> Vec<String> {
    let mut out = Vec::new();
    let shown = found.differing.len() as u64;
    match found.counts {
        None => out.push(format!(
            "flows changed faster than they were compared, or {name} did not answer in time: what is shown may be on \
             its way, and there may be more"
        )),
        Some(counts) if counts.iter().sum::<u64>() > shown => {
            let all: u64 = counts.iter().sum();
            out.push(format!("{all} flows differ, of which {shown} are shown"));
        }
        Some(_) => {}
    }
    if !found.peer_is_exact {
        out.push(format!("{name} does not know that its own table is exact (ctflow status there)"));
    }
    out
}

/// A flow without its time and its kernel id, which are each node's own.
fn shared_part(flow: &Flow) -> Flow {
    let mut flow = flow.clone();
    flow.known.remove(Known::TIMEOUT | Known::ID);
    flow
}

fn line(flow: &Flow) -> String {
    let mut out = Vec::new();
    table_flow(
        &mut out,
        &Style { format: Format::Plain, ..Style::default() },
        &shared_part(flow),
        0,
    );
    String::from_utf8_lossy(&out).trim().to_owned()
}

fn object(flow: &Flow) -> Value {
    serde_json::from_str(&table_object(&shared_part(flow), 0)).unwrap_or_default()
}

/// The members that are not the same on both sides.
fn members(here: &Value, there: &Value) -> Vec<String> {
    let empty = Map::new();
    let [here, there] = [here, there].map(|side| side.as_object().unwrap_or(&empty));
    let names = here.keys().chain(there.keys().filter(|name| !here.contains_key(*name)));
    names.filter(|name| here.get(*name) != there.get(*name)).cloned().collect()
}

/// As lines.
#[must_use]
pub fn text(found: &Compared) -> String {
    let mut out = String::new();
    for Differing { here, there } in &found.differing {
        // Writing to a string cannot fail.
        let _ = match (here, there) {
            (Some(here), Some(there)) => {
                let what = members(&object(here), &object(there)).join(", ");
                let (here, there) = (line(here), line(there));
                writeln!(out, "different ({what})\n  here:  {here}\n  there: {there}")
            }
            (None, Some(there)) => writeln!(out, "missing here\n  there: {}", line(there)),
            (Some(here), None) => writeln!(out, "missing there\n  here:  {}", line(here)),
            (None, None) => Ok(()),
        };
    }
    let [here, there] = found.rows;
    let _ = match found.counts {
        Some([0, 0, 0]) => writeln!(out, "equal: {there} flows"),
        Some([lacked, stale, other]) => writeln!(
            out,
            "missing here: {lacked}, missing there: {stale}, different: {other}; flows here: {here}, there: {there}"
        ),
        None => writeln!(out, "not equal; flows here: {here}, there: {there}"),
    };
    out
}

/// As one JSON object (`docs/spec/replication-v2.md`).
#[must_use]
pub fn json(found: &Compared, name: &str) -> String {
    let differing = found.differing.iter().map(|Differing { here, there }| {
        let (here, there) = (here.as_ref().map(object), there.as_ref().map(object));
        match (here, there) {
            (Some(here), Some(there)) => {
                let what = members(&here, &there);
                json!({"kind": "different", "what": what, "here": here, "there": there})
            }
            (Some(here), None) => json!({"kind": "missing_there", "here": here}),
            (None, there) => json!({"kind": "missing_here", "there": there}),
        }
    });
    let [here, there] = found.rows;
    let counts = found.counts.map(|[lacked, stale, other]| {
        json!({"missing_here": lacked, "missing_there": stale, "different": other})
    });
    let all = json!({
        "v": 1,
        "peer": name,
        "equal": found.counts == Some([0; 3]),
        "complete": found.counts.is_some(),
        "peer_is_exact": found.peer_is_exact,
        "flows": {"here": here, "there": there},
        "counts": counts,
        "differing": differing.collect::<Vec<_>>(),
    });
    all.to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::Tuple;
    use ctnetlink::flow::{ProtoState, Status, TcpState};

    fn flow(port: u16, state: u8, mark: u32) -> Flow {
        let orig = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], 6).with_ports(port, 80);
        Flow {
            reply: orig.inverted(),
            status: Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED,
            known: Known::STATUS | Known::MARK | Known::TIMEOUT | Known::ID,
            timeout_s: 17,
            id: 4711,
            mark,
            proto: ProtoState::Tcp(TcpState { state, ..TcpState::default() }),
            ..Flow::new(orig)
        }
    }

    fn found() -> Compared {
        let differing = vec![
            Differing { here: None, there: Some(flow(1, 3, 0)) },
            Differing { here: Some(flow(2, 3, 0)), there: None },
            Differing { here: Some(flow(3, 3, 5)), there: Some(flow(3, 7, 0)) },
        ];
        let counts = Some([1, 1, 1]);
        Compared { rows: [2, 2], counts, differing, peer_is_exact: true }
    }

    #[test]
    fn each_kind_has_its_lines_and_what_differs_is_named() {
        let text = text(&found());
        let lines: Vec<_> = text.lines().collect();
        let heads: Vec<_> = lines.iter().filter(|line| !line.starts_with(' ')).collect();
        let wanted = [
            "missing here",
            "missing there",
            "different (mark, state)",
            "missing here: 1, missing there: 1, different: 1; flows here: 2, there: 2",
        ];
        assert_eq!(heads, wanted.iter().collect::<Vec<_>>(), "{text}");
        assert!(lines[1].starts_with("  there: tcp") && lines[1].contains("sport=1 "), "{text}");
        assert!(!text.contains("4711") && !text.contains(" 17 "), "each node's own: {text}");
        let equal = Compared { rows: [7, 7], counts: Some([0; 3]), ..Compared::default() };
        assert_eq!(super::text(&equal), "equal: 7 flows\n");
    }

    #[test]
    fn json_has_the_same() {
        let value: Value = serde_json::from_str(&json(&found(), "fw-b")).unwrap();
        assert_eq!((&value["peer"], &value["equal"]), (&json!("fw-b"), &json!(false)));
        assert_eq!(value["counts"]["missing_there"], 1);
        let kinds: Vec<_> =
            value["differing"].as_array().unwrap().iter().map(|d| d["kind"].clone()).collect();
        assert_eq!(kinds, ["missing_here", "missing_there", "different"]);
        assert_eq!(value["differing"][2]["what"], json!(["mark", "state"]));
        assert_eq!(value["differing"][2]["there"]["state"], "TIME_WAIT");
    }

    #[test]
    fn what_is_not_known_for_sure_is_said_and_is_not_equal() {
        let vague = Compared { rows: [5, 6], ..Compared::default() };
        assert_eq!((count(&vague), notes(&vague, "fw-b").len()), (1, 2));
        assert_eq!(text(&vague), "not equal; flows here: 5, there: 6\n");
        let many = Compared { counts: Some([20_000, 0, 0]), peer_is_exact: true, ..found() };
        assert_eq!(notes(&many, "fw-b"), ["20000 flows differ, of which 3 are shown"]);
        assert_eq!(count(&many), 20_000);
    }
}
