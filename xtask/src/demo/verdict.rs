//! What the demonstration has shown: evidence, and what follows from it.

use super::account::mib;
use super::clock::Moment;
use super::failover::Takeover;
use super::network::Node;
use super::node::{LENGTH, Report};
use super::transfer::Transfer;
use anyhow::Result;

/// Everything that was measured.
pub(super) struct Evidence {
    transfer: Transfer,
    takeover: Takeover,
    resyncs: u32,
    rst_client: u64,
    rst_server: u64,
    invalid: u64,
    to_router: u64,
    background: Background,
}

/// What became of the background flows.
struct Background {
    wanted: u64,
    before: usize,
    kept: usize,
}

impl Evidence {
    /// Asks everyone who saw something.
    pub(super) fn gather(
        transfer: Transfer,
        takeover: Takeover,
        (wanted, resyncs): (u64, u32),
    ) -> Result<Self> {
        let (before, after) = (Node::A.flows("udp")?, Node::B.flows("udp")?);
        let kept = before.iter().filter(|flow| after.binary_search(flow).is_ok()).count();
        Ok(Self {
            transfer,
            takeover,
            resyncs,
            rst_client: Node::Client.counter("rst")?,
            rst_server: Node::Server.counter("rst")?,
            invalid: Node::B.counter("invalid")?,
            to_router: Node::B.counter("to_router")?,
            background: Background { wanted, before: before.len(), kept },
        })
    }

    /// Prints what was shown with replication; whether it is what was promised.
    pub(super) fn survived(&self) -> bool {
        let mut reasons = Vec::new();
        match (&self.transfer.client, &self.transfer.server) {
            (Some(Report::Done(_, LENGTH, got)), Some(Report::Done(_, LENGTH, sent))) => {
                if got != sent {
                    reasons.push(format!("sums differ: sent {sent:016x}, received {got:016x}"));
                }
            }
            (client, server) => {
                reasons.push(format!("the transfer broke: client {client:?}, server {server:?}"));
            }
        }
        if self.rst_client + self.rst_server > 0 {
            let (client, server) = (self.rst_client, self.rst_server);
            reasons.push(format!("RSTs: {client} at the client, {server} at the server"));
        }
        let Background { wanted, before, kept } = self.background;
        if kept < before || (before as u64) < wanted {
            reasons.push(format!("B has {kept} of {before} background flows ({wanted} wanted)"));
        }
        if reasons.is_empty() {
            self.print_success();
        } else {
            println!("FAIL: {}", reasons.join("\n      "));
        }
        reasons.is_empty()
    }

    fn print_success(&self) {
        let sum = match self.transfer.client {
            Some(Report::Done(_, _, sum)) => sum,
            _ => 0,
        };
        let Background { before, kept, .. } = self.background;
        let asked = match self.resyncs {
            0 => "no resync was needed".to_owned(),
            n => format!("after {n} resync(s) before the failure"),
        };
        println!(
            "transfer    {:.0} MiB, all received, FNV-1a 64 {sum:016x} at both ends",
            mib(LENGTH)
        );
        println!("RST         none at the client, none at the server");
        println!("background  {kept} of {before} UDP flows are in B's kernel; {asked}");
        println!("takeover    {}", self.takeover_times());
        println!(
            "            (noticing that A is dead is keepalived's task, and not in these times)"
        );
        println!("PASS: the TCP connection survived the death of its router; {}", self.silence());
    }

    fn takeover_times(&self) -> String {
        let Takeover { killed, committed, moved } = self.takeover;
        let since = |moment: Moment| moment.ms_since(killed);
        format!(
            "kill to commit done {:.1} ms, kill to addresses moved {:.1} ms",
            since(committed.unwrap_or(killed)),
            since(moved)
        )
    }

    fn silence(&self) -> String {
        match self.transfer.silence_after(self.takeover.killed) {
            Some((from, to)) if from < self.takeover.moved => format!(
                "the client heard nothing for {:.1} ms\n      (last byte through A to first through B; \
                 {:.1} ms of it after the takeover, when TCP waited to send again)",
                to.ms_since(from),
                to.ms_since(self.takeover.moved)
            ),
            _ => "the client heard nothing for less than 20 ms".to_owned(),
        }
    }

    /// Prints what was shown without replication; whether the connection broke, as it must.
    pub(super) fn broke(&self) -> bool {
        let Some(Report::Broken(_, bytes, how)) = &self.transfer.client else {
            println!(
                "FAIL: the connection survived without replication, so the test proves nothing"
            );
            return false;
        };
        let server = match &self.transfer.server {
            Some(Report::Broken(_, _, how)) => format!("broke: {how}"),
            Some(_) => "believes it sent everything".to_owned(),
            None => "still tries".to_owned(),
        };
        println!("client      {:.1} MiB received, then: {how}", mib(*bytes));
        println!("server      {server}");
        println!(
            "RST         {} at the client, {} at the server",
            self.rst_client, self.rst_server
        );
        println!(
            "B's kernel  does not know the connection: {} packets from the client were `ct state\n            \
             invalid` and dropped; {} from the server, for the NAT address, had no client to go\n            \
             to, so B took them for its own and answered RST",
            self.invalid, self.to_router
        );
        println!("PASS: as expected, the connection broke: nobody told B of it");
        true
    }
}
