//! What the screen shows, and what keys change of it. It does no I/O: deeds that need some are handed back.

use super::answer::Answer;
use super::arrange::{By, GroupsBy, Picture, Settings};
use super::command::{self, Command};
use super::keys::{Deed, Key, deed};
use super::mode::{Cause, Mode};
use super::row::Row;
use super::view::flow;
use crate::grouping::{self, Key as GroupKey};
use ctnetlink::FlowKey;
use std::time::Duration;

/// What remains to be done after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing but to draw.
    Draw,
    /// Leave the program.
    Quit,
    /// Arrange the picture again.
    Arrange,
    /// Understand this filter; [`App::filtered`] takes the answer.
    Filter(String),
    /// Copy this text.
    Copy(String),
    /// Write the picture to a file.
    Write,
    /// Walk so often.
    Every(Duration),
}

/// The half of the screen that keys move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// The list of flows.
    #[default]
    Flows,
    /// The list of groups.
    Groups,
}

/// A line that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Whether it is a command, not a filter.
    pub is_command: bool,
    /// The text so far.
    pub text: String,
    /// What is wrong with it.
    pub error: Vec<String>,
}

/// Identifies a flow for as long as it lives.
type Name = (FlowKey, u32);

/// The screen's state.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct App {
    /// The settings of the user.
    pub settings: Settings,
    /// The filter as it was typed.
    pub filter: String,
    /// Time between walks.
    pub every: Duration,
    /// What is shown; `None` until the first walk has ended.
    pub picture: Option<Picture>,
    /// The picture stays.
    pub is_frozen: bool,
    /// The pane that keys move in.
    pub pane: Pane,
    /// Cursor in the flows.
    pub flow_at: usize,
    /// Cursor in the groups.
    pub group_at: usize,
    /// The flow that the cursor follows.
    pub followed: Option<Name>,
    /// The flow that comes first.
    pub pinned: Option<Name>,
    /// The flow under the cursor is shown in detail.
    pub has_detail: bool,
    /// The daemon's last answer about a flow in detail.
    pub answer: Option<Answer>,
    /// Keys are shown.
    pub has_help: bool,
    /// Lines of translations are left out.
    pub hides_nat: bool,
    /// All of each flow is shown.
    pub is_unfolded: bool,
    /// The filter, or a command, is being typed.
    pub prompt: Option<Prompt>,
    /// What is said on the line over the keys, until the next key.
    pub said: Option<String>,
    /// Lines of a page, as the view drew it.
    pub page: usize,
    /// The first flow and the first group on the screen, as the view drew them.
    pub tops: [usize; 2],
}

/// Keys that `g` goes through; behind the last comes none.
const GROUPS: [GroupKey; 11] = [
    GroupKey::Src(None),
    GroupKey::Dst(None),
    GroupKey::Src(Some(24)),
    GroupKey::Dst(Some(24)),
    GroupKey::Dport,
    GroupKey::Proto,
    GroupKey::State,
    GroupKey::Zone,
    GroupKey::Nat,
    GroupKey::NatSrc,
    GroupKey::NatDst,
];

const EVERY_MAX: Duration = Duration::from_secs(3600);
const EVERY_MIN: Duration = Duration::from_millis(500);

fn name(row: &Row) -> Name {
    (row.flow.key(), row.flow.id)
}

/// What follows in a list; behind the last comes the first.
fn next<T: Copy + PartialEq>(all: &[T], now: T) -> T {
    let at = all.iter().position(|one| *one == now).map_or(0, |at| (at + 1) % all.len());
    all[at]
}

impl App {
    /// Takes a picture, unless the one that is shown is frozen.
    pub fn take(&mut self, mut picture: Picture) {
        if self.is_frozen {
            return;
        }
        let place = |rows: &[Row], of: Name| rows.iter().position(|row| name(row) == of);
        if let Some(at) = self.pinned.and_then(|pinned| place(&picture.rows, pinned)) {
            picture.rows[..=at].rotate_right(1);
        }
        if let Some(at) = self.followed.and_then(|followed| place(&picture.rows, followed)) {
            self.flow_at = at;
        }
        self.picture = Some(picture);
        self.clamp();
    }

    /// Rows and groups that can be moved in.
    fn sizes(&self) -> [usize; 2] {
        self.picture.as_ref().map_or([0; 2], |picture| {
            [picture.rows.len(), picture.groups.as_ref().map_or(0, |groups| groups.rows.len())]
        })
    }

    fn clamp(&mut self) {
        let [flows, groups] = self.sizes().map(|size| size.saturating_sub(1));
        self.flow_at = self.flow_at.min(flows);
        self.group_at = self.group_at.min(groups);
    }

    /// The flow under the cursor.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        self.picture.as_ref()?.rows.get(self.flow_at)
    }

    /// The flow in detail, if the daemon can be asked about it: its feed is followed, or was until there were too many
    /// flows.
    #[must_use]
    pub fn wish(&self) -> Option<&Row> {
        let sample = &self.picture.as_ref()?.sample;
        let is_large = sample.lapse.as_ref().is_some_and(|lapse| lapse.cause == Cause::TooMany);
        self.row().filter(|_| self.has_detail && (sample.mode == Mode::Mirror || is_large))
    }

    /// The flow under the cursor, in a picture that is not yet the shown one.
    #[must_use]
    pub fn row_of<'a>(&self, picture: &'a Picture) -> Option<&'a Row> {
        picture.rows.get(self.flow_at)
    }

    /// Does what a key says.
    pub fn press(&mut self, key: Key) -> Order {
        self.said = None;
        if self.prompt.is_some() && key != Key::Interrupt {
            return self.type_in(key);
        }
        let Some(deed) = deed(key) else { return Order::Draw };
        if self.has_help && deed != Deed::Quit {
            self.has_help = false;
            return Order::Draw;
        }
        match deed {
            Deed::Quit => return Order::Quit,
            Deed::Help => self.has_help = true,
            Deed::Up => self.go(-1),
            Deed::Down => self.go(1),
            Deed::PageUp => self.go(-(self.page.max(1) as isize)),
            Deed::PageDown => self.go(self.page.max(1) as isize),
            Deed::First => self.go(isize::MIN),
            Deed::Last => self.go(isize::MAX),
            Deed::Filter => {
                self.prompt = Some(Prompt { text: self.filter.clone(), ..Prompt::default() });
            }
            Deed::Command => {
                self.prompt = Some(Prompt { is_command: true, ..Prompt::default() });
            }
            Deed::Freeze => self.is_frozen = !self.is_frozen,
            Deed::Follow => {
                let of = self.row().map(name);
                self.followed = if self.followed.is_some() { None } else { of };
                self.say(if self.followed.is_some() {
                    "the cursor follows the flow"
                } else {
                    "it stays"
                });
            }
            Deed::Pin => {
                let of = self.row().map(name);
                self.pinned = if self.pinned == of { None } else { of };
                return Order::Arrange;
            }
            Deed::Nat => self.hides_nat = !self.hides_nat,
            Deed::Unfold => self.is_unfolded = !self.is_unfolded,
            Deed::Pane => self.other_pane(),
            Deed::Into => return self.into(),
            Deed::Out => return self.out(),
            Deed::Sort | Deed::Turn | Deed::Group => return self.rearrange(deed),
            Deed::Copy => {
                let width = flow::WIDE;
                let nat = flow::Style { width, nat: true, unfold: false, now_ns: 0 };
                return self
                    .row()
                    .map_or(Order::Draw, |row| Order::Copy(flow::lines(row, &nat).join("\n")));
            }
            Deed::Write => return Order::Write,
            Deed::Slower => return self.walk_every(self.every.saturating_mul(2)),
            Deed::Faster => return self.walk_every(self.every / 2),
        }
        Order::Draw
    }

    /// Says something on the line over the keys.
    pub fn say(&mut self, text: impl Into<String>) {
        self.said = Some(text.into());
    }

    fn walk_every(&mut self, every: Duration) -> Order {
        self.every = every.clamp(EVERY_MIN, EVERY_MAX);
        Order::Every(self.every)
    }

    fn go(&mut self, lines: isize) {
        let at = match self.pane {
            Pane::Flows => &mut self.flow_at,
            Pane::Groups => &mut self.group_at,
        };
        *at = at.saturating_add_signed(lines);
        if self.pane == Pane::Flows {
            self.followed = None;
        }
        self.clamp();
    }

    fn other_pane(&mut self) {
        self.pane = match self.pane {
            Pane::Flows if self.settings.group.is_some() => Pane::Groups,
            _ => Pane::Flows,
        };
    }

    fn into(&mut self) -> Order {
        if self.pane == Pane::Flows {
            self.has_detail = !self.has_detail;
            return Order::Draw;
        }
        let groups = self.picture.as_ref().and_then(|picture| picture.groups.as_ref());
        let Some(group) = groups.and_then(|groups| groups.rows.get(self.group_at)) else {
            return Order::Draw;
        };
        self.settings.within = Some(group.counter.key.clone());
        (self.pane, self.flow_at) = (Pane::Flows, 0);
        Order::Arrange
    }

    fn out(&mut self) -> Order {
        if self.has_detail {
            self.has_detail = false;
            return Order::Draw;
        }
        if self.settings.within.take().is_some() {
            self.pane = Pane::Groups;
            return Order::Arrange;
        }
        Order::Draw
    }

    fn rearrange(&mut self, deed: Deed) -> Order {
        let settings = &mut self.settings;
        match (deed, self.pane) {
            (Deed::Sort, Pane::Groups) => {
                settings.groups_by = next(&GroupsBy::ALL, settings.groups_by);
            }
            (Deed::Sort, Pane::Flows) => settings.by = next(&By::ALL, settings.by),
            (Deed::Turn, _) => settings.turned = !settings.turned,
            _ => {
                let next = match settings.group {
                    None => Some(GROUPS[0]),
                    Some(key) => {
                        let at = GROUPS.iter().position(|one| *one == key);
                        GROUPS.get(at.map_or(0, |at| at + 1)).copied()
                    }
                };
                self.group_by(next);
            }
        }
        Order::Arrange
    }

    fn type_in(&mut self, key: Key) -> Order {
        let Some(prompt) = &mut self.prompt else { return Order::Draw };
        match key {
            Key::Escape => self.prompt = None,
            Key::Enter if prompt.is_command => return self.command(),
            Key::Enter => return Order::Filter(prompt.text.clone()),
            Key::Tab if prompt.is_command => prompt.text = command::completed(&prompt.text),
            Key::Backspace => drop(prompt.text.pop()),
            Key::Char(c) if crate::print::tame::is_tame(c) => prompt.text.push(c),
            _ => {}
        }
        Order::Draw
    }

    /// Does what the command that was typed says; a wrong one stays to be mended.
    fn command(&mut self) -> Order {
        let Some(prompt) = &mut self.prompt else { return Order::Draw };
        let command = match command::parse(&prompt.text) {
            Ok(command) => command,
            Err(why) => {
                prompt.error = vec![why];
                return Order::Draw;
            }
        };
        if let Command::Filter(text) = command {
            *prompt = Prompt { text: text.clone(), ..Prompt::default() };
            return Order::Filter(text);
        }
        self.prompt = None;
        match command {
            Command::Every(every) => return self.walk_every(every),
            Command::Sort(by) => self.settings.by = by,
            Command::Group(key) => self.group_by(key),
            Command::Filter(_) => {}
        }
        Order::Arrange
    }

    fn group_by(&mut self, key: Option<GroupKey>) {
        self.settings.within = None;
        self.settings.group = key;
        self.group_at = 0;
        self.pane = if key.is_some() { Pane::Groups } else { Pane::Flows };
    }

    /// Takes a filter that was understood, or what is wrong with it: then the old one stays.
    pub fn filtered(
        &mut self,
        understood: Result<Option<std::sync::Arc<engine::query::Program>>, String>,
    ) -> Order {
        let Some(prompt) = &mut self.prompt else { return Order::Draw };
        match understood {
            Ok(program) => {
                self.filter = std::mem::take(&mut prompt.text);
                self.prompt = None;
                self.settings.program = program;
                self.flow_at = 0;
                Order::Arrange
            }
            Err(why) => {
                prompt.error = why.lines().map(str::to_owned).collect();
                Order::Draw
            }
        }
    }

    /// The name of what flows are grouped by.
    #[must_use]
    pub fn group_name(&self) -> Option<String> {
        self.settings.group.map(grouping::Key::name)
    }
}

#[cfg(test)]
mod tests;
