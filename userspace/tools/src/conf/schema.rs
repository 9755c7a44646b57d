//! The language as one table: which keyword may stand in which block, what it takes, what it means.
//!
//! The parser knows no keyword. It asks [`Block::find`] for the row of the word in front of it and lets the row say
//! what must follow, so that the table decides what is accepted, what error messages expect, and what
//! `docs/spec/conf.md` documents.

pub mod kind;
pub mod standard;
pub mod table;

pub use kind::{Choice, IpPrefix, Kind, Value};
pub use standard::Standard;
pub use table::KEYWORDS;

/// A place where keywords may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// Outside of every block.
    File,
    /// `General { }`
    General,
    /// `UNIX { }`
    Unix,
    /// `Scheduler { }`
    Scheduler,
    /// `Filter { }`
    Filter,
    /// `Address { }`
    Address,
    /// `Sync { }`
    Sync,
    /// `Mode FTFW { }`
    Ftfw,
    /// `Mode ALARM { }`
    Alarm,
    /// `Mode NOTRACK { }`
    NoTrack,
    /// `Multicast { }`
    Multicast,
    /// `UDP { }`
    Udp,
    /// `TCP { }`
    Tcp,
    /// `Options { }`
    Options,
    /// `Replication { }`
    Replication,
    /// `Peer NAME { }`
    Peer,
    /// `Stats { }`
    Stats,
    /// `Metrics { }`
    Metrics,
    /// `Log { }`
    Log,
    /// `Helper { }`
    Helper,
    /// `Type NAME FAMILY PROTOCOL { }`
    HelperType,
    /// `Policy NAME { }`
    Policy,
    /// `Subscribe { }`
    Subscribe,
    /// `Failures { }`
    Failures,
}

/// What a keyword sets, whatever its spelling. `check` matches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the keyword of the same name, documented in the table")]
pub enum Key {
    AckWindowSize,
    Address,
    Allow,
    Backlog,
    CacheTimeout,
    Census,
    Checksum,
    Class,
    ClientsMax,
    CommitTimeout,
    DestinationPort,
    DisableExternalCache,
    DisableInternalCache,
    ErrorQueueLength,
    EventIterationLimit,
    EventLatency,
    EventSource,
    EventsPerSecond,
    ExpectMax,
    ExpectTimeout,
    ExpectationSync,
    Failures,
    Filter,
    General,
    Group,
    HashLimit,
    HashSize,
    Helper,
    HelperDisableOnExit,
    HelperType,
    Inject,
    Interface,
    Ipv4Address,
    Ipv4Destination,
    Ipv4Interface,
    Ipv6Address,
    Ipv6Destination,
    Ipv6Interface,
    Listen,
    KeyFile,
    LockFile,
    Log,
    LogEvery,
    LogFile,
    LogFormat,
    LogJournal,
    LogLevel,
    Mark,
    Metrics,
    MemoryMax,
    MinimumAge,
    Mode,
    Multicast,
    NetlinkBufferSize,
    NetlinkBufferSizeMaxGrowth,
    NetlinkEventsReliable,
    NetlinkOverrunResync,
    Nice,
    NodeName,
    Options,
    Path,
    Peer,
    PeerAddress,
    PerCpu,
    Policy,
    PollSecs,
    Port,
    PresharedKeyFile,
    Priority,
    Protocol,
    PublicKey,
    PurgeTimeout,
    QueueLen,
    QueueNum,
    Rate,
    QueueSize,
    RcvSocketBuffer,
    RefreshTime,
    RemoteLimit,
    Replication,
    Report,
    ResendQueueSize,
    Sample,
    Scheduler,
    SchedulerType,
    SeriesMax,
    Settle,
    Setup,
    Shards,
    SndSocketBuffer,
    SocketGroup,
    SocketMode,
    SourcePort,
    StartupResync,
    State,
    Stats,
    Subscribe,
    Sync,
    Syslog,
    Systemd,
    Tcp,
    TcpWindowTracking,
    Udp,
    Unix,
    User,
    UserGroup,
    Version1,
    Zone,
    ZonesMax,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Keyword {
    /// The setting that it changes.
    pub key: Key,
    /// How it is written.
    pub name: &'static str,
    /// How it may also be written.
    pub aliases: &'static [&'static str],
    /// Where it may stand.
    pub places: &'static [Block],
    /// What follows it on its line.
    pub params: [Option<Param>; 3],
    /// What follows that in braces.
    pub body: Body,
    /// Whether it may be given more than once in its block.
    pub repeats: bool,
    /// What holds without it.
    pub default: Standard,
    /// What `on` means, where it may be given in place of a value.
    pub on: Option<fn() -> Value>,
    /// Why not to use it, for the warning.
    pub deprecated: Option<&'static str>,
    /// The meaning of the keyword, in one line.
    pub doc: &'static str,
}

/// One argument.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// The word that introduces it.
    pub lead: Option<&'static str>,
    /// The kind of value.
    pub kind: Kind,
    /// Whether it may be left out.
    pub optional: bool,
}

/// What stands between the braces of a keyword.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// The keyword has no braces.
    None,
    /// A block of keywords.
    Block(Block),
    /// Keywords that depend on the first argument.
    ByChoice(&'static [(&'static str, Block)]),
    /// Plain words, and what must follow each run of them.
    List {
        /// What each word may be.
        item: Kind,
        /// Words that close a run.
        trailer: &'static [&'static str],
    },
    /// Plain words, which replace the argument.
    ListInstead(Kind),
}

impl Keyword {
    /// Whether `word` is one of its spellings.
    #[must_use]
    pub fn is_called(&self, word: &str) -> bool {
        self.name == word || self.aliases.contains(&word)
    }

    /// Its names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Its arguments, in order.
    pub fn params(&self) -> impl Iterator<Item = Param> {
        self.params.into_iter().flatten()
    }

    /// The row that gives `word` a meaning in some block.
    #[must_use]
    pub fn anywhere(word: &str) -> Option<&'static Self> {
        KEYWORDS.iter().find(|row| row.is_called(word))
    }

    /// Whether braces follow it, in every form.
    #[must_use]
    pub const fn is_block(&self) -> bool {
        !matches!(self.body, Body::None | Body::ListInstead(_))
    }
}

impl Block {
    /// Every block, outermost first.
    pub const ALL: [Self; 24] = [
        Self::File,
        Self::General,
        Self::Unix,
        Self::Scheduler,
        Self::Filter,
        Self::Address,
        Self::Sync,
        Self::Ftfw,
        Self::Alarm,
        Self::NoTrack,
        Self::Multicast,
        Self::Udp,
        Self::Tcp,
        Self::Options,
        Self::Replication,
        Self::Peer,
        Self::Stats,
        Self::Metrics,
        Self::Log,
        Self::Helper,
        Self::HelperType,
        Self::Policy,
        Self::Subscribe,
        Self::Failures,
    ];

    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::File => "the top level",
            Self::General => "`General`",
            Self::Unix => "`UNIX`",
            Self::Scheduler => "`Scheduler`",
            Self::Filter => "`Filter`",
            Self::Address => "`Address`",
            Self::Sync => "`Sync`",
            Self::Ftfw => "`Mode FTFW`",
            Self::Alarm => "`Mode ALARM`",
            Self::NoTrack => "`Mode NOTRACK`",
            Self::Multicast => "`Multicast`",
            Self::Udp => "`UDP`",
            Self::Tcp => "`TCP`",
            Self::Options => "`Options`",
            Self::Replication => "`Replication`",
            Self::Peer => "`Peer`",
            Self::Stats => "`Stats`",
            Self::Metrics => "`Metrics`",
            Self::Log => "`Log`",
            Self::Helper => "`Helper`",
            Self::HelperType => "`Helper` `Type`",
            Self::Policy => "`Policy`",
            Self::Subscribe => "`Subscribe`",
            Self::Failures => "`Failures`",
        }
    }

    /// Its keywords, in table order.
    pub fn keywords(self) -> impl Iterator<Item = &'static Keyword> {
        KEYWORDS.iter().filter(move |row| row.places.contains(&self))
    }

    /// The row that gives `word` a meaning here.
    #[must_use]
    pub fn find(self, word: &str) -> Option<&'static Keyword> {
        self.keywords().find(|row| row.is_called(word))
    }

    /// `expected one of: A, B, C`
    #[must_use]
    pub fn expected(self) -> String {
        let wanted = self.keywords().filter(|row| row.deprecated.is_none());
        let names: Vec<_> = wanted.map(|row| row.name).collect();
        match names.as_slice() {
            [only] => format!("expected {only}"),
            names => format!("expected one of: {}", names.join(", ")),
        }
    }

    /// The keyword that was probably meant: it differs in case only, or in few letters.
    #[must_use]
    pub fn nearest(self, word: &str) -> Option<&'static str> {
        // No keyword is half as long.
        if word.len() > 64 {
            return None;
        }
        let budget = 1 + word.len() / 4;
        self.keywords()
            .flat_map(Keyword::names)
            .map(|name| (distance(&name.to_lowercase(), &word.to_lowercase()), name))
            .filter(|(distance, _)| *distance <= budget)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, name)| name)
    }
}

/// How many letters must be added, dropped or changed to get from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.chars().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
