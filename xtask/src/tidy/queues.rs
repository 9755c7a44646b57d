//! Every queue has a limit and a counter: `engine::Bounded` within a thread, `host`'s `bounded` between threads.

use super::{code, is_test, without_comment};
use std::path::Path;

/// What makes a queue without a limit or a counter, or sends into one without a word.
const FORBIDDEN: [&str; 9] = [
    "VecDeque",
    "LinkedList",
    "BinaryHeap",
    "ArrayQueue",
    "SegQueue",
    "unbounded",
    "unbounded_channel",
    "try_send",
    "send_timeout",
];

/// Files that may, and what bounds and counts there.
const ALLOWED: [(&str, &str); 13] = [
    ("userspace/engine/src/bounded.rs", "the queue within a thread"),
    ("userspace/host/src/bounded.rs", "the queue between threads"),
    ("userspace/host/src/source/order.rs", "one head for each ring"),
    (
        "userspace/host/src/lane.rs",
        "blocks that go round: there is room for all; `put` says when none is empty",
    ),
    (
        "userspace/engine/src/flows/table.rs",
        "graves: at most twice as many as flows in the table, and 1024",
    ),
    (
        "userspace/engine/src/peer/v1/outbox.rs",
        "a slot of the table waits once; messages and control messages have limits and counters of their own",
    ),
    (
        "userspace/engine/src/peer/v1/resend.rs",
        "`ResendQueueSize` and a counter; at most twice as many records stand for nothing, and 1024",
    ),
    (
        "userspace/engine/src/peer/v1/ftfw.rs",
        "one gap more than `GAPS_MAX`, and the peer is asked for all of them",
    ),
    (
        "userspace/engine/src/peer/v2/sent.rs",
        "what is in flight: `has_room` is asked before each datagram",
    ),
    (
        "userspace/export/src/feed/queue.rs",
        "a limit in bytes; the subscriber counts what it leaves out",
    ),
    ("userspace/export/src/feed.rs", "the word to stop: a second one says nothing new"),
    ("userspace/host/src/fleet.rs", "the end of a thread: each has a place"),
    ("userspace/host/src/table.rs", "buffers that come back: one without a place is freed"),
];

/// Queues of a product file that nothing bounds.
pub(super) fn unbounded(name: &str, text: &str) -> Vec<String> {
    if !name.starts_with("userspace/") || is_test(Path::new(name)) {
        return Vec::new();
    }
    if ALLOWED.iter().any(|(file, _)| *file == name) {
        return Vec::new();
    }
    let found = code(text).filter_map(|(at, line)| Some((at, forbidden(without_comment(line))?)));
    found
        .map(|(at, word)| {
            format!(
                "{name}:{}: `{word}`: a queue is `Bounded`, or listed in tidy/queues.rs",
                at + 1
            )
        })
        .collect()
}

/// Entries of the list that allow nothing any more.
pub(super) fn idle(read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let is_idle = |file: &str| {
        read(file).is_none_or(|text| {
            code(&text).all(|(_, line)| forbidden(without_comment(line)).is_none())
        })
    };
    let idle = ALLOWED.iter().filter(|(file, _)| is_idle(file));
    idle.map(|(file, _)| format!("{file}: tidy/queues.rs allows what is not there")).collect()
}

fn forbidden(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    let is_std = line.contains("sync::mpsc") && !line.contains("tokio");
    words.find(|word| FORBIDDEN.contains(word) || is_std && matches!(*word, "channel" | "Sender"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_found_in_code_and_not_in_comments_and_tests() {
        let found = |text: &str| unbounded("userspace/host/src/x.rs", text).len();
        assert_eq!(found("use std::collections::VecDeque;\n"), 1);
        assert_eq!(found("let (a, b) = channel::unbounded();\n"), 1);
        assert_eq!(found("use std::sync::mpsc::{Receiver, Sender, channel};\n"), 1);
        assert_eq!(found("use std::sync::mpsc::{Receiver, SyncSender, sync_channel};\n"), 0);
        assert_eq!(found("use tokio::sync::mpsc::{Sender, channel};\n"), 0);
        assert_eq!(found("// a VecDeque\nlet bounded = 1;\n"), 0);
        assert_eq!(found("#[cfg(test)]\nmod tests {\n    use std::collections::VecDeque;\n}\n"), 0);
        assert_eq!(unbounded("userspace/host/src/lane.rs", "ArrayQueue").len(), 0);
        assert_eq!(unbounded("tests/sim/world.rs", "VecDeque").len(), 0);
    }

    #[test]
    fn what_allows_nothing_is_found() {
        let lacking = ALLOWED.len() - 1;
        let read = |file: &str| file.ends_with("lane.rs").then(|| "ArrayQueue::new(1)".to_owned());
        assert_eq!(idle(read).len(), lacking);
    }
}
