//! What an argument may be, and the value it becomes.

use export::http::Listen;
use host::secure::{Name, PublicKey};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// What an argument may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number in a range.
    Number {
        /// The smallest value.
        min: u32,
        /// The largest value.
        max: u32,
    },
    /// A whole number up to this one, or two of them with a dash between: all from the first to the last.
    Interval(u16),
    /// A mark, and after a slash the bits of it that count.
    Mark,
    /// `1/N`: one in so many.
    Share,
    /// A whole number that must have a sign.
    Signed,
    /// on, yes, off, no; any case.
    Bool,
    /// One of these words.
    Choice {
        /// The words.
        words: &'static [Choice],
        /// Whether upper and lower case are the same.
        any_case: bool,
    },
    /// An absolute path of at most this many bytes.
    Path(usize),
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// An IPv4 address or network.
    Ipv4Prefix,
    /// An IPv6 address or network.
    Ipv6Prefix,
    /// An address with a port, or an absolute path.
    Endpoint,
    /// A name the kernel accepts for a network interface.
    Interface,
    /// Any word.
    Name,
    /// What a node calls itself.
    NodeName,
    /// A public key.
    PublicKey,
    /// An address, or the name of a host.
    Host,
    /// The first of these that fits.
    OneOf(&'static [Kind]),
}

/// A word with a meaning.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// How it is written.
    pub name: &'static str,
    /// How it may also be written, and the warning that comes with it.
    pub aliases: &'static [(&'static str, Option<&'static str>)],
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPrefix<A> {
    /// The address, as written: bits past the prefix may be set.
    pub addr: A,
    /// How many bits count.
    pub len: u8,
}

/// What a word became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u32),
    /// The first and the last of some numbers.
    Interval(u16, u16),
    /// A mark and the bits of it that count.
    Mark(u32, u32),
    /// A number with a sign.
    Signed(i32),
    /// on or off.
    Bool(bool),
    /// The name of a [`Choice`].
    Choice(&'static str),
    /// A path.
    Path(PathBuf),
    /// An address.
    Ipv4(Ipv4Addr),
    /// An address.
    Ipv6(Ipv6Addr),
    /// A network.
    Ipv4Prefix(IpPrefix<Ipv4Addr>),
    /// A network.
    Ipv6Prefix(IpPrefix<Ipv6Addr>),
    /// The endpoint to listen at.
    Endpoint(Listen),
    /// A name.
    Name(String),
    /// A public key.
    PublicKey(PublicKey),
}

impl<A: fmt::Display> fmt::Display for IpPrefix<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// As it is written in the file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Interval(first, last) => write!(f, "{first}-{last}"),
            Self::Mark(value, mask) => write!(f, "{value:#x}/{mask:#x}"),
            Self::Signed(n) => write!(f, "{n:+}"),
            Self::Bool(true) => f.write_str("on"),
            Self::Bool(false) => f.write_str("off"),
            Self::Choice(name) => f.write_str(name),
            Self::Path(path) => path.display().fmt(f),
            Self::Ipv4(addr) => addr.fmt(f),
            Self::Ipv6(addr) => addr.fmt(f),
            Self::Ipv4Prefix(prefix) => prefix.fmt(f),
            Self::Ipv6Prefix(prefix) => prefix.fmt(f),
            Self::Endpoint(listen) => listen.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::PublicKey(key) => key.fmt(f),
        }
    }
}

impl Kind {
    /// The value of `word`, or why it has none.
    ///
    /// # Errors
    /// Empty, if the word is of another kind; otherwise what exactly is wrong with it.
    pub fn value(self, word: &str) -> Result<Value, String> {
        match self {
            Self::Number { min, max } => number(word, min, max).map(Value::Number),
            Self::Interval(max) => interval(word, max).map(|(a, b)| Value::Interval(a, b)),
            Self::Mark => mark(word).map(|(value, mask)| Value::Mark(value, mask)),
            Self::Share => share(word).map(Value::Number),
            Self::Signed => signed(word).map(Value::Signed),
            Self::Bool => boolean(word).map(Value::Bool).ok_or_else(String::new),
            Self::Choice { words, any_case } => chosen(words, any_case, word)
                .map(|(choice, _)| Value::Choice(choice.name))
                .ok_or_else(String::new),
            Self::Path(max) => path(word, max).map(Value::Path),
            Self::Ipv4 => word.parse().map(Value::Ipv4).map_err(|_| String::new()),
            Self::Ipv6 => word.parse().map(Value::Ipv6).map_err(|_| String::new()),
            Self::Ipv4Prefix => prefix(word, 32).map(Value::Ipv4Prefix),
            Self::Ipv6Prefix => prefix(word, 128).map(Value::Ipv6Prefix),
            Self::Endpoint => endpoint(word).map(Value::Endpoint),
            Self::Interface => interface(word).map(Value::Name),
            Self::Name => Ok(Value::Name(word.to_owned())),
            Self::NodeName => Name::parse(word)
                .map(|name| Value::Name(name.as_str().to_owned()))
                .map_err(|error| error.to_string()),
            Self::PublicKey => {
                PublicKey::parse(word).map(Value::PublicKey).map_err(|error| error.to_string())
            }
            Self::Host => host(word).map(Value::Name),
            Self::OneOf(kinds) => one_of(kinds, word),
        }
    }

    /// Why this spelling of the word should not be used.
    #[must_use]
    pub fn warning(self, word: &str) -> Option<&'static str> {
        let Self::Choice { words, any_case } = self else { return None };
        chosen(words, any_case, word)?.1
    }

    /// The kind, for people: fits after "expected".
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::Number { min: 0, max: u32::MAX } => "a number".to_owned(),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Interval(max) => format!("a number from 0 to {max}, or two such as 10-20"),
            Self::Mark => "a mark such as 0x1, or a mark and a mask such as 0x1/0xff".to_owned(),
            Self::Share => "a share such as 1/8".to_owned(),
            Self::Signed => "a number with a sign, such as -5 or +5".to_owned(),
            Self::Bool => "on or off (yes or no)".to_owned(),
            Self::Choice { words, .. } => {
                words.iter().map(|choice| choice.name).collect::<Vec<_>>().join(" or ")
            }
            Self::Path(_) => "an absolute path".to_owned(),
            Self::Ipv4 => "an IPv4 address, such as 192.0.2.1".to_owned(),
            Self::Ipv6 => "an IPv6 address, such as 2001:db8::1".to_owned(),
            Self::Ipv4Prefix => "an IPv4 address or network, such as 192.0.2.0/24".to_owned(),
            Self::Ipv6Prefix => "an IPv6 address or network, such as 2001:db8::/32".to_owned(),
            Self::Endpoint => {
                "ADDRESS:PORT, such as 127.0.0.1:10466, or an absolute path".to_owned()
            }
            Self::Interface => "the name of a network interface".to_owned(),
            Self::Name => "a name".to_owned(),
            Self::NodeName => "the name of a node".to_owned(),
            Self::PublicKey => "a public key".to_owned(),
            Self::Host => "an address, or the name of a host".to_owned(),
            Self::OneOf(kinds) => {
                kinds.iter().map(|kind| kind.expected()).collect::<Vec<_>>().join(", or ")
            }
        }
    }

    /// What stands for it in a synopsis.
    #[must_use]
    pub fn placeholder(self) -> String {
        match self {
            Self::Number { .. } => "NUMBER".to_owned(),
            Self::Interval(_) => "NUMBER[-NUMBER]".to_owned(),
            Self::Mark => "MARK[/MASK]".to_owned(),
            Self::Share => "1/NUMBER".to_owned(),
            Self::Signed => "SIGNED_NUMBER".to_owned(),
            Self::Bool => "on|off".to_owned(),
            Self::Choice { words, .. } => {
                words.iter().map(|choice| choice.name).collect::<Vec<_>>().join("|")
            }
            Self::Path(_) => "PATH".to_owned(),
            Self::Ipv4 | Self::Ipv6 => "ADDRESS".to_owned(),
            Self::Ipv4Prefix | Self::Ipv6Prefix => "ADDRESS[/LENGTH]".to_owned(),
            Self::Endpoint => "ADDRESS:PORT|PATH".to_owned(),
            Self::Interface => "INTERFACE".to_owned(),
            Self::Name | Self::NodeName => "NAME".to_owned(),
            Self::PublicKey => "KEY".to_owned(),
            Self::Host => "ADDRESS|NAME".to_owned(),
            Self::OneOf(kinds) => {
                kinds.iter().map(|kind| kind.placeholder()).collect::<Vec<_>>().join("|")
            }
        }
    }

    /// Whether it takes nearly every word, so that a keyword in its place is more likely a forgotten argument.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Interface | Self::Name | Self::Host => true,
            Self::OneOf(kinds) => kinds.iter().any(|kind| kind.is_open()),
            _ => false,
        }
    }
}

fn number(word: &str, min: u32, max: u32) -> Result<u32, String> {
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
        return Err(String::new());
    }
    let value = word.parse().ok().filter(|value| (min..=max).contains(value));
    value.ok_or_else(|| format!("out of range: {min} to {max} is possible"))
}

fn interval(word: &str, max: u16) -> Result<(u16, u16), String> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let part = |word| number(word, 0, max.into()).map(|n| n as u16);
    let (first, last) = (part(first)?, part(last)?);
    if first > last {
        return Err(format!("nothing lies between: {first} is more than {last}"));
    }
    Ok((first, last))
}

fn mark(word: &str) -> Result<(u32, u32), String> {
    let part = |word: &str| {
        let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
        let digits = hex.unwrap_or(word);
        let radix = if hex.is_some() { 16 } else { 10 };
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Err(String::new());
        }
        u32::from_str_radix(digits, radix).map_err(|_| "a mark has 32 bits".to_owned())
    };
    let Some((value, mask)) = word.split_once('/') else { return Ok((part(word)?, u32::MAX)) };
    let (value, mask) = (part(value)?, part(mask)?);
    if value & !mask != 0 {
        return Err("the mark has bits that the mask leaves out".to_owned());
    }
    Ok((value, mask))
}

fn share(word: &str) -> Result<u32, String> {
    let of = word.strip_prefix("1/").ok_or_else(String::new)?;
    number(of, 1, 1_000_000)
}

fn signed(word: &str) -> Result<i32, String> {
    let digits = word.strip_prefix(['-', '+']).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(String::new());
    }
    word.parse().map_err(|_| "out of range".to_owned())
}

fn boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "on" | "yes" => Some(true),
        "off" | "no" => Some(false),
        _ => None,
    }
}

fn chosen<'a>(
    words: &'a [Choice],
    any_case: bool,
    word: &str,
) -> Option<(&'a Choice, Option<&'static str>)> {
    let same = |name: &str| if any_case { name.eq_ignore_ascii_case(word) } else { name == word };
    words.iter().find_map(|choice| {
        let alias = choice.aliases.iter().find(|(name, _)| same(name));
        alias
            .map(|(_, warning)| *warning)
            .or(same(choice.name).then_some(None))
            .map(|w| (choice, w))
    })
}

fn path(word: &str, max: usize) -> Result<PathBuf, String> {
    if !word.starts_with('/') {
        return Err(String::new());
    }
    let fits = word.len() <= max;
    fits.then(|| PathBuf::from(word)).ok_or_else(|| format!("the path is longer than {max} bytes"))
}

fn prefix<A: std::str::FromStr>(word: &str, bits: u32) -> Result<IpPrefix<A>, String> {
    let (addr, len) = word.split_once('/').map_or((word, None), |(addr, len)| (addr, Some(len)));
    let addr = addr.parse().map_err(|_| String::new())?;
    let len = len
        .map_or(Ok(bits), |len| number(len, 0, bits))
        .map_err(|_| format!("the prefix length must be a number from 0 to {bits}"))?;
    Ok(IpPrefix { addr, len: len as u8 })
}

/// The longest path of a socket, bytes: `sockaddr_un` has one more.
const SOCKET_PATH_MAX: usize = 107;

fn endpoint(word: &str) -> Result<Listen, String> {
    if word.starts_with('/') {
        return path(word, SOCKET_PATH_MAX).map(Listen::Unix);
    }
    match word.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(Listen::Tcp(address)),
        Ok(_) => Err("a port is a number from 1 to 65535".to_owned()),
        Err(_) => Err(match word.trim_start_matches(':').parse::<u16>() {
            Ok(port) => {
                format!("expected ADDRESS:PORT or an absolute path; did you mean 127.0.0.1:{port}?")
            }
            Err(_) => String::new(),
        }),
    }
}

/// The kernel's `dev_valid_name`: 1 to 15 bytes, not a file name of its own, nothing that would be one in sysfs.
fn interface(word: &str) -> Result<String, String> {
    if word.len() > 15 {
        return Err("an interface name has at most 15 bytes".to_owned());
    }
    let strange = |c: char| c.is_whitespace() || matches!(c, '/' | ':');
    if word.is_empty() || matches!(word, "." | "..") || word.contains(strange) {
        return Err("no interface can have this name".to_owned());
    }
    Ok(word.to_owned())
}

/// An address, or a name as RFC 1123 has it: labels of letters, digits and dashes, not all of digits.
fn host(word: &str) -> Result<String, String> {
    if word.parse::<IpAddr>().is_ok() {
        return Ok(word.to_owned());
    }
    let label = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inside
            && (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fits = word.len() <= 253 && word.trim_end_matches('.').split('.').all(label);
    let is_name = fits && word.bytes().any(|b| b.is_ascii_alphabetic());
    is_name.then(|| word.to_owned()).ok_or_else(String::new)
}

/// If no kind fits, returns the first complaint that is not empty, which says more than "another kind".
fn one_of(kinds: &[Kind], word: &str) -> Result<Value, String> {
    let mut complaint = String::new();
    for kind in kinds {
        match kind.value(word) {
            Ok(value) => return Ok(value),
            Err(why) if complaint.is_empty() => complaint = why,
            Err(_) => {}
        }
    }
    Err(complaint)
}
