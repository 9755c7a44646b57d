//! What happens, in order: replicas are made, the transfer runs, A dies, B takes over, A returns and takes over again.
//! With three routers B dies too, before A returns, and C takes over.

use super::account::{Account, Watched};
use super::clock::Moment;
use super::daemon::{Daemon, Site};
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
    node: Node,
    daemon: Option<Daemon>,
    keepalived: Keepalived,
}

impl Router {
    /// Switches both on, behind a shut gate.
    fn start(node: Node, site: &Site) -> Result<Self> {
        if site.program.is_some() {
            vrrp::shut_gate(node)?;
        }
        let program = site.program.as_ref();
        let daemon = program.map(|program| Daemon::start(program, node, site)).transpose()?;
        Ok(Self { node, daemon, keepalived: Keepalived::start(node, site)? })
    }
}

/// How one router took over from the other.
#[derive(Clone, Debug)]
pub(super) struct Takeover {
    /// The cause of the takeover.
    pub(super) what: String,
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
    site: &'a Site,
    /// The preferred one first.
    routers: Vec<Router>,
    primary: Node,
    /// The node that takes over when the primary dies.
    heir: Option<Node>,
    /// How often a resync had to be asked for.
    pub(super) resyncs: u32,
}

impl<'a> Story<'a> {
    /// Starts all routers; A becomes primary.
    pub(super) fn start(site: &'a Site) -> Result<Self> {
        let mut routers = vec![Router::start(Node::A, site)?];
        wait_addresses(Node::A)?;
        for node in &site.routers[1..] {
            routers.push(Router::start(*node, site)?);
        }
        let (account, heir) = (Account::new(), Some(Node::B));
        Ok(Self { account, site, routers, primary: Node::A, heir, resyncs: 0 })
    }

    /// The node that carries the traffic.
    pub(super) const fn primary(&self) -> Node {
        self.primary
    }

    fn daemon(&self, node: Node) -> Option<&Daemon> {
        daemon(&self.routers, node)
    }

    fn router(&mut self, node: Node) -> Result<&mut Router> {
        self.routers.iter_mut().find(|router| router.node == node).context("no such router")
    }

    /// The daemon that waits for the death of the primary, and where.
    fn heir(&self) -> Option<(Node, &Daemon)> {
        self.heir.and_then(|node| Some((node, self.daemon(node)?)))
    }

    fn tick(&mut self, phase: &str, transfer: Option<&Transfer>) -> Result<()> {
        let Self { account, routers, primary, heir, .. } = self;
        let heir = heir.and_then(|node| Some((node, daemon(routers, node)?)));
        let own = heir.and_then(|_| daemon(routers, *primary));
        let watched = Watched { active: *primary, own, heir };
        account.tick(phase, transfer.map(|t| t.bytes), watched)
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
        let holders = self.routers.iter().map(|router| router.node).filter(|node| *node != Node::A);
        holders
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|node| self.wait_replicated(node, flows))
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

    fn wait_replicated(&mut self, node: Node, flows: u64) -> Result<()> {
        let (start, mut moved, mut last) = (Instant::now(), Instant::now(), 0);
        while let Some(daemon) = self.daemon(node) {
            let held = daemon.counts()?.replicated;
            if held >= flows {
                let (ms, letter) = (start.elapsed().as_millis(), node.letter());
                let text = format!("{held} flows are replicated on {letter} ({ms} ms later)");
                self.account.say(&text);
                return Ok(());
            }
            if held != last {
                (moved, last) = (Instant::now(), held);
            }
            if moved.elapsed() > STUCK {
                self.resync(node, flows - held)?;
                moved = Instant::now();
            }
            self.tick("replicating", None)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn resync(&mut self, node: Node, missing: u64) -> Result<()> {
        let letter = node.letter();
        if self.resyncs == 5 {
            bail!("{letter} still lacks {missing} flows after {} resyncs", self.resyncs);
        }
        self.resyncs += 1;
        self.account.say(&format!(
            "{missing} flows did not reach {letter}; asking for a resync (conntrackd -n)"
        ));
        self.daemon(node).context("a daemon runs")?.ask("-n")?;
        Ok(())
    }

    /// Lets the transfer run through the primary until so many bytes have come.
    pub(super) fn run_until(&mut self, bytes: u64, transfer: &mut Transfer) -> Result<()> {
        let start = Instant::now();
        let phase = format!("through {}", self.primary.letter());
        while transfer.bytes < bytes {
            transfer.listen();
            self.tick(&phase, Some(transfer))?;
            if let Some(end) = &transfer.client {
                bail!("the transfer ended too early: {end:?}");
            }
            ensure!(start.elapsed() < 2 * PATIENCE, "the transfer does not get to {bytes} bytes");
        }
        Ok(())
    }

    /// Waits until the node that will take over knows of the transfer.
    pub(super) fn replicated_transfer(&mut self) -> Result<()> {
        match self.heir() {
            Some((node, daemon)) if !daemon.holds_established_tcp()? => self.resync(node, 1),
            _ => Ok(()),
        }
    }

    /// Kills the primary; keepalived on the next one notices.
    pub(super) fn kill_primary(&mut self, transfer: &mut Transfer) -> Result<Takeover> {
        self.account.say("");
        let (began, dies) = (Moment::now(), self.primary);
        let next = self.heir.context("nobody is left to take over")?;
        self.account.zero(began);
        let letter = dies.letter();
        let router = self.router(dies)?;
        let daemon = router.daemon.take();
        if let Some(mut daemon) = daemon {
            daemon.kill()?;
            self.account
                .stamp(Moment::now(), &format!("{letter}'s conntrackd is killed (kill -9)"));
        }
        self.router(dies)?.keepalived.kill()?;
        self.account.stamp(Moment::now(), &format!("{letter}'s keepalived is killed (kill -9)"));
        network::unplug(dies)?;
        let text = format!("{letter}'s cables are out: client and server talk to nobody");
        self.account.stamp(Moment::now(), &text);
        // What its script did when it began is an old story.
        self.router(next)?.keepalived.news();
        // This node will not be primary.
        self.primary = next;
        self.heir =
            self.routers.iter().map(|router| router.node).skip_while(|node| *node != next).nth(1);
        let flows = dies.flows("udp")?;
        self.take_over(next, (format!("death of {letter}"), began), flows, transfer)
    }

    /// Switches A on again, with an empty kernel. It asks for everything, and has priority.
    pub(super) fn return_a(&mut self, transfer: &mut Transfer) -> Result<Takeover> {
        self.account.say("");
        let began = Moment::now();
        self.account.zero(began);
        self.heir = None;
        network::reboot(Node::A)?;
        self.account.stamp(Moment::now(), "A is back: booted, its kernel knows no flow");
        let flows = self.primary.flows("udp")?;
        *self.router(Node::A)? = Router::start(Node::A, self.site)?;
        self.account.stamp(Moment::now(), "A: conntrackd and keepalived have started");
        self.take_over(Node::A, ("return of A".to_owned(), began), flows, transfer)
    }

    /// Watches a router take the addresses and run the script, until it has done everything and data flows, or never
    /// will again.
    fn take_over(
        &mut self,
        node: Node,
        (what, began): (String, Moment),
        flows: Vec<String>,
        transfer: &mut Transfer,
    ) -> Result<Takeover> {
        let (start, before) = (Instant::now(), self.primary.letter());
        let mut takeover = Takeover { what, began, moved: None, committed: None, flows };
        let (mut done, mut flowing) = (false, false);
        while !(done && flowing) {
            ensure!(start.elapsed() < PATIENCE, "{} does not take over", node.letter());
            transfer.listen();
            if takeover.moved.is_none() && vrrp::has_addresses(node)? {
                let now = Moment::now();
                let text = format!("{} has the addresses 10.77.1.1 and 10.77.2.1", node.letter());
                self.account.stamp(now, &text);
                takeover.moved = Some(now);
                self.primary = node;
            }
            done |= self.tell_script(node, &mut takeover)?;
            if !flowing && takeover.moved.is_some_and(|moved| transfer.heard > moved) {
                flowing = true;
                self.tell_silence(began, transfer);
            }
            flowing |= transfer.client.is_some();
            let through = format!("through {before}");
            let waiting = if self.primary == node { "silence" } else { &through };
            self.tick(waiting, Some(transfer))?;
        }
        Ok(takeover)
    }

    /// Prints what a router's script did. Returns whether the script has finished.
    fn tell_script(&mut self, node: Node, takeover: &mut Takeover) -> Result<bool> {
        let mut done = false;
        for line in self.router(node)?.keepalived.news() {
            done |= line.starts_with("conntrackd -B ");
            let Some(daemon) = self.daemon(node) else { continue };
            let now = Moment::now();
            let mut text = format!("{}: {}", node.letter(), shortened(&line));
            if line.starts_with("conntrackd -c ") {
                takeover.committed = Some(now);
                let count = daemon.committed();
                text += &count.map(|n| format!("; its log says {n} flows")).unwrap_or_default();
            }
            self.account.stamp(now, &text);
        }
        Ok(done)
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
        let phase = format!("through {}", self.primary.letter());
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

    /// The lengths at which something happens: deaths, and the return of A.
    pub(super) const ACTS: [u64; 3] = [LENGTH / 4, LENGTH * 2 / 5, LENGTH * 11 / 20];
}

fn daemon(routers: &[Router], node: Node) -> Option<&Daemon> {
    routers.iter().find(|router| router.node == node)?.daemon.as_ref()
}

/// A script's output, within a line: `conntrackd -c (why): done` without the reason.
fn shortened(line: &str) -> String {
    match (line.split_once(" ("), line.rsplit_once("): ")) {
        (Some((what, _)), Some((_, outcome))) => format!("{what}: {outcome}"),
        _ => line.to_owned(),
    }
}

fn wait_addresses(node: Node) -> Result<()> {
    let start = Instant::now();
    while !vrrp::has_addresses(node)? {
        ensure!(start.elapsed() < PATIENCE, "{} does not become primary", node.letter());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
