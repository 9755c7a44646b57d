//! Addresses as `inet_ntop(3)` writes them, which scripts compare with.

use ctnetlink::Tuple;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl Address {
    /// The source of a tuple.
    #[must_use]
    pub fn src(tuple: &Tuple) -> Self {
        Self(tuple.src_ip())
    }

    /// The destination of a tuple.
    #[must_use]
    pub fn dst(tuple: &Tuple) -> Self {
        Self(tuple.dst_ip())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(addr) => write!(f, "{addr}"),
            IpAddr::V6(addr) => match embedded(addr) {
                Some(inner) => write!(f, "::{inner}"),
                None => write!(f, "{addr}"),
            },
        }
    }
}

/// The C library writes `::a.b.c.d` for 96 zero bits unless the next 16 are zero too (`::1`); Rust does not.
fn embedded(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0, 0, 0, 0, 0, 0, high, low] = addr.segments() else { return None };
    (high != 0).then(|| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}
