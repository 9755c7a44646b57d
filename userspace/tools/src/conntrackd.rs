//! The daemon and its client.

pub mod flags;
pub mod settings;
pub mod statistics;
pub mod check;
pub mod logs;
pub mod build;
pub mod serve;
pub mod reload;
pub mod supervise;
pub mod daemon;

use crate::conf::{self, Conf, Found};
use anyhow::{Context, Result, bail};
use flags::{Action, Args};
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
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn check(path: &Path) -> Result<()> {
    let (conf, _) = read(path, true)?;
    check::start(&conf)?;
    if let Err(error) = check::links(&conf) {
        eprintln!("conntrackd: note: {error:#}: a start at this moment would fail");
    }
    print(&format!("{}: valid\n", path.display()))
}

/// Asks the daemon. A refusal comes as a line that begins with `error:`; a request that asks for nothing is answered
/// with one that begins with `note:`, and is a success.
fn client(config: &Path, request: Request) -> Result<()> {
    let (conf, _) = read(config, false)?;
    let path = conf.general.unix_path.as_deref();
    let path = path.context("the configuration names no control socket (General, UNIX, Path)")?;
    let mut answer = Answer { aside: None, out: io::stdout().lock() };
    let asked = host::control::ask(path, request, &mut answer);
    match asked {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        other => other.with_context(|| {
            format!("cannot talk to the daemon at {} (is it running?)", path.display())
        })?,
    }
    let Some(aside) = answer.aside else { return Ok(()) };
    let aside = String::from_utf8_lossy(&aside);
    if let Some(note) = aside.strip_prefix(serve::NOTE) {
        eprintln!("conntrackd: {}", note.trim());
        return Ok(());
    }
    bail!("{}", aside.trim_start_matches(serve::REFUSAL).trim())
}

/// Copies an answer to standard output, unless it is a refusal or a note.
struct Answer<W> {
    aside: Option<Vec<u8>>,
    out: W,
}

impl<W: Write> Write for Answer<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let begins = |words: &str| piece.starts_with(words.as_bytes());
        match &mut self.aside {
            Some(text) => text.extend_from_slice(piece),
            None if begins(serve::REFUSAL) || begins(serve::NOTE) => {
                self.aside = Some(piece.to_vec());
            }
            None => self.out.write_all(piece)?,
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads the configuration. What is wrong with it goes to standard error, with the place; warnings, if `warn`.
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
