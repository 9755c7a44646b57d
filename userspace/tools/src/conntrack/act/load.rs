//! `-R`: command lines from a file, carried out in order.

use super::change::{CREATE, DELETE};
use super::{Outcome, change};
use crate::conntrack::command::{self, Command};
use crate::conntrack::definition::{Opt, Table, Verb};
use crate::conntrack::failure::Failure;
use crate::conntrack::wanted;
use host::table::Writes;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;
use wire::Flow;
use wire::netlink::request::{self, IfExists};

/// Longest line, and most words of one.
const LINE_MAX: usize = 10 << 10;
const WORDS_MAX: usize = 255;
const WORD_MAX: usize = 1023;

/// What became of a write decides what comes next.
type Note = (Verb, Box<Flow>, bool);

/// Carries out the lines of a file; `-` is stdin. Each line is checked before the first one takes effect.
///
/// # Errors
/// What is wrong with a line, or what the kernel refused.
pub fn run(path: &str) -> Outcome {
    let cannot = || Failure::usage(format_args!("Failed to open file {path} for reading"));
    if path == "-" {
        // What is read once cannot be checked first and carried out after.
        let lines: Vec<String> = io::stdin().lock().lines().collect::<Result<_, _>>()?;
        let numbered = || lines.iter().cloned().map(Ok).enumerate();
        check(numbered())?;
        return carry_out(numbered());
    }
    let open = || File::open(path).map(|file| BufReader::new(file).lines().enumerate());
    check(open().map_err(|_| cannot())?)?;
    carry_out(open().map_err(|_| cannot())?)
}

fn check(lines: impl Iterator<Item = (usize, io::Result<String>)>) -> Result<(), Failure> {
    for (number, line) in lines {
        understand(number, &line?)?;
    }
    Ok(())
}

fn carry_out(lines: impl Iterator<Item = (usize, io::Result<String>)>) -> Outcome {
    let mut writes: Writes<Note> = Writes::open()?;
    for (number, line) in lines {
        let Some(command) = understand(number, &line?)? else { continue };
        match command.verb {
            Verb::Create | Verb::Add => {
                let flow = Box::new(wanted::flow(&command)?);
                let made = flow.clone();
                writes.push(
                    (command.verb, flow, command.has(Opt::Status)),
                    |w, t| request::create(w, t, &made, IfExists::Fail),
                    settle,
                )?;
            }
            verb => {
                writes.flush(settle)?;
                match verb {
                    Verb::Delete => drop(change::delete_quietly(&command)?),
                    Verb::Update => drop(change::update_quietly(&command)?),
                    _ => drop(change::flush(&command)?),
                }
            }
        }
    }
    writes.flush(settle)?;
    Ok(ExitCode::SUCCESS)
}

/// The kernel's answer to one line. What `-A` finds there is changed.
fn settle((verb, flow, status): Note, errno: i32) -> Result<(), Failure> {
    match (verb, errno) {
        (_, 0) => Ok(()),
        (Verb::Add, libc::EEXIST) => {
            let mut kernel = host::table::Table::open()?;
            change::change(&mut kernel, *flow, status)
        }
        (_, errno) => {
            let texts = if verb == Verb::Delete { &DELETE[..] } else { &CREATE[..] };
            Err(Failure::kernel(errno, texts))
        }
    }
}

/// The command of a line, if it has one.
fn understand(number: usize, line: &str) -> Result<Option<Command>, Failure> {
    let line = line.trim_start_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let at = |why: &str| Failure::usage(format_args!("line {}: {why}", number + 1));
    if line.len() > LINE_MAX {
        return Err(at("it is too long"));
    }
    let words = words(line).map_err(at)?;
    let command = command::parse(words)?;
    let fits = matches!(
        command.verb,
        Verb::Create | Verb::Add | Verb::Update | Verb::Delete | Verb::Flush
    );
    if !fits || command.table != Table::Conntrack {
        let name = match (command.is_given, command.table) {
            (false, _) => "unknown".to_owned(),
            (true, Table::Expect) => format!("-{} expect", command.verb.names().0),
            (true, _) => format!("-{}", command.verb.names().0),
        };
        return Err(Failure::usage(format_args!("Cannot use command `{name}' with --load-file")));
    }
    Ok(Some(command))
}

/// Words of a line: quotes group, a backslash in quotes takes the next character as it is.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let (mut quoted, mut escaped) = (false, false);
    for c in line.trim_end_matches(['\r', '\n']).chars() {
        match c {
            _ if escaped => {
                word.get_or_insert_default().push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' | '\t' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.len() > WORDS_MAX || words.iter().any(|word| word.len() > WORD_MAX) {
        return Err("too many words, or too long ones");
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_words() {
        assert_eq!(words("-I  -s\t1").unwrap(), ["-I", "-s", "1"]);
        assert_eq!(words(r#"-l "a b" "c\"d" """#).unwrap(), ["-l", "a b", "c\"d", ""]);
        assert!(words(&"x ".repeat(256)).is_err());
    }

    #[test]
    fn only_commands_that_change_flows_may_be_in_a_file() {
        let said = |line| understand(0, line).map(|c| c.is_some()).map_err(|f| f.to_string());
        assert_eq!(said("  # -L"), Ok(false));
        assert_eq!(said("-D -p tcp"), Ok(true));
        assert_eq!(said("-L"), Err("Cannot use command `-L' with --load-file".into()));
    }
}
