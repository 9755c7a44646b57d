//! The kernel's account of a queue (`seq_show`, kernel v6.12 `net/netfilter/nfnetlink_queue.c`).

use crate::stage::Stage;
use std::fs;

/// Packets of a queue, since it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Packets that wait for a verdict.
    pub(crate) waiting: u64,
    /// Packets that the queue had no room for.
    pub(crate) no_room: u64,
    /// Packets that the reader's socket had no room for.
    pub(crate) no_room_in_socket: u64,
    /// Packets that were given to the reader's socket.
    pub(crate) shown: u64,
}

impl Queue {
    /// A queue of the router, which a process must have taken.
    pub(crate) fn of(stage: &Stage, number: u16) -> Self {
        let text = stage.router.within(|| {
            fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").expect("a list")
        });
        let numbers = |line: &str| -> Vec<u64> {
            line.split_whitespace().map(|word| word.parse().expect("a number")).collect()
        };
        let mut lines = text.lines().map(numbers);
        let line = lines.find(|line| line[0] == u64::from(number)).expect("somebody has it");
        Self { waiting: line[2], no_room: line[5], no_room_in_socket: line[6], shown: line[7] }
    }

    /// All that came to it.
    pub(crate) const fn came(&self) -> u64 {
        self.shown + self.no_room
    }
}
