//! The one source of chance: a seed gives the same run for ever, whatever else changes on the machine.

/// splitmix64 (Steele, Lea, Flood 2014): one word of state, passes the usual batteries.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not zero.
    pub(crate) const fn below(&mut self, n: u64) -> u64 {
        ((self.next() as u128 * n as u128) >> 64) as u64
    }

    /// True `permille` times in a thousand.
    pub(crate) const fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < permille as u64
    }

    pub(crate) const fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// A generator of its own, so that one part of a run does not shift the chances of another.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
