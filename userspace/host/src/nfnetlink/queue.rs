//! Configuration of packet queues (`nfnetlink_queue`), in which the kernel shows packets to a helper. Numbers are those
//! of `include/uapi/linux/netfilter/nfnetlink_queue.h`. Packets and verdicts are a hot path and not for this module.

use super::attributes;
use super::{Client, Mode, Request};
use ctnetlink::Messages;
use netlink_packet_core::DefaultNla;
use std::io;
use wire::queue::PacketView;

/// `NFNL_SUBSYS_QUEUE`.
pub(super) const SUBSYSTEM: u8 = 3;
/// `NFQNL_MSG_CONFIG`.
const CONFIG: u8 = 2;

mod attribute {
    pub(super) const COMMAND: u16 = 1;
    pub(super) const PARAMETERS: u16 = 2;
    pub(super) const LENGTH_MAX: u16 = 3;
    pub(super) const MASK: u16 = 4;
    pub(super) const FLAGS: u16 = 5;
}

/// `NFQNL_CFG_CMD_BIND`.
const BIND: u8 = 1;
/// Whole packets: as much as an attribute can hold, and `NFQNL_COPY_PACKET`.
const WHOLE_PACKETS: [u8; 5] = [0, 0, 0xff, 0xff, 2];
/// `NFQA_CFG_F_CONNTRACK`: each packet with its flow.
const WITH_FLOWS: u32 = 2;

/// Whether a datagram is a packet: the kernel sends each alone.
pub(super) fn is_packet(datagram: &[u8]) -> bool {
    Messages::new(datagram)
        .next()
        .is_some_and(|raw| raw.is_ok_and(|raw| PacketView::is_packet(&raw.header)))
}

fn request(queue: u16, attributes: Vec<DefaultNla>) -> Request {
    Request {
        subsystem: SUBSYSTEM,
        message: CONFIG,
        resource: queue,
        family: 0,
        mode: Mode::Ask,
        attributes,
    }
}

/// The request that makes a queue, which belongs to the socket that sends it.
pub(super) fn binding(queue: u16) -> Request {
    // Since 3.8 the kernel ignores the family.
    let command = DefaultNla::new(attribute::COMMAND, vec![BIND, 0, 0, libc::AF_INET as u8]);
    request(queue, vec![command])
}

/// The request that says what the queue shows.
pub(super) fn setting(queue: u16, len_max: u32) -> Request {
    let attributes = vec![
        DefaultNla::new(attribute::PARAMETERS, WHOLE_PACKETS.into()),
        attributes::u32(attribute::FLAGS, WITH_FLOWS),
        attributes::u32(attribute::MASK, u32::MAX),
        attributes::u32(attribute::LENGTH_MAX, len_max),
    ];
    request(queue, attributes)
}

impl Client {
    /// Takes a queue: from now on its packets wait for this socket. They are whole and come with their flows; more than
    /// `len_max` do not wait. The queue goes with the socket; packets that come before the client does are in
    /// [`Client::into_parts`].
    ///
    /// # Errors
    /// `EPERM` if another program has it, `EOPNOTSUPP` if the kernel cannot show flows with packets (it was built
    /// without `NETFILTER_NETLINK_GLUE_CT`).
    pub fn take_queue(&mut self, queue: u16, len_max: u32) -> io::Result<()> {
        self.ask(binding(queue))?;
        self.ask(setting(queue, len_max)).map(drop)
    }
}
