//! `cargo xtask demo`: a TCP connection survives the death of its router, in network namespaces made for it.

mod clock;
mod stream;
mod network;
pub(crate) mod node;
mod daemon;
mod vrrp;
mod transfer;
mod account;
mod failover;
mod verdict;

use crate::shell::{self, step};
use crate::{build, repo, setup};
use anyhow::{Context as _, Result, bail, ensure};
use daemon::{Program, Site, Speech};
use failover::Story;
use network::Node;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;
use transfer::Transfer;
use verdict::Evidence;

/// Show that a TCP connection survives the death of its router (root).
///
/// A client downloads 64 MiB through router A, which does NAT and stateful filtering, while conntrackd replicates A's
/// flows to router B. keepalived runs on both with the files of contrib/. Then A fails: its daemons are killed with
/// kill -9, its cables unplugged. B takes the addresses and commits the replicated flows to its kernel. Later A returns
/// with an empty kernel, requests everything from B and takes over again. The transfer must finish with the right
/// checksum and without an RST, and every background flow must be in the kernel of each new primary.
///
/// With --v2 the daemons use version 2 of the protocol, with new keys. With --nodes 3 a third router C takes over when
/// B dies after A; then A returns.
///
/// The network namespaces are called ctflow-demo-* and are deleted at the end, also after Ctrl-C. Exit status: 0 on
/// success, else 1.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask demo --flows 50000\n  \
                        cargo xtask demo --without-replication    the same failure, and the connection breaks\n  \
                        cargo xtask demo --v2 --nodes 3    two routers die, one after the other\n  \
                        cargo xtask demo --conntrackd /usr/sbin/conntrackd")]
pub(crate) struct Options {
    /// UDP flows that are open through A beside the transfer
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    flows: u64,

    /// Run no conntrackd, to see the connection break
    #[arg(long)]
    without_replication: bool,

    /// Speak version 2 of the protocol (`Replication` instead of `Mode` and a link)
    #[arg(long, conflicts_with = "without_replication")]
    v2: bool,

    /// How many routers; three of them need version 2
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    nodes: u8,

    /// The conntrackd to show [default: the one this repository builds, or $CTFLOW_CONNTRACKD]
    #[arg(long, value_name = "PATH")]
    conntrackd: Option<PathBuf>,

    /// Show the optimised build
    #[arg(long)]
    release: bool,

    /// Leave namespaces and B's daemon behind, to look around; the next demonstration removes them
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !repo::is_root() {
        bail!("namespaces need root: sudo -E cargo xtask demo");
    }
    let lock = lock()?;
    ensure!(options.nodes == 2 || !options.without_replication, "--nodes 3 shows replication");
    setup::ensure()?;
    let program = if options.without_replication { None } else { Some(program(options)?) };
    network::clean(None)?;
    let mut janitor = Janitor::start(lock)?;
    let promised = play(options, program, &mut janitor).unwrap_or_else(|error| {
        println!("\nFAIL: {error:#}");
        false
    });
    if !promised {
        daemon::print_last_words();
    }
    if options.keep {
        janitor.say("keep")?;
        println!("kept: `ip netns exec ctflow-demo-b conntrack -L`, files in {}", network::FOLDER);
    }
    janitor.finish()?;
    Ok(if promised { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the network and runs the demonstration in it; whether it showed what it promises.
fn play(options: &Options, program: Option<Program>, janitor: &mut Janitor) -> Result<bool> {
    let routers = Node::ROUTERS[..usize::from(options.nodes)].to_vec();
    step("demo: making the network");
    let start = Instant::now();
    if let Some(former) = network::make_room(options.flows)? {
        janitor.say(&format!("limit {former}"))?;
    }
    network::make(&routers)?;
    println!("client, {} routers, server: {}", routers.len(), shell::took(start));
    let site = site(options, routers, program)?;
    let replicates = site.program.is_some();
    let mut story = Story::start(&site)?;
    if options.flows > 0 {
        story.background(options.flows)?;
    }
    // Without replication 10 s of silence are proof enough; a large commit may well take longer.
    let mut transfer = Transfer::start(if replicates { 60 } else { 10 })?;
    let mut acts = Story::ACTS.into_iter();
    let mut takeovers = Vec::new();
    for act in acts.by_ref().take(site.routers.len() - 1) {
        story.run_until(act, &mut transfer)?;
        story.replicated_transfer()?;
        takeovers.push(story.kill_primary(&mut transfer)?);
    }
    if let Some(act) = acts.next().filter(|_| replicates) {
        story.run_until(act, &mut transfer)?;
        takeovers.push(story.return_a(&mut transfer)?);
    }
    story.finish(&mut transfer)?;
    println!();
    let seen = (takeovers, story.primary());
    let evidence = Evidence::gather(transfer, seen, (options.flows, story.resyncs))?;
    Ok(if replicates { evidence.survived() } else { evidence.broke() })
}

/// What the routers have in common; says what is shown.
fn site(options: &Options, routers: Vec<Node>, program: Option<Program>) -> Result<Site> {
    let flows = options.flows;
    let Some(program) = program else {
        step("demo: keepalived without replication; B will know nothing");
        return Ok(Site { routers, program: None, speech: Speech::Version1, flows });
    };
    step(&format!("demo: keepalived, and replication by {}", program.path.display()));
    println!("{}", program.version);
    let speech = if options.v2 || options.nodes > 2 {
        let speech = Speech::with_new_keys(&program, &routers)?;
        println!("version 2 of the protocol, with new keys: ctflow key generate");
        speech
    } else {
        Speech::Version1
    };
    Ok(Site { routers, program: Some(program), speech, flows })
}

fn program(options: &Options) -> Result<Program> {
    let named = options.conntrackd.clone();
    if let Some(path) = named.or_else(|| std::env::var_os("CTFLOW_CONNTRACKD").map(PathBuf::from)) {
        return Program::of(&path);
    }
    let path = build::all(options.release)?.programs.join("conntrackd");
    ensure!(path.is_file(), "the build made no {}; name one with --conntrackd", path.display());
    Program::of(&path)
}

/// One demonstration at a time: the names of its namespaces are fixed.
fn lock() -> Result<File> {
    let path = "/run/ctflow-demo.lock";
    let file = File::create(path).context(path)?;
    ensure!(file.try_lock().is_ok(), "another demonstration runs on this machine ({path})");
    Ok(file)
}

/// A process that outlives us whatever ends us, and cleans up.
struct Janitor(Child);

impl Janitor {
    /// Starts it and passes on the lock, so that no other demo begins before this one has cleaned up.
    fn start(lock: File) -> Result<Self> {
        let mut command = Command::new(transfer::this_program());
        // A group of its own: Ctrl-C must not reach it.
        command.args(["demo-node", "janitor"]).stdin(Stdio::piped()).process_group(0);
        // The janitor prints nothing on its standard output; there it holds the lock.
        command.stdout(lock).spawn().map(Self).context("cannot start the janitor")
    }

    fn say(&mut self, word: &str) -> Result<()> {
        let stdin = self.0.stdin.as_mut().context("the janitor listens until we go")?;
        writeln!(stdin, "{word}").context("the janitor has gone")
    }

    fn finish(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "the janitor could not clean up: {status}");
        Ok(())
    }
}
