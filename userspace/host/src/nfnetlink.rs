//! Objects that people give to the kernel's connection tracking: timeout policies, helpers in user space, and the
//! queues in which it shows these packets; and which functions and nftables objects there are beside it.
//!
//! The messages are those of `netlink-packet-core` and `netlink-packet-netfilter`, which carry these subsystems as
//! attributes without a type; the modules here type them. It is a cold path: one socket, one request at a time, and
//! the whole answer in memory before the caller sees it.
//!
//! ```text
//!  timeout, helper, queue --Request--> Client --bytes--> kernel
//!                         <--Answer--         <--bytes--
//! ```

mod attributes;
pub mod timeout;
pub mod helper;
pub mod hook;
pub mod nftables;
pub mod queue;

use crate::netlink::Socket;
use attributes::Attributes;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    NetfilterSubsystem,
};
use std::io;

/// The kernel fills an answer up to 32 KiB when the reader offers that much. A packet of a queue may come before it: up
/// to 64 KiB, and its flow.
const ANSWER_BYTES: usize = 72 << 10;
/// Length of a message's header (`NLMSG_HDRLEN`).
const HEADER_BYTES: usize = 16;

/// A socket for requests.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    seq: u32,
    /// Packets that came before an answer, from queues that were taken.
    packets: Vec<Vec<u8>>,
}

/// How a request treats the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Name one object, or change it: one answer at most, then an acknowledgement.
    Ask,
    /// Set the object, or make a new one.
    Create,
    /// Show all.
    Dump,
}

/// One request.
#[derive(Clone, Debug)]
struct Request {
    /// Number of the subsystem (`NFNL_SUBSYS_*`).
    subsystem: u8,
    /// Number of the message within it.
    message: u8,
    /// Number of what it is about, where the header says that: a queue.
    resource: u16,
    /// `NFPROTO_*`: which protocol family's objects it is about; 0 for all.
    family: u8,
    mode: Mode,
    attributes: Vec<DefaultNla>,
}

impl Client {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Self> {
        Ok(Self::of(Socket::for_requests()?))
    }

    /// A client that asks through this socket.
    #[must_use]
    pub const fn of(socket: Socket) -> Self {
        Self { socket, seq: 0, packets: Vec::new() }
    }

    /// The socket, and the packets that have come already from queues that were taken.
    #[must_use]
    pub fn into_parts(self) -> (Socket, Vec<Vec<u8>>) {
        (self.socket, self.packets)
    }

    /// Sends a request and returns the objects of its answer.
    fn ask(&mut self, request: Request) -> io::Result<Vec<Attributes>> {
        self.seq += 1;
        let subsystem = request.subsystem;
        self.socket.send(&encode(request, self.seq))?;
        let mut buffer = vec![0; ANSWER_BYTES];
        let mut objects = Vec::new();
        loop {
            let got = self.socket.receive(&mut buffer, None)?;
            if queue::is_packet(&buffer[..got]) {
                self.packets.push(buffer[..got].to_vec());
            } else if decode(&buffer[..got], self.seq, subsystem, &mut objects)? {
                return Ok(objects);
            }
        }
    }
}

/// The bytes of a request.
fn encode(request: Request, seq: u32) -> Vec<u8> {
    let Request { subsystem, message, resource, family, mode, attributes } = request;
    let mut header = NetlinkHeader::default();
    header.sequence_number = seq;
    header.flags = NLM_F_REQUEST
        | match mode {
            Mode::Ask => NLM_F_ACK,
            Mode::Create => NLM_F_ACK | NLM_F_CREATE,
            Mode::Dump => NLM_F_DUMP,
        };
    let inner = NetfilterMessageInner::Other {
        subsys: NetfilterSubsystem::Other(subsystem),
        message_type: message,
        attributes,
    };
    let about = NetfilterHeader::new(NetfilterProtoFamily::from(family), 0, resource);
    let payload = NetlinkPayload::from(NetfilterMessage::new(about, inner));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Adds the objects of a datagram to `objects`; whether the answer ends with it. Messages of other requests are passed
/// over.
fn decode(
    mut bytes: &[u8],
    seq: u32,
    subsystem: u8,
    objects: &mut Vec<Attributes>,
) -> io::Result<bool> {
    while bytes.len() >= HEADER_BYTES {
        let header = NetlinkBuffer::new(bytes);
        let len = header.length() as usize;
        if len < HEADER_BYTES || len > bytes.len() {
            return Err(unreadable("a message that is cut off"));
        }
        let kind = header.message_type();
        let is_ours = header.sequence_number() == seq;
        let is_object = kind >> 8 == u16::from(subsystem);
        if is_ours && (is_object || matches!(kind, NLMSG_DONE | NLMSG_ERROR)) {
            let message = NetlinkMessage::<NetfilterMessage>::deserialize(&bytes[..len]);
            match message.map_err(unreadable)?.payload {
                NetlinkPayload::InnerMessage(message) => objects.extend(object(message)),
                NetlinkPayload::Error(error) => return outcome(error.raw_code()),
                NetlinkPayload::Done(done) => return outcome(done.code),
                _ => {}
            }
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn object(message: NetfilterMessage) -> Option<Attributes> {
    match message.inner {
        NetfilterMessageInner::Other { attributes, .. }
        | NetfilterMessageInner::NfTables(NfTablesMessage::NewFlowTable(attributes)) => {
            Some(Attributes::from(attributes))
        }
        _ => None,
    }
}

/// Whether a request came to its end, by the code at the end: 0, or a negative errno.
fn outcome(code: i32) -> io::Result<bool> {
    if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(code.saturating_neg())) }
}

fn unreadable(cause: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unreadable answer: {cause}"))
}

#[cfg(test)]
mod tests;
