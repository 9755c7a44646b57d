//! How the table is known, and what keeps it from being known better.

/// How the table is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The table is walked over, now and then.
    #[default]
    Walk,
    /// Every change of the daemon's table is followed.
    Mirror,
}

impl Mode {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Walk => "walk",
            Self::Mirror => "mirror",
        }
    }
}

/// Why the mirror is not as the daemon's table is, or there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Changes were lost, because this program read too slowly or the daemon could not keep up.
    Gap,
    /// The daemon's table is another one, or was emptied.
    Anew,
    /// No daemon serves the feed.
    NoFeed,
    /// The daemon does not let this program follow it.
    Refused,
    /// The daemon works in another network namespace.
    Elsewhere,
    /// The table has more flows than the mirror may hold.
    TooMany,
    /// The daemon has closed the feed.
    Gone,
    /// The daemon says nothing any more.
    Silent,
}

impl Cause {
    /// In few words, for the first line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gap => "gap, new snapshot",
            Self::Anew => "new snapshot",
            Self::NoFeed => "no feed",
            Self::Refused => "feed refused",
            Self::Elsewhere => "no daemon here",
            Self::TooMany => "over --max-flows",
            Self::Gone => "daemon gone",
            Self::Silent => "daemon silent",
        }
    }
}

/// A reason with its story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// What kind of reason.
    pub cause: Cause,
    /// In full.
    pub why: String,
}

impl Lapse {
    /// A reason with its story.
    #[must_use]
    pub fn new(cause: Cause, why: impl Into<String>) -> Self {
        Self { cause, why: why.into() }
    }
}

/// The source that is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The kernel.
    #[default]
    Kernel,
    /// The table of a daemon, which holds no counters.
    Daemon,
}

impl Origin {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Daemon => "daemon",
        }
    }
}
