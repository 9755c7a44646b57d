//! The main thread: control socket, signals, systemd. The shards run in threads of their own.
//!
//! ```text
//!   clients -> serve -> orders --> shard         SIGHUP -> reload -> Order::Reconfigure
//!   SIGTERM, SIGINT, -k -> Order::Stop           tick   -> Order::Snapshot -> answered? -> WATCHDOG=1
//! ```

use super::reload::Reload;
use super::serve::Service;
use anyhow::{Context, Result, bail};
use host::control::{Bound, Server};
use host::fleet::{self, Crew, FleetParts, Handle};
use host::log::Log;
use host::process::Child;
use host::shard::{Order, Snapshot};
use host::systemd::Systemd;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

/// How often the logs are asked for losses.
const LOSSES: Duration = Duration::from_secs(1);
/// How often a shard that reads the kernel's table for the first time is asked how far it is.
const FILLING: Duration = Duration::from_millis(5);

/// Who is told that the daemon serves.
#[derive(Debug)]
pub enum Readiness {
    /// systemd, by the daemon itself.
    Console(Systemd),
    /// The process that was started, which tells systemd.
    Daemon(Child),
}

impl Readiness {
    fn tell(self, log: &Log) -> Result<()> {
        log.notice("initialization completed");
        match self {
            Self::Console(systemd) => {
                log.notice("-- starting in console mode --");
                systemd.ready(std::process::id(), "serving");
            }
            Self::Daemon(child) => {
                log.notice("-- starting in daemon mode --");
                child.is_ready().context("leaving the terminal")?;
            }
        }
        Ok(())
    }
}

/// Runs the shards in their threads, and the control socket and signals here.
///
/// # Errors
/// When a thread fails.
pub async fn run(
    parts: FleetParts,
    bound: Bound,
    reload: Reload,
    readiness: Readiness,
) -> Result<()> {
    let signals = Signals::new()?;
    let server = bound.serve().context("serving the control socket")?;
    let expectations = parts.shards.iter().any(|shard| shard.expectations.is_some());
    let log = &reload.logs.log;
    let mut crew = fleet::start(parts, log).context("starting the engine's threads")?;
    let handle = crew.handle();
    let systemd = reload.systemd;
    let service = Arc::new(Service {
        shard: handle.clone(),
        log: Arc::clone(&reload.logs.log),
        faults: server.faults(),
        records: reload.logs.records.is_some(),
        expectations,
        purge_after_s: AtomicU64::new(reload.purge_after_s()),
        scheduled: Mutex::default(),
    });
    let supervisor = Supervisor { server, shard: handle, signals, reload, service };
    let outcome = supervisor.run(&mut crew, readiness).await;
    systemd.stopping();
    if !crew.stop() {
        bail!("a thread of the engine panicked");
    }
    outcome
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

struct Supervisor {
    server: Server,
    shard: Handle,
    signals: Signals,
    reload: Reload,
    service: Arc<Service>,
}

impl Supervisor {
    async fn run(mut self, crew: &mut Crew, readiness: Readiness) -> Result<()> {
        let log = Arc::clone(&self.reload.logs.log);
        let (kill, mut killed) = mpsc::channel::<()>(1);
        let mut readiness = Some(readiness);
        let mut filled = std::pin::pin!(filled(self.shard.clone()));
        let mut losses = every(LOSSES);
        let watchdog = self.reload.systemd.watchdog_interval();
        let mut watchdog = watchdog.map(every);
        let mut heartbeat = None;
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => return Ok(()),
                _ = self.signals.interrupt.recv() => return Ok(()),
                _ = killed.recv() => return Ok(()),
                ended = crew.ended() => return outcome_of(ended),
                _ = self.signals.hangup.recv() => {
                    self.reload.reload(&self.shard).await;
                    let after_s = self.reload.purge_after_s();
                    self.service.purge_after_s.store(after_s, Ordering::Relaxed);
                }
                () = &mut filled, if readiness.is_some() => {
                    if let Some(readiness) = readiness.take() {
                        readiness.tell(&log)?;
                    }
                }
                _ = losses.tick() => self.reload.logs.tell_losses(),
                () = tick(&mut watchdog) => self.watch(&mut heartbeat),
                client = self.server.accept() => match client {
                    Ok(client) => {
                        let (service, kill) = (Arc::clone(&self.service), kill.clone());
                        tokio::spawn(async move {
                            if service.serve(client).await {
                                let _ = kill.send(()).await;
                            }
                        });
                    }
                    Err(error) => {
                        log.warning(format!("control socket: {error}"));
                        // Out of descriptors, most likely: they come back.
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    /// Tells systemd that the daemon works, if the shard has answered what it was asked the last time. A shard that
    /// hangs is asked no more, and systemd's patience runs out.
    fn watch(&self, heartbeat: &mut Option<oneshot::Receiver<Box<Snapshot>>>) {
        if let Some(asked) = heartbeat
            && asked.try_recv().is_err()
        {
            return;
        }
        self.reload.systemd.alive();
        let (reply, answer) = oneshot::channel();
        self.shard.order(Order::Snapshot(reply));
        *heartbeat = Some(answer);
    }
}

fn outcome_of(ended: Option<io::Result<()>>) -> Result<()> {
    match ended {
        Some(Ok(())) => Ok(()),
        Some(Err(e)) => Err(e).context("a thread of the engine failed"),
        None => bail!("a thread of the engine ended unexpectedly"),
    }
}

/// Until the shard has read the kernel's table for the first time. Whoever waits for the daemon may then ask for it.
async fn filled(shard: Handle) {
    loop {
        let (reply, answer) = oneshot::channel();
        shard.order(Order::Snapshot(reply));
        match answer.await {
            Ok(snapshot) if snapshot.keeps[0] && snapshot.counters.resyncs == 0 => {
                sleep(FILLING).await;
            }
            _ => return,
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
