//! What runs inside the namespaces: the server, the client, the source of background flows; and the janitor, which
//! runs outside and cleans up when the demonstration ends, however it ends.
//!
//! They report what happens on standard output, one line each (see [`Report`]).

use super::clock::Moment;
use super::network::{self, CLIENT, SERVER};
use super::stream::{Bytes, Fnv1a};
use anyhow::{Context as _, Result};
use std::io::{self, BufRead as _, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The length of the transfer.
pub(super) const LENGTH: u64 = 64 << 20;
/// How long the server takes to send it.
const LASTS: Duration = Duration::from_secs(20);

const PORT: u16 = 9000;
const CHUNK: usize = 16 * 1024;
/// Silence that is worth a line; the server writes every 2 ms.
const SILENCE_US: u64 = 20_000;
const PROGRESS_US: u64 = 20_000;

/// First source port and first destination port of the background flows, and how many of the latter are used.
const FLOW_SOURCE: u16 = 20_000;
const FLOW_TARGET: u16 = 10_000;
const FLOW_TARGETS: u64 = 50_000;

/// A part of the demonstration; not for people.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    role: Role,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Gives up after so many seconds of silence.
    Client {
        patience: u64,
    },
    Server,
    Flows {
        count: u64,
        per_second: u64,
    },
    Janitor,
}

/// A report of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It is ready: the server listens.
    Ready,
    /// So many bytes have come.
    At(Moment, u64),
    /// No byte came from the first moment to the second.
    Silence(Moment, Moment),
    /// The stream ended: bytes and their sum.
    Done(Moment, u64, u64),
    /// The stream broke after so many bytes, and how.
    Broken(Moment, u64, String),
}

impl Report {
    /// When a stream ended, whichever way.
    pub(super) fn at(&self) -> Option<Moment> {
        match self {
            Self::Done(at, ..) | Self::Broken(at, ..) => Some(*at),
            Self::Ready | Self::At(..) | Self::Silence(..) => None,
        }
    }

    fn tell(&self) {
        match self {
            Self::Ready => println!("ready"),
            Self::At(at, bytes) => println!("at {} {bytes}", at.0),
            Self::Silence(from, to) => println!("silence {} {}", from.0, to.0),
            Self::Done(at, bytes, sum) => println!("done {} {bytes} {sum}", at.0),
            Self::Broken(at, bytes, how) => println!("broken {} {bytes} {how}", at.0),
        }
    }
}

impl FromStr for Report {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.splitn(4, ' ');
        let what = words.next().unwrap_or_default();
        let mut number = || -> Result<u64> {
            words.next().and_then(|n| n.parse().ok()).with_context(|| format!("report `{line}`"))
        };
        Ok(match what {
            "ready" => Self::Ready,
            "at" => Self::At(Moment(number()?), number()?),
            "silence" => Self::Silence(Moment(number()?), Moment(number()?)),
            "done" => Self::Done(Moment(number()?), number()?, number()?),
            "broken" => {
                let (at, bytes) = (Moment(number()?), number()?);
                Self::Broken(at, bytes, words.next().unwrap_or_default().to_owned())
            }
            _ => anyhow::bail!("report `{line}`"),
        })
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match options.role {
        Role::Client { patience } => client(Duration::from_secs(patience)),
        Role::Server => server(),
        Role::Flows { count, per_second } => flows(count, per_second),
        Role::Janitor => janitor(),
    }
}

/// Sends the stream at its pace to the first who asks.
fn server() -> Result<()> {
    let listener = TcpListener::bind(SocketAddrV4::new(SERVER, PORT))?;
    Report::Ready.tell();
    let (mut peer, _) = listener.accept()?;
    let (start, mut sent) = (Instant::now(), 0);
    let (mut bytes, mut sum, mut chunk) = (Bytes::new(), Fnv1a::new(), [0; CHUNK]);
    while sent < LENGTH {
        let due = LENGTH as f64 * (start.elapsed().as_secs_f64() / LASTS.as_secs_f64());
        if due < (sent + CHUNK as u64) as f64 {
            sleep(Duration::from_millis(2));
            continue;
        }
        bytes.fill(&mut chunk);
        sum.add(&chunk);
        if let Err(error) = peer.write_all(&chunk) {
            Report::Broken(Moment::now(), sent, error.to_string()).tell();
            return Ok(());
        }
        sent += CHUNK as u64;
    }
    Report::Done(Moment::now(), sent, sum.sum()).tell();
    Ok(())
}

/// Takes the stream and reports when bytes came.
fn client(patience: Duration) -> Result<()> {
    let mut peer = TcpStream::connect(SocketAddrV4::new(SERVER, PORT))?;
    peer.set_read_timeout(Some(patience))?;
    let (mut sum, mut buffer, mut total) = (Fnv1a::new(), vec![0; 4 * CHUNK], 0);
    let (mut last, mut told) = (Moment::now(), Moment(0));
    loop {
        let read = peer.read(&mut buffer);
        let now = Moment::now();
        let report = match read {
            Ok(0) if total < LENGTH => {
                Report::Broken(now, total, "the server closed the connection".into())
            }
            Ok(0) => Report::Done(now, total, sum.sum()),
            Err(error) => Report::Broken(now, total, describe(&error, patience)),
            Ok(count) => {
                if now.0 - last.0 > SILENCE_US {
                    Report::Silence(last, now).tell();
                }
                total += count as u64;
                sum.add(&buffer[..count]);
                last = now;
                if now.0 - told.0 > PROGRESS_US {
                    Report::At(now, total).tell();
                    told = now;
                }
                continue;
            }
        };
        report.tell();
        return Ok(());
    }
}

fn describe(error: &io::Error, patience: Duration) -> String {
    match error.kind() {
        ErrorKind::WouldBlock => format!("no byte for {} s", patience.as_secs()),
        _ => error.to_string(),
    }
}

/// One datagram for each background flow, paced. Sending again refreshes the same flows.
fn flows(count: u64, per_second: u64) -> Result<()> {
    let start = Instant::now();
    let mut sent = 0;
    for source in 0..count.div_ceil(FLOW_TARGETS) {
        let source = SocketAddrV4::new(CLIENT, FLOW_SOURCE + source as u16);
        let socket = UdpSocket::bind(source)?;
        for target in 0..(count - sent).min(FLOW_TARGETS) {
            let target = SocketAddrV4::new(SERVER, FLOW_TARGET + target as u16);
            socket.send_to(b"ctflow", target)?;
            sent += 1;
            let due = Duration::from_secs_f64(sent as f64 / per_second as f64);
            if let Some(early) = due.checked_sub(start.elapsed())
                && early > Duration::from_millis(2)
            {
                sleep(early);
            }
        }
    }
    Ok(())
}

/// Waits until the demonstration has gone (its end of our standard input closes), then removes what it made, unless it
/// said `keep`. It is in a process group of its own, so that Ctrl-C does not reach it.
fn janitor() -> Result<()> {
    let (mut keep, mut limit) = (false, None);
    for line in io::stdin().lock().lines() {
        match line?.split_once(' ') {
            None => keep = true,
            Some((_, number)) => limit = number.parse().ok(),
        }
    }
    if keep { Ok(()) } else { network::clean(limit) }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::demo::clock::Moment;

    #[test]
    fn reports_survive_being_told() {
        let broken = Report::Broken(Moment(7), 9, "no byte for 10 s".into());
        assert_eq!("broken 7 9 no byte for 10 s".parse::<Report>().unwrap(), broken);
        assert_eq!("done 1 2 3".parse::<Report>().unwrap(), Report::Done(Moment(1), 2, 3));
        assert!("at x".parse::<Report>().is_err());
    }
}
