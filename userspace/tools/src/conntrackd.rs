//! The daemon and its client.

pub mod flags;
pub mod settings;
pub mod statistics;
pub mod serve;
pub mod reload;
pub mod supervise;
pub mod daemon;

use crate::conf::{self, Conf, Diagnostic};
use crate::stdout;
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
    // The daemon goes on without whoever reads what it says.
    if !matches!(args.action, Action::Run { .. }) {
        host::sys::process::obey_sigpipe();
    }
    match &args.action {
        Action::Print(text) => print(text),
        Action::Check => check(&args.config),
        Action::Client(request) => client(&args.config, *request),
        Action::Run { detach } => daemon::run(read(&args.config, true)?, &args.config, *detach),
    }
}

fn print(text: &str) -> Result<()> {
    stdout::put(text.as_bytes());
    Ok(stdout::flush()?)
}

fn check(path: &Path) -> Result<()> {
    let conf = read(path, true)?;
    settings::supported(&conf)?;
    print(&format!("{}: valid\n", path.display()))
}

/// Asks the daemon. Refusals come as a line that begins with `error:`.
fn client(config: &Path, request: Request) -> Result<()> {
    let conf = read(config, false)?;
    let path = conf.general.unix_path.as_deref();
    let path = path.context("the configuration names no control socket (General, UNIX, Path)")?;
    let mut answer = Answer::default();
    host::control::ask(path, request, &mut answer).with_context(|| {
        format!("cannot talk to the daemon at {} (is it running?)", path.display())
    })?;
    stdout::flush()?;
    match answer.refusal {
        Some(why) => bail!("{}", String::from_utf8_lossy(&why).trim()),
        None => Ok(()),
    }
}

/// Copies an answer to standard output, unless it is a refusal.
#[derive(Default)]
struct Answer {
    refusal: Option<Vec<u8>>,
}

impl Write for Answer {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match &mut self.refusal {
            Some(text) => text.extend_from_slice(piece),
            None => match piece.strip_prefix(serve::REFUSAL.as_bytes()) {
                Some(text) => self.refusal = Some(text.to_vec()),
                None => stdout::put(piece),
            },
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the configuration; what is wrong with it goes to standard error, with the place.
fn read(path: &Path, warn: bool) -> Result<Conf> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    let show = |found: &[Diagnostic]| {
        let color = io::stderr().is_terminal();
        found.iter().for_each(|d| eprintln!("{}", d.render(&text, color)));
    };
    match conf::parse(&text, &path.display().to_string()) {
        Ok((conf, warnings)) => {
            if warn {
                show(&warnings);
            }
            Ok(conf)
        }
        Err(found) => {
            show(&found);
            bail!("{}: not a valid configuration", path.display())
        }
    }
}
