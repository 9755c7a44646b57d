//! The feed.

use std::path::PathBuf;

/// `Subscribe`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeConf {
    /// `Path`
    pub path: PathBuf,
    /// `Group`; [`SubscribeConf::GROUP`] need not exist.
    pub group: String,
    /// `Mode`: permissions of the socket.
    pub mode: u32,
    /// `ClientsMax`
    pub clients_max: u32,
    /// `QueueSize`: bytes for each client.
    pub queue_size: u32,
    /// `MemoryMax`: bytes for all clients.
    pub memory_max: u32,
}

impl SubscribeConf {
    /// The group that may subscribe, if another one is not named.
    pub const GROUP: &str = "ctflow";
}

impl Default for SubscribeConf {
    fn default() -> Self {
        Self {
            path: "/run/conntrackd/feed.sock".into(),
            group: Self::GROUP.into(),
            mode: 0o660,
            clients_max: 16,
            queue_size: 4 << 20,
            memory_max: 64 << 20,
        }
    }
}
