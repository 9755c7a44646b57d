//! Numbers of 1, 2, 4 or 8 bytes, in network order; the first two bits say which (as in RFC 9000, 16).
//!
//! ```text
//!   00xxxxxx                       to 63
//!   01xxxxxx xxxxxxxx              to 16,383
//!   10xxxxxx ... 4 bytes           to 1,073,741,823
//!   11xxxxxx ... 8 bytes           to 4,611,686,018,427,387,903
//! ```
//!
//! A number may be longer than it has to be.

use crate::cursor::Reader;
use ctnetlink::{DecodeError, Writer};

/// The greatest number. Counts that travel (versions, steps, epochs) wrap or stop here.
pub const MAX: u64 = (1 << 62) - 1;

/// The most bytes of a number.
pub const LEN_MAX: usize = 8;

/// How many bytes a number takes.
#[must_use]
#[inline]
pub const fn len(number: u64) -> usize {
    match number {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

/// Appends a number. One beyond [`MAX`] is written as [`MAX`].
#[inline]
pub fn put(w: &mut Writer<'_>, number: u64) {
    match len(number) {
        1 => w.put(&[number as u8]),
        2 => w.put(&(number as u16 | 0x4000).to_be_bytes()),
        4 => w.put(&(number as u32 | 0x8000_0000).to_be_bytes()),
        _ => w.put(&(number.min(MAX) | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Takes a number.
///
/// # Errors
/// When fewer bytes are left than its first one asks for.
#[inline]
pub fn take(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    const SHORT: &str = "truncated number";
    let [first] = r.array(SHORT)?;
    let low = u64::from(first & 0x3f);
    Ok(match first >> 6 {
        0 => low,
        1 => low << 8 | u64::from(r.array::<1>(SHORT)?[0]),
        2 => {
            let [a, b, c] = r.array(SHORT)?;
            low << 24 | u64::from(u32::from_be_bytes([0, a, b, c]))
        }
        _ => {
            let [a, b, c, d, e, f, g] = r.array(SHORT)?;
            low << 56 | u64::from_be_bytes([0, a, b, c, d, e, f, g])
        }
    })
}

/// Takes a number that counts bytes or pieces here, so that it has to fit a `usize`.
///
/// # Errors
/// As [`take`]; and when it is greater than 65,535, which no datagram holds.
#[inline]
pub(super) fn take_len(r: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let at = r.position();
    let number = take(r)?;
    let len = u16::try_from(number).map_err(|_| DecodeError::new(at, "number too great"))?;
    Ok(usize::from(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(number: u64, bytes: &mut [u8; LEN_MAX]) -> usize {
        let mut w = Writer::new(bytes);
        put(&mut w, number);
        w.finish().unwrap()
    }

    #[test]
    fn the_bounds_of_each_length_come_back() {
        let bounds =
            [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 4), ((1 << 30) - 1, 4), (1 << 30, 8)];
        for (number, want) in bounds.into_iter().chain([(MAX, 8)]) {
            let mut bytes = [0; LEN_MAX];
            let len = encoded(number, &mut bytes);
            assert_eq!((len, super::len(number)), (want, want), "{number}");
            let mut r = Reader::new(&bytes[..len]);
            assert_eq!((take(&mut r), r.remaining()), (Ok(number), 0));
            for cut in 0..len {
                assert!(take(&mut Reader::new(&bytes[..cut])).is_err(), "{number} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_rfc_9000() {
        for (bytes, number) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(take(&mut Reader::new(bytes)), Ok(number));
        }
    }

    #[test]
    fn what_is_too_great_stops_at_the_greatest() {
        let mut bytes = [0; LEN_MAX];
        assert_eq!((encoded(u64::MAX, &mut bytes), bytes), (8, [0xff; 8]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_number_comes_back(number in 0..=MAX, shift in 0..62_u32) {
            let mut bytes = [0; LEN_MAX];
            let number = number >> shift;
            let len = encoded(number, &mut bytes);
            prop_assert_eq!(take(&mut Reader::new(&bytes[..len])), Ok(number));
        }
    }
}
