//! How long each packet waits in its queue, from the kernel's own tracing: no other program sees both ends of that.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

const TRACING: &str = "/sys/kernel/tracing";
/// Kilobytes of the buffer: a packet makes two lines of less than 100 bytes.
const BUFFER_KB: &str = "8192";
/// Where the kernel gives a packet a place in a queue, and where it goes on with one on which a verdict came. The latter
/// may have become a part of its caller.
const QUEUED: &str = "nfnetlink_queue:nfqnl_enqueue_packet";
const DECIDED: [&str; 2] = ["nf_reinject", "nfnetlink_queue:nfqnl_reinject"];

fn write(file: &str, text: &str) -> std::io::Result<()> {
    let path = format!("{TRACING}/{file}");
    fs::OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
}

/// Tracing, while this lives.
pub(crate) struct Trace;

impl Trace {
    /// Begins. The module of queues must be loaded.
    pub(crate) fn start() -> Self {
        if !fs::exists(format!("{TRACING}/trace")).unwrap_or(false) {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tracefs", "tracefs", TRACING]);
            assert!(mount.status().expect("mount").success(), "no tracefs");
        }
        write("kprobe_events", &format!("p:queued {QUEUED} entry=$arg1:x64")).expect("a probe");
        let probe = |place: &str| {
            write("kprobe_events", &format!("p:decided {place} entry=$arg1:x64")).is_ok()
        };
        assert!(DECIDED.iter().any(|place| probe(place)), "nowhere do packets go on");
        fs::write(format!("{TRACING}/buffer_size_kb"), BUFFER_KB).expect("a buffer");
        fs::write(format!("{TRACING}/trace_clock"), "mono").expect("a clock");
        fs::write(format!("{TRACING}/trace"), "").expect("it is emptied");
        fs::write(format!("{TRACING}/events/kprobes/enable"), "1").expect("it begins");
        Self
    }

    /// How long each packet has waited until now, in the order of their verdicts.
    pub(crate) fn waits(self) -> Vec<Duration> {
        fs::write(format!("{TRACING}/events/kprobes/enable"), "0").expect("it ends");
        let text = fs::read_to_string(format!("{TRACING}/trace")).expect("it can be read");
        let mut waiting = HashMap::new();
        let mut waits = Vec::new();
        for (is_queued, entry, at) in text.lines().filter_map(line) {
            if is_queued {
                waiting.insert(entry, at);
            } else if let Some(since) = waiting.remove(entry) {
                waits.push(at - since);
            }
        }
        waits
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::write(format!("{TRACING}/events/kprobes/enable"), "0");
        let _ = fs::write(format!("{TRACING}/kprobe_events"), "");
    }
}

/// `TASK-PID [CPU] FLAGS SECONDS.MICROSECONDS: NAME: (PLACE) entry=ADDRESS`
fn line(text: &str) -> Option<(bool, &str, Duration)> {
    let (head, entry) = text.split_once(" entry=")?;
    let mut words = head.split_whitespace().rev();
    let (_, name) = (words.find(|word| word.starts_with('('))?, words.next()?);
    let (seconds, micros) = words.next()?.strip_suffix(':')?.split_once('.')?;
    let at = Duration::new(seconds.parse().ok()?, micros.parse::<u32>().ok()? * 1000);
    Some((name == "queued:", entry.trim(), at))
}
