//! Tests of the keys.

use super::*;
use crate::ctflow::top::arrange::Arranger;
use crate::ctflow::top::meter::Reading;
use crate::ctflow::top::sample::Sample;
use ctnetlink::{Flow, Tuple};

fn picture(app: &App, rates: &[u64]) -> Picture {
    let row = |(at, rate): (usize, &u64)| {
        let orig = Tuple::v4([10, 0, at as u8, 1], [2; 4], 6).with_ports(at as u16, 80);
        let reading = Reading { reply_bps: Some(*rate), ..Reading::default() };
        Row::new(Flow::new(orig), reading)
    };
    let rows = rates.iter().enumerate().map(row).collect();
    Arranger::default().arrange(&Sample { rows, ..Sample::default() }, &app.settings)
}

fn app(rates: &[u64]) -> App {
    let mut app = App { every: Duration::from_secs(2), ..App::default() };
    app.take(picture(&app, rates));
    app
}

fn press(app: &mut App, keys: &str) -> Order {
    keys.chars().map(|key| app.press(Key::Char(key))).last().unwrap()
}

fn third_octet(app: &App) -> u8 {
    app.row().unwrap().flow.orig.src[2]
}

#[test]
fn q_and_ctrl_c_leave_wherever_one_is() {
    let mut app = app(&[1]);
    assert_eq!(press(&mut app, "q"), Order::Quit);
    press(&mut app, "/");
    assert_eq!(press(&mut app, "q"), Order::Draw, "it is a letter of the filter");
    assert_eq!(app.press(Key::Interrupt), Order::Quit);
    app.prompt = None;
    assert_eq!(press(&mut app, "?q"), Order::Quit);
}

#[test]
fn the_cursor_moves_within_the_rows() {
    let mut app = app(&[9, 8, 7]);
    for (keys, at) in [("j", 1), ("jjj", 2), ("k", 1), ("kkk", 0), ("G", 2)] {
        press(&mut app, keys);
        assert_eq!(app.flow_at, at, "{keys}");
    }
    app.take(picture(&app, &[1]));
    assert_eq!(app.flow_at, 0);
    app.take(picture(&app, &[]));
    assert_eq!((press(&mut app, "jG"), app.row()), (Order::Draw, None));
}

#[test]
fn a_frozen_picture_stays() {
    let mut app = app(&[1, 2]);
    press(&mut app, " ");
    app.take(picture(&app, &[1]));
    assert_eq!(app.picture.as_ref().unwrap().rows.len(), 2);
    press(&mut app, " ");
    app.take(picture(&app, &[1]));
    assert_eq!(app.picture.as_ref().unwrap().rows.len(), 1);
}

#[test]
fn the_cursor_follows_its_flow_and_a_pinned_flow_comes_first() {
    let mut app = app(&[9, 8, 7]);
    press(&mut app, "f");
    app.take(picture(&app, &[1, 8, 7]));
    assert_eq!((app.flow_at, third_octet(&app)), (2, 0));
    press(&mut app, "k");
    app.take(picture(&app, &[9, 8, 7]));
    assert_eq!(app.flow_at, 1, "who moves does not follow");
    app.flow_at = 2;
    assert_eq!(press(&mut app, "p"), Order::Arrange);
    app.take(picture(&app, &[9, 8, 7]));
    assert_eq!(app.picture.as_ref().unwrap().rows[0].flow.orig.src[2], 2);
}

#[test]
fn groups_are_gone_through_entered_and_left() {
    let mut app = app(&[9, 8]);
    assert_eq!(press(&mut app, "g"), Order::Arrange);
    assert_eq!((app.group_name().as_deref(), app.pane), (Some("src"), Pane::Groups));
    app.take(picture(&app, &[9, 8]));
    press(&mut app, "j");
    assert_eq!(app.press(Key::Enter), Order::Arrange);
    assert_eq!((app.settings.within.as_deref(), app.pane), (Some("10.0.1.1"), Pane::Flows));
    app.take(picture(&app, &[9, 8]));
    assert_eq!((app.picture.as_ref().unwrap().rows.len(), third_octet(&app)), (1, 1));
    assert_eq!(app.press(Key::Enter), Order::Draw);
    assert!(app.has_detail);
    app.press(Key::Escape);
    assert_eq!((app.has_detail, app.press(Key::Backspace)), (false, Order::Arrange));
    assert_eq!((app.settings.within.as_deref(), app.pane), (None, Pane::Groups));
    for _ in 0..GROUPS.len() {
        press(&mut app, "g");
    }
    assert_eq!((app.settings.group, app.pane), (None, Pane::Flows));
}

#[test]
fn sorting_goes_through_columns_of_the_pane() {
    let mut app = app(&[9]);
    press(&mut app, "s");
    assert_eq!(app.settings.by, By::Out);
    press(&mut app, "ssssss");
    assert_eq!(app.settings.by, By::In);
    press(&mut app, "S");
    assert!(app.settings.turned);
    press(&mut app, "gs");
    assert_eq!((app.settings.groups_by, app.settings.by), (GroupsBy::New, By::In));
}

#[test]
fn a_wrong_filter_shows_why_and_the_old_one_stays() {
    let mut app = app(&[9]);
    press(&mut app, "/tc");
    app.press(Key::Backspace);
    assert_eq!(app.press(Key::Enter), Order::Filter("t".into()));
    assert_eq!(app.filtered(Err("error: no such word\n 1:1".into())), Order::Draw);
    assert_eq!(app.prompt.as_ref().unwrap().error, ["error: no such word", " 1:1"]);
    assert_eq!(app.filter, "");
    press(&mut app, "\u{1b}cp");
    assert_eq!(app.press(Key::Enter), Order::Filter("tcp".into()), "control characters are none");
    assert_eq!(app.filtered(Ok(None)), Order::Arrange);
    assert_eq!((app.filter.as_str(), app.prompt.is_none()), ("tcp", true));
    press(&mut app, "/x");
    app.press(Key::Escape);
    assert_eq!((app.filter.as_str(), app.prompt.is_none()), ("tcp", true));
}

#[test]
fn commands_group_sort_and_set_the_interval_and_a_wrong_one_stays() {
    let mut app = app(&[9, 8]);
    press(&mut app, ":gr");
    app.press(Key::Tab);
    press(&mut app, "src/24");
    assert_eq!(app.press(Key::Enter), Order::Arrange);
    assert_eq!((app.group_name().as_deref(), app.pane), (Some("src/24"), Pane::Groups));
    press(&mut app, ":sort out");
    assert_eq!((app.press(Key::Enter), app.settings.by), (Order::Arrange, By::Out));
    press(&mut app, ":every 5");
    assert_eq!(app.press(Key::Enter), Order::Every(Duration::from_secs(5)));
    press(&mut app, ":group none");
    app.press(Key::Enter);
    assert_eq!((app.settings.group, app.pane), (None, Pane::Flows));
    press(&mut app, ":filter tcp");
    assert_eq!(app.press(Key::Enter), Order::Filter("tcp".into()));
    assert_eq!(app.filtered(Ok(None)), Order::Arrange);
    assert_eq!(app.filter, "tcp");
    press(&mut app, ":sort x");
    assert_eq!(app.press(Key::Enter), Order::Draw);
    assert!(app.prompt.as_ref().is_some_and(|prompt| !prompt.error.is_empty()));
    assert_eq!(press(&mut app, "q"), Order::Draw, "it is a letter of the command");
    app.press(Key::Escape);
    assert!(app.prompt.is_none());
}

#[test]
fn the_interval_has_bounds_and_what_needs_hands_is_handed_back() {
    let mut app = app(&[9]);
    assert_eq!(press(&mut app, "+"), Order::Every(Duration::from_secs(4)));
    assert_eq!(press(&mut app, "-----"), Order::Every(EVERY_MIN));
    assert_eq!(press(&mut app, "w"), Order::Write);
    let Order::Copy(text) = press(&mut app, "y") else { panic!("it is copied") };
    assert!(text.contains("10.0.0.1:0") && text.contains("2.2.2.2:80"), "{text}");
    press(&mut app, "nu");
    assert!(app.hides_nat && app.is_unfolded);
    press(&mut app, "?");
    assert!(app.has_help);
    press(&mut app, "j");
    assert!(!app.has_help);
}
