//! What can change while an engine runs.

use super::Engine;
use crate::filter::Filter;
use crate::output::Event;
use alloc::boxed::Box;
use core::time::Duration;

impl Engine {
    /// Changes settings. Flows that came before the filter changed stay as they are until the kernel's table is read
    /// the next time ([`crate::Command::ResyncKernel`]): then those it refuses go, and those it refused before come in.
    pub fn reconfigure(&mut self, filter: Filter, commit_timeout_s: Option<u32>) {
        self.config.filter = filter;
        self.config.commit_timeout_s = commit_timeout_s;
        self.outbox.send_lifetimes(commit_timeout_s.is_none());
    }

    /// From the next loss of events on, waits so long before it reads the kernel's table again; `None`: it does not.
    pub const fn set_repair_after(&mut self, after: Option<Duration>) {
        self.config.repair_after = after;
    }

    /// Tells of flows that ended while nobody saw it, where somebody wants to know.
    pub(super) fn tell_vanished(&mut self) {
        for flow in core::mem::take(&mut self.flows.vanished) {
            self.events.push_back(Event::Vanished(Box::new(flow)));
        }
    }
}
