//! Helpers in user space, in the statistics.

use ctnetlink::tuple::{FAMILY_IPV6, ipproto};
use host::helpers::HelperReport;
use serde::{Deserialize, Serialize};

object! {
    /// A helper in user space.
    Helper {
        /// Its name.
        name: String,
        /// `inet` or `inet6`.
        family: String,
        /// `tcp` or `udp`.
        protocol: String,
        /// Its queue.
        queue: u64,
        /// Taken out of service because it panicked: packets pass unhelped.
        broken: bool,
        /// Packets that came.
        packets: u64,
        /// Of these: let pass.
        accepted: u64,
        /// Of these: with another address or port in their text.
        mangled: u64,
        /// Flows announced to the kernel.
        expectations: u64,
        /// Flows that the kernel refused to expect.
        expectations_refused: u64,
        /// Flows not announced because no port was free for them.
        refused_ports: u64,
        /// Packets that were cut, fragments, or malformed; they passed untouched.
        not_understood: u64,
        /// Verdicts that the kernel refused; the packet passed untouched.
        verdicts_refused: u64,
        /// Packets that the kernel dropped because they found no room in the queue or the socket.
        queue_dropped: u64,
    }
}

impl Helper {
    pub(super) fn of(h: &HelperReport) -> Self {
        Self {
            name: h.key.name.clone(),
            family: if h.key.l3_protocol == u16::from(FAMILY_IPV6) { "inet6" } else { "inet" }
                .into(),
            protocol: if h.key.l4_protocol == ipproto::TCP { "tcp" } else { "udp" }.into(),
            queue: h.queue.into(),
            broken: h.broken,
            packets: h.packets,
            accepted: h.accepted,
            mangled: h.mangled,
            expectations: h.expectations,
            expectations_refused: h.expectations_refused,
            refused_ports: h.refused_ports,
            not_understood: h.not_understood,
            verdicts_refused: h.verdicts_refused,
            queue_dropped: h.queue_dropped,
        }
    }
}
