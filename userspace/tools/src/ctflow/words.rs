//! Separates our words of a command line from those of a filter.
//!
//! Filters may be in the options of `conntrack`, and our options may stand anywhere, also behind the filter. Clap
//! cannot part them: so ours, which it knows by definition, are put in front of `--`, and everything else behind it.

use clap::Command;
use std::ffi::OsString;

/// The same command line with our options first, if its verb takes a filter.
#[must_use]
pub(super) fn parted(command: &Command, argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut argv = argv.into_iter();
    let mut ours: Vec<OsString> = argv.by_ref().take(2).collect();
    let verb = ours.get(1).and_then(|verb| command.find_subcommand(verb));
    let takes = |verb: &Command| verb.get_positionals().any(|arg| arg.get_id() == "filter");
    let Some(verb) = verb.filter(|verb| takes(verb)) else {
        ours.extend(argv);
        return ours;
    };
    let mut filter = Vec::new();
    while let Some(word) = argv.next() {
        if word == "--" {
            filter.extend(argv.by_ref());
            break;
        }
        match option(verb, &word.to_string_lossy()) {
            None => filter.push(word),
            Some(wants_value) => {
                ours.push(word);
                ours.extend(if wants_value { argv.next() } else { None });
            }
        }
    }
    ours.push("--".into());
    ours.extend(filter);
    ours
}

/// Whether a word is an option of ours, and then whether the next word is its value.
fn option(verb: &Command, word: &str) -> Option<bool> {
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values();
    if let Some(long) = word.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or_default();
        let known = verb.get_arguments().find(|arg| arg.get_long() == Some(name));
        let attached = long.contains('=');
        return known
            .map_or((name == "help").then_some(false), |arg| Some(takes_value(arg) && !attached));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    let attached = letters.next().is_some();
    let known = verb.get_arguments().find(|arg| arg.get_short() == Some(letter));
    known.map_or((letter == 'h' && !attached).then_some(false), |arg| {
        Some(takes_value(arg) && !attached)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_options_may_stand_anywhere_and_the_rest_is_the_filter() {
        let becoming = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            let words = parted(&crate::ctflow::command(), words);
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        for (line, becomes) in [
            ("ctflow list tcp", "ctflow list -- tcp"),
            ("ctflow list tcp --limit 3", "ctflow list --limit 3 -- tcp"),
            ("ctflow list -o json -s 1.2.3.4 -p tcp", "ctflow list -o json -- -s 1.2.3.4 -p tcp"),
            ("ctflow list -s 1.2.3.4 -ojson", "ctflow list -ojson -- -s 1.2.3.4"),
            ("ctflow delete zone 5 --max=9 --yes", "ctflow delete --max=9 --yes -- zone 5"),
            ("ctflow delete zone 5 --yess", "ctflow delete -- zone 5 --yess"),
            ("ctflow count -- --yes -o", "ctflow count -- --yes -o"),
            ("ctflow count --help", "ctflow count --help --"),
            ("ctflow list -o", "ctflow list -o --"),
            ("ctflow status --json -C x", "ctflow status --json -C x"),
            ("ctflow", "ctflow"),
        ] {
            assert_eq!(becoming(line), becomes, "{line}");
        }
    }
}
