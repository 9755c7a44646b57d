//! Running tools: the nested cargo, captured output, errors that name the command.

use crate::repo;
use anyhow::{Context as _, Result, bail};
use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Variables that the outer cargo sets for `cargo run` and that a nested cargo must not inherit.
const OUTER: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// A cargo of its own, in the root of the repository, knowing nothing of the cargo that started us.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_outer_cargo(&mut cargo);
    cargo.arg(verb).current_dir(repo::root()).env("CARGO_TARGET_DIR", repo::target());
    cargo
}

/// Takes the outer cargo's variables away from a command.
pub(crate) fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if OUTER.iter().any(|outer| text.starts_with(outer)) {
            command.env_remove(&name);
        }
    }
}

/// Runs a command on our own terminal; its failure is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

/// What a command prints on its standard output; its failure is an error with what it complained about.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}: {}", line(command), output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The target triple of this machine.
pub(crate) fn host() -> Result<String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The file that a program name stands for, searched as the shell does and where root's tools are.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = env::split_paths(&path).chain(more);
    places.find_map(|place| Some(place.join(program)).filter(|file| file.is_file()))
}

/// This program, as the kernel has it open, also for `ip netns exec`: a build of the workspace may have put another
/// file in its place, because cargo unifies features differently there.
pub(crate) fn own_program() -> String {
    format!("/proc/{}/exe", std::process::id())
}

/// A line that starts a step of long work.
pub(crate) fn step(text: &str) {
    let mut out = io::stdout().lock();
    let (bold, plain) = if out.is_terminal() { ("\x1b[1m", "\x1b[m") } else { ("", "") };
    // Writing the result finds out about a closed pipe.
    let _ = writeln!(out, "{bold}==> {text}{plain}").and_then(|()| out.flush());
}

/// Seconds since a moment, for people.
pub(crate) fn took(start: Instant) -> String {
    format!("{:.1} s", start.elapsed().as_secs_f64())
}

/// A command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", line(command))
}
