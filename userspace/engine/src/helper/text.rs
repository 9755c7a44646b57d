//! Reading text in payloads: forward, within bounds, remembering where things lie.

use core::net::IpAddr;
use core::ops::Range;

/// The longest text of an address: an IPv6 address that ends in an IPv4 one.
const ADDRESS_LEN_MAX: usize = 45;

/// Reads forward through a payload. What does not fit gives `None` and leaves the place undefined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at byte `at` of `bytes`.
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where it stands, in bytes from the start of the payload.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next byte, which stays.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    /// The next byte.
    pub(super) fn any(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// This byte, and no other.
    pub(super) fn byte(&mut self, byte: u8) -> Option<()> {
        (self.any()? == byte).then_some(())
    }

    /// This text, in upper or lower case.
    pub(super) fn word(&mut self, word: &[u8]) -> Option<()> {
        let found = self.rest().get(..word.len())?;
        self.at += word.len();
        found.eq_ignore_ascii_case(word).then_some(())
    }

    /// Goes on behind the next occurrence of this text, in upper or lower case.
    pub(super) fn find(&mut self, word: &[u8]) -> Option<()> {
        let found = self.rest().windows(word.len()).position(|w| w.eq_ignore_ascii_case(word))?;
        self.at += found + word.len();
        Some(())
    }

    /// Bytes of this kind, none or more; where they lie.
    pub(super) fn while_is(&mut self, is: impl Fn(u8) -> bool) -> Range<usize> {
        let start = self.at;
        self.at += self.rest().iter().take_while(|&&byte| is(byte)).count();
        start..self.at
    }

    /// Blanks and tabs, none or more.
    pub(super) fn blanks(&mut self) {
        self.while_is(|byte| matches!(byte, b' ' | b'\t'));
    }

    /// A decimal number of at most `max`. A further byte must follow: the packet may be cut within the digits.
    pub(super) fn number(&mut self, max: u32) -> Option<u32> {
        let digits = self.while_is(|byte| byte.is_ascii_digit());
        self.peek()?;
        let text = core::str::from_utf8(self.bytes.get(digits)?).ok()?;
        text.parse().ok().filter(|&number| number <= max)
    }

    /// A port in decimal digits other than 0; where it lies.
    pub(super) fn port(&mut self) -> Option<(u16, Range<usize>)> {
        let start = self.at;
        let port = self.number(u32::from(u16::MAX))? as u16;
        (port != 0).then_some((port, start..self.at))
    }

    /// An address as text; where it lies.
    pub(super) fn address(&mut self) -> Option<(IpAddr, Range<usize>)> {
        let range = self.while_is(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':'));
        self.peek()?;
        let text = self.bytes.get(range.clone()).filter(|text| text.len() <= ADDRESS_LEN_MAX)?;
        let address = core::str::from_utf8(text).ok()?.parse().ok()?;
        Some((address, range))
    }

    /// Address and port of a URL of HTTP, `10.0.0.1:80` or `[2001:db8::1]:80`; port 80 where it is not said.
    pub(super) fn endpoint_of_url(&mut self) -> Option<(IpAddr, u16, Range<usize>)> {
        self.word(b"http://")?;
        let start = self.at;
        let is_ipv6 = self.peek()? == b'[';
        let address = if is_ipv6 {
            self.byte(b'[')?;
            let (address, _) = self.address()?;
            self.byte(b']')?;
            address
        } else {
            let text = self.while_is(|byte| byte.is_ascii_digit() || byte == b'.');
            self.peek()?;
            let text = core::str::from_utf8(self.bytes.get(text)?).ok()?;
            IpAddr::V4(text.parse().ok()?)
        };
        let mut port = 80;
        if self.peek()? == b':' {
            self.byte(b':')?;
            (port, _) = self.port()?;
        }
        (address.is_ipv6() == is_ipv6).then_some((address, port, start..self.at))
    }

    /// Goes to the value of a header of HTTP. The header's line must be whole up to the value.
    pub(super) fn header(&mut self, name: &[u8]) -> Option<()> {
        loop {
            self.find(b"\n")?;
            if matches!(self.peek()?, b'\r' | b'\n') {
                return None; // The head of the message ends.
            }
            let mut line = *self;
            if line.word(name).is_some() && line.byte(b':').is_some() {
                line.blanks();
                *self = line;
                return Some(());
            }
        }
    }
}

/// Four bytes of a payload as a number in network order.
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let chunk = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*chunk))
}

/// Two bytes of a payload as a number in network order.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let chunk = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*chunk))
}
