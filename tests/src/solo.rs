//! One node and a daemon without a peer.

use crate::daemon::{Brand, Daemon, Files};
use crate::netns::Namespace;
use std::fs;
use std::process::Command;

/// A namespace, and a directory for the daemon's files.
#[derive(Debug, Default)]
pub struct Solo {
    /// The node.
    pub node: Namespace,
    /// Where daemons keep their files.
    pub files: Files,
}

impl Solo {
    /// Sets it up.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a configuration in which `@` stands for the daemon's stem, and starts the daemon.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(&self, brand: Brand, name: &str, conf: &str) -> Daemon<'_> {
        self.write(name, conf);
        Daemon::start_with(Command::new(brand.program()), &self.node, brand, &self.files, name)
    }

    /// Starts ours.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn ours(&self, name: &str, conf: &str) -> Daemon<'_> {
        self.start(Brand::Ours, name, conf)
    }

    /// Writes a configuration, as [`Solo::start`] does; its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, conf: &str) -> String {
        let stem = format!("{}/{name}", self.files.path().display());
        let path = format!("{stem}.conf");
        // At once: a daemon or a client may be reading it.
        let new = format!("{stem}.new");
        fs::write(&new, conf.replace('@', &stem)).expect("a configuration is written");
        fs::rename(&new, &path).expect("it takes the place of the old one");
        path
    }
}

/// A daemon in statistics mode, with lines for `General`.
#[must_use]
pub fn solo(general: &str) -> String {
    format!(
        "Stats {{ LogFile @.records\n }}\nGeneral {{\n HashSize 16384\n HashLimit 262144\n LogFile @.log\n \
         LockFile @.lock\n UNIX {{ Path @.sock\n }}\n {general}\n}}\n"
    )
}
