//! Decides which addresses may speak on which link.
//!
//! A unicast link names its peer, and takes datagrams and connections from that address only, whatever the port: the
//! original sends from an ephemeral one. Links may share a local address and port, and a peer may answer over another
//! link than the one it was spoken to. What comes in therefore belongs to the link whose peer sent it, on whichever
//! link's socket it arrived.

use super::{Transport, socket};
use crate::rate_limit::RateLimit;
use common::Instant;
use engine::Bounded;
use std::net::{IpAddr, SocketAddr};

/// Strangers that are remembered, so that the log names each once.
const NAMED_MAX: usize = 32;

/// Whether `from` is the peer of a link of this kind over interface number `index`. Every sender is a multicast
/// link's.
pub(super) fn is_peer(transport: &Transport, index: Option<u32>, from: SocketAddr) -> bool {
    let peer = match transport {
        Transport::Multicast { .. } => return true,
        Transport::Udp(ends) | Transport::Tcp(ends) => ends.peer,
    };
    let same_scope = match from {
        SocketAddr::V6(from) if socket::needs_scope(peer) => Some(from.scope_id()) == index,
        _ => true,
    };
    same_scope && peer.to_canonical() == from.ip().to_canonical()
}

/// The link among `links` that something belongs to that arrived on the socket of link number `arrived`; `None` if it
/// comes from a stranger.
pub(super) fn owner(
    links: usize,
    arrived: usize,
    is_peer: impl Fn(usize) -> bool,
) -> Option<usize> {
    std::iter::once(arrived).chain(0..links).find(|&at| is_peer(at))
}

/// The strangers that the log has named.
#[derive(Debug)]
pub(super) struct Strangers {
    named: Bounded<IpAddr>,
    rate_limit: RateLimit,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { named: Bounded::new(NAMED_MAX), rate_limit: RateLimit::default() }
    }
}

impl Strangers {
    /// Records that `what` (a datagram, a connection) from this address was refused. Returns the line for the log:
    /// one for each address, rate limited, because a forger has many addresses.
    pub(super) fn refuse(&mut self, what: &str, from: IpAddr, now: Instant) -> Option<String> {
        let from = from.to_canonical();
        if self.named.contains(&from) {
            return None;
        }
        let more = match self.rate_limit.take(now)? {
            0 => String::new(),
            left_out => format!(" ({left_out} more such lines left out)"),
        };
        self.named.displace(from);
        Some(format!("refused {what} from {from}, which is no link's destination address{more}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ends;
    use super::*;
    use std::net::Ipv4Addr;

    fn udp(peer: &str) -> Transport {
        let peer: IpAddr = peer.parse().unwrap();
        let local = Ipv4Addr::UNSPECIFIED.into();
        Transport::Udp(Ends { local, peer, port: 3780 })
    }

    fn takes(peer: &str, from: &str) -> bool {
        is_peer(&udp(peer), Some(7), from.parse().unwrap())
    }

    #[test]
    fn the_address_counts_and_the_port_does_not() {
        assert!(takes("10.0.0.2", "10.0.0.2:3780"));
        assert!(takes("10.0.0.2", "10.0.0.2:41000"));
        assert!(!takes("10.0.0.2", "10.0.0.3:3780"));
        assert!(takes("fd99::2", "[fd99::2]:1"));
        assert!(!takes("fd99::2", "[fd99::3]:1"));
        assert!(!takes("10.0.0.2", "[fd99::2]:1"));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_in_it() {
        assert!(takes("10.0.0.2", "[::ffff:10.0.0.2]:1"));
        assert!(takes("::ffff:10.0.0.2", "10.0.0.2:1"));
    }

    #[test]
    fn a_link_local_address_is_the_peer_on_the_links_interface_only() {
        assert!(takes("fe80::2", "[fe80::2%7]:3780"));
        assert!(!takes("fe80::2", "[fe80::2%8]:3780"));
        // A scope says nothing about an address that does without.
        assert!(takes("fd99::2", "[fd99::2%8]:3780"));
        assert!(!is_peer(&udp("fe80::2"), None, "[fe80::2%7]:1".parse().unwrap()));
    }

    #[test]
    fn a_multicast_link_takes_anybody() {
        let group = "225.0.0.50".parse().unwrap();
        let link = Transport::Multicast { group, port: 3780, local: None };
        assert!(is_peer(&link, Some(7), "192.0.2.77:9".parse().unwrap()));
    }

    #[test]
    fn what_arrives_belongs_to_the_link_whose_peer_sent_it() {
        let links = ["10.0.0.2", "10.0.1.2", "10.0.1.2"].map(udp);
        let owner_of = |arrived, from: &str| {
            let from = from.parse().unwrap();
            owner(links.len(), arrived, |at| is_peer(&links[at], Some(7), from))
        };
        assert_eq!(owner_of(0, "10.0.0.2:1"), Some(0));
        assert_eq!(owner_of(0, "10.0.1.2:1"), Some(1), "the peer answers another way");
        assert_eq!(owner_of(2, "10.0.1.2:1"), Some(2), "of two, where it arrived");
        assert_eq!(owner_of(1, "10.0.9.9:1"), None);
    }

    #[test]
    fn a_stranger_is_named_once_and_many_are_named_at_a_limited_rate() {
        let mut strangers = Strangers::default();
        let address = |n: u32| IpAddr::from(Ipv4Addr::from(n));
        let (now, later) = (Instant(1_000_000_000), Instant(100_000_000_000));
        let line = strangers.refuse("a datagram", address(1), now).unwrap();
        assert!(line.contains("a datagram from 0.0.0.1,"), "{line}");
        assert_eq!(strangers.refuse("a datagram", address(1), later), None);
        let named = (2..1000).filter_map(|n| strangers.refuse("a datagram", address(n), now));
        assert!(named.count() < 20);
        let line = strangers.refuse("a datagram", address(5000), later).unwrap();
        assert!(line.contains("more such lines left out"), "{line}");
        assert!(strangers.named.len() <= NAMED_MAX);
    }
}
