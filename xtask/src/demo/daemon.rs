//! A router's conntrackd: its configuration, its process, questions to it.

mod configuration;

use super::network::{FOLDER, Node};
use crate::shell;
use anyhow::{Context as _, Result, bail};
pub(super) use configuration::{Site, Speech};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The program to run on both routers.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// Ours knows keywords that the original does not.
    pub(super) is_ours: bool,
    /// The first line of what it says of itself.
    pub(super) version: String,
}

impl Program {
    /// Asks a conntrackd who it is.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let said = Command::new(path).arg("-v").output();
        let said = said.with_context(|| format!("cannot start {}", path.display()))?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let is_ours = !text.starts_with("Connection tracking userspace daemon");
        let version = text.lines().next().unwrap_or("says nothing of its version").to_owned();
        Ok(Self { path: path.to_owned(), is_ours, version })
    }

    /// The `ctflow` beside it, if it is there.
    pub(super) fn ctflow(&self) -> Option<PathBuf> {
        Some(self.path.with_file_name("ctflow")).filter(|path| path.is_file())
    }
}

/// A running conntrackd.
#[derive(Debug)]
pub(super) struct Daemon {
    node: Node,
    program: PathBuf,
    config: PathBuf,
    child: Child,
}

/// What a daemon counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Flows of the other router that it holds.
    pub(super) replicated: u64,
    /// Events of its own kernel that it took.
    pub(super) events: u64,
}

impl Daemon {
    /// Starts a router's daemon and waits until it answers.
    pub(super) fn start(program: &Program, node: Node, site: &Site) -> Result<Self> {
        let config = Self::config(node);
        fs::write(&config, configuration::text(node, program, site))?;
        let said = File::create(config.with_extension("out"))?;
        let mut command = node.command(&program.path);
        command.arg("-C").arg(&config).stdin(Stdio::null());
        let child = command.stdout(said.try_clone()?).stderr(said).spawn()?;
        let mut daemon = Self { node, program: program.path.clone(), config, child };
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Its configuration.
    pub(super) fn config(node: Node) -> PathBuf {
        Path::new(FOLDER).join(format!("{}.conf", node.name()))
    }

    /// Its lock file.
    pub(super) fn lock(node: Node) -> PathBuf {
        Self::config(node).with_extension("lock")
    }

    fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.ask("-s").is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || start.elapsed() > Duration::from_secs(10) {
                let said = fs::read_to_string(self.config.with_extension("out"))?;
                bail!("conntrackd did not start on {}: {}", self.node.name(), said.trim());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Runs the program as a client of this daemon: `-c`, `-s` and so on.
    pub(super) fn ask(&self, request: &str) -> Result<String> {
        let mut command = self.node.command(&self.program);
        shell::output(command.arg("-C").arg(&self.config).args(request.split(' ')))
    }

    /// The daemon's present counts.
    pub(super) fn counts(&self) -> Result<Counts> {
        Ok(counts(&self.ask("-s")?))
    }

    /// Whether it holds a replica of the transfer.
    pub(super) fn holds_established_tcp(&self) -> Result<bool> {
        Ok(self.ask("-e")?.lines().any(|flow| flow.contains("tcp") && flow.contains("ESTABLISHED")))
    }

    /// What its log says of the last commit.
    pub(super) fn committed(&self) -> Option<u64> {
        let log = fs::read_to_string(self.config.with_extension("log")).ok()?;
        let (_, rest) = log.rsplit_once("Committed ")?;
        rest.split_whitespace().next()?.parse().ok()
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Shows the end of what the daemons logged and printed, to explain a failure.
pub(super) fn print_last_words() {
    let files = fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files.filter(|f| f.extension().is_some_and(|e| e == "log" || e == "out")) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(8)..] {
            println!("{}: {line}", file.display());
        }
    }
}

fn counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    let mut section = "";
    for line in text.lines() {
        if line.starts_with("cache ") {
            section = line.trim_end_matches(':');
        }
        let Some((what, rest)) = line.split_once(':') else { continue };
        let number = || rest.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        match (section, what) {
            ("cache external", "current active connections") => {
                counts.replicated = number().unwrap_or(0);
            }
            (
                "cache internal",
                "connections created" | "connections updated" | "connections destroyed",
            ) => counts.events += number().unwrap_or(0),
            _ => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{Counts, counts};

    #[test]
    fn statistics_are_read_by_section() {
        let text = "cache internal:\ncurrent active connections:\t 5\n\
                    connections created:\t\t 7\tfailed:\t 0\nconnections updated:\t 2\tfailed: 0\n\
                    \ncache external:\ncurrent active connections:\t 11\nconnections created:\t 13\n";
        assert_eq!(counts(text), Counts { replicated: 11, events: 9 });
    }
}
