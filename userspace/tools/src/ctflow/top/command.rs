//! The commands behind `:` and their arguments, as `-g`, `-s`, `-d` and the filter of the command line.

use super::arrange::By;
use super::group_key;
use crate::grouping;
use std::time::Duration;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Show the flows of this filter; empty: all.
    Filter(String),
    /// Group by this key, or not at all.
    Group(Option<grouping::Key>),
    /// Sort flows by this column.
    Sort(By),
    /// Walk so often.
    Every(Duration),
}

const NAMES: [&str; 4] = ["every", "filter", "group", "sort"];
/// Words for `group`; `src` and `dst` also take a prefix length.
const GROUPS: [&str; 12] = [
    "dport", "dst", "dst/24", "nat", "natdst", "natsrc", "none", "proto", "src", "src/24", "state",
    "zone",
];

/// Understands what was typed.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse(text: &str) -> Result<Command, String> {
    let (name, rest) = split(text);
    match name {
        "filter" => Ok(Command::Filter(rest.to_owned())),
        "group" if rest == "none" => Ok(Command::Group(None)),
        "group" => group_key(rest).map(Some).map(Command::Group),
        "sort" => {
            let by = By::ALL.into_iter().find(|by| by.name() == rest);
            let words = By::ALL.map(By::name).join(", ");
            by.map(Command::Sort).ok_or_else(|| format!("expected one of {words}"))
        }
        "every" => {
            let seconds = rest.trim_end_matches('s').parse::<f64>().ok();
            let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            time.map(Command::Every).ok_or_else(|| "expected seconds: every 5".into())
        }
        _ => Err(format!("expected one of {}", NAMES.join(", "))),
    }
}

/// The text with its last word completed: as far as all words that begin so agree.
#[must_use]
pub fn completed(text: &str) -> String {
    let (name, rest) = split(text);
    let is_named = text.contains(' ');
    let words: Vec<&str> = match (name, is_named) {
        (_, false) => NAMES.to_vec(),
        ("group", true) => GROUPS.to_vec(),
        ("sort", true) => By::ALL.map(By::name).to_vec(),
        _ => Vec::new(),
    };
    let begun = if is_named { rest } else { name };
    let fitting: Vec<_> = words.into_iter().filter(|word| word.starts_with(begun)).collect();
    let Some(first) = fitting.first() else { return text.to_owned() };
    let agree = |len: usize| fitting.iter().all(|word| word.get(..len) == first.get(..len));
    let len = (begun.len()..=first.len()).rev().find(|len| agree(*len)).unwrap_or(begun.len());
    let space = if !is_named && fitting.len() == 1 { " " } else { "" };
    format!("{}{}{space}", &text[..text.len() - begun.len()], &first[..len])
}

fn split(text: &str) -> (&str, &str) {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    (name.trim(), rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_say_what_the_command_line_says() {
        assert_eq!(parse("filter tcp and zone 5"), Ok(Command::Filter("tcp and zone 5".into())));
        assert_eq!(parse("filter"), Ok(Command::Filter(String::new())));
        assert_eq!(parse("group src/24"), Ok(Command::Group(Some(grouping::Key::Src(Some(24))))));
        assert_eq!(parse("group none"), Ok(Command::Group(None)));
        assert_eq!(parse("sort out"), Ok(Command::Sort(By::Out)));
        assert_eq!(parse("every 1.5s"), Ok(Command::Every(Duration::from_millis(1500))));
        for (wrong, words) in [
            ("", "expected one of every, filter, group, sort"),
            ("grup src", "expected one of every"),
            ("sort sideways", "expected one of in, out"),
            ("every -1", "expected seconds"),
            ("every 1e999", "expected seconds"),
        ] {
            let why = parse(wrong).expect_err(wrong);
            assert!(why.contains(words), "{wrong}: {why}");
        }
        assert!(parse("group src,dst").is_err() && parse("group shoe").is_err());
    }

    #[test]
    fn tab_completes_as_far_as_there_is_one_way() {
        for (text, wanted) in [
            ("g", "group "),
            ("", ""),
            ("group s", "group s"),
            ("group sr", "group src"),
            ("group z", "group zone"),
            ("group nat", "group nat"),
            ("group nats", "group natsrc"),
            ("sort o", "sort out"),
            ("filter tc", "filter tc"),
            ("x", "x"),
            ("group \u{e4}", "group \u{e4}"),
        ] {
            assert_eq!(completed(text), wanted, "{text}");
        }
    }

    #[test]
    fn every_word_that_is_completed_is_understood() {
        for word in GROUPS {
            assert!(parse(&format!("group {word}")).is_ok(), "{word}");
        }
    }
}
