//! Notifications to systemd, over the socket it names in the environment (`sd_notify(3)`). Without one, none are
//! sent.

use sd_notify::NotifyState;
use std::time::Duration;

/// The way to systemd.
#[derive(Clone, Copy, Debug)]
pub struct Systemd {
    on: bool,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Reads what systemd wants. Must be called before a fork: the watchdog is wanted of the process that was started.
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on, watchdog: sd_notify::watchdog_enabled() }
    }

    /// A copy of this handle, on or off. It keeps the watchdog interval of the start.
    #[must_use]
    pub const fn switched(self, on: bool) -> Self {
        Self { on, ..self }
    }

    /// How often to call [`Systemd::alive`]: twice as often as systemd expects it.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|usec| usec / 2).filter(|interval| !interval.is_zero())
    }

    /// The daemon serves; `pid` is its process. systemd believes that from the process it started.
    pub fn ready(&self, pid: u32, status: &str) {
        self.tell(&[NotifyState::MainPid(pid), NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The daemon reads its configuration again; a call of [`Systemd::ready`] has to follow.
    pub fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// The daemon works.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// The daemon ends.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if self.on {
            // A systemd that does not listen cannot be reported anywhere else.
            let _ = sd_notify::notify(state);
        }
    }
}
