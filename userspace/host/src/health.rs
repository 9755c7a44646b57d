//! The kernel's own figures about its table, beside the events that it sends.
//!
//! `net.netfilter.nf_conntrack_count` is the number of flows in the table of a network namespace, those included
//! whose first packet is still on its way; `net.netfilter.nf_conntrack_events` is 0 where the kernel sends no events
//! (Documentation/networking/nf_conntrack-sysctl.rst, Linux 6.12). A file under /proc/sys/net shows the namespace of
//! the thread that reads it.

use common::Instant;
use rustix::io::pread;
use std::fs::File;
use std::time::Duration;

/// How often the kernel is asked. Two short reads a second cost about 10 microseconds.
const EVERY: Duration = Duration::from_secs(1);

/// What the kernel says of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Flows in it.
    pub flows: u64,
    /// Whether it sends events.
    pub events: bool,
}

/// Asks the kernel now and then.
#[derive(Debug)]
pub struct HealthProbe {
    count: Option<File>,
    events: Option<File>,
    next: Instant,
}

impl HealthProbe {
    /// Asks for the first time a while after `now`. Where the kernel has no such files, it is never asked.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let open = |name: &str| File::open(format!("/proc/sys/net/netfilter/{name}")).ok();
        let (count, events) = (open("nf_conntrack_count"), open("nf_conntrack_events"));
        Self { count, events, next: now + EVERY }
    }

    /// What the kernel says, if it is time to ask.
    pub fn look(&mut self, now: Instant) -> Option<Health> {
        if now < self.next {
            return None;
        }
        self.next = now + EVERY;
        let flows = number(self.count.as_ref()?)?;
        // A kernel without that switch was built without events, which the event source has found out.
        let events = self.events.as_ref().and_then(number).is_none_or(|value| value != 0);
        Some(Health { flows, events })
    }
}

/// The number that a file of /proc/sys shows.
fn number(file: &File) -> Option<u64> {
    let mut bytes = [0; 24];
    let len = pread(file, &mut bytes, 0).ok()?;
    std::str::from_utf8(&bytes[..len]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_number_is_read_again_and_again_and_anything_else_is_none() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"1048576\n").unwrap();
        assert_eq!([number(&file), number(&file)], [Some(1_048_576); 2]);
        file.set_len(0).unwrap();
        assert_eq!(number(&file), None);
    }

    #[test]
    fn the_kernel_is_asked_once_a_second() {
        let mut probe = HealthProbe::new(Instant(0));
        assert_eq!(probe.look(Instant(999_999_999)), None);
        if probe.count.is_none() {
            return;
        }
        assert!(probe.look(Instant(1_000_000_000)).is_some());
        assert_eq!(probe.look(Instant(1_500_000_000)), None);
    }
}
