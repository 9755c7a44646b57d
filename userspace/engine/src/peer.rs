//! Who else replicates: what each peer told, and the session with the peers.
//!
//! ```text
//!   flows --changed--> session --> datagram          datagram --> session --> remote --> failover
//! ```

pub mod told;
pub mod wheel;
pub mod v1;
pub mod remote;
pub mod session;

pub use session::{Session, Standing};
pub use told::{PeerId, Told};
pub use wheel::Wheel;
