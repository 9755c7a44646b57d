//! Values of options, strictly: what is no number, or does not fit, is an error, and never 0 or its lower bits.

use super::failure::Failure;
use ctnetlink::flow::Status;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, network order, IPv4 in the first four bytes.
pub type Addr = [u8; 16];

/// `AF_INET` or `AF_INET6`, and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address family.
    pub family: u8,
    /// The address.
    pub bytes: Addr,
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        let mut bytes = [0; 16];
        let family = match ip {
            IpAddr::V4(v4) => {
                bytes[..4].copy_from_slice(&v4.octets());
                ctnetlink::tuple::FAMILY_IPV4
            }
            IpAddr::V6(v6) => {
                bytes = v6.octets();
                ctnetlink::tuple::FAMILY_IPV6
            }
        };
        Self { family, bytes }
    }
}

/// An address.
///
/// # Errors
/// When it is none.
pub fn address(text: &str) -> Result<Address, Failure> {
    let ip: Result<IpAddr, _> = text.parse();
    let ip = ip.map_err(|_| Failure::usage(format_args!("Invalid IP address `{text}'")))?;
    Ok(ip.into())
}

/// An address and the bits of it that count: all of them give no mask.
///
/// # Errors
/// When either is none.
pub fn network(text: &str) -> Result<(Address, Option<Addr>), Failure> {
    let Some((ip, bits)) = text.split_once('/') else { return Ok((address(text)?, None)) };
    let ip = address(ip)?;
    let most = if ip.family == ctnetlink::tuple::FAMILY_IPV4 { 32 } else { 128 };
    let bits: u32 = bits
        .parse()
        .ok()
        .filter(|bits| *bits <= most)
        .ok_or_else(|| Failure::usage("Invalid netmask"))?;
    if bits == most {
        return Ok((ip, None));
    }
    let mask = if most == 32 {
        Address::from(IpAddr::V4(Ipv4Addr::from((!0_u32).checked_shl(32 - bits).unwrap_or(0))))
    } else {
        Address::from(IpAddr::V6(Ipv6Addr::from((!0_u128).checked_shl(128 - bits).unwrap_or(0))))
    };
    Ok((ip, Some(mask.bytes)))
}

/// A number of any base, as `0x` and `0` in front say.
fn integer(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// A number of any base, of at most `max`, that `--option` was given.
///
/// # Errors
/// When it is none or more.
pub fn number(option: &str, text: &str, max: u64) -> Result<u64, Failure> {
    integer(text).filter(|n| *n <= max).ok_or_else(|| wrong(option, text))
}

/// A decimal number of at most `max`, that `--option` was given.
///
/// # Errors
/// When it is none or more.
pub fn decimal(option: &str, text: &str, max: u64) -> Result<u64, Failure> {
    text.parse().ok().filter(|n| *n <= max).ok_or_else(|| wrong(option, text))
}

fn wrong(option: &str, text: &str) -> Failure {
    Failure::usage(format_args!("Invalid value `{text}' for `--{option}'"))
}

/// A value and the bits of it that count.
///
/// # Errors
/// When either is no number of 32 bits.
pub fn masked(option: &str, text: &str) -> Result<(u32, u32), Failure> {
    let part = |text| number(option, text, u32::MAX.into()).map(|n| n as u32);
    match text.split_once('/') {
        Some((value, mask)) => Ok((part(value)?, part(mask)?)),
        None => Ok((part(text)?, u32::MAX)),
    }
}

/// Where a translation leads: address and port, each if given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// Address of the end.
    pub addr: Option<Address>,
    /// Port, host order.
    pub port: Option<u16>,
}

/// `IP`, `IP:PORT` or `[IP]:PORT`, that `--option` was given. Brackets need a port behind them, as in the original.
///
/// # Errors
/// When it is none of these.
pub fn nat(option: &str, text: &str) -> Result<Nat, Failure> {
    let (ip, port) = end(text)?;
    let port = port.map(|text| match text {
        "" => Err(Failure::usage("No port specified after `:'")),
        // `parse` takes a sign.
        _ => Some(text)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Failure::usage(format_args!("Invalid port `{text}'"))),
    });
    let port = port.transpose()?;
    Ok(Nat { addr: Some(whole(option, ip)?), port })
}

/// The address and the port that a translation names, as text.
fn end(text: &str) -> Result<(&str, Option<&str>), Failure> {
    let Some(rest) = text.strip_prefix('[') else {
        let is_v6 = text.matches(':').count() > 1;
        let ends = text.split_once(':').filter(|_| !is_v6);
        return Ok(ends.map_or((text, None), |(ip, port)| (ip, Some(port))));
    };
    let open = || Failure::usage("No closing ']' around IPv6 address");
    match rest.split_once(']').ok_or_else(open)? {
        ("", _) => Err(Failure::usage("No IPv6 address specified")),
        (ip, rest) => Ok(rest.strip_prefix(':').map_or((text, None), |port| (ip, Some(port)))),
    }
}

/// An address without a mask, that `--option` was given.
///
/// # Errors
/// When it is none, or has a mask.
pub fn whole(option: &str, text: &str) -> Result<Address, Failure> {
    match text.split_once('/') {
        Some((ip, _)) if address(ip).is_ok() => {
            Err(Failure::usage(format_args!("CIDR notation unavailable for `--{option}'")))
        }
        _ => address(text),
    }
}

/// What `-u` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusWanted {
    /// Bits named.
    pub value: u32,
    /// Bits named with `!`, which are cleared.
    pub unset: u32,
    /// Whether words were named that select nothing.
    pub ignored: bool,
}

impl StatusWanted {
    /// Value and mask as the kernel compares them.
    #[must_use]
    pub const fn selection(self) -> (u32, u32) {
        if self.unset == 0 { (self.value, self.value) } else { (self.value, self.unset) }
    }
}

/// A list of status words.
///
/// # Errors
/// When one is unknown.
pub fn status(list: &str) -> Result<StatusWanted, Failure> {
    const OFFLOAD: u32 = 1 << 14;
    const HW_OFFLOAD: u32 = 1 << 15;
    let words = [
        ("ASSURED", Status::ASSURED.bits()),
        ("SEEN_REPLY", Status::SEEN_REPLY.bits()),
        ("UNSET", 0),
        ("FIXED_TIMEOUT", Status::FIXED_TIMEOUT.bits()),
        ("EXPECTED", Status::EXPECTED.bits()),
        ("OFFLOAD", OFFLOAD),
        ("HW_OFFLOAD", HW_OFFLOAD),
    ];
    let mut wanted = StatusWanted::default();
    for (item, rest) in items(list) {
        let (word, negated) = item.strip_prefix('!').map_or((item, false), |word| (word, true));
        let shown = rest.strip_prefix('!').unwrap_or(rest);
        if word == "UNREPLIED" && !negated {
            wanted.unset |= Status::SEEN_REPLY.bits();
            continue;
        }
        if let Some(name) = ["SRC_NAT", "DST_NAT"].into_iter().find(|name| fits(name, word)) {
            let option = if name == "SRC_NAT" { "src" } else { "dst" };
            eprintln!("WARNING: ignoring {name}, use --{option}-nat instead");
            wanted.ignored = true;
            continue;
        }
        let bits = words.iter().find(|(name, _)| fits(name, word)).ok_or_else(|| bad(shown))?.1;
        if negated {
            wanted.unset |= bits;
        } else {
            wanted.value |= bits;
        }
    }
    Ok(wanted)
}

/// The items of a list, each with what a message about it shows: the item, or, of an empty one, what is left of the
/// list.
pub fn items(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let left = rest?;
        let (item, next) =
            left.split_once(',').map_or((left, None), |(item, next)| (item, Some(next)));
        rest = next;
        Some((item, if item.is_empty() { left } else { item }))
    })
}

/// Whether `word` is a beginning of `name`, in whatever case.
#[must_use]
pub fn fits(name: &str, word: &str) -> bool {
    !word.is_empty() && name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// A word of a list that is none of those it may be.
#[must_use]
pub fn bad(word: &str) -> Failure {
    Failure::usage(format_args!("Bad parameter `{word}'"))
}

/// The family that a word begins with.
///
/// # Errors
/// When it is none.
pub fn family(text: &str) -> Result<u8, Failure> {
    if text.starts_with("ipv4") {
        Ok(ctnetlink::tuple::FAMILY_IPV4)
    } else if text.starts_with("ipv6") {
        Ok(ctnetlink::tuple::FAMILY_IPV6)
    } else {
        Err(Failure::usage(format_args!("`{text}' unsupported protocol")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_masks_unless_every_bit_counts() {
        assert_eq!(network("1.2.3.4/32").unwrap().1, None);
        assert_eq!(network("1.2.3.4/8").unwrap().1.unwrap()[..4], [255, 0, 0, 0]);
        assert_eq!(network("1.2.3.4/0").unwrap().1, Some([0; 16]));
        assert_eq!(network("fe80::/10").unwrap().1.unwrap()[..2], [255, 192]);
        for wrong in ["1.2.3.4/33", "1.2.3.4/x", "::/129", "1.2.3.4/-1"] {
            assert_eq!(network(wrong).unwrap_err().to_string(), "Invalid netmask");
        }
    }

    #[test]
    fn numbers_are_strict() {
        assert_eq!(number("mark", "0x10", 99).unwrap(), 16);
        assert_eq!(number("mark", "010", 99).unwrap(), 8);
        assert_eq!(masked("mark", "7/0xf").unwrap(), (7, 15));
        for wrong in ["", "x", "1x", "-1", "100", "0x"] {
            assert!(number("mark", wrong, 99).is_err(), "{wrong}");
        }
    }

    #[test]
    fn translations_are_read() {
        let read = |text| nat("src-nat", text);
        let v6 = read("[::1]:5").unwrap();
        assert_eq!((v6.addr.unwrap().family, v6.port), (10, Some(5)));
        assert_eq!(read("::1").unwrap().port, None);
        assert_eq!(read("1.2.3.4:9").unwrap().port, Some(9));
        assert_eq!(read("[1.2.3.4]:9").unwrap().addr.unwrap().family, 2);
        for (text, why) in [
            ("1.2.3.4:", "No port specified after `:'"),
            (":", "No port specified after `:'"),
            ("[::1]:", "No port specified after `:'"),
            ("1.2.3.4:99999", "Invalid port `99999'"),
            ("1.2.3.4:+9", "Invalid port `+9'"),
            ("1.2.3.4:8-9", "Invalid port `8-9'"),
            (":9", "Invalid IP address `'"),
            ("", "Invalid IP address `'"),
            ("[::1", "No closing ']' around IPv6 address"),
            ("[]:9", "No IPv6 address specified"),
            ("[]", "No IPv6 address specified"),
            ("[::1]", "Invalid IP address `[::1]'"),
            ("[::1]9", "Invalid IP address `[::1]9'"),
            ("[::1]]:9", "Invalid IP address `[::1]]:9'"),
            ("[1.2.3.4]", "Invalid IP address `[1.2.3.4]'"),
            ("[2001:DB8::3.3.3.3]", "Invalid IP address `[2001:DB8::3.3.3.3]'"),
            ("1.2.3.4/24:9", "CIDR notation unavailable for `--src-nat'"),
            ("[::1/128]:9", "CIDR notation unavailable for `--src-nat'"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn status_words_may_be_cut_and_negated() {
        assert_eq!(status("a,see").unwrap().value, 6);
        assert_eq!(
            status("!assured").unwrap(),
            StatusWanted { unset: 4, ..StatusWanted::default() }
        );
        assert_eq!(status("UNREPLIED").unwrap().selection(), (0, 2));
        assert_eq!(status("unreplied").unwrap_err().to_string(), "Bad parameter `unreplied'");
        assert!(status("").is_err());
    }
}
