//! The session with the peers.
//!
//! ```text
//!   flows --changed--> session --> datagram          datagram --> session --> node: remote table, or the kernel
//! ```

pub mod reach;
pub mod standing;
pub mod v1;
pub mod v2;
pub mod session;

pub use reach::{PeerReach, Reach};
pub use session::Session;
pub use standing::Standing;
