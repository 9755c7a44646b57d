//! Who else replicates: what each peer told, and the session with each.
//!
//! ```text
//!   flows --changed--> session --> datagram          datagram --> session --> remote --> failover
//! ```

pub mod told;
pub mod wheel;
pub mod v1;
pub mod remote;

pub use told::{PeerId, Told};
pub use wheel::Wheel;
