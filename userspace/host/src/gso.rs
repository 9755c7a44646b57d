//! Datagrams that go out together: of one length, but for the last, one behind the other.
//!
//! ```text
//!   engine --datagram--> +------+------+------+----+---------+
//!                        | 1400 | 1400 | 1400 | 96 |  1456   |
//!                        +------+------+------+----+---------+
//!                        |<------- batch --------->| longer: begins the next one
//! ```
//!
//! The kernel takes a batch with one system call and sends it through the network stack as one packet, which is cut
//! where it leaves (`UDP_SEGMENT`, udp(7)): most of what a datagram costs is paid once for each batch.

use std::ops::Range;

/// Bytes of a gso: the kernel takes what fits one datagram with the longest headers.
const BATCH_LEN_MAX: usize = 60_000;
/// Room for the longest datagram alone.
const BUFFER_LEN: usize = 1 << 16;

/// A batch of datagrams to be sent with one system call.
#[doc(alias = "UDP_SEGMENT")]
#[derive(Debug)]
pub(crate) struct GsoBatch {
    bytes: Vec<u8>,
    /// Where the batch began; its pieces are counted from here.
    origin: usize,
    unsent: Range<usize>,
    /// Length of all pieces but the last.
    piece: usize,
    /// Length of the datagram behind the batch, which is longer than its pieces; 0 if there is none.
    next: usize,
}

impl GsoBatch {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BUFFER_LEN], origin: 0, unsent: 0..0, piece: 0, next: 0 }
    }

    /// Whether everything has been sent.
    pub(crate) const fn is_empty(&self) -> bool {
        self.unsent.start >= self.unsent.end && self.next == 0
    }

    /// Makes a batch of at most `most` datagrams, unless one is on its way; how many that took. `pull` writes a
    /// datagram into the bytes it is given, `room` of them, and says how long it is.
    pub(crate) fn fill(
        &mut self,
        room: usize,
        most: usize,
        mut pull: impl FnMut(&mut [u8]) -> Option<usize>,
    ) -> usize {
        if !self.unsent.is_empty() {
            return 0;
        }
        let (mut pulled, begun) = (0, std::mem::take(&mut self.next));
        if begun > 0 {
            self.bytes.copy_within(self.unsent.end..self.unsent.end + begun, 0);
            self.piece = begun;
        } else {
            let Some(len) = pull(&mut self.bytes[..room.min(BUFFER_LEN)]) else { return 0 };
            (self.piece, pulled) = (len, 1);
        }
        (self.origin, self.unsent) = (0, 0..self.piece);
        while pulled < most && self.unsent.end + room <= BATCH_LEN_MAX {
            let end = self.unsent.end;
            let Some(len) = pull(&mut self.bytes[end..end + room]) else { break };
            pulled += 1;
            if len > self.piece {
                self.next = len;
                break;
            }
            self.unsent.end += len;
            if len < self.piece {
                break;
            }
        }
        pulled
    }

    /// What to send next, and the length of all its datagrams but the last. After a part of a datagram was sent, that
    /// is the rest of it alone.
    pub(crate) fn head(&self) -> (&[u8], usize) {
        let Range { start, end } = self.unsent.clone();
        let into = (start - self.origin).checked_rem(self.piece).unwrap_or(0);
        let (end, piece) = match into {
            0 => (end, self.piece),
            into => (end.min(start + self.piece - into), self.piece - into),
        };
        (&self.bytes[start..end], piece)
    }

    /// The first `len` bytes of the head are dealt with.
    pub(crate) fn advance(&mut self, len: usize) {
        self.unsent.start = self.unsent.end.min(self.unsent.start + len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends datagrams of these lengths, each filled with its number; what went out, cut as the kernel would.
    fn sent(lens: &[usize], most: usize, step: impl Fn(usize) -> usize) -> Vec<(u8, usize)> {
        let (mut batch, mut out, mut from) = (GsoBatch::new(), Vec::new(), 0);
        let mut waiting = lens.iter().zip(0_u8..);
        loop {
            batch.fill(1472, most, |room| {
                let (&len, number) = waiting.next()?;
                room[..len].fill(number);
                Some(len)
            });
            if batch.is_empty() {
                return out;
            }
            let (head, piece) = batch.head();
            let take = step(piece).min(head.len());
            // What is sent of a head is whole pieces of it, or a part of one.
            let pieces = head[..if take < piece { take } else { head.len() }].chunks(piece);
            let pieces: Vec<_> = pieces.map(|piece| (piece[0], piece.len())).collect();
            assert!(head.chunks(piece).all(|piece| piece.iter().all(|&b| b == piece[0])));
            from += 1;
            assert!(from < 10_000, "it ends");
            batch.advance(pieces.iter().map(|piece| piece.1).sum());
            out.extend(pieces);
        }
    }

    #[test]
    fn every_datagram_goes_out_once_in_order_and_in_its_own_piece() {
        let lens: Vec<usize> = (0..200).map(|n| [1400, 1400, 1400, 96, 1456, 60][n % 6]).collect();
        let wanted: Vec<_> = lens.iter().zip(0_u8..).map(|(&len, number)| (number, len)).collect();
        for most in [1, 2, 40] {
            assert_eq!(sent(&lens, most, |piece| piece), wanted, "{most}");
        }
        assert_eq!(sent(&[1472; 100], 64, |piece| piece).len(), 100);
    }

    #[test]
    fn a_datagram_sent_in_parts_does_not_shift_those_behind_it() {
        let parts = sent(&[1400, 1400, 96], 40, |_| 500);
        let wanted = [(0, 500), (0, 500), (0, 400), (1, 500), (1, 500), (1, 400), (2, 96)];
        assert_eq!(parts, wanted);
    }
}
