//! A command line, understood and checked.

use super::definition::{Legality, OPTIONS, Opt, Table, Value, Verb, legality};
use super::failure::Failure;
use super::getopt::{Found, Known, Vocabulary, Words};
use super::labels::{self, LabelMap};
use super::ports::Ports;
use super::protocol::{self, ProtoOpt};
use super::values::{self, Addr, Nat, StatusWanted, items};
use ctnetlink::flow::HelperName;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

/// The words of `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are words that may each be given")]
pub struct Output {
    /// `xml`
    pub xml: bool,
    /// `extended`
    pub extended: bool,
    /// `timestamp`
    pub timestamp: bool,
    /// `id`
    pub id: bool,
    /// `ktimestamp`
    pub ktimestamp: bool,
    /// `labels`
    pub labels: bool,
    /// `userspace`
    pub userspace: bool,
    /// `save`
    pub save: bool,
    /// `json`
    pub json: bool,
}

/// The events that `-e` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMask {
    /// `NEW`
    pub new: bool,
    /// `UPDATES`
    pub updates: bool,
    /// `DESTROY`
    pub destroy: bool,
}

/// The labels to set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `--label`: all of these are set.
    pub wanted: Vec<u8>,
    /// `--label-add`: set these.
    pub add: Vec<u8>,
    /// `--label-del`: clear these; none means all.
    pub del: Option<Vec<u8>>,
}

/// A command line.
#[derive(Clone, Debug)]
pub struct Command {
    /// The command.
    pub verb: Verb,
    /// Whether a command was given at all.
    pub is_given: bool,
    /// The table that it works on.
    pub table: Table,
    given: [bool; OPTIONS.len()],
    /// `AF_INET`, `AF_INET6`; 0 as long as nothing says.
    pub family: u8,
    /// Addresses of the original direction: source, destination.
    pub orig: [Option<Addr>; 2],
    /// Addresses of the reply direction.
    pub reply: [Option<Addr>; 2],
    /// Bits of `orig` that count, or the mask of an expectation.
    pub mask: [Option<Addr>; 2],
    /// Addresses of an expected flow.
    pub tuple: [Option<Addr>; 2],
    /// IP protocol.
    pub proto: Option<u8>,
    /// Ports or GRE keys, host order.
    pub ports: Ports,
    /// ICMP type, code and id.
    pub icmp: (Option<u8>, Option<u8>, Option<u16>),
    /// State of the protocol.
    pub state: Option<u8>,
    /// SCTP verification tags.
    pub vtag: [Option<u32>; 2],
    /// DCCP role.
    pub role: Option<u8>,
    /// Timeout in seconds.
    pub timeout_s: Option<u32>,
    /// Status bits.
    pub status: Option<StatusWanted>,
    /// Mark, and the bits of it that count.
    pub mark: Option<(u32, u32)>,
    /// The kernel's number.
    pub id: Option<u32>,
    /// Security mark.
    pub secmark: Option<u32>,
    /// Zone of both directions, of the original, of the reply.
    pub zones: [Option<u16>; 3],
    /// Translation of the source, of the destination, of either.
    pub nat: [Option<Nat>; 3],
    /// Labels to set or to test.
    pub labels: Labels,
    /// Names of labels, if any option needs them.
    pub labelmap: Option<Arc<LabelMap>>,
    /// Output format.
    pub output: Output,
    /// The events to show.
    pub events: Option<EventMask>,
    /// Receive buffer for events, bytes.
    pub buffer: Option<usize>,
    /// Helper of a new flow.
    pub helper: Option<HelperName>,
    /// Network namespace to work in.
    pub netns: Option<String>,
    /// File of lines that say which flows; `-` is stdin.
    pub from_file: Option<String>,
    /// The first word that is neither an option nor the value of one. The original passes over such words.
    pub stray: Option<String>,
}

impl Command {
    /// Whether an option was given.
    #[must_use]
    pub const fn has(&self, opt: Opt) -> bool {
        self.given[opt as usize]
    }
}

/// An option of all protocols, a command, or an option of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Verb(Verb),
    Opt(Opt),
    Proto(ProtoOpt),
}

/// Understands a command line.
///
/// # Errors
/// What is wrong with it.
pub fn parse(words: &[&str]) -> Result<Command, Failure> {
    Parser::new().run(&mut Words::new(words))
}

/// What every command line may have.
static GENERAL: LazyLock<Vocabulary<What>> = LazyLock::new(|| {
    let verbs = Verb::ALL.into_iter().map(|verb| {
        let (letter, long) = verb.names();
        Known {
            what: What::Verb(verb),
            letter: Some(letter),
            long,
            value: Value::None,
            yields: false,
        }
    });
    let options = OPTIONS.iter().flat_map(|option| {
        option.long.iter().map(|long| Known {
            what: What::Opt(option.opt),
            letter: option.letter,
            long,
            value: option.value,
            yields: option.opt.is_ours(),
        })
    });
    Vocabulary::new(verbs.chain(options).collect())
});

/// What may come before `-p` has named a protocol, and behind one without options.
static NOTHING: LazyLock<Vocabulary<What>> = LazyLock::new(|| Vocabulary::new(Vec::new()));

/// What may come once `-p` has named a protocol, in the order of [`protocol::PROTOCOLS`].
static OF_PROTOCOLS: LazyLock<Vec<Vocabulary<What>>> = LazyLock::new(|| {
    let known = |option: &protocol::Names, long: &&'static str| Known {
        what: What::Proto(option.0),
        letter: None,
        long,
        value: Value::Required,
        yields: false,
    };
    let all = protocol::PROTOCOLS.iter().map(|protocol| {
        let options = protocol.options.iter();
        options.flat_map(|option| option.1.iter().map(move |long| known(option, long))).collect()
    });
    all.map(Vocabulary::new).collect()
});

struct Parser {
    known: [&'static Vocabulary<What>; 2],
    verb: Option<Verb>,
    proto_given: Vec<ProtoOpt>,
    /// Values that can be understood only when everything has been read.
    later: Vec<(Opt, String)>,
    labelmap: Option<PathBuf>,
    command: Command,
}

impl Parser {
    fn new() -> Self {
        Self {
            known: [&GENERAL, &NOTHING],
            verb: None,
            proto_given: Vec::new(),
            later: Vec::new(),
            labelmap: None,
            command: Command {
                verb: Verb::Help,
                is_given: false,
                table: Table::Conntrack,
                given: [false; OPTIONS.len()],
                family: 0,
                orig: [None; 2],
                reply: [None; 2],
                mask: [None; 2],
                tuple: [None; 2],
                proto: None,
                ports: Ports::default(),
                icmp: (None, None, None),
                state: None,
                vtag: [None; 2],
                role: None,
                timeout_s: None,
                status: None,
                mark: None,
                id: None,
                secmark: None,
                zones: [None; 3],
                nat: [None; 3],
                labels: Labels::default(),
                labelmap: None,
                output: Output::default(),
                events: None,
                buffer: None,
                helper: None,
                netns: None,
                from_file: None,
                stray: None,
            },
        }
    }

    fn run(mut self, words: &mut Words<'_>) -> Result<Command, Failure> {
        while let Some(found) = words.next(&self.known) {
            match found {
                Found::Unknown(word) => {
                    return Err(Failure::usage(format_args!("unknown option `{word}'")));
                }
                Found::Lacks(word) => {
                    return Err(Failure::usage(format_args!(
                        "option `{word}' requires an argument"
                    )));
                }
                Found::Option(What::Verb(verb), _) => self.verb(verb, words)?,
                Found::Option(What::Proto(option), value) => {
                    self.protocol_option(option, value.unwrap_or_default())?;
                }
                Found::Option(What::Opt(opt), value) => {
                    let definition = &OPTIONS[opt as usize];
                    let value = match definition.value {
                        Value::Optional => value.or_else(|| words.optional_word()),
                        _ => value,
                    };
                    self.option(opt, definition.long[0], value)?;
                }
            }
        }
        self.command.stray = words.stray().map(str::to_owned);
        self.finish()
    }

    fn verb(&mut self, verb: Verb, words: &mut Words<'_>) -> Result<(), Failure> {
        if self.verb.is_some() {
            return Err(Failure::usage("Invalid commands combination"));
        }
        self.verb = Some(verb);
        self.command.verb = verb;
        self.command.is_given = true;
        if let Some(word) = words.optional_word() {
            let unknown = || Failure::usage(format_args!("unknown type `{word}'"));
            self.command.table = Table::by_prefix(word).ok_or_else(unknown)?;
        }
        let expect = self.command.table == Table::Expect;
        if expect && matches!(verb, Verb::Add | Verb::Update) {
            let name = verb.names().1;
            return Err(Failure::usage(format_args!("Can't do --{name} on expectations")));
        }
        if matches!(self.command.table, Table::Dying | Table::Unconfirmed) && verb != Verb::List {
            return Err(Failure::usage(
                "Can't do that command with tables `dying' and `unconfirmed'",
            ));
        }
        Ok(())
    }

    fn family(&mut self, family: u8) -> Result<(), Failure> {
        if self.command.family != 0 && self.command.family != family {
            return Err(Failure::usage("mismatched address family"));
        }
        self.command.family = family;
        Ok(())
    }

    fn address(&mut self, text: &str) -> Result<Addr, Failure> {
        let address = values::address(text)?;
        self.family(address.family)?;
        Ok(address.bytes)
    }

    /// An address that may have a mask, which is then given as if by an option of its own.
    fn network(&mut self, end: usize, text: &str) -> Result<(), Failure> {
        let (address, mask) = values::network(text)?;
        self.family(address.family)?;
        self.command.orig[end] = Some(address.bytes);
        if let Some(mask) = mask {
            self.command.mask[end] = Some(mask);
            self.command.given[Opt::MaskSrc as usize + end] = true;
        }
        Ok(())
    }

    fn whole(&mut self, name: &str, text: &str) -> Result<Addr, Failure> {
        let address = values::whole(name, text)?;
        self.family(address.family)?;
        Ok(address.bytes)
    }

    fn option(&mut self, opt: Opt, name: &str, value: Option<&str>) -> Result<(), Failure> {
        let text = value.unwrap_or_default();
        if opt == Opt::NatRange {
            eprintln!("WARNING: ignoring -a, deprecated option.");
            return Ok(());
        }
        self.command.given[opt as usize] = true;
        let number = |max: u32| values::number(name, text, max.into()).map(|n| n as u32);
        let zone = || values::number(name, text, u16::MAX.into()).map(|n| n as u16);
        // Without a value it is any translation.
        let nat = || value.map_or(Ok(Nat::default()), |text| values::nat(name, text));
        match opt {
            Opt::OrigSrc => self.network(0, text)?,
            Opt::OrigDst => self.network(1, text)?,
            Opt::ReplySrc => self.command.reply[0] = Some(self.whole(name, text)?),
            Opt::ReplyDst => self.command.reply[1] = Some(self.whole(name, text)?),
            Opt::TupleSrc => self.command.tuple[0] = Some(self.whole(name, text)?),
            Opt::TupleDst => self.command.tuple[1] = Some(self.whole(name, text)?),
            Opt::MaskSrc => self.command.mask[0] = Some(self.address(text)?),
            Opt::MaskDst => self.command.mask[1] = Some(self.address(text)?),
            Opt::Proto => self.protocol(text)?,
            Opt::Timeout => self.command.timeout_s = Some(number(u32::MAX)?),
            Opt::Status => self.command.status = Some(values::status(text)?),
            Opt::EventMask => {
                let mask = self.command.events.unwrap_or(EventMask {
                    new: false,
                    updates: false,
                    destroy: false,
                });
                self.command.events = Some(events(text, mask)?);
            }
            Opt::Mark => self.command.mark = Some(values::masked(name, text)?),
            Opt::Id => self.command.id = Some(number(u32::MAX)?),
            Opt::Secmark => self.command.secmark = Some(number(u32::MAX)?),
            Opt::Family => self.family(values::family(text)?)?,
            Opt::SrcNat => self.command.nat[0] = Some(nat()?),
            Opt::DstNat => self.command.nat[1] = Some(nat()?),
            Opt::AnyNat => self.command.nat[2] = Some(nat()?),
            Opt::Output => self.command.output = output(text, self.command.output)?,
            Opt::BufferSize => {
                let bytes = values::decimal(name, text, i32::MAX as u64)?;
                self.command.buffer = Some(bytes as usize);
            }
            Opt::Zone => self.command.zones[0] = Some(zone()?),
            Opt::OrigZone => self.command.zones[1] = Some(zone()?),
            Opt::ReplyZone => self.command.zones[2] = Some(zone()?),
            Opt::Label | Opt::LabelAdd | Opt::LabelDel => self.later.push((opt, text.to_owned())),
            Opt::Labelmap if self.labelmap.is_some() => {
                return Err(Failure::usage("--labelmap was given already"));
            }
            Opt::Labelmap => self.labelmap = Some(PathBuf::from(text)),
            Opt::Helper => {
                let wrong =
                    || Failure::usage(format_args!("Invalid value `{text}' for `--helper'"));
                let helper = HelperName::from_bytes(text.as_bytes()).filter(|_| !text.is_empty());
                self.command.helper = Some(helper.ok_or_else(wrong)?);
            }
            Opt::Netns => self.command.netns = Some(text.to_owned()),
            Opt::FromFile => self.command.from_file = Some(text.to_owned()),
            Opt::Zero | Opt::DryRun | Opt::NatRange => {}
        }
        let any = self.command.has(Opt::AnyNat);
        if any && (self.command.has(Opt::SrcNat) || self.command.has(Opt::DstNat)) {
            return Err(Failure::usage(
                "cannot specify `--src-nat' or `--dst-nat' with `--any-nat'",
            ));
        }
        Ok(())
    }

    fn protocol(&mut self, text: &str) -> Result<(), Failure> {
        let number = protocol::by_word(text)?;
        self.command.proto = Some(number);
        let at = protocol::PROTOCOLS.iter().position(|protocol| protocol.number == number);
        self.known[1] = at.and_then(|at| OF_PROTOCOLS.get(at)).unwrap_or(&NOTHING);
        Ok(())
    }

    fn protocol_option(&mut self, option: ProtoOpt, text: &str) -> Result<(), Failure> {
        let number = self.command.proto.unwrap_or_default();
        let Some(protocol) = protocol::with_options(number) else { return Ok(()) };
        let names = protocol.options.iter().find(|(known, ..)| *known == option);
        let name = names.map_or("", |(_, names, _)| names[0]);
        self.proto_given.push(option);
        let command = &mut self.command;
        match option {
            ProtoOpt::Port(which, dst) => {
                let key = number == ctnetlink::tuple::ipproto::GRE;
                let read = if key { values::number } else { values::decimal };
                command.ports.set(which, dst, read(name, text, u16::MAX.into())? as u16);
            }
            ProtoOpt::State => command.state = Some(protocol::state(protocol, text)?),
            ProtoOpt::Vtag(reply) => {
                let tag = values::decimal(name, text, u32::MAX.into())?;
                command.vtag[usize::from(reply)] = Some(tag as u32);
            }
            ProtoOpt::Role => {
                let unknown = || Failure::usage(format_args!("Unknown DCCP role `{text}'"));
                let role = ["client", "server"].iter().position(|role| *role == text);
                command.role = Some(role.ok_or_else(unknown)? as u8);
            }
            ProtoOpt::IcmpType => command.icmp.0 = Some(values::decimal(name, text, 255)? as u8),
            ProtoOpt::IcmpCode => command.icmp.1 = Some(values::decimal(name, text, 255)? as u8),
            ProtoOpt::IcmpId => {
                command.icmp.2 = Some(values::decimal(name, text, u16::MAX.into())? as u16);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Command, Failure> {
        if self.verb.is_none() {
            // As it has always been: no command is a question for help.
            let given = OPTIONS.iter().zip(self.command.given).find(|(_, given)| *given);
            let illegal = given.map(|(option, _)| protocol::illegal(option.long[0]));
            return illegal.map_or(Ok(self.command), Err);
        }
        self.resolve_labels()?;
        self.check_options()?;
        let Command { verb, table, .. } = self.command;
        if let Some(protocol) = self.command.proto.and_then(protocol::with_options) {
            protocol::check(protocol, verb, table, &self.proto_given)?;
        }
        self.check_combinations()?;
        Ok(self.command)
    }

    fn resolve_labels(&mut self) -> Result<(), Failure> {
        let needless = self.later.is_empty() && !self.command.output.labels;
        if needless && self.labelmap.is_none() {
            // Saved flows show their labels, where there are names for them.
            let save = self.command.output.save;
            self.command.labelmap = save.then(labels::of_system).flatten();
            return Ok(());
        }
        let map = labels::load(self.labelmap.as_deref());
        for (opt, text) in std::mem::take(&mut self.later) {
            let all = opt == Opt::LabelDel && text.is_empty();
            let names = text.split(',').filter(|_| !all);
            let bit = |name: &str| {
                let unknown = || Failure::usage(format_args!("unknown label '{name}'"));
                map.bit(name).ok_or_else(unknown)
            };
            let bits: Vec<u8> = names.map(bit).collect::<Result<_, _>>()?;
            match opt {
                Opt::Label => self.command.labels.wanted.extend(bits),
                Opt::LabelAdd => self.command.labels.add.extend(bits),
                _ => self.command.labels.del.get_or_insert_default().extend(bits),
            }
        }
        self.command.labelmap = Some(map);
        Ok(())
    }

    fn check_options(&self) -> Result<(), Failure> {
        let Command { verb, table, .. } = self.command;
        for (column, option) in OPTIONS.iter().enumerate() {
            match (legality(verb, table, column), self.command.given[column]) {
                (Legality::Required, false) => return Err(protocol::supply(option.long[0])),
                (Legality::Illegal, true) => return Err(protocol::illegal(option.long[0])),
                _ => {}
            }
        }
        if legality(verb, table, 0) == Legality::Pair {
            let both =
                |first: Opt| [first as usize, first as usize + 1].map(|c| self.command.given[c]);
            match (both(Opt::OrigSrc), both(Opt::ReplySrc)) {
                ([true, true], _) | ([false, false], [true, true]) => {}
                ([false, false], [true, false] | [false, true]) => {
                    return Err(Failure::usage(
                        "you have to specify `--reply-src' and `--reply-dst'",
                    ));
                }
                _ => return Err(Failure::usage("you have to specify `--src' and `--dst'")),
            }
        }
        Ok(())
    }

    fn check_combinations(&self) -> Result<(), Failure> {
        let has = |opt| self.command.has(opt);
        for (mask, of, name, needs) in [
            (Opt::MaskSrc, Opt::OrigSrc, "mask-src", "src"),
            (Opt::MaskDst, Opt::OrigDst, "mask-dst", "dst"),
        ] {
            let listed = matches!(self.command.table, Table::Conntrack | Table::Expect);
            if has(mask) && !has(of) && listed {
                return Err(Failure::usage(format_args!("Can't use --{name} without --{needs}")));
            }
        }
        if has(Opt::LabelAdd) && has(Opt::LabelDel) {
            return Err(Failure::other("cannot use --label-add and --label-del at the same time"));
        }
        let filters = [
            Opt::Proto,
            Opt::OrigSrc,
            Opt::OrigDst,
            Opt::ReplySrc,
            Opt::ReplyDst,
            Opt::Mark,
            Opt::Secmark,
            Opt::Status,
            Opt::Id,
            Opt::Zone,
            Opt::OrigZone,
            Opt::ReplyZone,
            Opt::Label,
        ];
        if has(Opt::Zero) && filters.into_iter().any(has) {
            return Err(Failure::usage("Can't use -z with filtering parameters"));
        }
        Ok(())
    }
}

fn output(list: &str, mut output: Output) -> Result<Output, Failure> {
    for (word, rest) in items(list) {
        let flag = match () {
            () if values::fits("xml", word) => &mut output.xml,
            () if values::fits("extended", word) => &mut output.extended,
            () if values::fits("timestamp", word) => &mut output.timestamp,
            () if values::fits("id", word) => &mut output.id,
            () if values::fits("ktimestamp", word) => &mut output.ktimestamp,
            () if values::fits("labels", word) => &mut output.labels,
            () if values::fits("userspace", word) => &mut output.userspace,
            () if values::fits("save", word) => &mut output.save,
            () if values::fits("json", word) => &mut output.json,
            () => return Err(values::bad(rest)),
        };
        *flag = true;
    }
    if output.save && output != (Output { save: true, ..Output::default() }) {
        return Err(Failure::other(
            "cannot combine save output with any other output type, use -o save only",
        ));
    }
    if output.json && output.xml {
        return Err(Failure::usage("`-o json' and `-o xml' are two formats"));
    }
    Ok(output)
}

fn events(list: &str, mut mask: EventMask) -> Result<EventMask, Failure> {
    for (word, rest) in items(list) {
        match () {
            () if values::fits("ALL", word) => {
                mask = EventMask { new: true, updates: true, destroy: true };
            }
            () if values::fits("NEW", word) => mask.new = true,
            () if values::fits("UPDATES", word) => mask.updates = true,
            () if values::fits("DESTROY", word) => mask.destroy = true,
            () => return Err(values::bad(rest)),
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let outcome = parse(&line.split_whitespace().collect::<Vec<_>>());
        outcome.map_or_else(|failure| failure.to_string(), |_| String::new())
    }

    #[test]
    fn what_is_wrong_is_said_in_the_order_people_know() {
        let create = "-I -p tcp -t 5 -s 1.1.1.1 -d 2.2.2.2";
        for (line, text) in [
            ("-L -D", "Invalid commands combination"),
            ("-L foo", "unknown type `foo'"),
            ("-L -t 5", "Illegal option `--timeout' with this command"),
            ("-G", "You need to supply the `--protonum' option for this command"),
            ("-G -p tcp", "you have to specify `--src' and `--dst'"),
            ("-G -p tcp -r 1.1.1.1", "you have to specify `--reply-src' and `--reply-dst'"),
            (create, "You need to supply the `--state' option for this command"),
            (&format!("{create} --state NONE"), "you have to specify `--sport' and `--dport'"),
            (&format!("{create} --state FOO"), "unknown TCP state `FOO'"),
            ("-L --sport 5 -p tcp", "unknown option `--sport'"),
            ("-L -p tcp --sport 70000", "Invalid value `70000' for `--sport'"),
            ("-L -s ::1 -d 1.1.1.1", "mismatched address family"),
            ("-L -r 1.2.3.4/24", "CIDR notation unavailable for `--reply-src'"),
            ("-L --mask-src 1.2.3.4", "Can't use --mask-src without --src"),
            (
                "-I -p tcp -t 5 -s 1.1.1.1/24 -d 2.2.2.2",
                "Illegal option `--mask-src' with this command",
            ),
            ("-L -z -p tcp", "Can't use -z with filtering parameters"),
            ("-E -z", "Illegal option `--zero' with this command"),
            ("-A expect", "Can't do --add on expectations"),
            ("-D dying", "Can't do that command with tables `dying' and `unconfirmed'"),
            (
                "-D expect -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2",
                "You need to supply the `--reply-port-src' option for this command",
            ),
            ("-L -p tcp --mask-port-src 1", "Illegal option `--mask-port-src' with this command"),
            ("-L -p tcp foo", ""),
            ("foo -L", ""),
            ("foo", ""),
            ("--du -o x,i", ""),
            ("-L -n -p 6", ""),
        ] {
            assert_eq!(said(line), text, "{line}");
        }
    }

    proptest::proptest! {
        /// Whatever is typed, it is a command or an error.
        #[test]
        fn no_words_make_it_panic(
            picks in proptest::collection::vec((0..OPTIONS.len() + Verb::ALL.len() + 30, ".{0,8}"), 0..8),
        ) {
            let mut words = Vec::new();
            for (pick, text) in picks {
                let verbs = OPTIONS.len() + Verb::ALL.len();
                match pick {
                    n if n < OPTIONS.len() => {
                        let long = OPTIONS[n].long[0];
                        words.extend([format!("--{long}"), text]);
                    }
                    n if n < verbs => words.push(format!("-{}", Verb::ALL[n - OPTIONS.len()].names().0)),
                    n if n < verbs + 8 => words.extend(["-p".to_owned(), (n % 256).to_string()]),
                    n if n < verbs + 12 => words.extend(["--sport", "--state"].map(str::to_owned)),
                    _ => words.push(text),
                }
            }
            drop(parse(&words.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn values_that_need_not_be_given_are_the_next_word() {
        let parse = |line: &str| parse(&line.split(' ').collect::<Vec<_>>()).unwrap();
        let command = parse("-L -n 1.2.3.4:5 -g -p tcp");
        assert_eq!(command.nat[0].unwrap().port, Some(5));
        assert_eq!(command.nat[1], Some(Nat::default()));
        assert_eq!(command.proto, Some(6));
        assert_eq!(parse("-L expect").table, Table::Expect);
    }
}
