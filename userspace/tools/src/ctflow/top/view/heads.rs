//! The lines over and under the flows.

use super::amount::{count, per_second, percent, rate};
use super::flow::{WIDE, spread};
use super::{Line, Look, Now};
use crate::ctflow::top::app::{App, Pane};
use crate::ctflow::top::arrange::Picture;
use crate::ctflow::top::mode::{Mode, Origin};
use crate::ctflow::top::once;
use crate::ctflow::top::sample::Sample;

/// The four lines over the flows.
pub(super) fn lines(app: &App, now: &Now, width: usize) -> Vec<Line> {
    let nothing = Picture::default();
    let picture = app.picture.as_ref().unwrap_or(&nothing);
    let failed = failed(&picture.sample, width);
    vec![
        Line::new(Look::Title, first(app, &picture.sample, now, width)),
        Line::new(Look::Plain, kernel(&picture.sample, width)),
        failed,
        Line::new(Look::Plain, filter(app, picture, width)),
    ]
}

fn first(app: &App, sample: &Sample, now: &Now, width: usize) -> String {
    let live = match app.is_frozen {
        true => format!("FROZEN {} s", now.age_s),
        false => "LIVE".into(),
    };
    let daemon = if sample.machine.daemon.is_empty() { "?" } else { &sample.machine.daemon };
    let right = match (&sample.lapse, width >= 78) {
        (None, true) => {
            format!("{}  {live}  every {} s", mode(sample), app.every.as_secs_f64())
        }
        (Some(lapse), true) => format!("{}: {}  {live}", mode(sample), lapse.cause.word()),
        (None, false) => format!("{}  {live}", sample.mode.name()),
        (Some(lapse), false) => format!("{}: {}  {live}", sample.mode.name(), lapse.cause.word()),
    };
    let host: String =
        sample.machine.host.chars().take(if width >= WIDE { 40 } else { 12 }).collect();
    spread(&format!("ctflow top  {host}  {}  daemon: {daemon}", now.clock), &right, width)
}

/// How the table is known, and of a walk, whose it is.
fn mode(sample: &Sample) -> String {
    match sample.mode {
        Mode::Mirror => Mode::Mirror.name().into(),
        Mode::Walk => format!("{} {}", Mode::Walk.name(), sample.origin.name()),
    }
}

/// As many parts as fit beside what stands at the right: a number is shown whole or not at all.
fn parts(parts: &[String], right: &str, width: usize) -> String {
    let mut left = String::new();
    for part in parts {
        let gap = if left.is_empty() { "" } else { "  " };
        if left.len() + gap.len() + part.len() + 2 + right.len() > width {
            break;
        }
        left = left + gap + part;
    }
    spread(&left, right, width)
}

fn kernel(sample: &Sample, width: usize) -> String {
    let (totals, churn) = (&sample.totals, &sample.churn);
    let flows = count(totals.flows);
    let mut out = vec![match sample.machine.flows_max {
        Some(most) => {
            format!("kernel  {flows} of {} flows {}%", count(most), percent(totals.flows, most))
        }
        None => format!("kernel  {flows} flows"),
    }];
    let churned =
        [churn.began, churn.ended].map(|n| per_second(once::per_second(n, churn.interval)));
    out.push(format!("new {}/s ended {}/s", churned[0], churned[1]));
    let rates = [rate(totals.in_bps), rate(totals.out_bps)];
    if width < WIDE {
        return parts(&out, &format!("{} in {} out", rates[0], rates[1]), width);
    }
    out.push(format!("{} bit/s in", rates[0]));
    out.push(format!("{} bit/s out", rates[1]));
    let protocols = [("tcp", totals.tcp), ("udp", totals.udp), ("other", totals.other)];
    out.extend(protocols.map(|(name, flows)| format!("{name} {}", count(flows))));
    parts(&out, "", width)
}

fn failed(sample: &Sample, width: usize) -> Line {
    let Some(now) = sample.machine.failures else {
        return Line::new(Look::Plain, "failed  not known".into());
    };
    let was = sample.failures_before.unwrap_or(now);
    let with = |name: &str, now: u64, was: u64| match now.saturating_sub(was) {
        0 => format!("{name} {}", count(now)),
        more => format!("{name} {} (+{})", count(now), count(more)),
    };
    let invalid =
        once::per_second(Some(now.invalid.saturating_sub(was.invalid)), sample.churn.interval);
    let mut out = vec![
        with("failed  table full", now.table_full, was.table_full),
        with("evicted", now.evicted, was.evicted),
        with("insert", now.insert_failed, was.insert_failed),
        format!("invalid {}/s", per_second(invalid)),
    ];
    let lost = format!("events lost {}", sample.machine.events_lost.map_or("-".into(), count));
    let text = if width >= WIDE {
        out.insert(3, with("clash", now.clash, was.clash));
        out.push(lost);
        parts(&out, &zones(sample), width)
    } else {
        parts(&out, &lost, width)
    };
    let is_bad = now.table_full > was.table_full
        || now.evicted > was.evicted
        || now.insert_failed > was.insert_failed;
    Line::new(if is_bad { Look::Bad } else { Look::Plain }, text)
}

/// The largest zones, if there are several.
fn zones(sample: &Sample) -> String {
    let mut zones: Vec<_> = sample.totals.zones.iter().collect();
    if zones.len() < 2 {
        return String::new();
    }
    zones.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let more = zones.len() > 4;
    let shown: Vec<_> =
        zones.iter().take(4).map(|(zone, flows)| format!("{zone}: {}", count(**flows))).collect();
    format!("zones {}{}", shown.join("  "), if more { " .." } else { "" })
}

fn filter(app: &App, picture: &Picture, width: usize) -> String {
    let right =
        format!("{} of {} flows", count(picture.matched.flows), count(picture.sample.totals.flows));
    let text = if app.filter.is_empty() { "-" } else { &app.filter };
    let room = width.saturating_sub(right.len() + 10);
    let text = match text.chars().count() > room {
        true => format!("{}..", text.chars().take(room.saturating_sub(2)).collect::<String>()),
        false => text.to_owned(),
    };
    spread(&format!("filter  {text}"), &right, width)
}

/// Where the rates come from.
pub(super) fn rates(app: &App, width: usize) -> String {
    let Some(picture) = &app.picture else { return String::new() };
    let sample = &picture.sample;
    if let Some(note) = sample.notes.first() {
        return note.chars().take(width).collect();
    }
    let text = match (&sample.unread, sample.rated) {
        (Some(why), _) => format!("rates: none, {why}"),
        _ if sample.mode == Mode::Walk && sample.origin == Origin::Daemon => {
            "rates: none, the daemon's table holds no counters (--source kernel)".into()
        }
        _ if sample.mode == Mode::Walk && !sample.machine.is_counted => {
            "rates: none, acct off: sysctl -w net.netfilter.nf_conntrack_acct=1".into()
        }
        (None, None) => format!("rates: with the next {}", look(sample)),
        (None, Some(time)) => {
            let metered = match (sample.churn.unmetered + sample.left_out, sample.uncounted) {
                (0, 0) => "all flows metered".into(),
                (0, some) => format!("{} flows began uncounted", count(some)),
                (some, _) => format!("{} flows not metered", count(some)),
            };
            format!(
                "rates: the kernel's counters every {:.1} s; a {} takes {} ms; {metered}",
                time.as_secs_f64(),
                look(sample),
                sample.took.as_millis()
            )
        }
    };
    text.chars().take(width).collect()
}

/// What rates are made of.
const fn look(sample: &Sample) -> &'static str {
    match sample.mode {
        Mode::Walk => "walk",
        Mode::Mirror => "reading",
    }
}

/// The range of the rows on the screen.
pub(super) fn rows(app: &App, width: usize) -> String {
    let Some(picture) = &app.picture else { return String::new() };
    let mut parts = Vec::new();
    if let Some(groups) = &picture.groups {
        let at = (app.group_at + 1).min(groups.rows.len());
        parts.push(format!(
            "group {at} of {}, by {}",
            count(groups.count),
            app.settings.groups_by.name()
        ));
    }
    if app.pane == Pane::Flows || width >= WIDE {
        let at = (app.flow_at + 1).min(picture.rows.len());
        let way = if app.settings.by.falls() == app.settings.turned { "rising" } else { "falling" };
        let by = app.settings.by.name();
        parts.push(format!("flow {at} of {}, by {by}, {way}", count(picture.listed)));
    }
    let right = if width >= WIDE { "" } else { "p pin  u unfold" };
    spread(&parts.join("; "), right, width)
}
