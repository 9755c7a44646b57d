//! What nftables holds in this network namespace, as far as connection tracking is concerned. Numbers are those of
//! `include/uapi/linux/netfilter/nf_tables.h`.

use super::attributes::{self, Attributes};
use super::{Client, Mode, Request};
use netlink_packet_core::DefaultNla;
use std::io;

/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const SUBSYSTEM: u8 = 10;
/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;
/// `NFT_FLOWTABLE_COUNTER`.
const COUNTER: u32 = 2;
/// `NFTA_DEVICE_NAME`.
const DEVICE_NAME: u16 = 1;

/// `NFPROTO_INET`, of tables for both families.
pub const INET: u8 = 1;
/// `NFPROTO_IPV4`.
pub const IPV4: u8 = 2;
/// `NFPROTO_IPV6`.
pub const IPV6: u8 = 10;

mod message {
    pub(super) const GET_TABLE: u8 = 1;
    pub(super) const GET_FLOWTABLE: u8 = 23;
}

mod attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 2;
    pub(super) const HOOK: u16 = 3;
    pub(super) const FLAGS: u16 = 7;
}

/// Within `HOOK`.
mod hook {
    pub(super) const PRIORITY: u16 = 2;
    pub(super) const DEVICES: u16 = 3;
}

/// A flowtable: flows in it pass the rules, and conntrack, by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flowtable {
    /// `NFPROTO_*` of its table.
    pub family: u8,
    /// Name of its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Priority of its hook at ingress.
    pub priority: i32,
    /// Names of the interfaces whose packets it takes.
    pub devices: Vec<String>,
    /// Whether packets that it takes are counted for their flows.
    pub counts: bool,
}

/// The request for flowtables of a family.
pub(super) fn listing(family: u8) -> Request {
    let (message, mode) = (message::GET_FLOWTABLE, Mode::Dump);
    Request { subsystem: SUBSYSTEM, message, resource: 0, family, mode, attributes: Vec::new() }
}

/// The request for a table.
pub(super) fn asking(family: u8, table: &str) -> Request {
    let attributes: Vec<DefaultNla> = vec![attributes::text(TABLE_NAME, table)];
    let (message, mode) = (message::GET_TABLE, Mode::Ask);
    Request { subsystem: SUBSYSTEM, message, resource: 0, family, mode, attributes }
}

impl Flowtable {
    /// The object as the kernel sent it, or nothing if it lacks a name.
    pub(super) fn decode(family: u8, answer: &Attributes) -> Option<Self> {
        let at = answer.nested(attribute::HOOK).unwrap_or_default();
        let devices = at.nested(hook::DEVICES).unwrap_or_default();
        Some(Self {
            family,
            table: answer.text(attribute::TABLE)?,
            name: answer.text(attribute::NAME)?,
            priority: at.u32(hook::PRIORITY).unwrap_or(0).cast_signed(),
            devices: devices.texts(DEVICE_NAME),
            counts: answer.u32(attribute::FLAGS).unwrap_or(0) & COUNTER != 0,
        })
    }
}

impl Client {
    /// All flowtables of this network namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`; `EINVAL` or `EOPNOTSUPP` where the kernel has none.
    pub fn flowtables(&mut self) -> io::Result<Vec<Flowtable>> {
        let mut found = Vec::new();
        for family in [INET, IPV4, IPV6] {
            let answer = self.ask(listing(family))?;
            found.extend(answer.iter().filter_map(|answer| Flowtable::decode(family, answer)));
        }
        Ok(found)
    }

    /// Whether there is a table of this name.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`; `EINVAL` or `EOPNOTSUPP` where the kernel has no nftables.
    pub fn has_table(&mut self, family: u8, name: &str) -> io::Result<bool> {
        match self.ask(asking(family, name)) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
