//! Failures as records of the feed: the tuple stands where that of a flow does, the reason in its header, what else is
//! known in the tail.

use super::{Head, Op, RECORD_LEN, Record, encode};
use alloc::vec::Vec;
use common::failure::Reason;
use ctnetlink::flow::Known;
use ctnetlink::{Flow, Tuple};

/// Types of tail values.
mod tail {
    pub(super) const TEXT: u8 = 6;
    pub(super) const BY: u8 = 7;
    pub(super) const COUNT: u8 = 8;
}

/// A flow or packet that the kernel refused, dropped or evicted; or how many, where no more is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The reason of the failure.
    pub reason: Reason,
    /// The packet, or the flow; [`Tuple::UNKNOWN`] where only the kernel's counter reports the failure.
    pub tuple: Tuple,
    /// The zone, where there is a flow.
    pub zone: Option<u16>,
    /// The other flow of a clash; [`Tuple::UNKNOWN`] where there is none.
    pub by: Tuple,
    /// The kernel's words.
    pub text: &'a [u8],
    /// How many failures: 1 where the record has a tuple.
    pub count: u64,
}

impl Failure<'_> {
    /// How certain the record is: seen by a program, or derived from a counter alone.
    #[must_use]
    pub const fn certainty(&self) -> &'static str {
        if self.tuple.is_known() { "exact" } else { "counter" }
    }

    /// As a record with its tail.
    #[must_use]
    pub fn encode(&self, seq: u64, time_ns: u64) -> Vec<u8> {
        let mut tail = Vec::new();
        let mut put = |kind: u8, parts: &[&[u8]]| {
            let len = parts.iter().map(|part| part.len()).sum::<usize>();
            if let Ok(len) = u8::try_from(len) {
                tail.extend_from_slice(&[kind, len]);
                parts.iter().for_each(|part| tail.extend_from_slice(part));
            }
        };
        if !self.text.is_empty() {
            put(tail::TEXT, &[self.text]);
        }
        if self.by.is_known() {
            let Tuple { src, dst, l4, family, proto } = &self.by;
            put(tail::BY, &[src, dst, l4, &[*family, *proto]]);
        }
        if self.count != 1 {
            put(tail::COUNT, &[&self.count.to_le_bytes()]);
        }
        let mut flow = Flow { orig: self.tuple, ..Flow::UNKNOWN };
        if let Some(zone) = self.zone {
            (flow.zone, flow.known) = (zone, Known::ZONE);
        }
        let reason = self.reason as u8;
        let head = Head { seq, time_ns, op: Op::Failure, reason, ..Head::default() };
        let mut out = encode(&head, &flow, tail.len() as u16).to_vec();
        out.extend_from_slice(&tail);
        out
    }
}

impl<'a> Record<'a> {
    /// The failure that the record reports; `None` if the record is of another kind, or the reason of a later version.
    #[must_use]
    pub fn failure(&self) -> Option<Failure<'a>> {
        let reason = Reason::from_number(self.head.reason)?;
        if self.head.op != Op::Failure {
            return None;
        }
        let bytes: &[u8; RECORD_LEN] = self.bytes;
        let flow = Record { tail: &[], ..*self }.flow();
        let mut failure = Failure {
            reason,
            tuple: flow.orig,
            zone: flow.known.contains(Known::ZONE).then_some(flow.zone),
            by: Tuple::UNKNOWN,
            text: &bytes[..0],
            count: 1,
        };
        let mut rest = self.tail;
        while let [kind, len, more @ ..] = rest {
            let Some((value, more)) = more.split_at_checked(usize::from(*len)) else { break };
            rest = more;
            failure.add(*kind, value);
        }
        Some(failure)
    }
}

impl<'a> Failure<'a> {
    fn add(&mut self, kind: u8, value: &'a [u8]) {
        match kind {
            tail::TEXT => self.text = value,
            tail::BY => {
                if let Some((&src, rest)) = value.split_first_chunk()
                    && let Some((&dst, rest)) = rest.split_first_chunk()
                    && let Some((&l4, &[family, proto])) = rest.split_first_chunk()
                {
                    self.by = Tuple { src, dst, l4, family, proto };
                }
            }
            tail::COUNT => {
                if let Some(count) = value.first_chunk() {
                    self.count = u64::from_le_bytes(*count);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::tuple::ipproto;

    #[test]
    fn a_failure_comes_back_as_it_went() {
        let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::UDP).with_ports(4000, 53);
        let whole = Failure {
            reason: Reason::InsertFailed,
            tuple,
            zone: Some(5),
            by: tuple.inverted(),
            text: b"invalid new",
            count: 1,
        };
        let counted = Failure {
            reason: Reason::Invalid,
            tuple: Tuple::UNKNOWN,
            zone: None,
            by: Tuple::UNKNOWN,
            text: b"",
            count: 18,
        };
        for (failure, certainty) in [(whole, "exact"), (counted, "counter")] {
            let bytes = failure.encode(9, 17);
            let (record, rest) = Record::decode(&bytes).unwrap();
            assert_eq!((record.head.seq, record.head.time_ns, rest.len()), (9, 17, 0));
            assert_eq!(record.failure(), Some(failure));
            assert_eq!(failure.certainty(), certainty);
            for len in 0..bytes.len() {
                assert!(Record::decode(&bytes[..len]).is_err(), "{len} bytes");
            }
        }
    }

    #[test]
    fn other_records_and_later_reasons_are_no_failures() {
        let head = Head { op: Op::New, reason: 1, ..Head::default() };
        let bytes = encode(&head, &Flow::UNKNOWN, 0);
        assert_eq!(Record::decode(&bytes).unwrap().0.failure(), None);
        let head = Head { op: Op::Failure, reason: 200, ..Head::default() };
        let bytes = encode(&head, &Flow::UNKNOWN, 0);
        assert_eq!(Record::decode(&bytes).unwrap().0.failure(), None);
    }
}
