//! Layer-4 protocols: their names, their options, and which of them a command wants.

use super::definition::{Table, Verb};
use super::failure::Failure;
use super::values;
use ctnetlink::tuple::ipproto;

/// An option of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtoOpt {
    /// Port or GRE key: which tuple, and whether the destination's.
    Port(Which, bool),
    /// `--state`
    State,
    /// `--orig-vtag`, or `--reply-vtag`.
    Vtag(bool),
    /// `--role`
    Role,
    /// `--icmp-type`
    IcmpType,
    /// `--icmp-code`
    IcmpCode,
    /// `--icmp-id`
    IcmpId,
}

/// The tuple that a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// Original direction.
    Orig,
    /// Reply direction.
    Reply,
    /// Bits that count, of an expectation.
    Mask,
    /// The expected flow.
    Tuple,
}

/// Names of an option; the first one is the one in messages.
pub type Names = (ProtoOpt, &'static [&'static str], &'static str);

/// A protocol with options.
#[derive(Debug)]
pub struct Protocol {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// Its options, in the order they are checked in and shown.
    pub options: &'static [Names],
    /// Names of its states, and what each stands for.
    pub states: &'static [(&'static str, u8)],
}

use ProtoOpt::{IcmpCode, IcmpId, IcmpType, Port, Role, State, Vtag};
use Which::{Mask, Orig, Reply, Tuple};

macro_rules! with_ports {
    ($($more:expr),*) => {
        &[
            (Port(Orig, false), &["sport", "orig-port-src"], "original source port"),
            (Port(Orig, true), &["dport", "orig-port-dst"], "original destination port"),
            (Port(Reply, false), &["reply-port-src"], "reply source port"),
            (Port(Reply, true), &["reply-port-dst"], "reply destination port"),
            (Port(Mask, false), &["mask-port-src"], "mask source port"),
            (Port(Mask, true), &["mask-port-dst"], "mask destination port"),
            (Port(Tuple, false), &["tuple-port-src"], "expectation tuple src port"),
            (Port(Tuple, true), &["tuple-port-dst"], "expectation tuple dst port"),
            $($more),*
        ]
    };
}

const TCP_STATES: &[(&str, u8)] = &[
    ("NONE", 0),
    ("SYN_SENT", 1),
    ("SYN_RECV", 2),
    ("ESTABLISHED", 3),
    ("FIN_WAIT", 4),
    ("CLOSE_WAIT", 5),
    ("LAST_ACK", 6),
    ("TIME_WAIT", 7),
    ("CLOSE", 8),
    ("SYN_SENT2", 9),
    ("LISTEN", 9),
];
const SCTP_STATES: &[(&str, u8)] = &[
    ("NONE", 0),
    ("CLOSED", 1),
    ("COOKIE_WAIT", 2),
    ("COOKIE_ECHOED", 3),
    ("ESTABLISHED", 4),
    ("SHUTDOWN_SENT", 5),
    ("SHUTDOWN_RECD", 6),
    ("SHUTDOWN_ACK_SENT", 7),
];
const DCCP_STATES: &[(&str, u8)] = &[
    ("NONE", 0),
    ("REQUEST", 1),
    ("RESPOND", 2),
    ("PARTOPEN", 3),
    ("OPEN", 4),
    ("CLOSEREQ", 5),
    ("CLOSING", 6),
    ("TIMEWAIT", 7),
    ("IGNORE", 8),
    ("INVALID", 9),
];

/// Every protocol with a name, in the order they are looked up.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        number: ipproto::TCP,
        name: "tcp",
        options: with_ports!((State, &["state"], "TCP state, fe. ESTABLISHED")),
        states: TCP_STATES,
    },
    Protocol { number: ipproto::UDP, name: "udp", options: with_ports!(), states: &[] },
    Protocol { number: ipproto::UDPLITE, name: "udplite", options: with_ports!(), states: &[] },
    Protocol {
        number: ipproto::SCTP,
        name: "sctp",
        options: with_ports!(
            (State, &["state"], "SCTP state, fe. ESTABLISHED"),
            (Vtag(false), &["orig-vtag"], "original verification tag"),
            (Vtag(true), &["reply-vtag"], "reply verification tag")
        ),
        states: SCTP_STATES,
    },
    Protocol {
        number: ipproto::DCCP,
        name: "dccp",
        options: with_ports!(
            (State, &["state"], "DCCP state, fe. RESPOND"),
            (Role, &["role"], "client or server")
        ),
        states: DCCP_STATES,
    },
    Protocol {
        number: ipproto::GRE,
        name: "gre",
        options: &[
            (Port(Orig, false), &["srckey", "orig-key-src"], "original source key"),
            (Port(Orig, true), &["dstkey", "orig-key-dst"], "original destination key"),
            (Port(Reply, false), &["reply-key-src"], "reply source key"),
            (Port(Reply, true), &["reply-key-dst"], "reply destination key"),
            (Port(Mask, false), &["mask-key-src"], "mask source key"),
            (Port(Mask, true), &["mask-key-dst"], "mask destination key"),
            (Port(Tuple, false), &["tuple-key-src"], "expectation tuple src key"),
            (Port(Tuple, true), &["tuple-key-dst"], "expectation tuple dst key"),
        ],
        states: &[],
    },
    Protocol {
        number: ipproto::ICMP,
        name: "icmp",
        options: &[
            (IcmpType, &["icmp-type"], "icmp type"),
            (IcmpCode, &["icmp-code"], "icmp code"),
            (IcmpId, &["icmp-id"], "icmp id"),
        ],
        states: &[],
    },
    Protocol {
        number: ipproto::ICMPV6,
        name: "icmpv6",
        options: &[
            (IcmpType, &["icmpv6-type"], "icmpv6 type"),
            (IcmpCode, &["icmpv6-code"], "icmpv6 code"),
            (IcmpId, &["icmpv6-id"], "icmpv6 id"),
        ],
        states: &[],
    },
];

/// A protocol by name or number.
///
/// # Errors
/// When there is none.
pub fn by_word(word: &str) -> Result<u8, Failure> {
    if let Some(protocol) = PROTOCOLS.iter().find(|p| p.name.eq_ignore_ascii_case(word)) {
        return Ok(protocol.number);
    }
    let unsupported = || Failure::usage(format_args!("`{word}' unsupported protocol"));
    let named = || values::number("protonum", word, 255).ok().map(|number| number as u8);
    from_system(word).or_else(named).ok_or_else(unsupported)
}

/// A protocol by name or alias, as `/etc/protocols` has it.
#[must_use]
pub fn from_system(word: &str) -> Option<u8> {
    let file = std::fs::read_to_string("/etc/protocols").ok()?;
    file.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (name, number) = (words.next()?, words.next()?);
        (name == word || words.any(|alias| alias == word)).then(|| number.parse().ok())?
    })
}

/// The options of a protocol, if it has any.
#[must_use]
pub fn with_options(number: u8) -> Option<&'static Protocol> {
    PROTOCOLS.iter().find(|protocol| protocol.number == number)
}

/// A state by its name.
///
/// # Errors
/// When the protocol has none of that name.
pub fn state(protocol: &Protocol, word: &str) -> Result<u8, Failure> {
    let unknown = || {
        let name = protocol.name.to_uppercase();
        Failure::usage(format_args!("unknown {name} state `{word}'"))
    };
    protocol
        .states
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, state)| *state)
        .ok_or_else(unknown)
}

/// Checks the options given with a command. Required and illegal ones come first, in order; then pairs.
///
/// # Errors
/// When one is missing or out of place.
pub fn check(
    protocol: &Protocol,
    verb: Verb,
    table: Table,
    given: &[ProtoOpt],
) -> Result<(), Failure> {
    let expect = table == Table::Expect;
    let creates = matches!(verb, Verb::Create | Verb::Add);
    let one = creates || verb == Verb::Get;
    for (option, names, _) in protocol.options {
        let name = names[0];
        let is_given = given.contains(option);
        let legal = match option {
            Port(Mask | Tuple, _) => expect && creates,
            Port(Reply, _) => !(expect && creates),
            Vtag(_) => (one || verb == Verb::Update) && !expect,
            Role => creates && !expect,
            _ => !expect || matches!(option, Port(..)),
        };
        let required = match option {
            Port(Orig, _) => expect,
            Port(Reply, _) => expect && !creates,
            Port(Mask, _) => expect && creates,
            Port(Tuple, _) => expect && creates,
            State | Vtag(_) | Role => creates && !expect,
            IcmpType | IcmpCode => one && !expect,
            IcmpId => false,
        };
        if required && !is_given {
            return Err(supply(name));
        }
        if is_given && !legal && verb != Verb::Help {
            return Err(illegal(name));
        }
    }
    if one && !expect && protocol.options.iter().any(|(option, ..)| *option == Port(Orig, false)) {
        pair(protocol, given)?;
    }
    Ok(())
}

fn pair(protocol: &Protocol, given: &[ProtoOpt]) -> Result<(), Failure> {
    let both = |which| [false, true].map(|dst| given.contains(&Port(which, dst)));
    let key = protocol.number == ipproto::GRE;
    let names = match (both(Orig), both(Reply), key) {
        ([true, true], _, _) | ([false, false], [true, true], _) => return Ok(()),
        ([false, false], [true, false] | [false, true], true) => ["reply-src-key", "reply-dst-key"],
        ([false, false], [true, false] | [false, true], false) => {
            ["reply-src-port", "reply-dst-port"]
        }
        (_, _, true) => ["srckey", "dstkey"],
        (_, _, false) => ["sport", "dport"],
    };
    Err(Failure::usage(format_args!("you have to specify `--{}' and `--{}'", names[0], names[1])))
}

/// An option is missing.
#[must_use]
pub fn supply(name: &str) -> Failure {
    Failure::usage(format_args!("You need to supply the `--{name}' option for this command"))
}

/// An option is out of place.
#[must_use]
pub fn illegal(name: &str) -> Failure {
    Failure::usage(format_args!("Illegal option `--{name}' with this command"))
}
