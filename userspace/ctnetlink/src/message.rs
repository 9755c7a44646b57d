//! Messages of all kinds: flows, expectations, answers.

use crate::DecodeError;
use crate::attribute::Attributes;
use crate::frame::{HEADER_LEN, Header, RawMessage};
use crate::uapi::{control, ct, exp, extack, flag, subsystem};
use crate::view::{ExpectView, FlowView};

/// What happened to a flow or an expectation.
///
/// Not `non_exhaustive`: the kernel has one multicast group for each of these three, and a program that passed over a
/// fourth would keep a wrong table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The object began: `IPCTNL_MSG_CT_NEW` with `NLM_F_CREATE` or `NLM_F_EXCL`.
    New,
    /// The object changed; or it exists, in the answer to a dump or a read, which looks the same: `IPCTNL_MSG_CT_NEW`
    /// without those flags.
    Update,
    /// The object ended: `IPCTNL_MSG_CT_DELETE`.
    Destroy,
}

/// A decoded message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Message<'a> {
    /// A flow.
    Flow {
        /// What happened to it.
        event: Change,
        /// Its attributes.
        flow: FlowView<'a>,
    },
    /// An expectation.
    Expect {
        /// What happened to it.
        event: Change,
        /// Its attributes.
        expect: ExpectView<'a>,
    },
    /// `NLMSG_ERROR`: a request failed, or, with errno 0, succeeded.
    Error(Answer<'a>),
    /// `NLMSG_DONE`: a dump is complete, or, with an errno, broke off. It is inconsistent if [`flag::DUMP_INTR`] is
    /// set in the header of this or of an earlier message.
    Done(Answer<'a>),
    /// `NLMSG_NOOP`.
    Noop,
    /// `NLMSG_OVERRUN`: data was lost. (A full socket buffer shows as `ENOBUFS` from `recv`, not as this.)
    Overrun,
    /// Any other message, statistics among them; the payload is in the raw message.
    Other {
        /// A number of [`crate::uapi::subsystem`] or one not listed there.
        subsystem: u8,
        /// The message within the subsystem.
        kind: u8,
    },
}

/// How a request ended (`struct nlmsgerr`, `linux/netlink.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<'a> {
    /// Positive errno; 0 is success.
    pub errno: i32,
    /// Header of the request, if the kernel quotes it.
    pub request: Option<Header>,
    /// `NLMSGERR_ATTR_MSG`: the reason in words; needs `NETLINK_EXT_ACK` on the socket.
    pub text: Option<&'a str>,
    /// `NLMSGERR_ATTR_OFFS`: offset in the request of the attribute that was refused.
    pub offset: Option<u32>,
}

/// Decodes one message. An unknown type is no error but [`Message::Other`].
///
/// # Errors
/// When a header or an attribute is cut short or has the wrong length, or a flow or an expectation has no tuple.
/// Offsets count from the start of the datagram the message came from.
pub fn decode<'a>(raw: &RawMessage<'a>) -> Result<Message<'a>, DecodeError> {
    if let Some(event) = flow_event(raw) {
        let mut flow = FlowView::default();
        read_flow(raw, &mut flow)?;
        return Ok(Message::Flow { event, flow });
    }
    let header = &raw.header;
    let parsed = match (header.subsystem(), header.message()) {
        (subsystem::CTNETLINK_EXP, message @ (exp::NEW | exp::DELETE)) => {
            let event = event_kind(header, message == exp::DELETE);
            ExpectView::parse(raw.payload).map(|expect| Message::Expect { event, expect })
        }
        (0, _) => control_message(raw),
        (subsystem, kind) => Ok(Message::Other { subsystem, kind }),
    };
    parsed.map_err(|error| error.shifted(raw.at + HEADER_LEN))
}

/// What a message says has happened to a flow; `None` if it is about something else. Its flow is read by
/// [`read_flow`].
#[must_use]
#[inline]
pub const fn flow_event(raw: &RawMessage<'_>) -> Option<Change> {
    let header = &raw.header;
    match (header.subsystem(), header.message()) {
        (subsystem::CTNETLINK, message @ (ct::NEW | ct::DELETE)) => {
            Some(event_kind(header, message == ct::DELETE))
        }
        _ => None,
    }
}

/// Reads the flow of a message over a view that is there already; see [`FlowView::read`].
///
/// # Errors
/// As [`decode`].
#[inline]
pub fn read_flow<'a>(raw: &RawMessage<'a>, view: &mut FlowView<'a>) -> Result<(), DecodeError> {
    view.read(raw.payload).map_err(|error| error.shifted(raw.at + HEADER_LEN))
}

/// `ctnetlink_conntrack_event` sets both flags for a new flow and none for a changed one; a dump sets only
/// [`flag::MULTI`] (kernel v6.12, `net/netfilter/nf_conntrack_netlink.c`).
const fn event_kind(header: &Header, destroyed: bool) -> Change {
    match (destroyed, header.flags & (flag::CREATE | flag::EXCL)) {
        (true, _) => Change::Destroy,
        (false, 0) => Change::Update,
        (false, _) => Change::New,
    }
}

fn control_message<'a>(raw: &RawMessage<'a>) -> Result<Message<'a>, DecodeError> {
    Ok(match raw.header.kind {
        control::NOOP => Message::Noop,
        control::OVERRUN => Message::Overrun,
        control::ERROR => Message::Error(refusal(raw)?),
        control::DONE => {
            let mut answer = Answer { errno: errno(raw.payload)?, ..Answer::default() };
            remarks(&mut answer, raw, size_of::<i32>());
            Message::Done(answer)
        }
        kind => Message::Other { subsystem: 0, kind: kind.to_be_bytes()[1] },
    })
}

/// Reads `struct nlmsgerr`: errno, header of the request, and, unless capped, the rest of the request.
fn refusal<'a>(raw: &RawMessage<'a>) -> Result<Answer<'a>, DecodeError> {
    let mut answer = Answer { errno: errno(raw.payload)?, ..Answer::default() };
    let quoted = raw.payload.get(size_of::<i32>()..).and_then(|rest| rest.first_chunk());
    answer.request = quoted.map(Header::from_bytes);
    if let Some(request) = answer.request {
        let capped = raw.header.has(flag::CAPPED);
        let quoted_len = if capped { HEADER_LEN } else { request.len as usize };
        let from = size_of::<i32>().saturating_add(quoted_len).checked_next_multiple_of(4);
        remarks(&mut answer, raw, from.unwrap_or(usize::MAX));
    }
    Ok(answer)
}

/// Reads the extended acknowledgement. It is only a remark, so what is wrong with it is passed over.
fn remarks<'a>(answer: &mut Answer<'a>, raw: &RawMessage<'a>, from: usize) {
    let Some(bytes) = raw.payload.get(from..).filter(|_| raw.header.has(flag::ACK_TLVS)) else {
        return;
    };
    for attribute in Attributes::new(bytes, from).map_while(Result::ok) {
        match attribute.kind {
            extack::MSG => answer.text = core::str::from_utf8(attribute.text()).ok(),
            extack::OFFS => answer.offset = attribute.value.try_into().ok().map(u32::from_ne_bytes),
            _ => {}
        }
    }
}

/// The kernel counts errors downwards from zero; here they are positive.
fn errno(payload: &[u8]) -> Result<i32, DecodeError> {
    let bytes = payload.first_chunk();
    let bytes = bytes.ok_or_else(|| DecodeError::new(payload.len(), "answer without errno"))?;
    Ok(i32::from_ne_bytes(*bytes).saturating_neg())
}

#[cfg(test)]
mod tests;
