//! What becomes of the packets of each helper.

use super::HelperSettings;
use crate::nfnetlink::helper::HelperKey;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where the kernel lists its queues.
const QUEUES: &str = "/proc/self/net/netfilter/nfnetlink_queue";

/// What the thread counts of one helper; others read.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) packets: Counter,
    pub(super) accepted: Counter,
    pub(super) mangled: Counter,
    pub(super) expectations: Counter,
    pub(super) expectations_refused: Counter,
    pub(super) refused_ports: Counter,
    pub(super) not_understood: Counter,
    pub(super) verdicts_refused: Counter,
    /// The helper panicked.
    pub(super) broken: AtomicBool,
}

/// A number with one writer.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of the packets of one helper.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelperReport {
    /// The helper it is about.
    pub key: HelperKey,
    /// Its queue.
    pub queue: u16,
    /// Whether it was taken out of service because it panicked.
    pub broken: bool,
    /// Packets that came.
    pub packets: u64,
    /// Of these: let pass.
    pub accepted: u64,
    /// Of these: with another address or port in their text.
    pub mangled: u64,
    /// Flows announced to the kernel.
    pub expectations: u64,
    /// Flows that the kernel refused to expect.
    pub expectations_refused: u64,
    /// Flows not announced because no port was free for them.
    pub refused_ports: u64,
    /// Packets that were cut, fragments, or malformed.
    pub not_understood: u64,
    /// Verdicts that the kernel refused; the packet was accepted untouched then.
    pub verdicts_refused: u64,
    /// Packets that the kernel dropped because they found no room in the queue or the socket.
    pub queue_dropped: u64,
}

/// What became of the packets of all helpers.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    helpers: Vec<(HelperKey, u16)>,
    shared: Vec<Arc<Shared>>,
}

impl Counts {
    pub(super) fn new(helpers: &[HelperSettings]) -> Self {
        Self {
            helpers: helpers.iter().map(|helper| (helper.key.clone(), helper.queue)).collect(),
            shared: helpers.iter().map(|_| Arc::default()).collect(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.shared.iter()
    }

    /// The counters as they are now.
    #[must_use]
    pub fn report(&self) -> Vec<HelperReport> {
        if self.helpers.is_empty() {
            return Vec::new();
        }
        let queues = fs::read_to_string(QUEUES).unwrap_or_default();
        let one = |((key, queue), s): (&(HelperKey, u16), &Arc<Shared>)| HelperReport {
            key: key.clone(),
            queue: *queue,
            broken: s.broken.load(Ordering::Relaxed),
            packets: s.packets.get(),
            accepted: s.accepted.get(),
            mangled: s.mangled.get(),
            expectations: s.expectations.get(),
            expectations_refused: s.expectations_refused.get(),
            refused_ports: s.refused_ports.get(),
            not_understood: s.not_understood.get(),
            verdicts_refused: s.verdicts_refused.get(),
            queue_dropped: dropped(&queues, *queue),
        };
        self.helpers.iter().zip(&self.shared).map(one).collect()
    }
}

/// Packets of a queue that found no room in it, or in the socket (`seq_show`, kernel v6.12
/// `net/netfilter/nfnetlink_queue.c`: number, port id, waiting, mode, range, dropped, dropped by the socket, last id).
fn dropped(queues: &str, queue: u16) -> u64 {
    let numbers = |line: &str| -> Vec<u64> {
        line.split_whitespace().map_while(|word| word.parse().ok()).collect()
    };
    let mut lines = queues.lines().map(numbers);
    let line = lines.find(|line| line.first() == Some(&queue.into())).unwrap_or_default();
    line.get(5).unwrap_or(&0) + line.get(6).unwrap_or(&0)
}

#[cfg(test)]
mod tests {
    use super::dropped;

    #[test]
    fn what_a_queue_had_no_room_for_is_read_from_its_line() {
        // As 6.12 shows two queues.
        let text = "    1  2735     0 2 65531     3     0       17  1\n\
                        2  2735     0 2 65531     0     4        9  1\n";
        assert_eq!([1, 2, 3].map(|queue| dropped(text, queue)), [3, 4, 0]);
    }
}
