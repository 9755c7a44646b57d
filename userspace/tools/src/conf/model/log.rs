//! How lines of the log are written.

/// `Log`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConf {
    /// `Format`
    pub format: LogFormat,
    /// `Journal`
    pub journal: LogJournal,
    /// `Level`
    pub level: LogLevel,
}

/// An enumeration whose members are written as words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $first:ident $first_word:literal, $($member:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is the word of the language, explained in the table")]
        pub enum $name { #[default] $first, $($member,)* }

        impl $name {
            /// How it is written.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { Self::$first => $first_word, $(Self::$member => $word,)* }
            }

            /// The one that is written so.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                [Self::$first, $(Self::$member,)*].into_iter().find(|member| member.name() == name)
            }
        }
    };
}

pub(super) use words;

words!(
    /// `Format` of `Log`
    LogFormat { Plain "plain", Json "json", }
);
words!(
    /// `Journal` of `Log`
    LogJournal { Auto "auto", On "on", Off "off", }
);
words!(
    /// `Level` of `Log`
    LogLevel { Info "info", Notice "notice", Warning "warning", Error "error", }
);
