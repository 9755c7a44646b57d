//! Packets that the kernel shows to a helper (NFQUEUE), and verdicts on them.
//!
//! Numbers are those of `include/uapi/linux/netfilter/nfnetlink_queue.h`. A packet comes with its flow where the queue
//! was set up for that; payload, private data and names stay in the datagram.
//!
//! ```text
//!  kernel --PACKET {id, hook, payload, flow}--> helper --VERDICT {id, payload?, flow?, expectation?}--> kernel
//! ```

mod flow;
pub mod uapi;

pub use flow::WatchedFlow;

use ctnetlink::attribute::{Attribute, put, put_be32, put_nest, put_text};
use ctnetlink::flow::HelperName;
use ctnetlink::frame::split_family;
use ctnetlink::request::{put_expectation, put_message};
use ctnetlink::uapi::{control, cta, help, subsystem};
use ctnetlink::{DecodeError, Expectation, Header, RawMessage, Writer};
use uapi as queue;

/// A packet in a datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketView<'a> {
    /// `nfgenmsg.nfgen_family`: `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Number of the queue.
    pub queue: u16,
    /// Number of the packet in its queue; a verdict names it.
    pub id: u32,
    /// EtherType (`NFQA_PACKET_HDR`).
    pub protocol: u16,
    /// `NF_INET_*`: the hook at which the packet waits.
    pub hook: u8,
    /// `NFQA_PAYLOAD`: the packet from its IP header on.
    pub payload: &'a [u8],
    /// `NFQA_CAP_LEN`: bytes of the whole packet; present when `payload` is cut.
    pub whole_len: Option<u32>,
    /// `NFQA_CT_INFO`: direction and state; see [`PacketView::is_reply`].
    pub flow_info: Option<u32>,
    /// `NFQA_CT`: the flow it belongs to.
    pub flow: Option<WatchedFlow<'a>>,
}

impl<'a> PacketView<'a> {
    /// Whether a message is a packet.
    #[must_use]
    pub const fn is_packet(header: &Header) -> bool {
        header.subsystem() == subsystem::QUEUE && header.message() == queue::message::PACKET
    }

    /// Reads a packet message. Unknown attributes are skipped.
    ///
    /// # Errors
    /// If there is no packet header: the packet has no number that a verdict could name. Offsets count from the start
    /// of the datagram.
    pub fn parse(raw: &RawMessage<'a>) -> Result<Self, DecodeError> {
        Self::of_payload(raw.payload).map_err(|error| error.shifted(raw.at + Header::LEN))
    }

    /// The number of the queue and of the packet, for a packet that [`PacketView::parse`] refuses for another reason.
    #[must_use]
    pub fn number(raw: &RawMessage<'_>) -> Option<(u16, u32)> {
        let (_, attributes) = split_family(raw.payload).ok()?;
        let header = attributes.map_while(Result::ok).find(|a| a.kind == queue::PACKET_HDR)?;
        Some((queue_number(raw.payload), packet_header(&header).ok()?.0))
    }

    fn of_payload(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let (family, attributes) = split_family(payload)?;
        let mut view = Self { family, queue: queue_number(payload), ..Self::default() };
        let mut has_number = false;
        for attribute in attributes {
            let a = attribute?;
            match a.kind {
                queue::PACKET_HDR => {
                    (view.id, view.protocol, view.hook) = packet_header(&a)?;
                    has_number = true;
                }
                queue::PAYLOAD => view.payload = a.value,
                queue::CAP_LEN => view.whole_len = Some(a.be32()?),
                queue::CT => view.flow = Some(WatchedFlow::of_nest(&a)?),
                queue::CT_INFO => view.flow_info = Some(a.be32()?),
                _ => {}
            }
        }
        if has_number {
            Ok(view)
        } else {
            Err(DecodeError::new(payload.len(), "packet without header"))
        }
    }

    /// Whether the packet goes in the reply direction of its flow (`IP_CT_DIR_REPLY`).
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.flow_info.is_some_and(|info| (queue::INFO_REPLY..queue::INFO_COUNT).contains(&info))
    }

    /// Whether the payload is not the whole packet.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.whole_len.is_some_and(|len| len as usize > self.payload.len())
    }
}

/// `nfgenmsg.res_id`; the caller has split a whole family header off.
fn queue_number(payload: &[u8]) -> u16 {
    payload.get(2..4).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b))
}

/// `struct nfqnl_msg_packet_hdr`: number, EtherType, hook.
fn packet_header(a: &Attribute<'_>) -> Result<(u32, u16, u8), DecodeError> {
    let [a0, a1, a2, a3, b0, b1, hook] = a.array("packet header is not 7 bytes long")?;
    Ok((u32::from_be_bytes([a0, a1, a2, a3]), u16::from_be_bytes([b0, b1]), hook))
}

/// A verdict that the kernel refused: it has not decided about the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictRefusal {
    /// Positive errno: `ENOENT` if there is no such packet.
    pub errno: i32,
    /// Number of the queue.
    pub queue: u16,
    /// Number of the packet.
    pub id: u32,
    /// Whether the verdict changed nothing.
    pub is_plain: bool,
}

impl VerdictRefusal {
    /// Reads an error message that quotes a verdict, as one does on a socket without `NETLINK_CAP_ACK`.
    #[must_use]
    pub fn parse(raw: &RawMessage<'_>) -> Option<Self> {
        let (errno, quoted) = raw.payload.split_first_chunk()?;
        let errno = i32::from_ne_bytes(*errno).saturating_neg();
        let (header, payload) = quoted.split_first_chunk()?;
        let header = Header::from_bytes(header);
        let is_verdict = header.subsystem() == subsystem::QUEUE
            && header.message() == queue::message::VERDICT
            && raw.header.kind == control::ERROR;
        if !is_verdict || errno <= 0 {
            return None;
        }
        let (_, mut attributes) = split_family(payload).ok()?;
        let first = attributes.next()?.ok().filter(|a| a.kind == queue::VERDICT_HDR)?;
        let id = u32::from_be_bytes(*first.value.last_chunk()?);
        let is_plain = !attributes.any(|a| a.is_ok_and(|a| a.kind == queue::CT));
        Some(Self { errno, queue: queue_number(payload), id, is_plain })
    }
}

/// What becomes of a packet, its flow, and what is expected of that flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Number of the queue.
    pub queue: u16,
    /// Number of the packet.
    pub id: u32,
    /// Dropped instead of accepted.
    pub drop: bool,
    /// The packet as it shall go on, from its IP header on; at most 65,531 bytes.
    pub payload: Option<&'a [u8]>,
    /// The flow's timeout, seconds.
    pub timeout_s: Option<u32>,
    /// Private data of the flow's helper, of exactly the length that the helper object says.
    pub private: Option<(HelperName, &'a [u8])>,
    /// A flow to expect. The kernel does not say whether it did.
    pub expectation: Option<&'a Expectation>,
}

impl Verdict<'_> {
    /// Appends the verdict as one message. The kernel answers only what it refuses, and then decides nothing.
    ///
    /// The kernel looks for an expectation, and at the sequence numbers of a packet that changes its length, only
    /// where the verdict has a flow attribute, which may be empty (`nfqnl_recv_verdict`, kernel v6.12
    /// `net/netfilter/nfnetlink_queue.c`).
    pub fn encode(&self, w: &mut Writer<'_>, seq: u32) {
        put_message(w, (subsystem::QUEUE, queue::message::VERDICT), self.queue, seq, |w| {
            let verdict = if self.drop { queue::DROP } else { queue::ACCEPT };
            let (verdict, id) = (verdict.to_be_bytes(), self.id.to_be_bytes());
            put(w, queue::VERDICT_HDR, [verdict, id].as_flattened());
            if let Some(payload) = self.payload {
                put(w, queue::PAYLOAD, payload);
            }
            let changed = self.timeout_s.is_some() || self.private.is_some();
            if changed || self.payload.is_some() || self.expectation.is_some() {
                put_nest(w, queue::CT, |w| self.put_flow(w));
            }
            if let Some(expectation) = self.expectation {
                put_nest(w, queue::EXP, |w| put_expectation(w, expectation));
            }
        });
    }

    fn put_flow(&self, w: &mut Writer<'_>) {
        if let Some(timeout_s) = self.timeout_s {
            put_be32(w, cta::TIMEOUT, timeout_s);
        }
        if let Some((name, data)) = &self.private {
            put_nest(w, cta::HELP, |w| {
                put_text(w, help::NAME, name.as_bytes());
                put(w, help::INFO, data);
            });
        }
    }
}

#[cfg(test)]
mod tests;
