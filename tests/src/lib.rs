//! Fixtures shared by the tests that need more than one crate.
//!
//! Helpers panic instead of returning `Result`, so that a failure carries the line that caused it.
//!
//! ```text
//!  Namespace a ---- veth, both families ---- Namespace b      (netns)
//!    Daemon (ours or Debian's)                 Daemon         (daemon, conf)
//!    Table: what `conntrack -L` shows          Table          (conntrack)
//!    Requests: batches of our own              Requests       (ctnetlink)
//! ```

pub mod wait;
pub mod netns;
pub mod churn;
pub mod ctnetlink;
pub mod conntrack;
pub mod expect;
pub mod conf;
pub mod daemon;
pub mod stage;
pub mod mesh;
pub mod wan;
pub mod solo;
pub mod transfer;
