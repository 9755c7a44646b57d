//! Sets of numbers and addresses as intervals, looked up by bisection.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Intervals that do not overlap, in order; each first and last value belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervals<T>(Vec<(T, T)>);

impl<T> Default for Intervals<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Ord> Intervals<T> {
    /// The values of all these intervals: first and last value of each.
    pub fn new(given: impl IntoIterator<Item = (T, T)>) -> Self {
        let mut given: Vec<_> = given.into_iter().collect();
        given.sort_unstable();
        let mut out: Vec<(T, T)> = Vec::with_capacity(given.len());
        for (first, last) in given {
            match out.last_mut().filter(|before| first <= before.1) {
                Some(before) => before.1 = before.1.max(last),
                None => out.push((first, last)),
            }
        }
        Self(out)
    }

    /// Whether the value is in one of them.
    #[must_use]
    #[inline]
    pub fn hold(&self, value: T) -> bool {
        if let [(first, last)] = self.0[..] {
            return first <= value && value <= last;
        }
        let after = self.0.partition_point(|interval| interval.0 <= value);
        after.checked_sub(1).is_some_and(|at| value <= self.0[at].1)
    }

    /// The intervals, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[(T, T)] {
        &self.0
    }

    /// The only value it holds, if it holds only one.
    #[must_use]
    pub fn single(&self) -> Option<T> {
        match self.0[..] {
            [(first, last)] if first == last => Some(first),
            _ => None,
        }
    }
}

/// Addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4 addresses as numbers in host order.
    pub v4: Intervals<u32>,
    /// IPv6 addresses as numbers in host order.
    pub v6: Intervals<u128>,
}

impl Addresses {
    /// Whether the address is one of them.
    #[must_use]
    #[inline]
    pub fn hold(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4.hold(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.hold(v6.to_bits()),
        }
    }

    /// How many intervals they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.0.len() + self.v6.0.len()
    }

    /// Whether no address is among them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The only address it holds, if it holds only one.
    #[must_use]
    pub fn single(&self) -> Option<IpAddr> {
        match (self.v4.single(), self.v6.single()) {
            (Some(v4), None) if self.v6.0.is_empty() => Some(Ipv4Addr::from_bits(v4).into()),
            (None, Some(v6)) if self.v4.0.is_empty() => Some(Ipv6Addr::from_bits(v6).into()),
            _ => None,
        }
    }
}
