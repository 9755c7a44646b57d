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
use crate::conntrack::progress::Progress;
use crate::conntrack::{wanted, words};
use ctnetlink::Flow;
use ctnetlink::request::{self, IfExists};
use host::exchange::writes::{WriteOutcome, Writes};
use host::table::Table as Kernel;
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread;

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
    let mut lines = 0;
    let mut check = |number, line: &str| {
        lines = number + 1;
        understand(number, line).map(drop)
    };
    let mut file: Box<dyn Lines> = if file.metadata()?.is_file() {
        let start = file.stream_position()?;
        words::each_line(&mut file, &mut check)?;
        file.seek(SeekFrom::Start(start))?;
        Box::new(file)
    } else {
        // What comes through a pipe comes once, and is checked as it comes.
        let mut kept = Kept { from: file, to: spool() };
        words::each_line(&mut kept, &mut check)?;
        kept.to.rewind()?;
        Box::new(kept.to)
    };
    let mut loader = Loader::open()?;
    if lines <= LINES_ALONE {
        words::each_line(&mut file, |number, line| match understand(number, line)? {
            Some(command) => loader.take(&command),
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

fn open(path: &str) -> Result<File, Failure> {
    if path == "-" {
        return Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    let cannot = |_| Failure::usage(format_args!("Failed to open file {path} for reading"));
    File::open(path).map_err(cannot)
}

/// A file on disk without a name, or memory where there can be none.
fn spool() -> Box<dyn Spool> {
    let nameless = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(std::env::temp_dir());
    match nameless {
        Ok(file) => Box::new(file),
        Err(_) => Box::new(Cursor::new(Vec::new())),
    }
}

/// Where lines are put aside.
trait Spool: Lines + io::Write {}

impl<T: Lines + io::Write> Spool for T {}

/// Puts aside what is read.
struct Kept {
    from: File,
    to: Box<dyn Spool>,
}

impl Read for Kept {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(piece)?;
        self.to.write_all(&piece[..len])?;
        Ok(len)
    }
}

/// A thread reads and understands, this one writes.
fn load_long(file: &mut dyn Lines, loader: &mut Loader) -> Result<(), Failure> {
    let (full, filled) = sync_channel::<Result<Vec<Command>, Failure>>(HANDFULS);
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("lines".to_owned());
        reader.spawn_scoped(scope, move || {
            let mut handful = Vec::with_capacity(HANDFUL);
            let gone = |_| Failure::other("the loader has ended");
            let outcome = words::each_line(file, |number, line| {
                handful.extend(understand(number, line)?);
                if handful.len() < HANDFUL {
                    return Ok(());
                }
                let next = Vec::with_capacity(HANDFUL);
                full.send(Ok(std::mem::replace(&mut handful, next))).map_err(gone)
            });
            // A receiver that has ended does not need the rest either.
            let _ = full.send(outcome.map(|()| handful));
        })?;
        for handful in filled {
            handful?.iter().try_for_each(|command| loader.take(command))?;
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
    /// The socket for requests that depend on the answer to a write.
    afterwards: Kernel,
    progress: Progress,
    /// What went wrong first.
    failed: Option<Failure>,
}

impl Loader {
    fn open() -> io::Result<Self> {
        let (writes, afterwards) = (Writes::open()?, Kernel::open()?);
        Ok(Self { writes, afterwards, progress: Progress::new("lines", false), failed: None })
    }

    fn take(&mut self, command: &Command) -> Result<(), Failure> {
        self.progress.step();
        let (kernel, failed) = (&mut self.afterwards, &mut self.failed);
        match command.verb {
            Verb::Create | Verb::Add => {
                let flow = wanted::flow(command)?;
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
                    Verb::Delete => drop(change::delete_quietly(command, &[])?),
                    Verb::Update => {
                        change::update_quietly(command, &[])?.failed.map_or(Ok(()), Err)?;
                    }
                    _ => drop(change::flush(command)?),
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
    came: WriteOutcome<'_>,
    failed: &mut Option<Failure>,
) -> Result<(), Failure> {
    let key = wanted.flow.key();
    match (came.errno, failed.is_some()) {
        (0, false) => {}
        (0, true) => {
            let undo = kernel.ask(|w, t| request::delete(w, t, &key, None), |_| Ok(()));
            // Another program may have deleted it first, with the same result.
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

/// The command of a line of a file, if it has one.
///
/// # Errors
/// What is wrong with it.
pub fn understand(number: usize, line: &str) -> Result<Option<Command>, Failure> {
    let Some(words) = words::of_line(number, line)? else { return Ok(None) };
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
    if command.from_file.is_some() {
        return Err(Failure::usage("Cannot use `--from-file' with --load-file"));
    }
    Ok(Some(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_change_flows_may_be_in_a_file() {
        let said = |line| understand(0, line).map(|c| c.is_some()).map_err(|f| f.to_string());
        assert_eq!(said("  # -L"), Ok(false));
        assert_eq!(said("-D -p tcp"), Ok(true));
        assert_eq!(said("-L"), Err("Cannot use command `-L' with --load-file".into()));
    }
}
