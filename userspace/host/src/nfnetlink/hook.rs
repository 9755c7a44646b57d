//! Lists the functions that packets of this network namespace meet (`nfnetlink_hook`, Linux 5.14). Numbers are those of
//! `include/uapi/linux/netfilter/nfnetlink_hook.h`.

use super::attributes::{self, Attributes};
use super::{Client, Mode, Request};
use std::io;

/// `NFNL_SUBSYS_HOOK`.
pub(super) const SUBSYSTEM: u8 = 12;
/// `NFNL_MSG_HOOK_GET`.
const GET: u8 = 0;
/// `NF_INET_PRE_ROUTING`, where conntrack looks for a packet's flow first.
const PRE_ROUTING: u32 = 0;
/// `NF_IP_PRI_CONNTRACK`, and `NF_IP6_PRI_CONNTRACK`.
const PRIORITY_CONNTRACK: i32 = -200;

mod attribute {
    pub(super) const HOOK: u16 = 1;
    pub(super) const PRIORITY: u16 = 2;
    pub(super) const FUNCTION: u16 = 4;
}

/// The request for the functions of `family` (`NFPROTO_*`) at PRE_ROUTING.
pub(super) fn listing(family: u8) -> Request {
    let attributes = vec![attributes::u32(attribute::HOOK, PRE_ROUTING)];
    Request {
        subsystem: SUBSYSTEM,
        message: GET,
        resource: 0,
        family,
        mode: Mode::Dump,
        attributes,
    }
}

/// Whether this is conntrack's function: known by its name, or, where the kernel does not send names, by its priority.
pub(super) fn is_conntrack(answer: &Attributes) -> bool {
    match answer.text(attribute::FUNCTION) {
        Some(name) => name.contains("conntrack_in"),
        None => answer.u32(attribute::PRIORITY).map(u32::cast_signed) == Some(PRIORITY_CONNTRACK),
    }
}

impl Client {
    /// Whether packets of `family` (`NFPROTO_*`) meet conntrack in this network namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`; `EINVAL` or `EOPNOTSUPP` from a kernel that does not list hooks.
    pub fn tracks(&mut self, family: u8) -> io::Result<bool> {
        match self.ask(listing(family)) {
            Ok(functions) => Ok(functions.iter().any(is_conntrack)),
            // Nothing at all is at that hook.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
