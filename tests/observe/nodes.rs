//! The two nodes, their daemons, and the flows that come and go on them.

use rustix::process::Signal;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tests::conf::{Conf, End};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon, Files};
use tests::netns::{Family, Namespace, address};
use tests::stage::Stage;

/// Subnets between the watch and each node.
const SUBNETS: [u8; 2] = [50, 51];
/// Flows that live at a time on each node.
const ALIVE: u32 = 200;
/// How many of them change in a step.
const STEP: u32 = 20;
/// Numbers of flows before they repeat.
const NUMBERS: u32 = 100_000;

/// Everything. The namespaces live as long as the process, so that daemons may hold them.
pub(crate) struct Nodes {
    pub(crate) stage: &'static Stage,
    pub(crate) watch: &'static Namespace,
    pub(crate) files: &'static Files,
    a: Mutex<Option<Daemon<'static>>>,
    b: Mutex<Option<Daemon<'static>>>,
    over: Arc<AtomicBool>,
    churn: Vec<JoinHandle<()>>,
}

/// The configuration of a node that asks the other one for its flows when it starts.
pub(crate) fn conf(end: End) -> Conf {
    Conf::new(end).ftfw().mode("StartupResync on")
}

/// A block of the configuration.
pub(crate) fn metrics_conf(listen: &str, allow: &str) -> String {
    format!("Metrics {{\n Listen {listen}\n Allow {{ {allow} }}\n}}\n")
}

fn listen(end: End) -> String {
    let subnet = SUBNETS[usize::from(end == End::B)];
    format!("{}:10466", address(Family::V4, subnet, 2))
}

impl Nodes {
    /// Starts both daemons, and what makes flows.
    pub(crate) fn new() -> Self {
        let stage: &Stage = Box::leak(Box::default());
        let watch: &Namespace = Box::leak(Box::default());
        let files: &Files = Box::leak(Box::default());
        watch.cable("wa", &stage.a, "ua", SUBNETS[0]);
        watch.cable("wb", &stage.b, "ub", SUBNETS[1]);
        let over = Arc::<AtomicBool>::default();
        let churn = [(&stage.a, 0), (&stage.b, 1_000_000)].map(|(node, base)| {
            let (mut requests, over) = (Requests::open(node), Arc::clone(&over));
            thread::spawn(move || churn(&mut requests, base, &over))
        });
        let (a, b) = (Mutex::default(), Mutex::default());
        let nodes = Self { stage, watch, files, a, b, over, churn: churn.into() };
        nodes.restart_a(&conf(End::A), None);
        nodes.start_b();
        nodes
    }

    /// Addresses of the daemons' metrics.
    pub(crate) fn targets(&self) -> [String; 2] {
        [End::A, End::B].map(listen)
    }

    /// The text of a configuration, with metrics.
    pub(crate) fn text(&self, conf: &Conf) -> String {
        let name = if conf.end == End::A { "a" } else { "b" };
        let subnet = SUBNETS[usize::from(conf.end == End::B)];
        let allow = format!("{}/24", address(Family::V4, subnet, 0));
        conf.text(self.files.path(), name) + &metrics_conf(&listen(conf.end), &allow)
    }

    /// Restarts A, without some capabilities if so.
    pub(crate) fn restart_a(&self, conf: &Conf, without: Option<&str>) {
        self.stop_a();
        self.rewrite_a(&self.text(conf));
        let mut command = Command::new(Brand::Ours.program());
        if let Some(dropped) = without {
            command = Command::new("setpriv");
            command.args(["--inh-caps", dropped, "--bounding-set", dropped, "--"]);
            command.arg(Brand::Ours.program());
        }
        let started = Daemon::start_with(command, &self.stage.a, Brand::Ours, self.files, "a");
        *lock(&self.a) = Some(started);
    }

    pub(crate) fn stop_a(&self) {
        *lock(&self.a) = None;
    }

    /// Writes A's configuration.
    pub(crate) fn rewrite_a(&self, text: &str) {
        fs::write(self.files.path().join("a.conf"), text).expect("a configuration is written");
    }

    pub(crate) fn signal_a(&self, signal: Signal) {
        lock(&self.a).as_ref().expect("A runs").signal(signal);
    }

    pub(crate) fn a_log(&self) -> String {
        lock(&self.a).as_ref().expect("A runs").log()
    }

    pub(crate) fn kill_b(&self) {
        lock(&self.b).as_mut().expect("B runs").kill_hard();
    }

    pub(crate) fn start_b(&self) {
        *lock(&self.b) = None;
        let text = self.text(&conf(End::B));
        fs::write(self.files.path().join("b.conf"), text).expect("a configuration is written");
        let command = Command::new(Brand::Ours.program());
        let started = Daemon::start_with(command, &self.stage.b, Brand::Ours, self.files, "b");
        *lock(&self.b) = Some(started);
    }

    /// What a program of ours says on node A.
    pub(crate) fn a_says(&self, program: &str, args: &[&str]) -> Output {
        lock(&self.a).as_ref().expect("A runs").ask_into(program, args, Stdio::piped())
    }

    /// What a program of ours says on node B.
    pub(crate) fn b_says(&self, program: &str, args: &[&str]) -> Output {
        lock(&self.b).as_ref().expect("B was started").ask_into(program, args, Stdio::piped())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let ended = self.churn.drain(..).map(JoinHandle::join).all(|end| end.is_ok());
        *lock(&self.a) = None;
        *lock(&self.b) = None;
        assert!(ended || thread::panicking(), "flows came and went until the end");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins flows and ends the oldest, until it is over.
fn churn(requests: &mut Requests, base: u32, over: &AtomicBool) {
    requests.create(&udp_flows(base..base + ALIVE));
    let mut oldest = 0;
    while !over.load(Relaxed) {
        let newest = base + (oldest + ALIVE) % NUMBERS;
        requests.create(&udp_flows(newest..newest + STEP));
        requests.delete(&udp_flows(base + oldest..base + oldest + STEP));
        oldest = (oldest + STEP) % NUMBERS;
        thread::sleep(Duration::from_millis(50));
    }
}
