//! The main thread: control socket, signals, systemd. The engine runs in threads of its own.
//!
//! ```text
//!   clients -> serve -> orders --> engine      SIGHUP -> Reading -> Rebuilding -> Filling -> Serving
//!   SIGTERM, SIGINT, -k -> Order::Stop                      `--> Serving
//!   tick -> do the engine's threads turn? -> WATCHDOG=1
//! ```

use super::census::Counter;
use super::check;
use super::daemon::{self, STATUS};
use super::endpoint::Endpoint;
use super::failures;
use super::feed;
use super::helpers;
use super::logs::Logs;
use super::nodes;
use super::plan::Plan;
use super::reload::{self, Begun, Rebuilt, Running};
use super::serve::{Service, SharedHandle};
use anyhow::{Context, Result, bail};
use common::Instant;
use engine::Command;
use engine::config::Mode;
use export::http;
use host::clock;
use host::control::{Bound, Client, Faults, Server};
use host::feed::Socket;
use host::fleet::{Handle, Threads};
use host::helpers::Parts as HelperParts;
use host::log::record::{Code, Fields};
use host::log::{Level, Log};
use host::process::{self, Child};
use host::rate_limit::RateLimit;
use host::shard::Order;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{self, Interval, MissedTickBehavior, interval, sleep, sleep_until};

/// How often the logs are asked for losses.
const LOSSES: Duration = Duration::from_secs(1);
/// How often is looked whether the engine has read the kernel's table for the first time.
const FILLING: Duration = Duration::from_millis(5);
/// How long after a client could not be accepted the next one is tried: descriptors come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long rebuilding the engine may take before systemd's watchdog is not fed any more.
const REBUILD_PATIENCE: Duration = Duration::from_secs(30);
/// The least time that a thread of the engine is given for a turn, which takes a tenth of a second when it sleeps.
const TURN_PATIENCE: Duration = Duration::from_millis(500);
/// What systemd shows after a reload that was refused.
const STATUS_REFUSED: &str = "serving; the last reload changed nothing, see the log";

const READ_AGAIN: &str = "the configuration was read again";
const STAYS: &str = "the old configuration stays in force";

/// Where the daemon reports that it serves.
#[derive(Debug)]
pub enum Readiness {
    /// systemd, by the daemon itself.
    Console,
    /// The process that was started, which reports it to systemd.
    Daemon(Child),
}

/// The feed's socket, and what failures are made of.
type Outlets = (Option<Socket>, Option<export::failures::Parts>);

/// What the main thread waits for besides its clients.
enum Phase {
    Serving,
    /// SIGHUP: the configuration is read.
    Reading(JoinHandle<Begun>),
    /// The engine is rebuilt, since when; requests wait.
    Rebuilding(JoinHandle<Result<Rebuilt>>, time::Instant, OwnedRwLockWriteGuard<Handle>),
    /// The engine reads the kernel's table for the first time.
    Filling(JoinHandle<()>, Filled),
}

/// Where the daemon reports that the engine has read the kernel's table.
enum Filled {
    Start(Readiness),
    Reload { refused: bool },
}

/// What came of a phase.
enum Step {
    Read(Result<Begun, JoinError>),
    Rebuilt(Result<Result<Rebuilt>, JoinError>),
    Filled,
}

impl Phase {
    /// The end of this phase. Of no use after that.
    async fn end(&mut self) -> Step {
        match self {
            Self::Serving => std::future::pending().await,
            Self::Reading(task) => Step::Read(task.await),
            Self::Rebuilding(task, ..) => Step::Rebuilt(task.await),
            Self::Filling(task, _) => {
                // The task ends early only if the engine does, which is looked after elsewhere.
                let _ = task.await;
                Step::Filled
            }
        }
    }
}

/// Runs the control socket and signals, beside the engine in its threads.
///
/// # Errors
/// When a thread fails.
pub async fn run(
    (threads, helpers, (socket, failures)): (Threads, Option<HelperParts>, Outlets),
    bound: Option<Bound>,
    running: Running,
    readiness: Readiness,
) -> Result<()> {
    let signals = Signals::new()?;
    process::release_signals().context("listening to signals")?;
    let faults = Arc::<Faults>::default();
    let server = bound.map(|bound| bound.serve(Arc::clone(&faults))).transpose();
    let server = server.context("serving the control socket")?;
    let log = Arc::clone(&running.logs.log);
    let helpers = helpers::Service::start(helpers)?;
    let shared: SharedHandle = Arc::new(RwLock::new(threads.handle()));
    let filling = tokio::spawn(filled(threads.handle()));
    let lookups = nodes::look_up(running.plan.replication.as_deref(), &threads.handle(), &log);
    let service = Arc::new(Service::new(shared, Arc::clone(&log), faults));
    service.adopt(&running.plan);
    service.count_helpers(helpers.counts());
    service.count_failures(failures::start(failures)?);
    let feed = feed::Service::start(socket, &running.plan, &service)?;
    let mut supervisor = Supervisor {
        phase: Phase::Filling(filling, Filled::Start(readiness)),
        threads: Some(threads),
        lookups,
        helpers,
        feed,
        server,
        retry_at: time::Instant::now(),
        again: false,
        signals,
        service,
        http: None,
        counter: None,
        running,
        log,
    };
    supervisor.serve_http();
    supervisor.run().await
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

struct Supervisor {
    phase: Phase,
    /// The engine's threads; `None` while they are rebuilt.
    threads: Option<Threads>,
    /// Looks the names of peers up.
    lookups: JoinSet<()>,
    /// The thread that serves helpers.
    helpers: helpers::Service,
    /// The thread of the feed.
    feed: feed::Service,
    server: Option<Server>,
    /// When a client is accepted again.
    retry_at: time::Instant,
    /// SIGHUP came during a reload.
    again: bool,
    signals: Signals,
    service: Arc<Service>,
    /// Serves metrics, if that is configured.
    http: Option<http::Server>,
    /// Counts the table for them.
    counter: Option<Counter>,
    running: Running,
    log: Arc<Log>,
}

impl Supervisor {
    /// Begins to serve what the running plan says over HTTP, in place of what was served before.
    fn serve_http(&mut self) {
        // The server closes its sockets first.
        (self.http, self.counter) = (None, None);
        let every = self.running.plan.metrics.as_ref().and_then(|metrics| metrics.census);
        // A plan that runs has passed the check.
        let classes = check::classes(&self.running.plan).unwrap_or_default();
        self.counter = every.map(|every| {
            Counter::start(self.service.engine(), (every, classes), &self.service.counted())
        });
        self.http = self.running.plan.metrics.as_ref().map(|metrics| {
            let endpoint = Arc::new(Endpoint::new(Arc::clone(&self.service), metrics.limits));
            http::serve(metrics.http.clone(), &endpoint, &self.service.http(), &self.log)
        });
    }

    async fn run(mut self) -> Result<()> {
        let outcome = self.serve().await;
        self.running.systemd.stopping();
        if let Phase::Rebuilding(task, ..) = &mut self.phase
            && let Ok(Ok(rebuilt)) = task.await
        {
            self.threads = Some(rebuilt.threads);
        }
        let is_sound = self.helpers.stop() & self.feed.stop();
        if self.threads.is_some_and(|threads| !threads.stop().is_sound) || !is_sound {
            bail!("a thread of the engine panicked");
        }
        outcome
    }

    async fn serve(&mut self) -> Result<()> {
        let (kill, mut killed) = mpsc::channel::<()>(1);
        let mut losses = every(LOSSES);
        let mut watchdog = self.running.systemd.watchdog_interval().map(every);
        let mut rate_limits = RateLimits::default();
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => return Ok(()),
                _ = self.signals.interrupt.recv() => return Ok(()),
                _ = killed.recv() => return Ok(()),
                ended = ended(&mut self.threads) => return outcome_of(ended),
                _ = self.signals.hangup.recv() => self.again = true,
                _ = self.signals.user1.recv() => rate_limits.signal(&self.log, "SIGUSR1"),
                _ = self.signals.user2.recv() => rate_limits.signal(&self.log, "SIGUSR2"),
                step = self.phase.end() => self.on(step)?,
                _ = losses.tick() => {
                    self.service.note_lost_lines(self.running.logs.lost_lines());
                    self.running.logs.log_losses();
                }
                () = tick(&mut watchdog) => self.watch(),
                client = accept(self.server.as_ref(), self.retry_at) => match client {
                    Ok(client) => self.take(client, &kill),
                    Err(error) => {
                        rate_limits.accept(&self.log, &error);
                        self.retry_at = time::Instant::now() + ACCEPT_PAUSE;
                    }
                },
            }
            if self.again && matches!(self.phase, Phase::Serving) {
                self.again = false;
                self.begin_reload();
            }
        }
    }

    fn take(&self, client: Client, kill: &mpsc::Sender<()>) {
        let (service, kill) = (Arc::clone(&self.service), kill.clone());
        tokio::spawn(async move {
            if service.serve(client).await {
                let _ = kill.send(()).await;
            }
        });
    }

    fn begin_reload(&mut self) {
        self.running.systemd.reloading();
        self.log.notice("SIGHUP: reading the configuration again");
        let Running { path, plan, logs, keyring, allowed, .. } = &self.running;
        let shared = self.service.engine();
        let with = (logs.clone(), keyring.clone(), allowed.clone());
        let task = reload::begin(path.clone(), plan.clone(), with, shared);
        self.phase = Phase::Reading(tokio::spawn(task));
    }

    fn on(&mut self, step: Step) -> Result<()> {
        let phase = std::mem::replace(&mut self.phase, Phase::Serving);
        match (step, phase) {
            (Step::Read(Ok(Begun::Changed(plan, logs))), _) => {
                self.adopt(plan, logs);
                if let Some(threads) = &self.threads {
                    let conf = self.running.plan.replication.as_deref();
                    self.lookups = nodes::look_up(conf, &threads.handle(), &self.log);
                }
                self.end_reload(false);
            }
            (Step::Read(Ok(Begun::Rebuild(plan, logs, guard))), _) => {
                let from = (self.running.plan.clone(), self.running.logs.clone());
                let Some(threads) = self.threads.take() else {
                    bail!("there is no engine to rebuild")
                };
                let keyring = self.running.keyring.clone();
                let task =
                    spawn_blocking(move || reload::rebuild(threads, from, (plan, logs), &keyring));
                self.phase = Phase::Rebuilding(task, time::Instant::now(), guard);
            }
            (Step::Read(_), _) => self.end_reload(true),
            (Step::Rebuilt(rebuilt), Phase::Rebuilding(_, _, mut guard)) => {
                let rebuilt = rebuilt.context("the engine was not rebuilt")??;
                let handle = rebuilt.threads.handle();
                *guard = handle.clone();
                self.threads = Some(rebuilt.threads);
                let refused = rebuilt.refusal.is_some();
                match rebuilt.refusal {
                    None => self.adopt(rebuilt.plan, rebuilt.logs),
                    Some(why) => {
                        self.log.error(format!("{why:#}"));
                        self.log.record(Level::Error, Code::ConfigRefused, STAYS, Fields::new());
                    }
                }
                let conf = self.running.plan.replication.as_deref();
                self.lookups = nodes::look_up(conf, &handle, &self.log);
                let filling = tokio::spawn(filled(handle));
                self.phase = Phase::Filling(filling, Filled::Reload { refused });
            }
            (Step::Filled, Phase::Filling(_, Filled::Start(readiness))) => {
                self.announce(readiness)?;
            }
            (Step::Filled, Phase::Filling(_, Filled::Reload { refused })) => {
                self.ask_peer();
                self.end_reload(refused);
            }
            (Step::Rebuilt(_) | Step::Filled, _) => {}
        }
        Ok(())
    }

    /// Takes over a plan whose engine runs: what is left to change are the control socket
    /// and its like.
    fn adopt(&mut self, plan: Box<Plan>, logs: Logs) {
        let old = std::mem::replace(&mut self.running.plan, plan);
        self.running.logs = logs;
        if let Err(error) = self.helpers.change((&old, &self.running.plan), &self.log) {
            self.log.error(format!("{error:#}"));
            self.log.error("the helpers of the old configuration stay in force");
            self.running.plan.helpers.clone_from(&old.helpers);
        }
        if let Err(error) = self.feed.change((&old, &self.running.plan), &self.service) {
            self.log.error(format!("the feed is not what the configuration says: {error:#}"));
        }
        if let Err(error) = self.move_places(&old) {
            self.log.error(format!("control socket and lock file stay where they are: {error:#}"));
            self.running.plan.lock_file = old.lock_file;
            self.running.plan.control = old.control;
        }
        self.service.adopt(&self.running.plan);
        if old.metrics != self.running.plan.metrics {
            self.serve_http();
        }
        self.service.count_helpers(self.helpers.counts());
    }

    fn move_places(&mut self, old: &Plan) -> Result<()> {
        let new = &self.running.plan;
        let control = new.control.as_deref();
        self.running.locks.change(&new.lock_file, control)?;
        if old.control != new.control {
            let bound = control.map(daemon::bind).transpose()?;
            self.server = bound.map(|bound| bound.serve(self.service.faults())).transpose()?;
        }
        Ok(())
    }

    /// What a new engine does not know, the peer does, and the other way round.
    fn ask_peer(&self) {
        let Some(threads) = &self.threads else { return };
        let replication = &self.running.plan.config.replication;
        if !replication.has_peer {
            return;
        }
        let commands: &[Command] = match replication.mode {
            // The session repeats everything by itself.
            Mode::Alarm { .. } => &[],
            // The engine has asked by itself.
            Mode::Ftfw { .. } | Mode::NoTrack if replication.startup_resync => &[Command::Bulk],
            Mode::Ftfw { .. } | Mode::NoTrack => &[Command::Bulk, Command::RequestResync],
        };
        for &command in commands {
            let (reply, _) = oneshot::channel();
            threads.handle().order(Order::Command(command, reply));
        }
    }

    fn end_reload(&mut self, refused: bool) {
        self.service.note_reload(!refused);
        if !refused {
            self.log.record(Level::Notice, Code::ConfigRead, READ_AGAIN, Fields::new());
        }
        let status = if refused { STATUS_REFUSED } else { STATUS };
        // The old setting decides whether systemd receives notifications about this reload.
        self.running.systemd.ready(std::process::id(), status);
        self.running.systemd = self.running.systemd.switched(self.running.plan.systemd);
    }

    fn announce(&self, readiness: Readiness) -> Result<()> {
        self.log.record(Level::Notice, Code::Ready, "initialization completed", Fields::new());
        match readiness {
            Readiness::Console => {
                self.log.notice("-- starting in console mode --");
                self.running.systemd.ready(std::process::id(), STATUS);
            }
            Readiness::Daemon(child) => {
                self.log.notice("-- starting in daemon mode --");
                child.is_ready().context("leaving the terminal")?;
                self.log.take_stderr();
            }
        }
        Ok(())
    }

    /// Feeds systemd's watchdog, if each thread of the engine has begun a turn since the last time. If one
    /// hangs, systemd's timeout runs out.
    fn watch(&self) {
        let works = match (&self.phase, &self.threads) {
            (Phase::Rebuilding(_, since, _), _) => since.elapsed() < REBUILD_PATIENCE,
            (_, Some(threads)) => {
                let interval = self.running.systemd.watchdog_interval().unwrap_or_default();
                threads.handle().is_turning(interval.max(TURN_PATIENCE))
            }
            (_, None) => true,
        };
        if works {
            self.running.systemd.alive();
        }
    }
}

/// How often events that others can cause are logged.
#[derive(Default)]
struct RateLimits {
    accept: RateLimit,
    signal: RateLimit,
}

impl RateLimits {
    fn accept(&mut self, log: &Log, error: &io::Error) {
        limit_rate(&mut self.accept, log, &format!("control socket: {error}"));
    }

    fn signal(&mut self, log: &Log, name: &str) {
        limit_rate(&mut self.signal, log, &format!("{name} means nothing to this daemon"));
    }
}

fn limit_rate(rate_limit: &mut RateLimit, log: &Log, text: &str) {
    let now: Instant = clock::now();
    match rate_limit.take(now) {
        Some(0) => log.warning(text),
        Some(more) => log.warning(format!("{text} ({more} more times since the last such line)")),
        None => {}
    }
}

/// The next client, not before `from`.
async fn accept(server: Option<&Server>, from: time::Instant) -> io::Result<Client> {
    match server {
        Some(server) => {
            sleep_until(from).await;
            server.accept().await
        }
        None => std::future::pending().await,
    }
}

/// Until a thread of the engine ends.
async fn ended(threads: &mut Option<Threads>) -> Option<io::Result<()>> {
    match threads {
        Some(threads) => threads.ended().await,
        None => std::future::pending().await,
    }
}

fn outcome_of(ended: Option<io::Result<()>>) -> Result<()> {
    match ended {
        Some(Ok(())) => Ok(()),
        Some(Err(e)) => Err(e).context("a thread of the engine failed"),
        None => bail!("a thread of the engine ended unexpectedly"),
    }
}

/// Until the engine has read the kernel's table for the first time. Clients that wait for the daemon may then ask for
/// it.
async fn filled(engine: Handle) {
    // One that has ended never will; that is looked after elsewhere.
    while engine.is_filled() == Some(false) {
        sleep(FILLING).await;
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
