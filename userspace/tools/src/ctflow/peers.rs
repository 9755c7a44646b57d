//! `ctflow peers`: the peers of replication, version 2.

use super::outcome::note;
use super::{Daemon, print};
use crate::print::status::Peer;
use crate::stdout;
use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use host::control::framed::{self, Piece};
use std::fmt::Write;
use std::process::ExitCode;
use wire::control::framed::{Ask, Format, Status, Tally, Verb};

/// What follows the options in the help.
pub(super) const MORE: &str = "\
STATE is `equal' when a comparison of the last three seconds found that all the peer claims is here, `filling' before
that happened for the first time, `catching up' while a difference is being mended, `full' while there is no room
for all of its flows (`RemoteLimit'), `not there' without a session.
LAG is what 99 in 100 pieces of news of the last minute took, from the kernel's event to the peer's acknowledgement.
  ctflow peers
  ctflow peers --json | jq -r '.[] | select(.equal | not) | .name'
Exit codes: 0 all peers are equal; 1 one is not; 2 no answer, or no peers.";

/// The description of `ctflow diff`.
pub(super) const DIFF: &str = "\
Of the flows that the peer owns, those that this node holds otherwise: missing here, missing there, or different, with
what differs. Both nodes compare sums, then the rows of the parts that differ; only flows that differ travel, and
nothing is mended meanwhile. Run it at the peer for what that holds of this node.
  ctflow diff --peer fw-b
  ctflow diff --peer fw-b -o json | jq '.counts'
  ctflow diff --peer fw-b -o json | jq -r '.differing[] | select(.kind == \"different\") | .what[]' | sort | uniq -c
Exit codes: 0 both are equal; 1 they are not; 2 no answer: no daemon, no such peer, no session with it.";

/// Options of `ctflow diff`.
#[derive(Debug, Args)]
pub(super) struct DiffOptions {
    #[command(flatten)]
    daemon: Daemon,
    /// What the peer calls itself
    #[arg(long, value_name = "NAME")]
    peer: String,
    /// Text or JSON
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Shown,
    /// As `-o json`
    #[arg(long)]
    json: bool,
}

/// How differences are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// Lines for people
    Text,
    /// One JSON object (docs/spec/replication-v2.md)
    Json,
}

/// Options of `ctflow peers`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    daemon: Daemon,
    /// As a JSON array (`peers` in docs/spec/status.md)
    #[arg(long)]
    json: bool,
}

/// Shows them.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let (_, status) = options.daemon.status()?;
    if status.peers.is_empty() {
        bail!("the daemon has no peers of version 2 (there is no `Replication` block)");
    }
    print(&if options.json {
        serde_json::to_string(&status.peers)? + "\n"
    } else {
        text(&status.peers)
    })?;
    Ok(u8::from(!status.peers.iter().all(|peer| peer.equal)).into())
}

/// Whether one of them is equal.
pub(super) fn ready(daemon: &Daemon, name: &str) -> Result<ExitCode> {
    let (_, status) = daemon.status()?;
    let Some(peer) = status.peers.iter().find(|peer| peer.name == name) else {
        let names: Vec<_> = status.peers.iter().map(|peer| peer.name.as_str()).collect();
        bail!("the daemon has no peer `{name}` (it has: {})", names.join(", "));
    };
    print(&format!("{}\n", peer.state()))?;
    Ok(u8::from(!peer.equal).into())
}

/// Takes over the flows of one of them.
pub(super) fn take_over(daemon: &Daemon, name: &str) -> Result<ExitCode> {
    ask(daemon, name, &Ask::new(Verb::TakeOver), |_| {})?;
    Ok(ExitCode::SUCCESS)
}

/// Shows how what is held of one of them differs from what it has.
pub(super) fn diff(options: &DiffOptions) -> Result<ExitCode> {
    let json = options.json || options.output == Shown::Json;
    let format = if json { Format::Json } else { Format::Text };
    let ask_for = Ask { format, ..Ask::new(Verb::Diff) };
    let body = ask(&options.daemon, &options.peer, &ask_for, stdout::put)?;
    stdout::flush()?;
    let tally = Tally::decode(&body).map_err(|error| anyhow!("the daemon's answer: {error}"))?;
    Ok(u8::from(tally.matched != 0).into())
}

/// Asks the daemon for something about the peer of this name; the body that ends its answer.
fn ask(daemon: &Daemon, name: &str, ask: &Ask<'_>, mut data: impl FnMut(&[u8])) -> Result<Vec<u8>> {
    let socket = daemon.socket()?;
    let each = |piece: Piece<'_>| {
        match piece {
            Piece::Data(bytes) => data(bytes),
            Piece::Note(text) => note(String::from_utf8_lossy(text)),
        }
        Ok(())
    };
    let end = framed::ask(&socket, name, ask, each);
    let end = end.map_err(|error| anyhow!("the daemon at {}: {error}", socket.display()))?;
    match end.status {
        Status::Done => Ok(end.body),
        _ => bail!("the daemon refused: {}", String::from_utf8_lossy(&end.body)),
    }
}

fn text(peers: &[Peer]) -> String {
    let mut out = String::new();
    let row = |out: &mut String, cells: [&str; 9]| {
        let [name, state, address, heard, flows, behind, lag, trip, rate] = cells;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{name:<16} {state:<12} {address:<24} {heard:>9} {flows:>10} {behind:>9} {lag:>9} {trip:>9} \
             {rate:>10}"
        );
    };
    row(&mut out, ["PEER", "STATE", "ADDRESS", "HEARD", "FLOWS", "BEHIND", "LAG", "TRIP", "RATE"]);
    for peer in peers {
        let ms = peer.heard_ms.map_or_else(|| "never".into(), |ms| format!("{ms} ms"));
        let lag = peer.lag_p99_us.map_or_else(|| "-".into(), |us| format!("{us} us"));
        let trip = peer.round_trip_us.map_or_else(|| "-".into(), |us| format!("{us} us"));
        row(
            &mut out,
            [
                &peer.name,
                peer.state(),
                peer.address.as_deref().unwrap_or("-"),
                &ms,
                &peer.flows.to_string(),
                &peer.behind.to_string(),
                &lag,
                &trip,
                &format!("{} kB/s", peer.rate_bytes_s / 1_000),
            ],
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_is_a_row_under_what_its_numbers_are() {
        let equal = Peer {
            name: "fw-b".into(),
            session: "up".into(),
            address: Some("192.0.2.2:3790".into()),
            heard_ms: Some(12),
            equal: true,
            flows: 1_234_567,
            lag_p99_us: Some(1_471),
            round_trip_us: Some(420),
            rate_bytes_s: 12_000_000,
            ..Peer::default()
        };
        let silent = Peer { name: "fw-c".into(), session: "silent".into(), ..Peer::default() };
        let wanted = "\
PEER             STATE        ADDRESS                      HEARD      FLOWS    BEHIND       LAG      TRIP       RATE
fw-b             equal        192.0.2.2:3790               12 ms    1234567         0   1471 us    420 us 12000 kB/s
fw-c             not there    -                            never          0         0         -         -     0 kB/s
";
        assert_eq!(text(&[equal, silent]), wanted);
    }
}
