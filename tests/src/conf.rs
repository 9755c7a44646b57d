//! Configurations of daemons under test.

use crate::netns::{Family, address};
use std::fmt::Write;
use std::path::Path;

/// Which end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Host 1, interface `va`.
    A,
    /// Host 2, interface `vb`.
    B,
}

impl End {
    /// Its interface to the cable.
    #[must_use]
    pub const fn interface(self) -> &'static str {
        match self {
            Self::A => "va",
            Self::B => "vb",
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

/// The subnet of the cable.
pub const SUBNET: u8 = 0;

/// A configuration. The fields that are lists of lines go into the blocks of that name.
#[derive(Clone, Debug)]
pub struct Conf {
    /// Which end of the cable.
    pub end: End,
    /// Family of the link's addresses.
    pub link: Family,
    /// UDP port of the link.
    pub port: u16,
    /// `HashLimit`
    pub hash_limit: u32,
    /// The replication protocol.
    pub protocol: &'static str,
    /// Lines for `Mode`.
    pub mode: Vec<String>,
    /// Lines for `General`.
    pub general: Vec<String>,
    /// Where the log goes; in the daemon's directory unless set.
    pub log_file: Option<String>,
}

impl Conf {
    /// A plain one.
    #[must_use]
    pub const fn new(end: End) -> Self {
        Self {
            end,
            link: Family::V4,
            port: 3780,
            hash_limit: 262_144,
            protocol: "NOTRACK",
            mode: Vec::new(),
            general: Vec::new(),
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

    /// With a line in `General`.
    #[must_use]
    pub fn general(mut self, line: &str) -> Self {
        self.general.push(line.to_owned());
        self
    }

    /// With addresses of this family on the link.
    #[must_use]
    pub const fn link(mut self, family: Family) -> Self {
        self.link = family;
        self
    }

    /// With this port on the link.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The text, for a daemon that keeps its files in `dir` under names that begin with `name`.
    #[must_use]
    pub fn text(&self, dir: &Path, name: &str) -> String {
        let file = |suffix: &str| format!("{}/{name}.{suffix}", dir.display());
        let mut out = format!("Sync {{\n Mode {} {{\n", self.protocol);
        lines(&mut out, "  ", &self.mode);
        out.push_str(" }\n");
        self.link_block(&mut out);
        out.push_str("}\nGeneral {\n HashSize 16384\n NetlinkBufferSize 8388608\n NetlinkBufferSizeMaxGrowth 16777216\n");
        let log = self.log_file.clone().unwrap_or_else(|| file("log"));
        let (lock, socket) = (file("lock"), file("sock"));
        let limit = self.hash_limit;
        let _ = write!(out, " HashLimit {limit}\n LogFile {log}\n LockFile {lock}\n");
        let _ = write!(out, " UNIX {{ Path {socket}\n }}\n");
        lines(&mut out, " ", &self.general);
        out + FILTER + "}\n"
    }

    fn link_block(&self, out: &mut String) {
        let family = match self.link {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let local = address(self.link, SUBNET, self.end.host());
        let peer = address(self.link, SUBNET, self.end.other().host());
        let (port, interface) = (self.port, self.end.interface());
        let _ = write!(out, " UDP {{\n  {family}_address {local}\n");
        let _ = write!(out, "  {family}_Destination_Address {peer}\n  Port {port}\n");
        let _ = write!(out, "  Interface {interface}\n  Checksum on\n");
        out.push_str("  RcvSocketBuffer 16777216\n  SndSocketBuffer 16777216\n }\n");
    }
}

/// The nodes' own addresses, as every configuration has them.
const FILTER: &str = " Filter From Userspace { Address Ignore {
  IPv4_address 127.0.0.0/8
  IPv4_address 10.99.0.0/24
  IPv6_address ::1
  IPv6_address fd99::/64
 } }
";

fn lines(out: &mut String, indent: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(out, "{indent}{line}");
    }
}
