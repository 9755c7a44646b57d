//! The addresses of peers that are known by name, looked up again and again (`replication-v2.md`, R3.3).
//!
//! It runs on tokio, beside the shards. A name that does not resolve delays nothing else: other places of the peer
//! are reported at once, and the name is looked up again after five seconds, then every minute like all others.

use crate::secure::limit::RESOLVE_EVERY;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// How soon a name is asked for again that did not resolve at first.
const AGAIN: Duration = Duration::from_secs(5);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// Addresses of a name that are used.
const ADDRESSES_OF_NAME_MAX: usize = 4;

/// Where a peer may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address.
    Address(SocketAddr),
    /// A host's name, and the port.
    Name(String, u16),
}

/// Looks up the addresses of names.
pub trait Names {
    /// The addresses of a host, with this port.
    fn look_up(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The system: `getaddrinfo(3)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Names for System {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// A report about the places of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Its addresses, in the order of its places: at the start, and when they have changed.
    Addresses(Vec<SocketAddr>),
    /// A name that resolved before, or was never asked for, does not resolve: why.
    Unknown(String, String),
}

/// Resolves the places of one peer until the receiver is gone.
pub async fn watch<T: Clone>(
    peer: T,
    places: &[Place],
    names: &impl Names,
    tell: mpsc::Sender<(T, Resolved)>,
) {
    let mut known: BTreeMap<&str, Vec<SocketAddr>> = BTreeMap::new();
    let (mut reported, mut failing): (_, BTreeMap<&str, bool>) = (None, BTreeMap::new());
    let mut pause = AGAIN;
    loop {
        if !change(&peer, places, &known, &mut reported, &tell).await {
            return;
        }
        let mut failed = false;
        for place in places {
            let Place::Name(name, port) = place else { continue };
            let answer = timeout(PATIENCE, names.look_up(name, *port)).await;
            let answer = answer.unwrap_or_else(|_| Err(io::Error::other("no answer in time")));
            let why = match answer {
                Ok(found) if !found.is_empty() => {
                    known.insert(name, found.into_iter().take(ADDRESSES_OF_NAME_MAX).collect());
                    failing.insert(name, false);
                    continue;
                }
                Ok(_) => "it has no address".to_owned(),
                Err(error) => error.to_string(),
            };
            failed = true;
            // The last known addresses stay: a name server that fails moves no peer.
            if failing.insert(name, true) != Some(true)
                && tell.send((peer.clone(), Resolved::Unknown(name.clone(), why))).await.is_err()
            {
                return;
            }
        }
        if !change(&peer, places, &known, &mut reported, &tell).await {
            return;
        }
        if !places.iter().any(|place| matches!(place, Place::Name(..))) {
            return;
        }
        sleep(if failed { pause } else { RESOLVE_EVERY }).await;
        pause = RESOLVE_EVERY;
    }
}

/// Reports a change; false when the receiver is gone.
async fn change<T: Clone>(
    peer: &T,
    places: &[Place],
    known: &BTreeMap<&str, Vec<SocketAddr>>,
    reported: &mut Option<Vec<SocketAddr>>,
    tell: &mpsc::Sender<(T, Resolved)>,
) -> bool {
    let now = addresses(places, known);
    if now.is_empty() || reported.as_ref() == Some(&now) {
        return true;
    }
    *reported = Some(now.clone());
    tell.send((peer.clone(), Resolved::Addresses(now))).await.is_ok()
}

/// All that is known, in the order of the places, each address once.
fn addresses(places: &[Place], known: &BTreeMap<&str, Vec<SocketAddr>>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for place in places {
        let here = match place {
            Place::Address(address) => std::slice::from_ref(address),
            Place::Name(name, _) => known.get(name.as_str()).map_or(&[][..], Vec::as_slice),
        };
        for address in here {
            if !all.contains(address) {
                all.push(*address);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::time::Instant;

    /// What a name server says; `None` is no answer at all.
    type Answer = Option<Result<Vec<SocketAddr>, &'static str>>;

    /// Names whose answers change with each question.
    struct Script(Mutex<Vec<Answer>>);

    impl Names for Script {
        async fn look_up(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
            let next = self.0.lock().unwrap().pop();
            match next {
                Some(Some(answer)) => answer.map_err(io::Error::other),
                Some(None) => std::future::pending().await,
                None => Err(io::Error::other("the script is over")),
            }
        }
    }

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 3790))
    }

    fn name() -> Place {
        Place::Name("fw-b.example.net".into(), 3790)
    }

    /// The reports, and after how many seconds each comes.
    async fn run(
        places: Vec<Place>,
        mut answers: Vec<Answer>,
        for_: Duration,
    ) -> Vec<(u64, Resolved)> {
        answers.reverse();
        let (tell, mut reported) = mpsc::channel(100);
        let (names, begun) = (Script(Mutex::new(answers)), Instant::now());
        let mut seen = Vec::new();
        let watching = watch((), &places, &names, tell);
        let listening = async {
            while let Some(((), what)) = reported.recv().await {
                seen.push((begun.elapsed().as_secs(), what));
            }
        };
        let _ = timeout(for_, async { tokio::join!(watching, listening) }).await;
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn r3_3_a_name_that_does_not_resolve_is_asked_for_again_after_5_s_then_every_minute() {
        let no = || Some(Err("no such name"));
        let answers = vec![no(), no(), no(), Some(Ok(vec![at(1)]))];
        let reported = run(vec![name()], answers, Duration::from_secs(200)).await;
        let Place::Name(name, _) = name() else { panic!("it is a name") };
        let unknown = Resolved::Unknown(name, "no such name".into());
        let wanted = [(0, unknown), (125, Resolved::Addresses(vec![at(1)]))];
        assert_eq!(reported[..2], wanted, "reported once, and found at 0 + 5 + 60 + 60 s");
    }

    #[tokio::test(start_paused = true)]
    async fn r3_3_other_places_of_the_peer_wait_for_no_name() {
        let places = vec![name(), Place::Address(at(9))];
        let reported =
            run(places, vec![None, Some(Ok(vec![at(1)]))], Duration::from_secs(30)).await;
        assert_eq!(reported[0], (0, Resolved::Addresses(vec![at(9)])));
        assert!(
            matches!(&reported[1], (4, Resolved::Unknown(_, why)) if why == "no answer in time")
        );
        assert_eq!(
            reported[2],
            (9, Resolved::Addresses(vec![at(1), at(9)])),
            "in the order of the file"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn r3_3_a_name_is_looked_up_every_minute_and_what_has_changed_is_told() {
        let yes = |n: u8| Some(Ok(vec![at(n)]));
        let answers = vec![yes(1), yes(1), Some(Err("a broken name server")), yes(2)];
        let reported = run(vec![name()], answers, Duration::from_secs(190)).await;
        let wanted =
            [(0, Resolved::Addresses(vec![at(1)])), (180, Resolved::Addresses(vec![at(2)]))];
        let reported: Vec<_> = reported
            .into_iter()
            .filter(|reported| matches!(reported.1, Resolved::Addresses(_)))
            .collect();
        assert_eq!(reported, wanted, "a name server that fails moves no peer");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_alone_are_told_once_and_need_no_watching() {
        let places = vec![Place::Address(at(1)), Place::Address(at(2)), Place::Address(at(1))];
        let reported = run(places, vec![], Duration::from_secs(1000)).await;
        assert_eq!(reported, [(0, Resolved::Addresses(vec![at(1), at(2)]))]);
    }

    #[tokio::test]
    async fn the_system_knows_itself() {
        let found = System.look_up("localhost", 3790).await.unwrap();
        assert!(
            found.iter().all(|at| at.ip().is_loopback() && at.port() == 3790) && !found.is_empty()
        );
    }
}
