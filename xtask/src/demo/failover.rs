//! What happens, in order: replicas are made, the transfer runs, A dies, B takes over, A returns and takes over again.

use super::account::{Account, Watched};
use super::clock::Moment;
use super::daemon::{Daemon, Program};
use super::network::{self, Node};
use super::node::LENGTH;
use super::transfer::{self, Transfer};
use super::vrrp::{self, Keepalived};
use anyhow::{Context as _, Result, bail, ensure};
use std::time::{Duration, Instant};

/// Background flows begin at this pace.
const FLOWS_PER_SECOND: u64 = 20_000;
/// Replication that does not move for so long has lost something.
const STUCK: Duration = Duration::from_millis(1500);
/// Nothing that keepalived does may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A router: its conntrackd, unless there is no replication, and its keepalived.
struct Router {
    daemon: Option<Daemon>,
    keepalived: Keepalived,
}

impl Router {
    /// Switches both on, behind a shut gate.
    fn start(node: Node, program: Option<&Program>, flows: u64) -> Result<Self> {
        if program.is_some() {
            vrrp::shut_gate(node)?;
        }
        let daemon = program.map(|program| Daemon::start(program, node, flows)).transpose()?;
        Ok(Self { daemon, keepalived: Keepalived::start(node, program, flows)? })
    }
}

/// How one router took over from the other.
#[derive(Clone, Debug)]
pub(super) struct Takeover {
    /// When the other one was killed, or switched on again.
    pub(super) began: Moment,
    /// When it had the addresses.
    pub(super) moved: Option<Moment>,
    /// When the other's flows were in its kernel.
    pub(super) committed: Option<Moment>,
    /// The UDP flows of the primary before.
    pub(super) flows: Vec<String>,
}

/// The demonstration while it runs.
pub(super) struct Story<'a> {
    pub(super) account: Account,
    program: Option<&'a Program>,
    flows: u64,
    a: Router,
    b: Router,
    primary: Node,
    /// How often a resync had to be asked for.
    pub(super) resyncs: u32,
}

impl<'a> Story<'a> {
    /// Starts both routers; A becomes primary.
    pub(super) fn start(program: Option<&'a Program>, flows: u64) -> Result<Self> {
        let a = Router::start(Node::A, program, flows)?;
        wait_addresses(Node::A)?;
        let b = Router::start(Node::B, program, flows)?;
        let account = Account::new();
        Ok(Self { account, program, flows, a, b, primary: Node::A, resyncs: 0 })
    }

    fn tick(&mut self, phase: &str, transfer: Option<&Transfer>) -> Result<()> {
        let (a, b) = match self.primary {
            Node::A => (self.a.daemon.as_ref(), self.b.daemon.as_ref()),
            _ => (None, None),
        };
        let watched = Watched { active: self.primary, a, b };
        self.account.tick(phase, transfer.map(|t| t.bytes), watched)
    }

    /// Opens background flows and waits until B holds a replica of each.
    pub(super) fn background(&mut self, flows: u64) -> Result<()> {
        // The first datagram also resolves addresses; what is lost to that, or to haste, is sent again.
        for count in [1, flows, flows, flows] {
            if Node::A.flow_count()? < count {
                self.send_background(count)?;
            }
        }
        let made = Node::A.flow_count()?;
        if made < flows {
            bail!("only {made} of {flows} background flows got through A");
        }
        self.account.say(&format!("{flows} background flows are open through A"));
        self.wait_replicated(flows)
    }

    fn send_background(&mut self, flows: u64) -> Result<()> {
        let (count, rate) = (flows.to_string(), FLOWS_PER_SECOND.to_string());
        let mut source = transfer::node(Node::Client, &["flows", &count, &rate]).spawn()?;
        while source.try_wait()?.is_none() {
            std::thread::sleep(Duration::from_millis(20));
            self.tick("opening flows", None)?;
        }
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    }

    fn wait_replicated(&mut self, flows: u64) -> Result<()> {
        let (start, mut moved, mut last) = (Instant::now(), Instant::now(), 0);
        while let Some(daemon) = &self.b.daemon {
            let held = daemon.counts()?.replicated;
            if held >= flows {
                let ms = start.elapsed().as_millis();
                self.account.say(&format!("{held} flows are replicated on B ({ms} ms later)"));
                return Ok(());
            }
            if held != last {
                (moved, last) = (Instant::now(), held);
            }
            if moved.elapsed() > STUCK {
                self.resync(flows - held)?;
                moved = Instant::now();
            }
            self.tick("replicating", None)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn resync(&mut self, missing: u64) -> Result<()> {
        if self.resyncs == 5 {
            bail!("B still lacks {missing} flows after {} resyncs", self.resyncs);
        }
        self.resyncs += 1;
        self.account
            .say(&format!("{missing} flows did not reach B; asking for a resync (conntrackd -n)"));
        self.b.daemon.as_ref().context("a daemon runs")?.ask("-n")?;
        Ok(())
    }

    /// Lets the transfer run through the primary until so many bytes have come.
    pub(super) fn run_until(&mut self, bytes: u64, transfer: &mut Transfer) -> Result<()> {
        let start = Instant::now();
        let phase = if self.primary == Node::A { "through A" } else { "through B" };
        while transfer.bytes < bytes {
            transfer.listen();
            self.tick(phase, Some(transfer))?;
            if let Some(end) = &transfer.client {
                bail!("the transfer ended too early: {end:?}");
            }
            ensure!(start.elapsed() < 2 * PATIENCE, "the transfer does not get to {bytes} bytes");
        }
        Ok(())
    }

    /// Waits until B knows of the transfer.
    pub(super) fn replicated_transfer(&mut self) -> Result<()> {
        match &self.b.daemon {
            Some(daemon) if !daemon.holds_established_tcp()? => self.resync(1),
            _ => Ok(()),
        }
    }

    /// Kills A; keepalived on B notices.
    pub(super) fn kill_a(&mut self, transfer: &mut Transfer) -> Result<Takeover> {
        self.account.say("");
        let began = Moment::now();
        self.account.zero(began);
        if let Some(daemon) = &mut self.a.daemon {
            daemon.kill()?;
            self.account.stamp(Moment::now(), "A's conntrackd is killed (kill -9)");
        }
        self.a.keepalived.kill()?;
        self.account.stamp(Moment::now(), "A's keepalived is killed (kill -9)");
        network::unplug_a()?;
        self.account.stamp(Moment::now(), "A's cables are out: client and server talk to nobody");
        // What its script did when it began is an old story.
        self.b.keepalived.news();
        // Whoever is primary in a moment, A is not.
        self.primary = Node::B;
        self.take_over(Node::B, began, Node::A.flows("udp")?, transfer)
    }

    /// Switches A on again, with an empty kernel. It asks B for everything, and has priority.
    pub(super) fn return_a(&mut self, transfer: &mut Transfer) -> Result<Takeover> {
        self.account.say("");
        let began = Moment::now();
        self.account.zero(began);
        network::reboot_a()?;
        self.account.stamp(Moment::now(), "A is back: booted, its kernel knows no flow");
        let flows = Node::B.flows("udp")?;
        self.a = Router::start(Node::A, self.program, self.flows)?;
        self.account.stamp(Moment::now(), "A: conntrackd and keepalived have started");
        self.take_over(Node::A, began, flows, transfer)
    }

    /// Watches a router take the addresses and run the script, until it has done everything and data flows, or never
    /// will again.
    fn take_over(
        &mut self,
        node: Node,
        began: Moment,
        flows: Vec<String>,
        transfer: &mut Transfer,
    ) -> Result<Takeover> {
        let start = Instant::now();
        let mut takeover = Takeover { began, moved: None, committed: None, flows };
        let (mut done, mut flowing) = (false, false);
        while !(done && flowing) {
            ensure!(start.elapsed() < PATIENCE, "{} does not take over", letter(node));
            transfer.listen();
            if takeover.moved.is_none() && vrrp::has_addresses(node)? {
                let now = Moment::now();
                let text = format!("{} has the addresses 10.77.1.1 and 10.77.2.1", letter(node));
                self.account.stamp(now, &text);
                takeover.moved = Some(now);
                self.primary = node;
            }
            done |= self.tell_script(node, &mut takeover);
            if !flowing && takeover.moved.is_some_and(|moved| transfer.heard > moved) {
                flowing = true;
                self.tell_silence(began, transfer);
            }
            flowing |= transfer.client.is_some();
            let waiting = if self.primary == node { "silence" } else { "through B" };
            self.tick(waiting, Some(transfer))?;
        }
        Ok(takeover)
    }

    /// Tells what a router's script did; whether that was all.
    fn tell_script(&mut self, node: Node, takeover: &mut Takeover) -> bool {
        let router = if node == Node::A { &mut self.a } else { &mut self.b };
        let mut done = false;
        for line in router.keepalived.news() {
            done |= line.starts_with("conntrackd -B ");
            let Some(daemon) = &router.daemon else { continue };
            let now = Moment::now();
            let mut text = format!("{}: {}", letter(node), shortened(&line));
            if line.starts_with("conntrackd -c ") {
                takeover.committed = Some(now);
                let count = daemon.committed();
                text += &count.map(|n| format!("; its log says {n} flows")).unwrap_or_default();
            }
            self.account.stamp(now, &text);
        }
        done
    }

    fn tell_silence(&self, began: Moment, transfer: &Transfer) {
        let text = match transfer.silence_after(began) {
            Some((from, to)) => {
                format!("the client receives again, after {:.1} ms of silence", to.ms_since(from))
            }
            None => "the client receives on, without a noticeable silence".to_owned(),
        };
        self.account.stamp(Moment::now(), &text);
    }

    /// Lets the transfer end, well or badly.
    pub(super) fn finish(&mut self, transfer: &mut Transfer) -> Result<()> {
        let start = Instant::now();
        let phase = format!("through {}", letter(self.primary));
        while transfer.client.is_none() {
            transfer.listen();
            self.tick(&phase, Some(transfer))?;
            ensure!(start.elapsed() < 4 * PATIENCE, "the transfer neither ends nor breaks");
        }
        // The server's last word may be on its way.
        for _ in 0..10 {
            transfer.listen();
        }
        self.account.stamp(Moment::now(), "the transfer has ended");
        Ok(())
    }

    /// The length at which A dies and the one at which it returns.
    pub(super) const ACTS: [u64; 2] = [LENGTH / 4, LENGTH * 2 / 5];
}

fn letter(node: Node) -> &'static str {
    if node == Node::A { "A" } else { "B" }
}

/// What a script told, within a line: `conntrackd -c (why): done` without the reason.
fn shortened(line: &str) -> String {
    match (line.split_once(" ("), line.rsplit_once("): ")) {
        (Some((what, _)), Some((_, outcome))) => format!("{what}: {outcome}"),
        _ => line.to_owned(),
    }
}

fn wait_addresses(node: Node) -> Result<()> {
    let start = Instant::now();
    while !vrrp::has_addresses(node)? {
        ensure!(start.elapsed() < PATIENCE, "{} does not become primary", letter(node));
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
