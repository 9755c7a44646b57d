//! Measurements: traffic made in network namespaces, and what hearing of it costs, ours beside the original.
//!
//! Nothing that runs on a firewall is in this crate. Floor: above `host`, below `tools`.
//!
//! | module | what it does |
//! |---|---|
//! | `sys` | system calls that no crate we use offers; the `unsafe` of this crate |
//! | `place` | moves a thread to a network namespace, to CPUs |
//! | `churn` | makes traffic and flows: an XDP program, a packet socket, requests |
//! | `bench` | `ctflow bench`: namespaces, daemons, scenarios; the results as text, JSON and SVG |

pub mod sys;
pub mod place;
pub mod churn;
pub mod bench;
