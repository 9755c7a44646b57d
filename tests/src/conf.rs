//! Configurations of daemons under test.

use crate::netns::{Family, address};
use std::fmt::Write;
use std::path::Path;

/// An end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Host 1, interface `va`.
    A,
    /// Host 2, interface `vb`.
    B,
}

impl End {
    /// Its interface to the first cable.
    #[must_use]
    pub const fn interface(self) -> &'static str {
        self.interface_to(0)
    }

    /// Its interface to cable number `cable`.
    ///
    /// # Panics
    /// When there is no such cable.
    #[must_use]
    pub const fn interface_to(self, cable: usize) -> &'static str {
        match self {
            Self::A => ["va", "va1", "va2", "va3"][cable],
            Self::B => ["vb", "vb1", "vb2", "vb3"][cable],
        }
    }

    const fn host(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A configuration with something else in the place of a piece of it, which must be there.
///
/// # Panics
/// When it is not.
#[must_use]
pub fn swap(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}: {text}");
    text.replace(from, to)
}

/// The subnet of the first cable.
pub const SUBNET: u8 = 0;

/// The subnet of cable number `cable`.
#[must_use]
pub const fn subnet(cable: usize) -> u8 {
    if cable == 0 { SUBNET } else { 20 + cable as u8 }
}

/// The kind of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `Multicast`
    Multicast,
    /// `UDP`
    Udp,
    /// `TCP`
    Tcp,
}

/// The rules of replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// `NOTRACK`
    NoTrack,
    /// `FTFW`
    Ftfw,
    /// `ALARM`
    Alarm {
        /// `RefreshTime`
        refresh_s: u32,
        /// `CacheTimeout`
        cache_s: u32,
    },
}

impl Rules {
    /// Whether one node asks another for its flows, and sends all of them in bulk.
    #[must_use]
    pub const fn has_bulk(self) -> bool {
        matches!(self, Self::NoTrack | Self::Ftfw)
    }
}

/// A unicast link's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The address of its own cable.
    OfCable,
    /// The address of the first cable.
    OfFirst,
    /// The link names no address.
    None,
}

/// A configuration. The fields that are lists of lines go into the blocks of that name.
#[derive(Clone, Debug)]
pub struct Conf {
    /// The node's end of the cable.
    pub end: End,
    /// Kind of the links.
    pub transport: Transport,
    /// Family of the links' addresses.
    pub link: Family,
    /// How many links there are, one on each cable.
    pub links: usize,
    /// Port of the links.
    pub port: u16,
    /// Own addresses of unicast links, where they are not those of the cable.
    pub own: Vec<Own>,
    /// Whether all multicast links have one group and port.
    pub one_group: bool,
    /// Lines for each link.
    pub link_lines: Vec<String>,
    /// Whether datagrams have checksums.
    pub checksum: bool,
    /// `HashLimit`
    pub hash_limit: u32,
    /// The replication protocol.
    pub protocol: &'static str,
    /// Lines for `Mode`.
    pub mode: Vec<String>,
    /// Lines for `Options`.
    pub options: Vec<String>,
    /// Lines for `General`.
    pub general: Vec<String>,
    /// More lines for `Filter`.
    pub filter: Vec<String>,
    /// Where the log goes; in the daemon's directory unless set.
    pub log_file: Option<String>,
}

impl Conf {
    /// A plain one.
    #[must_use]
    pub const fn new(end: End) -> Self {
        Self {
            end,
            transport: Transport::Udp,
            link: Family::V4,
            links: 1,
            port: 3780,
            own: Vec::new(),
            one_group: false,
            link_lines: Vec::new(),
            checksum: true,
            hash_limit: 262_144,
            protocol: "NOTRACK",
            mode: Vec::new(),
            options: Vec::new(),
            general: Vec::new(),
            filter: Vec::new(),
            log_file: None,
        }
    }

    /// With another replication protocol than NOTRACK.
    #[must_use]
    pub const fn protocol(mut self, name: &'static str) -> Self {
        self.protocol = name;
        self
    }

    /// With a line in `Mode`.
    #[must_use]
    pub fn mode(mut self, line: &str) -> Self {
        self.mode.push(line.to_owned());
        self
    }

    /// With a line in `Options`.
    #[must_use]
    pub fn option(mut self, line: &str) -> Self {
        self.options.push(line.to_owned());
        self
    }

    /// With a line in `General`.
    #[must_use]
    pub fn general(mut self, line: &str) -> Self {
        self.general.push(line.to_owned());
        self
    }

    /// With a line in `Filter`, which user space sorts out.
    #[must_use]
    pub fn filter(mut self, line: &str) -> Self {
        self.filter.push(line.to_owned());
        self
    }

    /// With addresses of this family on the link.
    #[must_use]
    pub const fn link(mut self, family: Family) -> Self {
        self.link = family;
        self
    }

    /// With links of this kind.
    #[must_use]
    pub const fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// With this many links, the first one being the default; see [`crate::stage::Stage::with_cables`].
    #[must_use]
    pub const fn links(mut self, links: usize) -> Self {
        self.links = links;
        self
    }

    /// With a line in each link.
    #[must_use]
    pub fn link_line(mut self, line: &str) -> Self {
        self.link_lines.push(line.to_owned());
        self
    }

    /// By these rules.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        match rules {
            Rules::NoTrack => self,
            Rules::Ftfw => self.ftfw(),
            Rules::Alarm { refresh_s, cache_s } => self.alarm(refresh_s, cache_s),
        }
    }

    /// FTFW, with windows that a small test fills, too.
    #[must_use]
    pub fn ftfw(self) -> Self {
        self.protocol("FTFW").mode("ACKWindowSize 20")
    }

    /// ALARM. Each flow is refreshed after at most `refresh_s` seconds and a part of one, and forgotten `cache_s`
    /// seconds after the last time.
    #[must_use]
    pub fn alarm(self, refresh_s: u32, cache_s: u32) -> Self {
        let refresh = format!("RefreshTime {refresh_s}");
        self.protocol("ALARM").mode(&refresh).mode(&format!("CacheTimeout {cache_s}"))
    }

    /// With this port on the link.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// With these own addresses of unicast links, in the order of the links; the rest have those of their cable.
    #[must_use]
    pub fn own(mut self, own: &[Own]) -> Self {
        self.own = own.to_vec();
        self
    }

    /// With all multicast links in one group and on one port.
    #[must_use]
    pub const fn one_group(mut self) -> Self {
        self.one_group = true;
        self
    }

    /// The text, for a daemon that keeps its files in `dir` under names that begin with `name`.
    #[must_use]
    pub fn text(&self, dir: &Path, name: &str) -> String {
        let file = |suffix: &str| format!("{}/{name}.{suffix}", dir.display());
        let mut out = format!("Sync {{\n Mode {} {{\n", self.protocol);
        lines(&mut out, "  ", &self.mode);
        out.push_str(" }\n");
        for cable in 0..self.links {
            self.link_block(&mut out, cable);
        }
        if !self.options.is_empty() {
            out.push_str(" Options {\n");
            lines(&mut out, "  ", &self.options);
            out.push_str(" }\n");
        }
        out.push_str("}\nGeneral {\n HashSize 16384\n NetlinkBufferSize 8388608\n NetlinkBufferSizeMaxGrowth 16777216\n");
        let log = self.log_file.clone().unwrap_or_else(|| file("log"));
        let (lock, socket) = (file("lock"), file("sock"));
        let limit = self.hash_limit;
        let _ = write!(out, " HashLimit {limit}\n LogFile {log}\n LockFile {lock}\n");
        let _ = write!(out, " UNIX {{ Path {socket}\n }}\n");
        lines(&mut out, " ", &self.general);
        out.push_str(FILTER);
        lines(&mut out, "  ", &self.filter);
        out + " }\n}\n"
    }

    fn link_block(&self, out: &mut String, cable: usize) {
        let family = match self.link {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let at = |end: End| address(self.link, subnet(cable), end.host());
        let (local, peer) = (at(self.end), at(self.end.other()));
        // The original listens to all interfaces, so only ports distinguish its multicast links.
        let step = if self.one_group { 0 } else { 100 };
        let own = match self.own.get(cable).unwrap_or(&Own::OfCable) {
            Own::OfCable => format!("  {family}_address {local}\n"),
            Own::OfFirst => {
                format!("  {family}_address {}\n", address(self.link, SUBNET, self.end.host()))
            }
            Own::None => String::new(),
        };
        let (port, interface) = (self.port, self.end.interface_to(cable));
        let kind = match self.transport {
            Transport::Multicast => "Multicast",
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let default = if cable == 0 && self.links > 1 { " Default" } else { "" };
        let _ = writeln!(out, " {kind}{default} {{");
        let _ = match (self.transport, self.link) {
            (Transport::Multicast, Family::V4) => {
                let port = port + cable as u16 * step;
                write!(out, "  IPv4_address 225.0.0.50\n  Group {port}\n  IPv4_interface {local}\n")
            }
            (Transport::Multicast, Family::V6) => {
                let port = port + cable as u16 * step;
                write!(out, "  IPv6_address ff02::50\n  Group {port}\n")
            }
            _ => write!(out, "{own}  {family}_Destination_Address {peer}\n  Port {port}\n"),
        };
        // After the address: the original would take an IPv6 group's scope from it otherwise.
        let _ = writeln!(out, "  Interface {interface}");
        if self.transport != Transport::Tcp {
            let word = if self.checksum { "on" } else { "off" };
            let _ = writeln!(out, "  Checksum {word}");
        }
        out.push_str("  RcvSocketBuffer 16777216\n  SndSocketBuffer 16777216\n");
        lines(out, "  ", &self.link_lines);
        out.push_str(" }\n");
    }
}

/// The nodes' own addresses, as every configuration has them.
const FILTER: &str = " Filter From Userspace { Address Ignore {
  IPv4_address 127.0.0.0/8
  IPv4_address 10.99.0.0/24
  IPv6_address ::1
  IPv6_address fd99::/64
 }
";

fn lines(out: &mut String, indent: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(out, "{indent}{line}");
    }
}
