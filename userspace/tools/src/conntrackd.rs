//! The daemon and its client.

pub mod flags;
pub mod statistics;
pub mod plan;
pub mod helpers;
pub mod keys;
pub mod check;
pub mod logs;
pub mod nodes;
pub mod build;
pub mod serve;
pub mod census;
pub mod endpoint;
pub mod privileges;
pub mod failures;
pub mod feed;
pub mod reload;
pub mod supervise;
pub mod daemon;

use crate::conf::{self, Conf, Found};
use crate::stdout;
use anyhow::{Context, Result, bail};
use flags::{Action, Args};
use keys::Keyring;
use plan::Plan;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use wire::control::Request;

/// Does what the command line says. Exit code 0 is success, 1 everything else.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match flags::parse(argv) {
        Ok(args) => args,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::FAILURE;
        }
    };
    args.warnings.iter().for_each(|warning| eprintln!("conntrackd: {warning}"));
    match act(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conntrackd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(args: &Args) -> Result<()> {
    // The daemon goes on when the reader of its output has gone.
    if !matches!(args.action, Action::Run { .. }) {
        host::sys::process::obey_sigpipe();
    }
    match &args.action {
        Action::Print(text) => print(text),
        Action::Check => check(&args.config),
        Action::Client(request) => client(&args.config, *request),
        Action::Run { detach } => {
            // In the foreground, warnings are lines of the log, which goes to the terminal too.
            let (conf, found) = read(&args.config, *detach)?;
            daemon::run((conf, found.lines()), &args.config, *detach)
        }
    }
}

fn print(text: &str) -> Result<()> {
    stdout::put(text.as_bytes());
    Ok(stdout::flush()?)
}

fn check(path: &Path) -> Result<()> {
    let (conf, _) = read(path, true)?;
    let plan = Plan::from(&conf);
    check::start(&plan, &Keyring::default())?;
    if let Err(error) = check::links(&plan) {
        eprintln!("conntrackd: note: {error:#}: a start at this moment would fail");
    }
    if let Err(error) = helpers::examine(&plan) {
        eprintln!("conntrackd: note: {error:#}: a start on this machine would fail");
    }
    print(&format!("{}: valid\n", path.display()))
}

/// Asks the daemon. A refusal comes as a line that begins with `error:`; a request that asks for
/// nothing is answered with one that begins with `note:`, and is a success.
fn client(config: &Path, request: Request) -> Result<()> {
    let (conf, _) = read(config, false)?;
    let path = conf.general.unix_path.as_deref();
    let path = path.context("the configuration names no control socket (General, UNIX, Path)")?;
    let mut answer = Answer::new(Stdout);
    let asked = host::control::ask(path, request, &mut answer);
    if asked.is_err() && answer.failure.is_none() {
        asked.with_context(|| {
            format!("cannot talk to the daemon at {} (is it running?)", path.display())
        })?;
    }
    let aside = answer.end().context("cannot write to standard output")?;
    stdout::flush()?;
    match aside {
        Aside::Nothing => Ok(()),
        Aside::Note(text) => {
            eprintln!("conntrackd: {text}");
            Ok(())
        }
        Aside::Refusal(text) => bail!("{text}"),
    }
}

/// Standard output as scripts expect it ([`stdout`]).
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        stdout::put(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the last line of an answer says besides the answer.
enum Aside {
    Nothing,
    Note(String),
    Refusal(String),
}

/// Copies an answer to standard output, but for its last line, which may be no part of it.
struct Answer<W> {
    /// The last line so far.
    held: Vec<u8>,
    out: W,
    /// Why standard output refused the answer.
    failure: Option<io::Error>,
}

impl<W: Write> Answer<W> {
    const fn new(out: W) -> Self {
        Self { held: Vec::new(), out, failure: None }
    }

    /// Writes, and remembers a failure: it is not the daemon's.
    fn put(&mut self, len: usize) -> io::Result<()> {
        let outcome = self.out.write_all(&self.held[..len]).and_then(|()| self.out.flush());
        self.held.drain(..len);
        outcome.inspect_err(|error| self.failure = Some(error.kind().into()))
    }

    /// Looks at the last line. A reader that has gone is no failure.
    ///
    /// # Errors
    /// When standard output refuses the line.
    fn end(mut self) -> io::Result<Aside> {
        let aside = |words: &str| {
            let rest = self.held.strip_prefix(words.as_bytes())?;
            Some(String::from_utf8_lossy(rest).trim().to_owned())
        };
        if let Some(text) = aside(serve::REFUSAL) {
            return Ok(Aside::Refusal(text));
        }
        if let Some(text) = aside(serve::NOTE) {
            return Ok(Aside::Note(text));
        }
        if self.failure.is_none() {
            let _ = self.put(self.held.len());
        }
        match self.failure {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(Aside::Nothing),
        }
    }
}

impl<W: Write> Write for Answer<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(piece);
        let before_last = &self.held[..self.held.len().saturating_sub(1)];
        if let Some(newline) = before_last.iter().rposition(|byte| *byte == b'\n') {
            self.put(newline + 1)?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the configuration. What is wrong with it goes to standard error, with the place; warnings,
/// if `warn`.
fn read(path: &Path, warn: bool) -> Result<(Conf, Found)> {
    let text = conf::text(path)?;
    let show = |found: &Found| {
        let color = io::stderr().is_terminal();
        found.rendered(&text, color).iter().for_each(|piece| eprintln!("{piece}"));
    };
    match conf::parse(&text, &path.display().to_string()) {
        Ok((conf, warnings)) => {
            if warn {
                show(&warnings);
            }
            Ok((conf, warnings))
        }
        Err(found) => {
            show(&found);
            bail!("{}: not a valid configuration", path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed of an answer that comes in these pieces, and what is said besides.
    fn printed(pieces: &[&str]) -> (String, String) {
        let mut out = Vec::new();
        let mut answer = Answer::new(&mut out);
        pieces.iter().for_each(|piece| answer.write_all(piece.as_bytes()).unwrap());
        let aside = match answer.end().unwrap() {
            Aside::Nothing => String::new(),
            Aside::Note(text) => format!("note {text}"),
            Aside::Refusal(text) => format!("refused {text}"),
        };
        (String::from_utf8(out).unwrap(), aside)
    }

    #[test]
    fn a_refusal_is_told_apart_wherever_it_comes_and_however_it_is_cut() {
        let whole = "tcp 6 a\ntcp 6 b\nerror: the engine has ended\n";
        for cut in 0..=whole.len() {
            let (out, aside) = printed(&[&whole[..cut], &whole[cut..]]);
            assert_eq!(out, "tcp 6 a\ntcp 6 b\n", "cut at {cut}");
            assert_eq!(aside, "refused the engine has ended", "cut at {cut}");
        }
        assert_eq!(
            printed(&["note: nothing to do\n"]),
            (String::new(), "note nothing to do".into())
        );
        let plain = "error, a line that only looks like one\n\n";
        assert_eq!(printed(&[plain, "last"]), (format!("{plain}last"), String::new()));
        assert_eq!(printed(&[]), (String::new(), String::new()));
    }
}
