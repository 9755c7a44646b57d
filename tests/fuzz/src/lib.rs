//! Fuzz targets: functions that take any bytes and panic when something does not hold.
//!
//! It is not a fuzzer: `tests/replay.rs` hands the files of `corpus/` to the targets in every run of the tests, and
//! `cargo xtask fuzz TARGET` lets libFuzzer grow them (`targets/`). Floor: beside them all.
//!
//! ```
//! fuzz::sync(&[0x1a, 0x10, 0, 8, 0, 0, 0, 1]);
//! ```
#![forbid(unsafe_code)]

mod sync;
mod sync_v2;
mod conf;
mod control;
mod netlink;
mod plan;
mod engine;
mod argv;
mod print;
mod nfct;
mod helper;
mod filter;
mod feed;
mod follow;
mod http;
mod secure;

pub use argv::{argv, lines};
pub use conf::conf;
pub use control::control;
pub use engine::engine;
pub use feed::feed;
pub use filter::filter;
pub use follow::follow;
pub use helper::helper;
pub use http::http;
pub use netlink::netlink;
pub use nfct::{nfct, policy};
pub use print::print;
pub use secure::secure;
pub use sync::sync;
pub use sync_v2::sync_v2;

/// A target: it panics when something does not hold for these bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is the name of its corpus too.
pub const TARGETS: [(&str, Target); 17] = [
    ("sync", sync),
    ("sync_v2", sync_v2),
    ("conf", conf),
    ("control", control),
    ("netlink", netlink),
    ("engine", engine),
    ("argv", argv),
    ("lines", lines),
    ("print", print),
    ("nfct", nfct),
    ("policy", policy),
    ("helper", helper),
    ("filter", filter),
    ("feed", feed),
    ("follow", follow),
    ("http", http),
    ("secure", secure),
];
