//! Groups in lines.

use super::amount::{count, per_second, percent, rate};
use super::flow::{WIDE, spread};
use super::{Line, Look, title, top};
use crate::ctflow::top::app::{App, Pane};
use crate::ctflow::top::arrange::{Groups, Picture, Tally};
use crate::ctflow::top::heavy::{COUNTERS, Counter};
use crate::ctflow::top::once;
use std::time::Duration;

/// Lines around the groups: a title, columns, and what is left out.
pub(super) const AROUND: usize = 3;

/// Title, columns and groups, from a first one on that has the cursor on the screen.
pub(super) fn lines(app: &mut App, picture: &Picture, width: usize, room: usize) -> Vec<Line> {
    let Some(groups) = &picture.groups else { return Vec::new() };
    let room = room.saturating_sub(AROUND);
    let name = groups.key.name();
    let number = count(groups.count);
    let how = match groups.is_exact {
        true => format!("exact: {number} groups, room for {}", count(COUNTERS as u64)),
        false => format!("top of about {number} groups, +- at most"),
    };
    let how = match groups.unnamed {
        0 => how,
        unnamed => format!("{how}; {} new in none", count(unnamed)),
    };
    let mut out = vec![title(&format!("groups by {name} (g)"), &how, width)];
    let by = app.settings.groups_by.name();
    out.push(Line::new(Look::Title, header(&name, by, width)));
    let interval = picture.sample.churn.interval;
    let all = picture.matched.flows;
    let entry = |at: usize| {
        let group = &groups.rows[at];
        row(&group.counter, &group.counter.key, group.change, all, interval, width)
    };
    app.tops[1] = top(app.tops[1], app.group_at, room, groups.rows.len(), |at| entry(at).len());
    let (mut used, mut shown) = (0, 0);
    for at in app.tops[1]..groups.rows.len() {
        let lines = entry(at);
        if used + lines.len() > room && shown > 0 {
            break;
        }
        let is_chosen = at == app.group_at && app.pane == Pane::Groups;
        let look = if is_chosen { Look::Chosen } else { Look::Plain };
        used += lines.len();
        out.extend(lines.into_iter().map(|text| Line::new(look, text)));
        shown += 1;
    }
    out.extend(rest(groups, app.tops[1] + shown, all, interval, width));
    if app.pane == Pane::Groups {
        app.page = shown.max(1);
    }
    out
}

/// What is not on the screen, as one group more.
fn rest(
    groups: &Groups,
    shown: usize,
    all: u64,
    interval: Option<Duration>,
    width: usize,
) -> Vec<Line> {
    let mut sum = Counter { key: String::new(), count: 0, error: 0, tally: Tally::default() };
    let mut number = 0;
    for group in groups.rows.iter().skip(shown) {
        sum.count += group.counter.count;
        sum.tally.join(&group.counter.tally);
        number += 1;
    }
    if let Some((more, counter)) = &groups.rest {
        sum.count += counter.count;
        sum.tally.join(&counter.tally);
        number += more;
    }
    if number == 0 {
        return Vec::new();
    }
    let name = format!("({} more groups)", count(number));
    let lines = row(&sum, &name, None, all, interval, width);
    lines.into_iter().map(|text| Line::new(Look::Plain, text)).collect()
}

fn header(name: &str, by: &str, width: usize) -> String {
    let mark = |name: &str, head: &str| if name == by { format!("v {head}") } else { head.into() };
    let flows = mark("flows", "FLOWS");
    let (new, rates) = (
        mark("new", "NEW/s"),
        format!("{:>8} {:>9}", mark("in", "IN b/s"), mark("out", "OUT b/s")),
    );
    let right = match width >= WIDE {
        true => format!(
            "{flows:>14} {:>5} {:>10} {new:>8} {rates} {:>9} {:>8} {:>8} {:>11}",
            "%", "UNREPLIED", "TCP", "UDP", "OTHER", "LAST MINUTE"
        ),
        false => format!("{flows:>14} {:>5} {new:>7} {rates}", "%"),
    };
    spread(&name.to_uppercase(), &right, width)
}

/// A group in lines: a name that does not fit has a line of its own.
fn row(
    counter: &Counter<Tally>,
    name: &str,
    change: Option<f64>,
    all: u64,
    interval: Option<Duration>,
    width: usize,
) -> Vec<String> {
    let Counter { count: flows, error, tally, .. } = counter;
    let flows = match error {
        0 => count(*flows),
        error => format!("{} +-{}", count(*flows), count(*error)),
    };
    let part = percent(counter.count, all);
    let new = per_second(once::per_second(interval.map(|_| tally.began), interval));
    let rates = format!("{:>8} {:>9}", rate(tally.in_bps), rate(tally.out_bps));
    let right = match width >= WIDE {
        true => format!(
            "{flows:>14} {part:>5} {:>10} {new:>8} {rates} {:>9} {:>8} {:>8} {:>11}",
            count(tally.unreplied),
            count(tally.tcp),
            count(tally.udp),
            count(tally.other),
            change.map_or("-".into(), |change| format!("{change:+.1} %"))
        ),
        false => format!("{flows:>14} {part:>5} {new:>7} {rates}"),
    };
    if name.len() + 1 + right.len() <= width {
        return vec![spread(name, &right, width)];
    }
    vec![name.to_owned(), spread("", &right, width)]
}
