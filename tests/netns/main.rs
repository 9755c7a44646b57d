//! Tests against the running kernel: root, network namespaces, no other machine needed.

mod kernels;
mod tap;
mod cpus;
mod clocks;
mod filter;
mod filtered;
mod hook;
mod hooked;
mod kernel;
mod live;
mod daemon;
mod process;
mod places;
mod reload;
mod shards;
mod stats;
mod control;
mod verbs;
mod hardship;
mod crash;
mod links;
mod peers;
mod expect;
mod ftp;
mod older;
mod bench;
