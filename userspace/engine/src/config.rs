//! Settings, as values. Text becomes these in `tools::conf`.

use crate::filter::Filter;
use crate::share::Share;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use wire::sync::v2::DigestKey;

/// The settings of one engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most flows in each of the two tables (`HashLimit`).
    pub flows_max: usize,
    /// Flows that each index has room for from the start, so that no event waits for an index to grow (twice
    /// `HashSize`).
    pub flows_expected: usize,
    /// Selects the flows that this engine keeps.
    pub filter: Filter,
    /// This engine's share of the flows, where several engines share the work. Each engine reads the kernel's whole
    /// table and ignores the rest; the host hands it no events about other engines' flows.
    pub share: Share,
    /// How flows are replicated.
    pub replication: Replication,
    /// The nodes of version 2 of the protocol; without them, version 1 is spoken.
    pub cluster: Option<Arc<Cluster>>,
    /// Seconds a committed flow gets instead of what it had left (`CommitTimeout`). Also keeps remaining lifetimes
    /// out of sent messages, as conntrackd does.
    pub commit_timeout_s: Option<u32>,
    /// Whether the kernel checks TCP windows of written flows (`TCPWindowTracking`).
    pub window_tracking: bool,
    /// Which expectations are replicated (`ExpectationSync`).
    pub expectations: Helpers,
    /// How long after a loss of events the kernel's table is read again; `None`: never by itself
    /// (`NetlinkOverrunResync`).
    pub repair_after: Option<Duration>,
    /// Whether to report flows whose end no event reported ([`crate::Event::Vanished`]).
    pub tell_vanished: bool,
    /// Whether events report what other programs, and a commit of ours, do to flows by request. If not, the engine
    /// reads the kernel's table after a commit.
    pub hears_requests: bool,
    /// An earlier life of this daemon may have written flows of the peers straight into this kernel, and nothing
    /// distinguishes them from this node's own.
    pub earlier_life: bool,
    /// Sequence number of the first message; conntrackd takes the time in seconds since 1970.
    pub first_seq: u32,
    /// Seed of the hash tables, so that no outsider can aim for collisions.
    pub hash_seed: u64,
}

/// A node among all nodes of a cluster, by its place in the order of their names. So the order of owners is that of the
/// names (R4.2, R10.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u8);

/// The nodes of a cluster, as the engine knows them (version 2 of the protocol).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// This node's number in the cluster.
    pub me: Owner,
    /// By peer, in the order of the configuration: which node it is. All owners are below the number of nodes.
    pub peers: Vec<Owner>,
    /// By peer: bytes a second that are sent to it at most (`Rate`).
    pub rates: Vec<Option<u64>>,
    /// Flows of peers are written into this node's kernel at once (`Inject on`, "hot").
    pub hot: bool,
    /// How long a new flow may stay unclaimed, so that its first states are sent as one (`Settle`).
    pub settle: Duration,
    /// Most flows of all peers together (`RemoteLimit`); each is sure of its share.
    pub remote_max: usize,
    /// A random number that identifies this run of the node.
    pub incarnation: u64,
    /// The key under which flows are summed, the same at all nodes (R11.2).
    pub digest_key: DigestKey,
}

/// Which expectations are replicated, by the helper that made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Helpers {
    /// No expectation is replicated.
    #[default]
    None,
    /// All expectations are replicated.
    All,
    /// Expectations of helpers whose names begin like one of these, in any case.
    Named(Vec<String>),
}

impl Helpers {
    /// Whether there are any that count.
    #[must_use]
    pub const fn any(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether those of this helper count.
    #[must_use]
    pub fn counts(&self, helper: Option<&str>) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => helper.is_some_and(|helper| {
                let begins = |name: &String| {
                    let head = helper.as_bytes().get(..name.len());
                    head.is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes()))
                };
                names.iter().any(begins)
            }),
        }
    }
}

/// How flows are replicated.
#[derive(Clone, Copy, Debug)]
pub struct Replication {
    /// The rules by which messages are sent and acknowledged.
    pub mode: Mode,
    /// Whether there is a peer (off: statistics mode).
    pub has_peer: bool,
    /// Whether local flows are kept (off: `DisableInternalCache`, events go straight to the peer).
    pub keep_local: bool,
    /// Whether the peer's flows are kept until a commit (off: `DisableExternalCache`, straight into the kernel).
    pub keep_remote: bool,
    /// Whether to ask the peer for everything at start (`StartupResync`).
    pub startup_resync: bool,
    /// Silence after which an ALIVE is sent; not in ALARM.
    pub alive_after: Duration,
}

/// The rules of replication (`docs/spec/sync.md`, sections 7 to 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each change is sent once.
    NoTrack,
    /// What is not acknowledged is sent again.
    Ftfw {
        /// Most messages kept until they are acknowledged (`ResendQueueSize`).
        resend_max: usize,
        /// Messages per acknowledgement (`ACKWindowSize`).
        ack_window: u32,
    },
    /// Each flow is sent repeatedly as long as it lives.
    Alarm {
        /// Longest time until a flow is sent again, seconds (`RefreshTime`).
        refresh_s: u32,
        /// How long a flow of the peer stays without being refreshed, seconds (`CacheTimeout`).
        expire_s: u32,
    },
}

impl Mode {
    /// Whether flows are asked for and sent in bulk, and ALIVEs sent.
    #[must_use]
    pub const fn converses(&self) -> bool {
        !matches!(self, Self::Alarm { .. })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            flows_max: 262_144,
            flows_expected: 0,
            filter: Filter::default(),
            share: Share::ALL,
            replication: Replication::default(),
            cluster: None,
            commit_timeout_s: None,
            window_tracking: false,
            expectations: Helpers::None,
            repair_after: Some(Duration::from_secs(1)),
            tell_vanished: false,
            hears_requests: true,
            earlier_life: true,
            first_seq: 1,
            hash_seed: 0,
        }
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            mode: Mode::NoTrack,
            has_peer: true,
            keep_local: true,
            keep_remote: true,
            startup_resync: false,
            alive_after: Duration::from_secs(1),
        }
    }
}

/// Bounds that no input can move.
pub mod limit {
    use core::time::Duration;

    /// Messages queued for the peer beside the ones that stand for a table entry.
    pub const OUTBOX_MESSAGES_MAX: usize = 65_536;
    /// Control messages queued for the peer. A peer that causes more than can be sent does without some answers.
    pub const OUTBOX_CONTROLS_MAX: usize = 4096;
    /// Requests handed to the kernel writer and not settled yet.
    pub const KERNEL_IN_FLIGHT_MAX: usize = 512;
    /// Requests waiting to be handed over. A peer that sends faster than the kernel takes loses the excess, counted.
    pub const KERNEL_QUEUE_MAX: usize = 131_072;
    /// Expectations in each of the two tables.
    pub const EXPECTATIONS_MAX: usize = 65_536;
    /// Expectations whose news is kept for a bulk transfer, because the messages with it were dropped.
    pub const EXPECTATIONS_UNHEARD_MAX: usize = 4096;
    /// How often ALARM examines expectations, to send them again or to remove them.
    pub const EXPECTATIONS_LOOK: Duration = Duration::from_secs(1);
    /// Events waiting to be pulled.
    pub const EVENTS_MAX: usize = 1024;
    /// Limit of awaited events besides them: answers to commands, one for each client, and the flows that one step of
    /// a sweep finds gone.
    pub const EVENTS_AWAITED_MAX: usize = 65_536;
    /// Ended flows remembered so that late news does not revive them.
    pub const TOMBSTONES_MAX: usize = 8192;
    /// Datagrams of a bulk transfer per [`BULK_INTERVAL`]: over a million flows a second, in bursts of which several
    /// fit the receive buffer that a socket has by default.
    pub const BULK_DATAGRAMS: u32 = 40;
    /// See [`BULK_DATAGRAMS`].
    pub const BULK_INTERVAL: Duration = Duration::from_micros(500);
    /// The interval where the peer acknowledges: there, what is on its way is bounded too ([`BULK_IN_FLIGHT_MAX`]).
    pub const BULK_INTERVAL_HEARD: Duration = Duration::from_micros(400);
    /// The pause between two bulk transfers that the peer asks for.
    pub const BULK_PAUSE: Duration = Duration::from_secs(1);
    /// How far back a sequence number may be to count as late; one further back means that the peer restarted.
    pub const LATE_WINDOW: u32 = 4096;
    /// How long later messages may overtake a message. A message that comes later still is from a peer that
    /// restarted.
    pub const LATE_TIME: Duration = Duration::from_millis(500);
    /// [`LATE_TIME`] for a peer that announces its restarts: then a late message is hardly ever anything else.
    pub const LATE_TIME_GREETED: Duration = Duration::from_secs(5);
    /// There, a message as far back as this is only too late. One further back is forged, or the one before was.
    pub const LATE_REACH_GREETED: u32 = 1 << 20;
    /// Limit of nodes on the links that are tracked separately. One more replaces the one that has been silent for
    /// longest.
    pub const PEERS_MAX: usize = 32;
    /// A node changes the link it speaks over at most so often, each change within [`LINK_SWITCH`] of the one before.
    pub const LINK_SWITCHES: u32 = 3;
    /// See [`LINK_SWITCHES`].
    pub const LINK_SWITCH: Duration = Duration::from_secs(3);
    /// How late an ALIVE may be.
    pub const ALIVE_LATE: Duration = Duration::from_millis(200);
    /// Requests for everything of one node that are answered without a pause, and the pause after which there is one
    /// more.
    pub const RESYNCS_AT_ONCE: u32 = 4;
    /// See [`RESYNCS_AT_ONCE`].
    pub const RESYNC_EVERY: Duration = Duration::from_secs(5);
    /// Places in a peer's sequence where many numbers were passed over at once.
    pub const ANCHORS_MAX: usize = 64;
    /// How long after it asked for everything in vain a node asks again: at first, and at most.
    pub const ASK_AGAIN: Duration = Duration::from_secs(2);
    /// See [`ASK_AGAIN`].
    pub const ASK_AGAIN_MAX: Duration = Duration::from_secs(60);
    /// So many accounts of a peer in a row that differ from what is held of it, all in the same direction, show that
    /// the tables differ: what is on its way explains fewer.
    pub const ACCOUNTS_DIFFER: u8 = 3;
    /// How often an account is sent while there is always something else to send.
    pub const ACCOUNT_EVERY: Duration = Duration::from_secs(2);
    /// A peer that is not ours sends its flows before it has read its kernel's table. A flow that it does not name so
    /// soon after its start may exist.
    pub const STRANGER_START: Duration = Duration::from_secs(5);
    /// How long a received message may wait for its acknowledgement.
    pub const ACK_AFTER: Duration = Duration::from_secs(1);
    /// How long silent flows are left alone after they were all looked at: this long, and so many times as long as it
    /// took.
    pub const WATCH_PAUSE: Duration = Duration::from_secs(2);
    /// See [`WATCH_PAUSE`].
    pub const WATCH_REST: u32 = 20;
    /// So many silent flows, or one of this many flows, are asked for one by one; else the whole table is read.
    pub const WATCH_FEW: usize = 64;
    /// See [`WATCH_FEW`].
    pub const WATCH_SHARE: usize = 4;
    /// Flows asked for, and slots looked at, in one step; and the time between two.
    pub const WATCH_STEP_FLOWS: usize = 128;
    /// See [`WATCH_STEP_FLOWS`].
    pub const WATCH_STEP_SLOTS: u32 = 8192;
    /// See [`WATCH_STEP_FLOWS`].
    pub const WATCH_STEP: Duration = Duration::from_millis(10);
    /// Where the kernel's count of flows cannot be compared with ours, its table is read so long after the last
    /// reading, and so many times as long as that took: half a percent of the time.
    pub const AUDIT_PAUSE: Duration = Duration::from_secs(60);
    /// See [`AUDIT_PAUSE`].
    pub const AUDIT_REST: u32 = 200;
    /// Where it can be compared, so much later: a tenth of a percent of the time.
    pub const AUDIT_PAUSE_COUNTED: Duration = Duration::from_secs(600);
    /// See [`AUDIT_PAUSE_COUNTED`].
    pub const AUDIT_REST_COUNTED: u32 = 800;
    /// Seconds after its first packet until an unconfirmed flow is queried, unless another event arrives.
    pub const UNCONFIRMED_AFTER_S: u32 = 2;
    /// Slots looked at for such flows in one step.
    pub const UNCONFIRMED_STEP_SLOTS: u32 = 5120;
    /// Flows queried in one step.
    pub const UNCONFIRMED_STEP_FLOWS: usize = 20;
    /// Flows whose time is over, and whose end the kernel should have reported, are queried up to this number.
    pub const UNCONFIRMED_STEP_OVERDUE: usize = 640;
    /// See [`UNCONFIRMED_STEP_OVERDUE`]: how late the report of an end may be, seconds.
    pub const UNCONFIRMED_OVERDUE_S: u32 = 5;
    /// The time between two steps, and between two rounds. Each step is a wake-up, of every shard, as long as there are
    /// such flows: shorter ones keep a router busy that has nothing to do.
    pub const UNCONFIRMED_STEP: Duration = Duration::from_millis(50);
    /// See [`UNCONFIRMED_STEP`].
    pub const UNCONFIRMED_PAUSE: Duration = Duration::from_secs(1);
    /// So long a packet may take from where it is seen to where its flow is put into the kernel's table.
    pub const CONFIRM_TIME: Duration = Duration::from_millis(20);
    /// How late news of the kernel may come in: how long after the first reading an end may be of a flow that ended
    /// before it.
    pub const LATE_NEWS: Duration = Duration::from_millis(100);
    /// After the kernel's table was read because of losses, so many times as long as that took pass before it is
    /// read for that reason again.
    pub const REPAIR_REST: u32 = 3;
    /// As long as events are lost, the reading that repairs the losses is put off, for so long at most.
    pub const REPAIR_PUT_OFF: Duration = Duration::from_secs(10);
    /// When a table that was full has room again, the kernel's table is read after a pause, which doubles each time the
    /// reading fills it.
    pub const FULL_PAUSE_MIN: Duration = Duration::from_millis(500);
    /// See [`FULL_PAUSE_MIN`].
    pub const FULL_PAUSE_MAX: Duration = Duration::from_secs(4);
    /// So many comparisons in a row, a second apart, in which the kernel's count of flows differs from ours in the same
    /// direction, show that flows are missing or left over.
    pub const CENSUS_DIFFERS: u8 = 4;
    /// One in so many of a second's events may be on its way.
    pub const CENSUS_IN_FLIGHT: u64 = 50;
    /// Slots looked at in one step of the comparison that ends a reading; and the time between two.
    pub const SWEEP_STEP_SLOTS: u32 = 32_768;
    /// See [`SWEEP_STEP_SLOTS`].
    pub const SWEEP_STEP: Duration = Duration::from_micros(100);
    /// How long a peer may have answered a HELLO without acknowledging anything.
    pub const ANSWER_PATIENCE: Duration = Duration::from_secs(3);
    /// How long numbers that were passed over may be late before the peer is asked for them.
    pub const GAP_PATIENCE: Duration = Duration::from_millis(2);
    /// Ranges of such numbers; when there are more, the peer is asked at once.
    pub const GAPS_MAX: usize = 1024;
    /// Ends of flows kept for a bulk transfer, because the messages with them were dropped.
    pub const ENDS_UNHEARD_MAX: usize = 65_536;
    /// Control messages kept until they are acknowledged.
    pub const RESEND_CONTROLS_MAX: usize = 4096;
    /// Messages of a bulk transfer that may be on their way without having been acknowledged.
    pub const BULK_IN_FLIGHT_MAX: usize = 32_768;
    /// So many may be in any case: a peer acknowledges whole windows, or once a second.
    pub const BULK_IN_FLIGHT_MIN: usize = 1024;
    /// How long a peer may be silent before it counts as gone.
    pub const PEER_SILENCE: Duration = Duration::from_secs(5);
    /// Longest interval an operator can set for ALARM to refresh flows, or to keep them: a day, seconds.
    pub const ALARM_LONGEST_S: u32 = 86_400;
    /// Seconds for a written flow whose peer sent no lifetime.
    pub const LIFETIME_UNTOLD_S: u32 = 60;
    /// Entries looked at per step of a commit.
    pub const COMMIT_STEP: usize = 256;
    /// After so long the events of a commit have come in.
    pub const COMMIT_EVENTS: Duration = Duration::from_secs(5);
    /// After so long a word has surely arrived, or will not.
    pub const CROSSING: Duration = Duration::from_secs(3);
    /// Flows that a commit tries once more at its end, because another identity had their place.
    pub const COMMIT_LATE_MAX: usize = 4096;
    /// Flows of a commit that wait for another shard to write their master; what is beyond does without.
    pub const COMMIT_ORPHANS_MAX: usize = 65_536;
    /// How long they wait at most, from when all else of their shard is settled.
    pub const COMMIT_ORPHANS_WAIT: Duration = Duration::from_secs(1);
    /// How long a commit waits before it tries them again.
    pub const COMMIT_ORPHANS_PAUSE: Duration = Duration::from_millis(20);
}
