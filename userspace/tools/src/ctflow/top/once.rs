//! Pictures for programs: JSON (`docs/spec/top-json.md`).

use super::arrange::{Group, Groups, Picture};
use super::heavy::Counter;
use super::row::Row;
use super::sample::Totals;
use crate::print::conntrack::{Format, Style, table_flow};
use serde_json::{Value, json};
use std::time::Duration;

/// A picture as an object; at most so many flows and groups of it.
#[must_use]
pub fn json(picture: &Picture, most: usize) -> Value {
    let sample = &picture.sample;
    let interval = sample.churn.interval;
    let mut totals = totals(&sample.totals);
    totals["flows_max"] = json!(sample.machine.flows_max);
    totals["new_per_s"] = json!(per_second(sample.churn.began, interval));
    totals["ended_per_s"] = json!(per_second(sample.churn.ended, interval));
    let zones = sample.totals.zones.iter().map(|(zone, flows)| (zone.to_string(), json!(flows)));
    totals["zones"] = zones.collect();
    let flows: Vec<_> =
        picture.rows.iter().take(most).map(|row| flow(row, sample.time_ns)).collect();
    let mut out = json!({
        "v": 1,
        "time_ns": sample.time_ns,
        "mode": sample.mode.name(),
        "lapse": sample.lapse.as_ref().map(|lapse| &lapse.why),
        "source": sample.origin.name(),
        "interval_s": interval.map(|time| time.as_secs_f64()),
        "rated_s": sample.rated.map(|time| time.as_secs_f64()),
        "took_s": sample.took.as_secs_f64(),
        "exact": sample.is_exact(),
        "counted": sample.machine.is_counted,
        "unmetered": sample.churn.unmetered,
        "left_out": sample.left_out,
        "uncounted": sample.uncounted,
        "daemon": sample.machine.daemon,
        "notes": sample.notes,
        "totals": totals,
        "matched": self::totals(&picture.matched),
        "listed": picture.listed,
        "flows": flows,
    });
    if let Some(failures) = &sample.machine.failures {
        out["failed"] = json!({
            "table_full": failures.table_full, "evicted": failures.evicted, "clash": failures.clash,
            "insert_failed": failures.insert_failed, "invalid": failures.invalid,
        });
    }
    if let Some(groups) = &picture.groups {
        out["grouped"] = json!({
            "by": groups.key.name(), "count": groups.count, "exact": groups.is_exact, "new_unnamed": groups.unnamed,
        });
        out["groups"] = self::groups(groups, most, interval);
    }
    out
}

fn totals(totals: &Totals) -> Value {
    let Totals { flows, tcp, udp, other, in_bps, out_bps, .. } = totals;
    json!({
        "flows": flows, "tcp": tcp, "udp": udp, "other": other, "in_bps": in_bps, "out_bps": out_bps,
    })
}

/// Events a second, to a thousandth.
#[must_use]
pub fn per_second(count: Option<u64>, interval: Option<Duration>) -> Option<f64> {
    let seconds = interval?.as_secs_f64();
    (seconds > 0.0).then_some(())?;
    Some((count? as f64 * 1000.0 / seconds).round() / 1000.0)
}

/// A flow as in `conntrack -o json`, and its rates.
#[must_use]
pub fn flow(row: &Row, now_ns: u64) -> Value {
    let style = Style { format: Format::Json, ktimestamp: true, ..Style::default() };
    // An entry of a list is parted by what stands before it.
    let mut text = b"[".to_vec();
    table_flow(&mut text, &style, &row.flow, now_ns);
    let mut object: Value = serde_json::from_slice(&text[1..]).unwrap_or_default();
    object["in_bps"] = json!(row.in_bps());
    object["out_bps"] = json!(row.out_bps());
    object["age_s"] = json!(row.age_s(now_ns));
    object
}

fn groups(groups: &Groups, most: usize, interval: Option<Duration>) -> Value {
    let object = |counter: &Counter<super::arrange::Tally>| {
        let Counter { key, count, error, tally } = counter;
        json!({
            "key": key, "flows": count, "flows_error": error, "unreplied": tally.unreplied,
            "new_per_s": per_second(interval.map(|_| tally.began), interval),
            "in_bps": tally.in_bps, "out_bps": tally.out_bps,
            "tcp": tally.tcp, "udp": tally.udp, "other": tally.other,
        })
    };
    groups.rows.iter().take(most).map(|Group { counter, .. }| object(counter)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::arrange::{Arranger, Settings};
    use super::super::mode::Origin;
    use super::super::sample::{Machine, Sampler};
    use super::*;
    use crate::grouping::Key;
    use ctnetlink::flow::{Counters, Known, Status, Timestamps};
    use ctnetlink::{Flow, Tuple};

    fn picture(settings: &Settings) -> Picture {
        let mut sampler = Sampler::new(100);
        let mut last = None;
        for (s, bytes) in [(10, 1000), (12, 3000)] {
            sampler.begin(Duration::from_secs(s), s * 1_000_000_000, Origin::Kernel);
            for port in 1..=3 {
                let orig = Tuple::v4([10, 0, 0, 1], [192, 0, 2, 1], 6).with_ports(port, 443);
                let mut flow = Flow { reply: orig.inverted(), id: 9, ..Flow::new(orig) };
                (flow.reply.dst, flow.status) = ([9; 16], Status::SRC_NAT_DONE);
                flow.known = Known::STATUS | Known::ID;
                let extra = flow.extra_mut();
                let count = |bytes| Some(Counters { packets: 1, bytes });
                extra.counters = [count(bytes), count(bytes * u64::from(port))];
                extra.timestamps = Some(Timestamps { start_ns: 7_000_000_000, stop_ns: 0 });
                sampler.take(flow);
            }
            let machine = Machine { is_counted: true, flows_max: Some(99), ..Machine::default() };
            last = Some(sampler.end(Duration::from_millis(5), true, machine));
        }
        Arranger::default().arrange(&last.unwrap(), settings)
    }

    #[test]
    fn a_picture_is_an_object() {
        let out = json(&picture(&Settings::default()), 2);
        assert_eq!(
            (&out["v"], &out["mode"], &out["source"]),
            (&1.into(), &"walk".into(), &"kernel".into())
        );
        assert_eq!((&out["interval_s"], &out["exact"]), (&2.0.into(), &true.into()));
        assert_eq!(out["totals"]["in_bps"], 48_000);
        assert_eq!(
            (&out["totals"]["new_per_s"], &out["totals"]["flows_max"]),
            (&0.0.into(), &99.into())
        );
        assert_eq!((&out["listed"], out["flows"].as_array().unwrap().len()), (&3.into(), 2));
        let first = &out["flows"][0];
        assert_eq!((&first["in_bps"], &first["out_bps"]), (&24_000.into(), &8_000.into()));
        assert_eq!((&first["age_s"], &first["nat"]["src"]["addr"]), (&5.into(), &"9.9.9.9".into()));
        assert_eq!(
            (&first["orig"]["bytes"], &first["start_ns"]),
            (&3000.into(), &7_000_000_000_u64.into())
        );
        assert_eq!(out.get("groups"), None);
    }

    #[test]
    fn groups_have_bounds() {
        let settings = Settings { group: Some(Key::Dport), ..Settings::default() };
        let out = json(&picture(&settings), 9);
        assert_eq!(
            (&out["grouped"]["by"], &out["grouped"]["exact"]),
            (&"dport".into(), &true.into())
        );
        let group = &out["groups"][0];
        assert_eq!(
            (&group["key"], &group["flows"], &group["flows_error"]),
            (&"443".into(), &3.into(), &0.into())
        );
        assert_eq!((&group["new_per_s"], &group["unreplied"]), (&0.0.into(), &3.into()));
    }

    #[test]
    fn what_is_not_known_is_null() {
        assert_eq!(per_second(Some(1), None), None);
        assert_eq!(per_second(Some(1), Some(Duration::ZERO)), None);
        assert_eq!(per_second(Some(10), Some(Duration::from_secs(3))), Some(3.333));
        let picture = Arranger::default().arrange(&Default::default(), &Settings::default());
        let out = json(&picture, 5);
        assert!(out["interval_s"].is_null() && out["totals"]["in_bps"].is_null());
        assert_eq!(out["exact"], false, "nothing was read");
    }
}
