//! The main thread: control socket, signals, systemd. The shard runs in a thread of its own.
//!
//! ```text
//!   clients -> serve -> orders --> shard         SIGHUP -> reload -> Order::Reconfigure
//!   SIGTERM, SIGINT, -k -> Order::Stop           tick   -> Order::Snapshot -> answered? -> WATCHDOG=1
//! ```

use super::reload::Reload;
use super::serve::Service;
use anyhow::{Context, Result, bail};
use host::control::{Bound, Server};
use host::log::Log;
use host::process::Child;
use host::shard::{Handle, Order, Parts, Shard, Snapshot};
use host::systemd::Systemd;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
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

/// Runs the shard in its thread, and the control socket and signals here.
///
/// # Errors
/// When a thread or the shard fails.
pub async fn run(parts: Parts, bound: Bound, reload: Reload, readiness: Readiness) -> Result<()> {
    let signals = Signals::new()?;
    let server = bound.serve().context("serving the control socket")?;
    let (shard, handle) = Shard::new(parts).context("setting up the engine's thread")?;
    let (ended, shard_ended) = oneshot::channel::<io::Result<()>>();
    let thread = thread::Builder::new().name("shard-0".into()).spawn(move || {
        // If nobody listens any more, the daemon is ending anyway.
        let _ = ended.send(shard.run());
    })?;
    let systemd = reload.systemd;
    let service = Arc::new(Service {
        shard: handle.clone(),
        log: Arc::clone(&reload.logs.log),
        faults: server.faults(),
        records: reload.logs.records.is_some(),
        purge_after_s: AtomicU64::new(reload.purge_after_s()),
        scheduled: Mutex::default(),
    });
    let supervisor = Supervisor { server, shard: handle.clone(), signals, reload, service };
    let outcome = supervisor.run(shard_ended, readiness).await;
    systemd.stopping();
    handle.order(Order::Stop);
    if thread.join().is_err() {
        bail!("the engine's thread panicked");
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
    async fn run(
        mut self,
        mut shard_ended: oneshot::Receiver<io::Result<()>>,
        readiness: Readiness,
    ) -> Result<()> {
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
                ended = &mut shard_ended => return shard_outcome(ended),
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

fn shard_outcome(ended: Result<io::Result<()>, oneshot::error::RecvError>) -> Result<()> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(e).context("the engine's thread failed"),
        Err(_) => bail!("the engine's thread ended unexpectedly"),
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
