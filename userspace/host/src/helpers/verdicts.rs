//! Verdicts, gathered and handed to the kernel in one buffer.

use crate::netlink::Socket;
use ctnetlink::Writer;
use wire::queue::Verdict;

/// Bytes from which on the buffer is handed over. With the longest verdict after that it fits the socket's default send
/// buffer.
const FULL: usize = 96 << 10;
/// A packet of 64 KiB, private data and an expectation.
const VERDICT_LEN_MAX: usize = 72 << 10;

/// Verdicts that were not handed over yet.
#[derive(Debug)]
pub(super) struct Verdicts {
    bytes: Vec<u8>,
    len: usize,
    /// Queue and number of their packets.
    packets: Vec<(u16, u32)>,
}

impl Verdicts {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; FULL + VERDICT_LEN_MAX], len: 0, packets: Vec::new() }
    }

    /// Adds one.
    pub(super) fn push(&mut self, verdict: &Verdict<'_>) {
        if !self.put(verdict) {
            // A verdict cannot be that long: what can be changed about a packet has a limit.
            let (queue, id) = (verdict.queue, verdict.id);
            let _ = self.put(&Verdict { queue, id, ..Verdict::default() });
        }
    }

    fn put(&mut self, verdict: &Verdict<'_>) -> bool {
        let mut writer = Writer::new(self.bytes.get_mut(self.len..).unwrap_or_default());
        verdict.encode(&mut writer, 0);
        let Ok(len) = writer.finish() else { return false };
        self.len += len;
        self.packets.push((verdict.queue, verdict.id));
        true
    }

    /// Whether there may be no room for one more.
    pub(super) const fn is_full(&self) -> bool {
        self.len >= FULL
    }

    /// What would be handed over.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Hands them over. If the kernel does not take the buffer, it gets a short verdict on each packet instead: they
    /// pass untouched.
    pub(super) fn flush(&mut self, socket: &Socket) {
        if self.len == 0 {
            return;
        }
        let sent = socket.send(&self.bytes[..self.len]);
        self.len = 0;
        let packets = std::mem::take(&mut self.packets);
        if sent.is_err() {
            for &(queue, id) in &packets {
                let mut short = [0; 64];
                let mut writer = Writer::new(&mut short);
                Verdict { queue, id, ..Verdict::default() }.encode(&mut writer, 0);
                if let Ok(len) = writer.finish() {
                    // A packet that is refused even this stays until the queue is full of such.
                    let _ = socket.send(&short[..len]);
                }
            }
        }
        self.packets = packets;
        self.packets.clear();
    }
}
