//! The screen as lines of text: no boxes, nothing cut of an address, no colour that alone means something.
//!
//! ```text
//!  heads   4   who, the kernel's table, what failed, the filter
//!  body        flows, or groups, or from 124 x 30 on both; the flow under the cursor in detail
//!  foot    3   where rates come from, which rows these are, keys
//! ```

pub mod amount;
pub mod flow;
pub mod group;
pub mod heads;

use super::app::{App, Pane};
use super::arrange::Picture;
use super::keys::BINDINGS;
use super::mode::{Cause, Mode};
use super::sample::Sample;
use flow::{Style, WIDE, spread};

/// The smallest screen.
pub const LEAST: (usize, usize) = (60, 12);
/// The height from which on a wide screen shows groups and flows.
const TALL: usize = 30;
/// Lines for groups where there are flows below.
const GROUP_LINES: usize = 13;

/// How a line looks. The look alone carries no information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// As text does.
    #[default]
    Plain,
    /// Names of columns, titles.
    Title,
    /// Under the cursor.
    Chosen,
    /// Something is wrong.
    Bad,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The text: ASCII, but for what was typed.
    pub text: String,
    /// Colours and characters.
    pub look: Look,
}

impl Line {
    /// A line.
    #[must_use]
    pub const fn new(look: Look, text: String) -> Self {
        Self { text, look }
    }

    fn plain(text: impl Into<String>) -> Self {
        Self::new(Look::Plain, text.into())
    }
}

/// What moves with the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Time of day, as it is shown.
    pub clock: String,
    /// How old a frozen picture is, seconds.
    pub age_s: u64,
    /// Flows that the walk under way has read.
    pub read: u64,
}

/// The screen: as many lines as it has.
pub fn screen(app: &mut App, now: &Now, width: usize, height: usize) -> Vec<Line> {
    if width < LEAST.0 || height < LEAST.1 {
        return vec![Line::plain(format!(
            "the screen is too small: {} x {} at least",
            LEAST.0, LEAST.1
        ))];
    }
    let mut lines = heads::lines(app, now, width);
    let foot = foot(app, width);
    let room = height - lines.len() - foot.len();
    let mut body = body(app, now, width, room);
    body.resize(room, Line::default());
    lines.extend(body);
    lines.extend(foot);
    lines
}

/// A picture for paper: without keys, with so many groups, and as long as it is.
pub fn printed(app: &mut App, now: &Now, width: usize, groups: usize) -> Vec<Line> {
    const ENDLESS: usize = usize::MAX / 2;
    let mut out = heads::lines(app, now, width);
    let rates = Line::plain(heads::rates(app, width));
    let Some(picture) = app.picture.take() else { return out };
    out.extend(group::lines(app, &picture, width, groups.saturating_add(group::AROUND)));
    out.extend(flows(app, &picture, width, ENDLESS));
    app.picture = Some(picture);
    out.push(rates);
    out
}

fn body(app: &mut App, now: &Now, width: usize, room: usize) -> Vec<Line> {
    if app.has_help {
        return help(width);
    }
    let Some(picture) = app.picture.take() else {
        let read = amount::count(now.read);
        return vec![Line::plain(format!("reading the table: {read} flows so far"))];
    };
    let detail = detail(app, &picture, width);
    let room = room.saturating_sub(detail.len());
    let mut out = Vec::new();
    let is_both = width >= WIDE && room + 7 + detail.len() >= TALL && picture.groups.is_some();
    let has_groups = picture.groups.is_some() && (is_both || app.pane == Pane::Groups);
    if has_groups {
        let room = if is_both { GROUP_LINES.min(room) } else { room };
        out.extend(group::lines(app, &picture, width, room));
        out.truncate(room);
    }
    if !has_groups || is_both {
        let room = room - out.len();
        out.extend(flows(app, &picture, width, room));
    }
    out.resize(room, Line::default());
    out.extend(detail);
    app.picture = Some(picture);
    out
}

/// The flows from a first one on that has the cursor on the screen.
fn flows(app: &mut App, picture: &Picture, width: usize, room: usize) -> Vec<Line> {
    let mut out = Vec::new();
    if app.settings.group.is_some() {
        let what =
            app.settings.within.as_ref().map_or("flows".into(), |key| format!("flows of {key}"));
        let keys = "(Enter: in detail, Backspace: out, o: the other pane)";
        out.push(title(&format!("{what} {keys}"), "", width));
    }
    out.push(Line::new(Look::Title, flow::header(width, app.settings.by.name())));
    let room = room.saturating_sub(out.len());
    let style = Style {
        width,
        nat: !app.hides_nat,
        unfold: app.is_unfolded,
        now_ns: picture.sample.time_ns,
    };
    let entry = |at: usize| flow::lines(&picture.rows[at], &style);
    app.tops[0] = top(app.tops[0], app.flow_at, room, picture.rows.len(), |at| entry(at).len());
    let mut shown = 0;
    let mut used = 0;
    for at in app.tops[0]..picture.rows.len() {
        let lines = entry(at);
        if used + lines.len() > room && shown > 0 {
            break;
        }
        let is_chosen = at == app.flow_at && app.pane == Pane::Flows;
        let look = if is_chosen { Look::Chosen } else { Look::Plain };
        used += lines.len();
        out.extend(lines.into_iter().map(|text| Line::new(look, text)));
        shown += 1;
    }
    app.page = shown.max(1);
    out
}

/// The first entry to show: as before, if the cursor is on the screen then.
fn top(
    was: usize,
    cursor: usize,
    room: usize,
    entries: usize,
    height: impl Fn(usize) -> usize,
) -> usize {
    if entries == 0 {
        return 0;
    }
    let mut first = cursor.min(entries - 1);
    let mut used = height(first);
    while first > was {
        used += height(first - 1);
        if used > room {
            break;
        }
        first -= 1;
    }
    first
}

fn title(left: &str, right: &str, width: usize) -> Line {
    let right = if right.is_empty() { String::new() } else { format!(" {right} ---------") };
    let used = left.len() + right.len() + 4;
    let dashes = "-".repeat(width.saturating_sub(used));
    let text: String = format!("-- {left} {dashes}{right}").chars().take(width).collect();
    Line::new(Look::Title, text)
}

fn detail(app: &App, picture: &Picture, width: usize) -> Vec<Line> {
    let Some(row) = app.row_of(picture).filter(|_| app.has_detail) else { return Vec::new() };
    let mut out = vec![title("the flow under the cursor (Enter)", "", width)];
    let (from, to) = (flow::source(&row.flow.orig), flow::destination(&row.flow.orig));
    let nat = flow::translations(row);
    let nat =
        if nat.is_empty() { String::new() } else { format!("translated: {}", nat.join(", ")) };
    let style = Style { width, nat: true, unfold: false, now_ns: picture.sample.time_ns };
    out.extend(flow::lines(row, &style).into_iter().take(1).map(Line::plain));
    let one = format!("from {from} to {to}; {nat}");
    match one.len() <= width {
        true => out.push(Line::plain(one.trim_end_matches("; "))),
        false => out.extend([format!("from {from}"), format!("to {to}"), nat].map(Line::plain)),
    }
    let facts = flow::facts(row, picture.sample.time_ns);
    out.extend(facts.into_iter().map(Line::plain));
    let known = app.answer.iter().flat_map(|answer| answer.of(row).iter().cloned());
    let known = known.chain(unasked(&picture.sample));
    known.for_each(|text| out.extend(folded(&text, width)));
    out.extend(folded(&format!("as a command: {}", flow::command(row)), width));
    out.retain(|line| !line.text.is_empty());
    out
}

/// Why a daemon that is there is not asked about a flow.
fn unasked(sample: &Sample) -> Option<String> {
    let has_daemon = !["", "none"].contains(&sample.machine.daemon.as_str());
    let cause = sample.lapse.as_ref()?.cause;
    let is_asked = sample.mode == Mode::Mirror || cause == Cause::TooMany;
    (has_daemon && !is_asked).then(|| format!("replication: not known, {}", cause.word()))
}

/// Text in lines that end between words.
fn folded(text: &str, width: usize) -> Vec<Line> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line =
            lines.last_mut().filter(|line| line.is_empty() || line.len() + 1 + word.len() <= width);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(format!("  {word}")),
        }
    }
    lines.into_iter().map(Line::plain).collect()
}

fn help(width: usize) -> Vec<Line> {
    let mut out = vec![title("keys (any key: back)", "", width)];
    let text = |(_, _, keys, what): &(_, _, &str, &str)| format!("{keys:<14}{what}");
    if width >= 78 {
        let (left, right) = BINDINGS.split_at(BINDINGS.len().div_ceil(2));
        out.extend(left.iter().enumerate().map(|(at, left)| {
            let right = right.get(at).map(text).unwrap_or_default();
            Line::plain(format!("{:<40}{right}", text(left)))
        }));
    } else {
        out.extend(BINDINGS.iter().map(|binding| Line::plain(text(binding))));
    }
    out.extend(
        [
            "IN: what comes back to who began a flow (reply direction); OUT: what it sends.".into(),
            "Without rates: sysctl -w net.netfilter.nf_conntrack_acct=1; ages need".into(),
            "net.netfilter.nf_conntrack_timestamp=1 before a flow begins, or a mirror.".into(),
        ]
        .map(|text: String| Line::plain(text)),
    );
    out
}

fn foot(app: &App, width: usize) -> Vec<Line> {
    if let Some(prompt) = &app.prompt {
        let mut out: Vec<_> = prompt
            .error
            .iter()
            .map(|text| Line::new(Look::Bad, text.chars().take(width).collect()))
            .collect();
        out.truncate(5);
        let (sign, what) = match prompt.is_command {
            true => (':', "Enter does it, Tab completes, Esc leaves: group, sort, every, filter"),
            false => ('/', "Enter applies, Esc leaves the filter as it was"),
        };
        out.push(Line::new(Look::Title, what.into()));
        // The end is what is typed.
        let room = width - 2;
        let skip = (prompt.text.chars().count() + 1).saturating_sub(room);
        let shown: String = prompt.text.chars().skip(skip).collect();
        out.push(Line::plain(format!("{sign} {shown}_")));
        return out;
    }
    let keys = match width >= WIDE {
        true => {
            "/ filter  s sort  g group by  o other pane  Space freeze  f follow  Enter detail  y copy  w write  \
             ? help  q quit"
        }
        false => "/ filter  s sort  g group  Space freeze  Enter detail  y copy  ? help  q quit",
    };
    let keys = if keys.len() > width {
        "/ filter  s sort  g group  Space freeze  ? help  q quit"
    } else {
        keys
    };
    let said = match &app.said {
        Some(said) => Line::new(Look::Title, said.chars().take(width).collect()),
        None => Line::plain(heads::rows(app, width)),
    };
    vec![Line::plain(heads::rates(app, width)), said, Line::plain(spread(keys, "", width))]
}

#[cfg(test)]
mod tests;
