//! What happens, in order: replicas are made, the transfer runs, A dies, B takes over.

use super::account::{Account, Watched};
use super::clock::Moment;
use super::daemon::{Daemon, Program};
use super::network::{self, Node};
use super::node::LENGTH;
use super::transfer::{self, Transfer};
use anyhow::{Context as _, Result, bail};
use std::time::{Duration, Instant};

/// Background flows begin at this pace.
const FLOWS_PER_SECOND: u64 = 20_000;
/// Replication that does not move for so long has lost something.
const STUCK: Duration = Duration::from_millis(1500);

/// The two daemons.
pub(super) struct Daemons {
    a: Daemon,
    b: Daemon,
}

impl Daemons {
    /// Starts both.
    pub(super) fn start(program: &Program, flows: u64) -> Result<Self> {
        let a = Daemon::start(program, Node::A, flows)?;
        Ok(Self { a, b: Daemon::start(program, Node::B, flows)? })
    }
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takeover {
    pub(super) killed: Moment,
    pub(super) committed: Option<Moment>,
    pub(super) moved: Moment,
}

/// The demonstration while it runs.
pub(super) struct Story {
    pub(super) account: Account,
    daemons: Option<Daemons>,
    /// How often a resync had to be asked for.
    pub(super) resyncs: u32,
}

impl Story {
    pub(super) fn new(daemons: Option<Daemons>) -> Self {
        Self { account: Account::new(), daemons, resyncs: 0 }
    }

    fn tick(&mut self, phase: &str, transfer: Option<&Transfer>, active: Node) -> Result<()> {
        let daemons = self.daemons.as_ref();
        let a = daemons.map(|d| &d.a).filter(|_| active == Node::A);
        let b = daemons.map(|d| &d.b).filter(|_| active == Node::A);
        let watched = Watched { active, a, b };
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
            self.tick("opening flows", None, Node::A)?;
        }
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    }

    fn wait_replicated(&mut self, flows: u64) -> Result<()> {
        let (start, mut moved, mut last) = (Instant::now(), Instant::now(), 0);
        while let Some(daemons) = &self.daemons {
            let held = daemons.b.counts()?.replicated;
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
            self.tick("replicating", None, Node::A)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn resync(&mut self, missing: u64) -> Result<()> {
        if self.resyncs == 5 {
            bail!("B still lacks {missing} flows after {} resyncs", self.resyncs);
        }
        self.resyncs += 1;
        self.account.say(&format!(
            "{missing} flows did not reach B: datagrams were lost on the sync link, and NOTRACK does not \
             repeat them; asking for a resync (conntrackd -n)"
        ));
        self.daemons.as_ref().context("daemons run")?.b.ask("-n")?;
        Ok(())
    }

    /// Lets the transfer run to its middle, and until B knows of it.
    pub(super) fn first_half(&mut self, transfer: &mut Transfer) -> Result<()> {
        let start = Instant::now();
        loop {
            transfer.listen();
            self.tick("through A", Some(transfer), Node::A)?;
            if let Some(end) = &transfer.client {
                bail!("the transfer ended before its middle: {end:?}");
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("the transfer does not get to its middle");
            }
            if transfer.bytes > LENGTH / 2 {
                break;
            }
        }
        match &self.daemons {
            Some(daemons) if !daemons.b.holds_established_tcp()? => self.resync(1),
            _ => Ok(()),
        }
    }

    /// Kills A and makes B take over.
    pub(super) fn fail_over(&mut self) -> Result<Takeover> {
        self.account.say("");
        let killed = Moment::now();
        self.account.zero(killed);
        if let Some(daemons) = &mut self.daemons {
            daemons.a.kill()?;
            self.account.stamp(Moment::now(), "A's conntrackd is killed (kill -9)");
        }
        network::unplug_a()?;
        self.account.stamp(Moment::now(), "A's cables are out: client and server talk to nobody");
        let committed = self.commit()?;
        network::activate(Node::B)?;
        let moved = Moment::now();
        self.account.stamp(moved, "B has the addresses 10.77.1.1 and 10.77.2.1");
        Ok(Takeover { killed, committed, moved })
    }

    /// Writes B's replicas into its kernel, before the first packet can meet an empty table.
    fn commit(&mut self) -> Result<Option<Moment>> {
        let Some(daemons) = &self.daemons else { return Ok(None) };
        self.account.stamp(Moment::now(), "B: conntrackd -c (commit) starts");
        daemons.b.ask("-c")?;
        let end = Moment::now();
        let (count, by) = match daemons.b.committed() {
            Some(count) => (count, "its log says"),
            None => (Node::B.flow_count()?, "its kernel has"),
        };
        self.account.stamp(end, &format!("B: commit ends, {by} {count} flows"));
        Ok(Some(end))
    }

    /// What primary-backup.sh does when a router becomes primary, after the commit. It prepares for the next failure,
    /// so it may wait until traffic flows.
    fn become_primary(&mut self) -> Result<()> {
        let Some(daemons) = &self.daemons else { return Ok(()) };
        for request in ["-f", "-R", "-B"] {
            daemons.b.ask(request)?;
        }
        self.account.stamp(Moment::now(), "B: conntrackd -f, -R, -B as primary-backup.sh does");
        Ok(())
    }

    /// Lets the transfer end, well or badly.
    pub(super) fn second_half(
        &mut self,
        transfer: &mut Transfer,
        takeover: Takeover,
    ) -> Result<()> {
        let (start, mut told) = (Instant::now(), false);
        while transfer.client.is_none() {
            transfer.listen();
            let phase = if told { "through B" } else { "silence" };
            self.tick(phase, Some(transfer), Node::B)?;
            if !told && transfer.heard > takeover.moved {
                let silence = transfer.silence_after(takeover.killed);
                let again = silence.map_or(transfer.heard, |(_, to)| to);
                self.account.stamp(again, "the client receives again");
                self.become_primary()?;
                told = true;
            }
            if start.elapsed() > Duration::from_secs(120) {
                bail!("the transfer neither ends nor breaks");
            }
        }
        // The server's last word may be on its way.
        for _ in 0..10 {
            transfer.listen();
        }
        self.account.stamp(Moment::now(), "the transfer has ended");
        Ok(())
    }
}
