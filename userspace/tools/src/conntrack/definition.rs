//! Commands and options of `conntrack`, and which goes with which: one table that the parser, the checks, the help
//! text, the manual page and the shell completions are made from.

/// The program's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `-L`
    List,
    /// `-I`
    Create,
    /// `-A`
    Add,
    /// `-U`
    Update,
    /// `-D`
    Delete,
    /// `-G`
    Get,
    /// `-F`
    Flush,
    /// `-E`
    Event,
    /// `-C`
    Count,
    /// `-S`
    Stats,
    /// `-V`
    Version,
    /// `-h`
    Help,
}

impl Verb {
    /// Every command.
    pub const ALL: [Self; 12] = [
        Self::List,
        Self::Create,
        Self::Add,
        Self::Update,
        Self::Delete,
        Self::Get,
        Self::Flush,
        Self::Event,
        Self::Count,
        Self::Stats,
        Self::Version,
        Self::Help,
    ];

    /// Letter and long name.
    #[must_use]
    pub const fn names(self) -> (char, &'static str) {
        match self {
            Self::List => ('L', "dump"),
            Self::Create => ('I', "create"),
            Self::Add => ('A', "add"),
            Self::Update => ('U', "update"),
            Self::Delete => ('D', "delete"),
            Self::Get => ('G', "get"),
            Self::Flush => ('F', "flush"),
            Self::Event => ('E', "event"),
            Self::Count => ('C', "counter"),
            Self::Stats => ('S', "stats"),
            Self::Version => ('V', "version"),
            Self::Help => ('h', "help"),
        }
    }

    /// The purpose of the command, in a line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::List => "List flows or expectations",
            Self::Create => "Create a flow or an expectation; it must not exist",
            Self::Add => "Create a flow, or change it if it exists",
            Self::Update => "Change flows",
            Self::Delete => "Delete flows or an expectation",
            Self::Get => "Show one flow or expectation",
            Self::Flush => "Empty a table",
            Self::Event => "Show what happens as it happens",
            Self::Count => "Show how many there are",
            Self::Stats => "Show counters of each processor",
            Self::Version => "Show the version",
            Self::Help => "Show a summary; with -p, options of a protocol too",
        }
    }
}

/// The kernel's table that a command works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// The table of flows.
    #[default]
    Conntrack,
    /// The table of expectations.
    Expect,
    /// Flows that are gone but still referenced.
    Dying,
    /// Flows whose first packet has not left yet.
    Unconfirmed,
}

impl Table {
    /// By a prefix of its name; the first one that fits.
    #[must_use]
    pub fn by_prefix(word: &str) -> Option<Self> {
        let all = [
            ("expect", Self::Expect),
            ("conntrack", Self::Conntrack),
            ("dying", Self::Dying),
            ("unconfirmed", Self::Unconfirmed),
        ];
        all.into_iter().find(|(name, _)| name.starts_with(word)).map(|(_, table)| table)
    }
}

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The option takes no value.
    None,
    /// The option takes a value.
    Required,
    /// The option may take a value: the next word counts if it does not begin with `-`.
    Optional,
}

/// An option of all protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what each is")]
pub enum Opt {
    OrigSrc,
    OrigDst,
    ReplySrc,
    ReplyDst,
    Proto,
    Timeout,
    Status,
    Zero,
    EventMask,
    TupleSrc,
    TupleDst,
    MaskSrc,
    MaskDst,
    NatRange,
    Mark,
    Id,
    Family,
    SrcNat,
    DstNat,
    Output,
    Secmark,
    BufferSize,
    AnyNat,
    Zone,
    Label,
    LabelAdd,
    LabelDel,
    OrigZone,
    ReplyZone,
    Labelmap,
    /// Ours: say what would be done.
    DryRun,
    /// Ours: work in this network namespace.
    Netns,
    /// Ours: the helper that a new flow gets.
    Helper,
    /// Ours: which flows, one line each.
    FromFile,
}

impl Opt {
    /// Whether the original does not have it. Such an option must not make a beginning of a name unclear that was
    /// clear there.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::DryRun | Self::Netns | Self::Helper | Self::FromFile)
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Definition {
    /// The option.
    pub opt: Opt,
    /// Its letter, if it has one.
    pub letter: Option<char>,
    /// Long names; the first is the one in messages.
    pub long: &'static [&'static str],
    /// Whether it takes a value, and what that is called.
    pub value: Value,
    /// Name of the value.
    pub meta: &'static str,
    /// The purpose of the option, in a line.
    pub about: &'static str,
}

/// Every option, in the order of the columns of [`legality`].
pub const OPTIONS: [Definition; 34] = {
    use Value::{None, Optional, Required};
    const fn option(
        opt: Opt,
        letter: Option<char>,
        long: &'static [&'static str],
        value: Value,
        meta: &'static str,
        about: &'static str,
    ) -> Definition {
        Definition { opt, letter, long, value, meta, about }
    }
    const NO: Option<char> = Option::None;
    [
        option(
            Opt::OrigSrc,
            Some('s'),
            &["src", "orig-src"],
            Required,
            "IP[/MASK]",
            "Source, original direction",
        ),
        option(
            Opt::OrigDst,
            Some('d'),
            &["dst", "orig-dst"],
            Required,
            "IP[/MASK]",
            "Destination, original direction",
        ),
        option(Opt::ReplySrc, Some('r'), &["reply-src"], Required, "IP", "Source, reply direction"),
        option(
            Opt::ReplyDst,
            Some('q'),
            &["reply-dst"],
            Required,
            "IP",
            "Destination, reply direction",
        ),
        option(
            Opt::Proto,
            Some('p'),
            &["protonum"],
            Required,
            "PROTO",
            "Layer 4 protocol, name or number",
        ),
        option(Opt::Timeout, Some('t'), &["timeout"], Required, "SECONDS", "Time left to live"),
        option(
            Opt::Status,
            Some('u'),
            &["status"],
            Required,
            "WORD[,...]",
            "Status, as in ASSURED,!SEEN_REPLY",
        ),
        option(Opt::Zero, Some('z'), &["zero"], None, "", "Set counters to zero while listing"),
        option(
            Opt::EventMask,
            Some('e'),
            &["event-mask"],
            Required,
            "KIND[,...]",
            "Events: ALL, NEW, UPDATES, DESTROY",
        ),
        option(Opt::TupleSrc, NO, &["tuple-src"], Required, "IP", "Source of an expected flow"),
        option(
            Opt::TupleDst,
            NO,
            &["tuple-dst"],
            Required,
            "IP",
            "Destination of an expected flow",
        ),
        option(Opt::MaskSrc, NO, &["mask-src"], Required, "IP", "Bits that count of the source"),
        option(
            Opt::MaskDst,
            NO,
            &["mask-dst"],
            Required,
            "IP",
            "Bits that count of the destination",
        ),
        option(Opt::NatRange, Some('a'), &["nat-range"], Required, "ANY", "Not used any more"),
        option(Opt::Mark, Some('m'), &["mark"], Required, "MARK[/MASK]", "Mark"),
        option(Opt::Id, Some('i'), &["id"], Required, "ID", "The kernel's number of the flow"),
        option(Opt::Family, Some('f'), &["family"], Required, "FAMILY", "ipv4 or ipv6"),
        option(
            Opt::SrcNat,
            Some('n'),
            &["src-nat"],
            Optional,
            "IP[:PORT]",
            "Source translated, to this",
        ),
        option(
            Opt::DstNat,
            Some('g'),
            &["dst-nat"],
            Optional,
            "IP[:PORT]",
            "Destination translated, to this",
        ),
        option(
            Opt::Output,
            Some('o'),
            &["output"],
            Required,
            "WORD[,...]",
            "Format: xml, json, save, extended, id, ...",
        ),
        option(Opt::Secmark, Some('c'), &["secmark"], Required, "N", "Security mark"),
        option(
            Opt::BufferSize,
            Some('b'),
            &["buffer-size"],
            Required,
            "BYTES",
            "Receive buffer for events",
        ),
        option(
            Opt::AnyNat,
            Some('j'),
            &["any-nat"],
            Optional,
            "IP[:PORT]",
            "Source or destination translated",
        ),
        option(Opt::Zone, Some('w'), &["zone"], Required, "ZONE", "Zone of both directions"),
        option(Opt::Label, Some('l'), &["label"], Required, "LABEL[,...]", "Labels that are set"),
        option(Opt::LabelAdd, NO, &["label-add"], Required, "LABEL[,...]", "Labels to set"),
        option(
            Opt::LabelDel,
            NO,
            &["label-del"],
            Optional,
            "LABEL[,...]",
            "Labels to clear, or all",
        ),
        option(
            Opt::OrigZone,
            NO,
            &["orig-zone"],
            Required,
            "ZONE",
            "Zone of the original direction",
        ),
        option(
            Opt::ReplyZone,
            NO,
            &["reply-zone"],
            Required,
            "ZONE",
            "Zone of the reply direction",
        ),
        option(Opt::Labelmap, Some('M'), &["labelmap"], Required, "FILE", "Names of labels"),
        option(
            Opt::DryRun,
            NO,
            &["dry-run"],
            None,
            "",
            "Show what would change, and change nothing",
        ),
        option(Opt::Netns, NO, &["netns"], Required, "NAME", "Work in this network namespace"),
        option(Opt::Helper, NO, &["helper"], Required, "NAME", "Helper of a new flow"),
        option(
            Opt::FromFile,
            NO,
            &["from-file"],
            Required,
            "FILE",
            "Flows that fit a line of options in FILE, or - for stdin; in one pass",
        ),
    ]
};

/// Whether an option goes with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legality {
    /// The option is refused.
    Illegal,
    /// The option must be given.
    Required,
    /// The option may be given.
    Optional,
    /// One of two pairs must be given whole.
    Pair,
}

/// One digit per option: 0 illegal, 1 required, 2 optional, 3 pair.
///
/// ```text
///   s d r q p t u z e  tuple mask  a m i f n g o c b j w l  label  zone M  dry-run netns helper from-file
/// ```
const fn row(verb: Verb, table: Table) -> &'static [u8; 34] {
    match (verb, table) {
        (Verb::List, Table::Expect) => b"0000000000000000200200000000000200",
        (Verb::Create | Verb::Add, Table::Expect) => b"1122112001111000000000000000000200",
        (Verb::Delete | Verb::Get, Table::Expect) => b"1122100000000000000000000000000200",
        (Verb::Event, Table::Expect) => b"0000000000000000000200000000000200",
        (Verb::List, _) => b"2222202200022020222220222002220200",
        (Verb::Create | Verb::Add, _) => b"3333112000000220022000020202200220",
        (Verb::Update, _) => b"2222222000022022222200002220022202",
        (Verb::Delete, _) => b"2222222000022022222200022002222202",
        (Verb::Get, _) => b"3333100000000002000200002000000200",
        (Verb::Flush, Table::Expect) => b"0000000000000000000000000000000200",
        (Verb::Flush, _) => b"0000000000000000200000000000002200",
        (Verb::Event, _) => b"2222200020022020222222222002220200",
        (Verb::Help, _) => b"0000200000000000000000000000000000",
        (Verb::Count | Verb::Stats, _) => b"0000000000000000000000000000000200",
        (Verb::Version, _) => b"0000000000000000000000000000000000",
    }
}

/// Whether the option in column `column` of [`OPTIONS`] goes with a command.
#[must_use]
pub const fn legality(verb: Verb, table: Table, column: usize) -> Legality {
    match row(verb, table)[column] {
        b'1' => Legality::Required,
        b'2' => Legality::Optional,
        b'3' => Legality::Pair,
        _ => Legality::Illegal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_in_order_and_names_are_unique() {
        let mut names: Vec<_> = OPTIONS.iter().flat_map(|o| o.long.iter().copied()).collect();
        names.extend(Verb::ALL.iter().map(|verb| verb.names().1));
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        for (column, option) in OPTIONS.iter().enumerate() {
            assert_eq!(option.opt as usize, column);
        }
    }

    #[test]
    fn tables_are_found_by_prefix() {
        assert_eq!(Table::by_prefix("e"), Some(Table::Expect));
        assert_eq!(Table::by_prefix("unc"), Some(Table::Unconfirmed));
        assert_eq!(Table::by_prefix("foo"), None);
    }
}
