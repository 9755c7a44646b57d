//! Timeout policies (`nfnetlink_cttimeout`): how long the kernel keeps a flow without packets, state by state. Numbers
//! are those of `include/uapi/linux/netfilter/nfnetlink_cttimeout.h`.

use super::attributes::{self, Attributes};
use super::{Client, Mode, Request};
use netlink_packet_core::DefaultNla;
use std::collections::BTreeMap;
use std::io;

/// `NFNL_SUBSYS_CTNETLINK_TIMEOUT`.
pub(super) const SUBSYSTEM: u8 = 8;
/// Longest name, in bytes (`CTNL_TIMEOUT_NAME_MAX` less the NUL).
pub const NAME_BYTES_MAX: usize = 31;
/// Most seconds of a state: the kernel counts in 32 bits of a millisecond where a tick is one.
pub const SECONDS_MAX: u32 = u32::MAX / 1000;

mod message {
    pub(super) const NEW: u8 = 0;
    pub(super) const GET: u8 = 1;
    pub(super) const DELETE: u8 = 2;
    pub(super) const DEFAULT_SET: u8 = 3;
    pub(super) const DEFAULT_GET: u8 = 4;
}

mod attribute {
    pub(super) const NAME: u16 = 1;
    pub(super) const L3_PROTOCOL: u16 = 2;
    pub(super) const L4_PROTOCOL: u16 = 3;
    pub(super) const DATA: u16 = 4;
    pub(super) const USE: u16 = 5;
}

/// A policy, or the defaults of a protocol, which have no name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// Its name, at most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Address family of the network protocol: `AF_INET` or `AF_INET6`.
    pub l3_protocol: u16,
    /// Number of the transport protocol; 255 stands for all that the kernel does not know.
    pub l4_protocol: u8,
    /// Seconds by number of the state, which counts from 1 (see [`states`]).
    pub seconds: BTreeMap<u16, u32>,
    /// References to it: one of the kernel's list, one of each rule. Known for policies alone, not for defaults.
    pub uses: Option<u32>,
}

/// Names of a protocol's states; the first one has the number 1. Empty for a protocol whose states have no names.
#[must_use]
pub const fn states(l4_protocol: u8) -> &'static [&'static str] {
    match l4_protocol {
        6 => &[
            "SYN_SENT",
            "SYN_RECV",
            "ESTABLISHED",
            "FIN_WAIT",
            "CLOSE_WAIT",
            "LAST_ACK",
            "TIME_WAIT",
            "CLOSE",
            "SYN_SENT2",
            "RETRANS",
            "UNACKNOWLEDGED",
        ],
        17 | 47 | 136 => &["UNREPLIED", "REPLIED"],
        // The eighth, HEARTBEAT_SENT, is not settable with the original either.
        132 => &[
            "CLOSED",
            "COOKIE_WAIT",
            "COOKIE_ECHOED",
            "ESTABLISHED",
            "SHUTDOWN_SENT",
            "SHUTDOWN_RECD",
            "SHUTDOWN_ACK_SENT",
        ],
        33 => &["REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT"],
        1 | 58 | 255 => &["TIMEOUT"],
        _ => &[],
    }
}

impl TimeoutPolicy {
    /// The policies of an answer to request number `seq`: any bytes give some, none or an error.
    ///
    /// # Errors
    /// What the answer ends with, or `InvalidData` if it is malformed.
    pub fn of_answer(bytes: &[u8], seq: u32) -> io::Result<Vec<Self>> {
        let mut answer = Vec::new();
        super::decode(bytes, seq, SUBSYSTEM, &mut answer)?;
        Ok(answer.iter().filter_map(Self::decode).collect())
    }

    /// The object as the kernel sent it, or nothing if it is about no protocol.
    pub(super) fn decode(answer: &Attributes) -> Option<Self> {
        let l4_protocol = answer.u8(attribute::L4_PROTOCOL)?;
        let data = answer.nested(attribute::DATA).unwrap_or_default();
        let numbers = 1..=states(l4_protocol).len() as u16;
        Some(Self {
            name: answer.text(attribute::NAME).unwrap_or_default(),
            l3_protocol: answer.u16(attribute::L3_PROTOCOL)?,
            l4_protocol,
            seconds: numbers.filter_map(|n| data.u32(n).map(|seconds| (n, seconds))).collect(),
            uses: answer.u32(attribute::USE),
        })
    }

    /// Protocols and states. The kernel takes a policy without any state for a malformed one.
    fn encode(&self) -> Vec<DefaultNla> {
        let mut list = protocols(self.l3_protocol, self.l4_protocol);
        if !self.seconds.is_empty() {
            let data: Vec<_> = self.seconds.iter().map(|(n, s)| attributes::u32(*n, *s)).collect();
            list.push(attributes::nest(attribute::DATA, &data));
        }
        list
    }
}

fn protocols(l3: u16, l4: u8) -> Vec<DefaultNla> {
    let l3 = attributes::u16(attribute::L3_PROTOCOL, l3);
    vec![l3, attributes::u8(attribute::L4_PROTOCOL, l4)]
}

fn request(message: u8, mode: Mode, attributes: Vec<DefaultNla>) -> Request {
    Request { subsystem: SUBSYSTEM, message, resource: 0, family: 0, mode, attributes }
}

/// The request that adds a policy.
pub(super) fn adding(policy: &TimeoutPolicy) -> Request {
    let name = attributes::text(attribute::NAME, &policy.name);
    request(message::NEW, Mode::Create, [vec![name], policy.encode()].concat())
}

/// Every function fails as the kernel refuses, with the errno it gives.
impl Client {
    /// Adds a policy. States that it does not name get the namespace's defaults of that moment.
    ///
    /// # Errors
    /// `EBUSY` if there is one of that name, `EOPNOTSUPP` if the kernel does not track the protocol.
    pub fn add_timeout(&mut self, policy: &TimeoutPolicy) -> io::Result<()> {
        self.ask(adding(policy)).map(drop)
    }

    /// All policies of the namespace, in the order in which they were added.
    ///
    /// # Errors
    /// `EINVAL` if the kernel has no timeout policies.
    pub fn timeouts(&mut self) -> io::Result<Vec<TimeoutPolicy>> {
        let answer = self.ask(request(message::GET, Mode::Dump, Vec::new()))?;
        Ok(answer.iter().filter_map(TimeoutPolicy::decode).collect())
    }

    /// The policy of a name.
    ///
    /// # Errors
    /// `ENOENT` if there is none.
    pub fn timeout(&mut self, name: &str) -> io::Result<Vec<TimeoutPolicy>> {
        let name = vec![attributes::text(attribute::NAME, name)];
        let answer = self.ask(request(message::GET, Mode::Ask, name))?;
        Ok(answer.iter().filter_map(TimeoutPolicy::decode).collect())
    }

    /// Deletes the policy of a name, or all that no rule uses.
    ///
    /// # Errors
    /// `ENOENT` if there is none of that name, `EBUSY` if a rule uses it.
    pub fn delete_timeout(&mut self, name: Option<&str>) -> io::Result<()> {
        let name = name.map(|name| attributes::text(attribute::NAME, name));
        self.ask(request(message::DELETE, Mode::Ask, name.into_iter().collect())).map(drop)
    }

    /// Changes defaults of the namespace, those of the states that are named.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the kernel does not track the protocol.
    pub fn set_default_timeout(&mut self, policy: &TimeoutPolicy) -> io::Result<()> {
        self.ask(request(message::DEFAULT_SET, Mode::Ask, policy.encode())).map(drop)
    }

    /// The namespace's defaults of a protocol.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the kernel does not track it.
    pub fn default_timeout(&mut self, l3: u16, l4: u8) -> io::Result<Vec<TimeoutPolicy>> {
        let answer = self.ask(request(message::DEFAULT_GET, Mode::Ask, protocols(l3, l4)))?;
        Ok(answer.iter().filter_map(TimeoutPolicy::decode).collect())
    }
}
