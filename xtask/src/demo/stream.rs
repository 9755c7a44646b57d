//! The bytes of the transfer and the sum that proves them: cheap, seeded, the same in every process.

/// Pseudo-random bytes (xorshift64*), the same for everyone.
pub(super) struct Bytes(u64);

impl Bytes {
    /// The stream from its beginning.
    pub(super) fn new() -> Self {
        Self(0x6374_666c_6f77_2121)
    }

    /// Writes the next bytes; the length is a multiple of 8.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_exact_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            word.copy_from_slice(&self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
    }
}

/// FNV-1a of 64 bits: finds accidents, not attackers.
pub(super) struct Fnv1a(u64);

impl Fnv1a {
    /// The sum of nothing.
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The sum so far.
    pub(super) fn sum(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Fnv1a;

    #[test]
    fn the_sum_is_fnv_1a() {
        let mut sum = Fnv1a::new();
        sum.add(b"foobar");
        assert_eq!(sum.sum(), 0x8594_4171_f739_67e8);
    }
}
