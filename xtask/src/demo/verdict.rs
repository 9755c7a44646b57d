//! What the demonstration has shown: evidence, and what follows from it.

use super::account::mib;
use super::failover::Takeover;
use super::network::Node;
use super::node::{LENGTH, Report};
use super::transfer::Transfer;
use anyhow::Result;

/// Everything that was measured.
pub(super) struct Evidence {
    transfer: Transfer,
    takeovers: Vec<Takeover>,
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
    /// How many each new primary had of its predecessor's.
    kept: Vec<usize>,
}

impl Evidence {
    /// Asks everyone who saw something.
    pub(super) fn gather(
        transfer: Transfer,
        (takeovers, last): (Vec<Takeover>, Node),
        (wanted, resyncs): (u64, u32),
    ) -> Result<Self> {
        // What a primary had last against what the next one took over, which is what that one had last.
        let (mut kept, after) = (Vec::new(), last.flows("udp")?);
        for (n, takeover) in takeovers.iter().enumerate() {
            let now = takeovers.get(n + 1).map_or(&after, |next| &next.flows);
            kept.push(takeover.flows.iter().filter(|flow| now.binary_search(flow).is_ok()).count());
        }
        let before = takeovers[0].flows.len();
        Ok(Self {
            transfer,
            takeovers,
            resyncs,
            rst_client: Node::Client.counter("rst")?,
            rst_server: Node::Server.counter("rst")?,
            invalid: Node::B.counter("invalid")?,
            to_router: Node::B.counter("to_router")?,
            background: Background { wanted, before, kept },
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
        let Background { wanted, before, kept } = &self.background;
        if kept.iter().any(|kept| kept < before) || (*before as u64) < *wanted {
            reasons.push(format!(
                "of {before} background flows ({wanted} wanted) were kept: {kept:?}"
            ));
        }
        let ended = self.transfer.client.as_ref().and_then(Report::at);
        if self.takeovers.iter().any(|takeover| ended < takeover.moved) {
            reasons.push("the transfer ended before the last takeover".to_owned());
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
        let Background { before, kept, .. } = &self.background;
        let asked = match self.resyncs {
            0 => "no resync was needed".to_owned(),
            n => format!("after {n} resync(s) before the failure"),
        };
        println!(
            "transfer    {:.0} MiB, all received, FNV-1a 64 {sum:016x} at both ends",
            mib(LENGTH)
        );
        println!("RST         none at the client, none at the server");
        let kept: Vec<_> = kept.iter().map(usize::to_string).collect();
        println!(
            "background  {} of {before} UDP flows were in the new primary's kernel; {asked}",
            kept.join(" and ")
        );
        for takeover in &self.takeovers {
            let what = &takeover.what;
            println!(
                "takeover    {what} to addresses moved {:.1} ms, to commit done {:.1} ms",
                takeover.moved.unwrap_or(takeover.began).ms_since(takeover.began),
                takeover.committed.unwrap_or(takeover.began).ms_since(takeover.began)
            );
        }
        println!(
            "PASS: the TCP connection survived {}; {}",
            match self.takeovers.len() {
                3 => "the death of two routers and the return of one",
                _ => "the death and the return of its router",
            },
            self.silence()
        );
    }

    fn silence(&self) -> String {
        let longest = self.takeovers.first().and_then(|t| self.transfer.silence_after(t.began));
        match longest {
            Some((from, to)) => {
                format!("the client\n      heard nothing for {:.1} ms at most", to.ms_since(from))
            }
            None => "the client\n      heard nothing for less than 20 ms".to_owned(),
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
