//! The keywords of `Replication` and `Peer`: replication, version 2 (`replication-v2.md`, section 3).

use super::Block::{Peer, Replication};
use super::{Key, Keyword, Kind, PORT, POSITIVE, Value, keyword};
use crate::conf::model::ReplicationConf;

pub(super) const ROWS: &[Keyword] = &[
    keyword(Key::NodeName, "Name", &[Replication])
        .takes(Kind::NodeName)
        .default_or(|| None, "the host's name")
        .doc(
            "What the others call this node: 1 to 32 of `a-z`, `0-9`, `.` and `-`, the same in every \
             peer's file.",
        ),
    keyword(Key::KeyFile, "KeyFile", &[Replication]).takes(Kind::Path(256)).repeats().doc(
        "A secret key of this node (`ctflow key generate FILE`), which no other user may read. Given \
         twice, the first is used and the second accepted too, so that a key can be changed.",
    ),
    keyword(Key::PresharedKeyFile, "PresharedKeyFile", &[Replication])
        .takes(Kind::Path(256))
        .default_or(|| None, "none")
        .doc("One secret of all nodes, mixed into each handshake (`ctflow key psk FILE`)."),
    keyword(Key::Port, "Port", &[Replication])
        .takes(PORT)
        .doc("The UDP port where this node listens. Required."),
    keyword(Key::Ipv4Address, "IPv4_address", &[Replication])
        .takes(Kind::Ipv4)
        .doc("The IPv4 address to listen on; without one of either family, all addresses."),
    keyword(Key::Ipv6Address, "IPv6_address", &[Replication])
        .takes(Kind::Ipv6)
        .doc("The IPv6 address to listen on; without one of either family, all addresses."),
    keyword(Key::Inject, "Inject", &[Replication])
        .takes(Kind::Bool)
        .default(|| ReplicationConf::INJECT.into())
        .doc("Write the flows of peers into the kernel at once, instead of at a takeover."),
    keyword(Key::Settle, "Settle", &[Replication])
        .takes(Kind::Number { min: 0, max: 1000 })
        .default(|| ReplicationConf::SETTLE_MS.into())
        .doc(
            "How long a new flow may wait, in milliseconds, so that its first states are sent as one; \
             a flow that ends sooner is never sent.",
        ),
    keyword(Key::RemoteLimit, "RemoteLimit", &[Replication])
        .takes(POSITIVE)
        .default_or(|| None, "`HashLimit`")
        .doc(
            "Most flows of all peers together, each of which is sure of its share. What is beyond is \
             refused, and the peer is `full` and not ready until there is room.",
        ),
    keyword(Key::Peer, "Peer", &[Replication])
        .takes(Kind::NodeName)
        .opens(super::Body::Block(Peer))
        .repeats()
        .doc(
            "A node to replicate flows to and from, by what it calls itself; 1 to 31. Beside `Replication`, links of \
             version 1 are refused at the start: this build has not got them yet.",
        ),
    keyword(Key::PublicKey, "PublicKey", &[Peer]).takes(Kind::PublicKey).repeats().doc(
        "The peer's public key (`ctflow key public FILE` there). Given twice, both are its keys, so \
         that it can change its key.",
    ),
    keyword(Key::PeerAddress, "Address", &[Peer]).takes(Kind::Host).repeats().doc(
        "Where the peer is: an address, or a name that is looked up again every minute. Up to four, \
         preferred first.",
    ),
    keyword(Key::Port, "Port", &[Peer])
        .takes(PORT)
        .default_or(|| None, "that of `Replication`")
        .doc("The UDP port where the peer listens."),
    keyword(Key::Rate, "Rate", &[Peer])
        .takes(POSITIVE)
        .default_or(|| None, "as much as the path carries")
        .doc("Most that is sent to the peer, in kbit/s."),
    keyword(Key::Version1, "Version1", &[Peer])
        .takes(Kind::Bool)
        .default(|| Value::Bool(ReplicationConf::VERSION1))
        .doc(
            "The peer is also at the other end of this file's links, for a migration. One peer at most. Links beside \
             `Replication` are refused at the start: this build has not got that yet.",
        ),
];
