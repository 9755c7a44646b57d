//! `-R`: command lines from a file, carried out in order.
//!
//! ```text
//!  file --every line is understood--> nothing is wrong --> once more, from the start:
//!  file --reader thread: commands--> this one: requests, in batches --> kernel
//! ```
//!
//! Reading twice is what lets a slip in the last line keep the first one from taking effect without holding a million
//! commands in memory.

use super::change::CREATE;
use super::{Outcome, change};
use crate::conntrack::command::{self, Command};
use crate::conntrack::definition::{Opt, Table, Verb};
use crate::conntrack::failure::Failure;
use crate::conntrack::wanted;
use host::table::{Outcome as Came, Table as Kernel, Writes};
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread;
use wire::Flow;
use wire::netlink::request::{self, IfExists};

/// Longest line, and most words of one.
const LINE_MAX: usize = 10 << 10;
const WORDS_MAX: usize = 255;
const WORD_MAX: usize = 1023;
/// Files of more lines are worth a thread.
const LINES_ALONE: usize = 1000;
/// Commands that the thread hands over at once, and how many such handfuls may wait.
const HANDFUL: usize = 128;
const HANDFULS: usize = 8;

/// Carries out the lines of a file; `-` is stdin. Each line is checked before the first one takes effect.
///
/// # Errors
/// What is wrong with a line, or what the kernel refused.
pub fn run(path: &str) -> Outcome {
    let mut file = open(path)?;
    let start = file.stream_position()?;
    let mut lines = 0;
    each_line(&mut file, |number, line| {
        lines = number + 1;
        understand(number, line).map(drop)
    })?;
    file.seek(SeekFrom::Start(start))?;
    let mut loader = Loader::open()?;
    if lines <= LINES_ALONE {
        each_line(&mut file, |number, line| match understand(number, line)? {
            Some(command) => loader.take(command),
            None => Ok(()),
        })?;
    } else {
        load_long(&mut *file, &mut loader)?;
    }
    loader.end()?;
    Ok(ExitCode::SUCCESS)
}

/// What can be read twice.
trait Lines: Read + Seek + Send {}

impl<T: Read + Seek + Send> Lines for T {}

fn open(path: &str) -> Result<Box<dyn Lines>, Failure> {
    if path != "-" {
        let cannot = |_| Failure::usage(format_args!("Failed to open file {path} for reading"));
        return Ok(Box::new(File::open(path).map_err(cannot)?));
    }
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if stdin.metadata()?.is_file() {
        return Ok(Box::new(stdin));
    }
    // What comes through a pipe comes once. It is put aside on disk, in a file without a name.
    let nameless = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(std::env::temp_dir());
    let mut kept: Box<dyn Spool> = match nameless {
        Ok(file) => Box::new(file),
        Err(_) => Box::new(Cursor::new(Vec::new())),
    };
    io::copy(&mut stdin, &mut kept)?;
    kept.rewind()?;
    Ok(Box::new(kept))
}

/// Where lines are put aside.
trait Spool: Lines + io::Write {}

impl<T: Lines + io::Write> Spool for T {}

fn each_line(
    file: &mut dyn Lines,
    mut each: impl FnMut(usize, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let (mut line, mut number) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 {
        each(number, &line)?;
        line.clear();
        number += 1;
    }
    Ok(())
}

/// A thread reads and understands, this one writes.
fn load_long(file: &mut dyn Lines, loader: &mut Loader) -> Result<(), Failure> {
    let (full, filled) = sync_channel::<Result<Vec<Command>, Failure>>(HANDFULS);
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("lines".to_owned());
        reader.spawn_scoped(scope, move || {
            let mut handful = Vec::with_capacity(HANDFUL);
            let gone = |_| Failure::other("the loader has ended");
            let outcome = each_line(file, |number, line| {
                handful.extend(understand(number, line)?);
                if handful.len() < HANDFUL {
                    return Ok(());
                }
                let next = Vec::with_capacity(HANDFUL);
                full.send(Ok(std::mem::replace(&mut handful, next))).map_err(gone)
            });
            // Whoever has ended does not want the rest either.
            let _ = full.send(outcome.map(|()| handful));
        })?;
        for handful in filled {
            handful?.into_iter().try_for_each(|command| loader.take(command))?;
        }
        Ok(())
    })
}

/// A flow to be made.
struct Wanted {
    flow: Flow,
    /// `-A`: it may be there already.
    adds: bool,
    /// Whether a status was given.
    status: bool,
}

/// Carries out commands.
struct Loader {
    writes: Writes<Wanted>,
    /// For what depends on the answer to a write.
    afterwards: Kernel,
    /// What went wrong first.
    failed: Option<Failure>,
}

impl Loader {
    fn open() -> io::Result<Self> {
        Ok(Self { writes: Writes::open()?, afterwards: Kernel::open()?, failed: None })
    }

    fn take(&mut self, command: Command) -> Result<(), Failure> {
        let (kernel, failed) = (&mut self.afterwards, &mut self.failed);
        match command.verb {
            Verb::Create | Verb::Add => {
                let flow = wanted::flow(&command)?;
                let adds = command.verb == Verb::Add;
                self.writes.push(
                    Wanted { flow, adds, status: command.has(Opt::Status) },
                    |w, t, wanted| request::create(w, t, &wanted.flow, IfExists::Fail),
                    |wanted, came| settle(kernel, wanted, came, failed),
                )?;
            }
            verb => {
                self.flush()?;
                match verb {
                    Verb::Delete => drop(change::delete_quietly(&command)?),
                    Verb::Update => drop(change::update_quietly(&command)?),
                    _ => drop(change::flush(&command)?),
                }
            }
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let (kernel, failed) = (&mut self.afterwards, &mut self.failed);
        self.writes.flush(|wanted, came| settle(kernel, wanted, came, failed))?;
        self.failed.take().map_or(Ok(()), Err)
    }

    fn end(mut self) -> Result<(), Failure> {
        self.flush()
    }
}

/// The kernel's answer to one line. What `-A` finds there is changed. The lines behind one that failed are not to have
/// taken effect: what they made goes again.
fn settle(
    kernel: &mut Kernel,
    wanted: Wanted,
    came: Came<'_>,
    failed: &mut Option<Failure>,
) -> Result<(), Failure> {
    let key = wanted.flow.key();
    match (came.errno, failed.is_some()) {
        (0, false) => {}
        (0, true) => {
            let undo = kernel.ask(|w, t| request::delete(w, t, &key, None), |_| Ok(()));
            // Whoever deleted it first did the same.
            drop(undo);
        }
        (libc::EEXIST, false) if wanted.adds => {
            *failed = change::change(kernel, wanted.flow, wanted.status).err();
        }
        (errno, false) => *failed = Some(Failure::kernel(errno, &CREATE)),
        (_, true) => {}
    }
    Ok(())
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
    let command = command::parse(&words.iter().map(Cow::as_ref).collect::<Vec<&str>>())?;
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
fn words(line: &str) -> Result<Vec<Cow<'_, str>>, &'static str> {
    let line = line.trim_end_matches(['\r', '\n']);
    let words: Vec<_> = if line.contains('"') {
        quoted_words(line).into_iter().map(Cow::Owned).collect()
    } else {
        let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        words.map(Cow::Borrowed).collect()
    };
    if words.len() > WORDS_MAX || words.iter().any(|word| word.len() > WORD_MAX) {
        return Err("too many words, or too long ones");
    }
    Ok(words)
}

fn quoted_words(line: &str) -> Vec<String> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
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
    words
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
