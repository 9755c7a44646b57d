//! Serves connection tracking helpers in user space: one thread takes packets of their queues, has `engine::helper`
//! read them, and gives verdicts.
//!
//! ```text
//!   kernel --packets of all queues, up to 8 a time-->  PacketHandler --Context, Packet--> engine::helper
//!                                                        |  <-----Outcome------
//!          <--expectations, one by one---- Announcer <---+
//!          <--verdicts, one buffer a time- Verdicts <----'
//! ```
//!
//! Packets wait in the kernel, at most `queue_len` of each queue; packets that find no room there are dropped and
//! counted by the kernel. Nothing else is queued. A packet that no helper understands passes unchanged. When the
//! thread ends, the kernel lets packets pass unhelped, and does not confirm new flows whose object is enabled.

mod counters;
mod announcer;
mod verdicts;
mod portion;
mod handler;

pub use counters::{Counts, HelperReport};
pub use handler::Read;

use crate::clock;
use crate::log::Log;
use crate::netlink::{Socket, set_receive_buffer, set_without_overruns};
use crate::nfnetlink::Client;
use crate::nfnetlink::helper::{HelperKey, HelperObject, HelperPolicy};
use crate::rate_limit::RateLimit;
use crate::sys::{self, Batch, Scheduling};
use announcer::Announcer;
use engine::helper::Kind;
use handler::{PacketHandler, Served};
use netlink_packet_core::{Emitable as _, NLM_F_ACK, NLM_F_REQUEST, NLMSG_NOOP, NetlinkHeader};
use portion::Portion;
use rustix::fd::AsFd as _;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use verdicts::Verdicts;

/// Name of the thread.
const THREAD: &str = "helpers";
/// Packets taken with one system call. The first of them has its verdict when the last one is read, so a longer batch
/// saves little (a packet costs more than a call) and has packets wait.
const BATCH: usize = 8;
/// A packet of 64 KiB, and its flow.
const MESSAGE_LEN_MAX: usize = 72 << 10;
/// Receive buffer of the socket, bytes: what finds no room there is dropped, whatever the queue's length.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Helpers of protocols in which any host may answer.
const ASKS_GROUPS: [&str; 3] = ["mdns", "slp", "ssdp"];
/// Its function for expectations translates the source alone, as theirs must be.
const MODULE: &str = "nf_nat_sip";
/// A header alone.
const WAKE_LEN: usize = 16;
/// How long after the socket could not be read it is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// One helper to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperSettings {
    /// Identifies the helper.
    pub key: HelperKey,
    /// Its queue, its alone.
    pub queue: u16,
    /// Most packets that wait there.
    pub queue_len: u32,
    /// The helper's limits.
    pub policy: HelperPolicy,
}

/// The helpers to serve, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether helper objects that the kernel lacks are added to it.
    pub setup: bool,
    /// Whether they are disabled at the end.
    pub disable_on_exit: bool,
    /// The helpers to serve.
    pub helpers: Vec<HelperSettings>,
}

/// Why helpers cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The kernel knows no helpers in user space.
    #[error(
        "this kernel cannot serve helpers in user space: it lacks CONFIG_NF_CT_NETLINK_HELPER \
         (nfnetlink_cthelper)"
    )]
    NoHelpers,
    /// The kernel does not show flows with packets.
    #[error(
        "this kernel cannot serve helpers in user space: it lacks CONFIG_NETFILTER_NETLINK_GLUE_CT"
    )]
    NoFlows,
    /// The kernel refuses a helper object.
    #[error("trying to configure cthelper `{name}': {}", sys::error_name(cause))]
    Object {
        /// Its name.
        name: String,
        /// The error that the kernel answered.
        cause: io::Error,
    },
    /// A queue cannot be had.
    #[error("taking queue {queue} for the helper `{name}': {}", sys::error_name(cause))]
    Queue {
        /// The helper's name.
        name: String,
        /// The queue's number.
        queue: u16,
        /// The error that the kernel answered.
        cause: io::Error,
    },
    /// A socket cannot be had.
    #[error("opening netlink sockets for helpers: {}", sys::error_name(.0))]
    Socket(#[from] io::Error),
}

/// Queues that were taken, and what serves them.
#[derive(Debug)]
pub struct Parts {
    settings: Settings,
    socket: Arc<Socket>,
    /// Packets that have come already.
    waiting: Vec<Vec<u8>>,
    objects: Client,
    handler: PacketHandler<Announcer>,
    counts: Counts,
    scheduling: Option<Scheduling>,
    log: Arc<Log>,
}

/// Whether this kernel has helpers in user space.
///
/// # Errors
/// [`SetupError::NoHelpers`], or why it cannot be asked.
pub fn probe() -> Result<(), SetupError> {
    has_helpers(&mut Client::open()?)
}

fn has_helpers(objects: &mut Client) -> Result<(), SetupError> {
    match objects.helpers() {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(SetupError::NoHelpers),
        other => other.map(drop).map_err(SetupError::Socket),
    }
}

impl Parts {
    /// Registers the helpers with the kernel and takes their queues; the log gets a line for each, last one first, in
    /// conntrackd's words.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn open(settings: Settings, log: &Arc<Log>) -> Result<Self, SetupError> {
        let mut objects = Client::open()?;
        has_helpers(&mut objects)?;
        let mut queues = Client::of(Socket::open(0, |fd| {
            set_receive_buffer(fd, RECEIVE_BUFFER)?;
            // The thread waits in the call that receives.
            rustix::io::ioctl_fionbio(fd, false)?;
            set_without_overruns(fd)
        })?);
        for helper in settings.helpers.iter().rev() {
            let HelperSettings { key, queue, queue_len, policy } = helper;
            let name = &key.name;
            log.notice(format!(
                "configuring helper `{name}' with queuenum={queue} and queuelen={queue_len}"
            ));
            log.notice(format!(
                "policy name={name} expect_timeout={} expect_max={}",
                policy.expect_timeout_s, policy.expect_max
            ));
            take(&mut objects, &mut queues, helper, settings.setup)?;
            log.notice(format!("helper `{name}' configured successfully"));
        }
        if settings.helpers.iter().any(|helper| ASKS_GROUPS.contains(&helper.key.name.as_str())) {
            load_module(log);
        }
        let counts = Counts::new(&settings.helpers);
        let served = settings.helpers.iter().zip(counts.iter()).filter_map(served).collect();
        let handler = PacketHandler::new(served, Announcer::open()?);
        let (socket, waiting) = queues.into_parts();
        let socket = Arc::new(socket);
        let log = Arc::clone(log);
        Ok(Self { settings, socket, waiting, objects, handler, counts, scheduling: None, log })
    }

    /// Has the thread scheduled so; `None`: as the one that starts it.
    #[must_use]
    pub fn scheduled(mut self, scheduling: Option<Scheduling>) -> Self {
        self.scheduling = scheduling;
        self
    }

    /// Has this read packets in place of [`Kind::packet`], so that a test can see what a fault in a helper does.
    #[must_use]
    pub fn read_by(mut self, read: Read) -> Self {
        self.handler.read = read;
        self
    }
}

/// Loads the module without which the kernel refuses the expectations of a translated host from any address; see
/// `engine::helper`. Nothing else of a helper needs it.
fn load_module(log: &Log) {
    let loaded = Command::new("modprobe").args(["-q", MODULE]).status();
    if !loaded.is_ok_and(|status| status.success()) {
        log.info(format!(
            "{MODULE} cannot be loaded: where mdns, slp or ssdp are translated, answers do not pass"
        ));
    }
}

fn take(
    objects: &mut Client,
    queues: &mut Client,
    helper: &HelperSettings,
    setup: bool,
) -> Result<(), SetupError> {
    let HelperSettings { key, queue, queue_len, policy } = helper;
    let name = key.name.clone();
    let object = HelperObject {
        key: key.clone(),
        policy: *policy,
        queue: (*queue).into(),
        is_enabled: true,
    };
    let refused = |cause| SetupError::Object { name: name.clone(), cause };
    objects.serve_helper(&object, setup).map_err(refused)?;
    queues.take_queue(*queue, *queue_len).map_err(|cause| match cause.raw_os_error() {
        Some(libc::EOPNOTSUPP) => SetupError::NoFlows,
        _ => SetupError::Queue { name: name.clone(), queue: *queue, cause },
    })
}

fn served((helper, counts): (&HelperSettings, &Arc<counters::Shared>)) -> Option<Served> {
    let kind = Kind::by_name(&helper.key.name, helper.key.l4_protocol)?;
    Some(Served {
        kind,
        queue: helper.queue,
        policy: engine::helper::Policy {
            expect_max: helper.policy.expect_max,
            expect_timeout_s: helper.policy.expect_timeout_s,
        },
        counts: Arc::clone(counts),
    })
}

/// The thread, at work.
#[derive(Debug)]
pub struct Running {
    is_to_end: Arc<AtomicBool>,
    socket: Arc<Socket>,
    thread: JoinHandle<()>,
    counts: Counts,
    settings: Settings,
}

/// Starts the thread.
///
/// # Errors
/// When there can be none.
pub fn start(parts: Parts) -> io::Result<Running> {
    let is_to_end = Arc::<AtomicBool>::default();
    let (counts, settings) = (parts.counts.clone(), parts.settings.clone());
    let (socket, until) = (Arc::clone(&parts.socket), Arc::clone(&is_to_end));
    let thread = thread::Builder::new().name(THREAD.into()).spawn(move || parts.run(&until))?;
    Ok(Running { is_to_end, socket, thread, counts, settings })
}

impl Running {
    /// What the thread counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// The settings that it serves.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ends the thread and gives the queues back. False when it had panicked.
    #[must_use]
    pub fn stop(self) -> bool {
        self.is_to_end.store(true, Ordering::Relaxed);
        wake(&self.socket);
        self.thread.join().is_ok()
    }
}

impl Parts {
    fn run(mut self, is_to_end: &AtomicBool) {
        self.schedule();
        let mut batch = Batch::new(BATCH, MESSAGE_LEN_MAX);
        let mut verdicts = Verdicts::new();
        let mut rate_limit = RateLimit::default();
        for datagram in std::mem::take(&mut self.waiting) {
            self.handler.datagram(&datagram, &mut verdicts);
        }
        verdicts.flush(&self.socket);
        let mut portion = Portion::new(BATCH);
        while !is_to_end.load(Ordering::Relaxed) {
            // One call waits and receives: most packets come alone, and each call costs as much as deciding about one.
            let received = batch.wait_and_receive(self.socket.as_fd(), portion.slots());
            match received.map(|got| self.answer(&batch, got, &mut verdicts)) {
                Ok(got) => portion.came(got),
                Err(error) => {
                    if rate_limit.take(clock::now()).is_some() {
                        self.log.error(format!("reading packets for helpers: {error}"));
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
        if self.settings.disable_on_exit {
            self.disable_all();
        }
        // What has come until now; the kernel drops what is left in a queue that is given back.
        while let Ok(got @ 1..) = batch.receive(self.socket.as_fd()) {
            self.answer(&batch, got, &mut verdicts);
        }
    }

    fn schedule(&self) {
        if let Some(scheduling) = self.scheduling
            && let Err(error) = sys::set_scheduling(scheduling)
        {
            self.log.warning(format!("cannot schedule the helpers as {scheduling:?}: {error}"));
        }
    }

    /// Decides about so many datagrams; how many they were.
    fn answer(&mut self, batch: &Batch, got: usize, verdicts: &mut Verdicts) -> usize {
        for at in 0..got {
            self.handler.datagram(batch.datagram(at), verdicts);
            if verdicts.is_full() {
                verdicts.flush(&self.socket);
            }
        }
        verdicts.flush(&self.socket);
        while let Some(kind) = self.handler.broken.pop() {
            self.disable(kind);
        }
        got
    }

    /// Takes a helper that panicked out of service, in every form it has. The log has a line with the place already.
    fn disable(&mut self, kind: Kind) {
        self.log.warning(format!("helper `{}' is disabled: it panicked", kind.name()));
        let of_kind = self.settings.helpers.iter().filter(|h| h.key.name == kind.name());
        for helper in of_kind {
            // Whatever the kernel says, its packets pass untouched from now on.
            let _ = self.objects.disable_helper(&helper.key);
        }
    }

    fn disable_all(&mut self) {
        for helper in &self.settings.helpers {
            if let Err(error) = self.objects.disable_helper(&helper.key) {
                self.log.warning(format!("disabling helper `{}': {error}", helper.key.name));
            }
        }
    }
}

/// Makes the kernel answer an empty request, so that a thread waiting for the socket goes on. If that answer finds no
/// room, the socket has data and the thread is awake anyway.
fn wake(socket: &Socket) {
    let mut header = NetlinkHeader::default();
    header.length = WAKE_LEN as u32;
    header.message_type = NLMSG_NOOP;
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut bytes = [0; WAKE_LEN];
    header.emit(&mut bytes);
    let _ = socket.send(&bytes);
}
