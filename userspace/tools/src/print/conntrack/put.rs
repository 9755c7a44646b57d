//! Text and numbers appended to bytes, without the detour over `fmt`, which takes longer than everything else together.

use crate::print::address::Address;
use crate::print::tame::{Name, Tame};
use ctnetlink::Tuple;
use ctnetlink::tuple::FAMILY_IPV4;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};

/// Appends to a buffer.
pub(super) trait Put {
    /// Text as it is.
    fn text(&mut self, text: &str);

    /// A number in decimal.
    fn number(&mut self, number: impl Into<u64>);

    /// A number in hexadecimal, lower case, with `0x` in front, as `%#x` writes it: 0 is bare.
    fn hex(&mut self, number: u16);

    /// An address as `inet_ntop(3)` writes it.
    fn address(&mut self, family: u8, address: &[u8; 16]);

    /// Bytes of foreign origin ([`Tame`]).
    fn tame(&mut self, bytes: &[u8]);

    /// Writes a name, which is one word ([`Name`]).
    fn name(&mut self, name: &str);
}

impl Put for Vec<u8> {
    #[inline]
    fn text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    #[inline]
    fn number(&mut self, number: impl Into<u64>) {
        self.text(itoa::Buffer::new().format(number.into()));
    }

    fn hex(&mut self, number: u16) {
        // Writing to memory cannot fail.
        let _ = write!(self, "{number:#x}");
    }

    #[inline]
    fn address(&mut self, family: u8, address: &[u8; 16]) {
        if family == FAMILY_IPV4 {
            dotted(self, [address[0], address[1], address[2], address[3]]);
        } else {
            let address = Address(IpAddr::V6(Ipv6Addr::from(*address)));
            let _ = write!(self, "{address}");
        }
    }

    fn tame(&mut self, bytes: &[u8]) {
        let _ = write!(self, "{}", Tame(&String::from_utf8_lossy(bytes)));
    }

    fn name(&mut self, name: &str) {
        let _ = write!(self, "{}", Name(name));
    }
}

/// The source address of a tuple.
pub(super) fn src(out: &mut Vec<u8>, tuple: &Tuple) {
    out.address(tuple.family, &tuple.src);
}

/// The destination address of a tuple.
pub(super) fn dst(out: &mut Vec<u8>, tuple: &Tuple) {
    out.address(tuple.family, &tuple.dst);
}

/// At once, because asking for room octet by octet took longer than writing them.
#[inline]
fn dotted(out: &mut Vec<u8>, octets: [u8; 4]) {
    let mut text = [b'.'; "255.255.255.255.".len()];
    let mut len = 0;
    for octet in octets {
        if octet >= 100 {
            text[len] = b'0' + octet / 100;
            len += 1;
        }
        if octet >= 10 {
            text[len] = b'0' + octet / 10 % 10;
            len += 1;
        }
        text[len] = b'0' + octet % 10;
        // The dot is there already.
        len += 2;
    }
    out.extend_from_slice(&text[..len - 1]);
}
