//! Two nodes and the cable between them, where most daemon tests play.

use crate::conf::{Conf, End, subnet};
use crate::daemon::{Brand, Daemon, Files};
use crate::netns::{Namespace, sysctl};

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
        Self::with_cables(1)
    }

    /// Sets it up with that many cables, for links beside each other.
    #[must_use]
    pub fn with_cables(cables: usize) -> Self {
        let (a, b) = (Namespace::new(), Namespace::new());
        for cable in 0..cables {
            let [at_a, at_b] = [End::A, End::B].map(|end| end.interface_to(cable));
            a.cable(at_a, &b, at_b, subnet(cable));
        }
        Self { a, b, files: Files::new() }
    }

    /// Pulls a cable at node B, or plugs it in again; addresses stay.
    pub fn plug(&self, cable: usize, is_in: bool) {
        let name = End::B.interface_to(cable);
        self.b.within(|| sysctl(&format!("net/ipv6/conf/{name}/keep_addr_on_down"), "1"));
        let state = if is_in { "up" } else { "down" };
        self.b.sh(&format!("ip link set {name} {state}"));
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
