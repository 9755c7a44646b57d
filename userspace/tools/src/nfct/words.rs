//! The first two words: the verb and the subsystem. Both may be cut, and either may come first.

use super::failure::Failure;

/// The verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Show all objects.
    List,
    /// Make one.
    Add,
    /// Remove one.
    Delete,
    /// Show one.
    Get,
    /// Remove all.
    Flush,
    /// Let a helper see no packets any more.
    Disable,
    /// Change the timeouts of flows without a policy.
    DefaultSet,
    /// Show them.
    DefaultGet,
}

/// The kind of object that a command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    /// Timeout policies.
    Timeout,
    /// Helpers in user space.
    Helper,
    /// The program itself.
    Version,
}

/// In the order in which a beginning of a word is looked for; the first one counts.
pub const VERBS: [(&str, Verb); 8] = [
    ("list", Verb::List),
    ("add", Verb::Add),
    ("delete", Verb::Delete),
    ("get", Verb::Get),
    ("flush", Verb::Flush),
    ("disable", Verb::Disable),
    ("default-set", Verb::DefaultSet),
    ("default-get", Verb::DefaultGet),
];

/// The subsystems' words. The original's `help` comes behind `helper`, of which it is a beginning, so it can never be
/// reached.
pub const SUBSYSTEMS: [(&str, Subsystem); 3] = [
    ("timeout", Subsystem::Timeout),
    ("helper", Subsystem::Helper),
    ("version", Subsystem::Version),
];

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The verb.
    pub verb: Verb,
    /// The kind of object.
    pub subsystem: Subsystem,
    /// All words behind these two, but for those of ours below.
    pub parameters: Vec<&'a str>,
    /// Whether to show objects as JSON (`-o json`).
    pub json: bool,
    /// The network namespace to work in (`--netns NAME`).
    pub netns: Option<&'a str>,
}

/// Splits words into a command line.
///
/// # Errors
/// What the original says when there are too few, or they are none it knows.
pub fn split<'a>(words: &[&'a str]) -> Result<Line<'a>, Failure> {
    let [first, second, parameters @ ..] = words else { return Err(usage()) };
    let (verb, subsystem) = if let Some(verb) = verb(first) {
        (Some(verb), subsystem(second))
    } else {
        let Some(subsystem) = subsystem(first) else { return Err(unknown("subsystem", first)) };
        (verb(second), Some(subsystem))
    };
    match (verb, subsystem) {
        (Some(verb), Some(subsystem)) => {
            let mut line =
                Line { verb, subsystem, parameters: Vec::new(), json: false, netns: None };
            line.take(parameters);
            Ok(line)
        }
        (Some(_), None) => Err(unknown("subsystem", first)),
        (None, _) => Err(unknown("command", first)),
    }
}

impl<'a> Line<'a> {
    /// Takes the parameters, of which our own options are the last ones.
    fn take(&mut self, mut words: &[&'a str]) {
        let shows = matches!(self.verb, Verb::List | Verb::Get | Verb::DefaultGet);
        loop {
            match words {
                [rest @ .., "-o", "json"] if shows => (self.json, words) = (true, rest),
                [rest @ .., "--netns", name] => (self.netns, words) = (Some(*name), rest),
                _ => break,
            }
        }
        self.parameters = words.to_vec();
    }
}

fn verb(word: &str) -> Option<Verb> {
    VERBS.iter().find(|(name, _)| name.starts_with(word)).map(|(_, verb)| *verb)
}

fn subsystem(word: &str) -> Option<Subsystem> {
    SUBSYSTEMS.iter().find(|(name, _)| name.starts_with(word)).map(|(_, subsystem)| *subsystem)
}

fn unknown(what: &str, word: &str) -> Failure {
    Failure::new(format_args!("Unknown {what}: {word}")).and(usage())
}

fn usage() -> Failure {
    Failure::plain("Usage: nfct command subsystem [parameters]...")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(first: &str, second: &str) -> Result<(Verb, Subsystem), Failure> {
        split(&[first, second]).map(|line| (line.verb, line.subsystem))
    }

    #[test]
    fn beginnings_count_in_either_order_and_the_first_name_wins() {
        assert_eq!(pair("de", "t"), Ok((Verb::Delete, Subsystem::Timeout)));
        assert_eq!(pair("def", "t"), Ok((Verb::DefaultSet, Subsystem::Timeout)));
        assert_eq!(pair("help", "d"), Ok((Verb::Delete, Subsystem::Helper)));
        assert_eq!(pair("", ""), Ok((Verb::List, Subsystem::Timeout)));
    }

    #[test]
    fn the_first_word_decides_what_is_unknown() {
        let said = |first, second| pair(first, second).unwrap_err().to_string();
        assert!(said("list", "x").contains("Unknown subsystem: list"));
        assert!(said("timeout", "x").contains("Unknown command: timeout"));
        assert!(said("", "list").contains("Unknown subsystem: \n"));
        assert!(split(&["version"]).unwrap_err().to_string().starts_with("Usage: "));
    }

    #[test]
    fn our_options_are_the_last_words() {
        let line = split(&["list", "timeout", "-o", "json", "--netns", "blue"]).unwrap();
        assert_eq!((line.json, line.netns, line.parameters.len()), (true, Some("blue"), 0));
        let line = split(&["get", "timeout", "--netns", "blue", "t"]).unwrap();
        assert_eq!((line.netns, line.parameters), (None, vec!["--netns", "blue", "t"]));
        // What shows nothing has no form.
        assert!(!split(&["flush", "timeout", "-o", "json"]).unwrap().json);
    }
}
