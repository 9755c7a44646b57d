//! Two nodes and the cable between them, where most daemon tests play.

use crate::conf::{Conf, End, SUBNET};
use crate::daemon::{Brand, Daemon, Files};
use crate::netns::Namespace;

/// Two namespaces, a cable, and a directory for the daemons' files.
#[derive(Debug)]
pub struct Stage {
    /// Node A.
    pub a: Namespace,
    /// Node B.
    pub b: Namespace,
    /// Where daemons keep their files.
    pub files: Files,
}

impl Stage {
    /// Sets it up.
    #[must_use]
    pub fn new() -> Self {
        let (a, b) = (Namespace::new(), Namespace::new());
        a.cable(End::A.interface(), &b, End::B.interface(), SUBNET);
        Self { a, b, files: Files::new() }
    }

    /// The node a configuration is for.
    #[must_use]
    pub const fn node(&self, end: End) -> &Namespace {
        match end {
            End::A => &self.a,
            End::B => &self.b,
        }
    }

    /// Starts a daemon on the node its configuration is for.
    #[must_use]
    pub fn start(&self, brand: Brand, name: &str, conf: &Conf) -> Daemon<'_> {
        Daemon::start(self.node(conf.end), brand, &self.files, name, conf)
    }

    /// Starts ours.
    #[must_use]
    pub fn ours(&self, name: &str, conf: &Conf) -> Daemon<'_> {
        self.start(Brand::Ours, name, conf)
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}
