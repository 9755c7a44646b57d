//! Helpers in user space on a real kernel: packets through a router that lets related flows in and nothing else.
//!
//! ```text
//!   client 10.99.1.1 ---- 10.99.1.2 router 10.99.2.2 ---- 10.99.2.1 server      conntrackd of ours on the router
//!                         10.99.1.99       10.99.2.77
//!                         the server's     the client's
//!                         outer address    outer address      (DNAT, SNAT)
//! ```
//!
//! Needs `nfnetlink_cthelper`, so it runs in the machines of `cargo xtask test vm`. Objects of helpers are one list
//! for a whole machine: one test at a time.

mod stage;
mod queue;
mod tftp;
mod ftp;
mod named;
mod groups;
mod daemon;
mod broken;
mod unread;
mod busy;
mod full;
mod service;
mod programs;
mod backup;
mod discovery;
mod trace;
mod speed;
mod left;
