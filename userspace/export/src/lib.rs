//! Consumers of the engine's records. They run on threads of their own, never on a shard's: a consumer that is slow
//! loses what finds no room and receives the count of the loss; a shard never waits for a consumer.
//!
//! Floor: above `host`, below `tools`.
//!
//! | module | what it makes of what |
//! |---|---|
//! | `feed` | the feed: every change of the tables, for any number of clients of a socket |
//! | `failures` | what the kernel refuses, drops and evicts: for the feed, the log and numbers |
//! | `records` | a record of each flow that has ended (statistics mode) |
//! | `exposition` | text of metrics, in the two formats that scrapers read |
//! | `http` | answers over HTTP: metrics, readiness |

pub mod records;
pub mod exposition;
pub mod http;
pub mod failures;
pub mod feed;
