//! The numbers of a stream that have been opened (R5.6), as RFC 6479 does it: a ring of bits that moves by whole words.

use super::limit::REPLAY_WINDOW;

const WORD_BITS: u64 = u64::BITS as u64;
/// One word more than the window has, so that the word being filled takes nothing away from the window.
const WORDS: usize = (REPLAY_WINDOW / WORD_BITS) as usize + 1;

/// The numbers of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The greatest number that was opened, plus one; 0 if none was.
    end: u64,
    /// Bit `n % 64` of word `n / 64 % WORDS`: number `n` was opened.
    words: [u64; WORDS],
}

impl Window {
    pub(super) const NEW: Self = Self { end: 0, words: [0; WORDS] };

    /// Whether `number` was neither opened nor is too old to know.
    pub(super) const fn is_new(&self, number: u64) -> bool {
        if number >= self.end {
            return true;
        }
        if self.end - number > REPLAY_WINDOW {
            return false;
        }
        let (word, bit) = place(number);
        self.words[word] & bit == 0
    }

    /// Whether no number from `number` on was opened.
    pub(super) const fn is_newest(&self, number: u64) -> bool {
        number >= self.end
    }

    /// `number`, which is new, has been opened.
    pub(super) fn note(&mut self, number: u64) {
        if number >= self.end {
            let last = if self.end == 0 { 0 } else { (self.end - 1) / WORD_BITS };
            let entered = (number / WORD_BITS).saturating_sub(last).min(WORDS as u64);
            for step in 0..entered {
                self.words[(number / WORD_BITS).wrapping_sub(step) as usize % WORDS] = 0;
            }
            self.end = number + 1;
        }
        let (word, bit) = place(number);
        self.words[word] |= bit;
    }
}

const fn place(number: u64) -> (usize, u64) {
    ((number / WORD_BITS) as usize % WORDS, 1 << (number % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn r5_6_a_number_is_new_once_and_none_below_the_window_is() {
        let mut window = Window::NEW;
        for number in [0, 5, 1, REPLAY_WINDOW + 4] {
            assert!(window.is_new(number), "{number}");
            window.note(number);
            assert!(!window.is_new(number), "{number}");
        }
        // The window now ends at REPLAY_WINDOW + 4, so 5 is the least number in it.
        assert!(!window.is_new(4) && !window.is_new(5) && window.is_new(6));
        window.note((1 << 52) - 1);
        assert!(!window.is_new(6) && window.is_new((1 << 52) - 2));
    }

    proptest! {
        /// The ring of bits says what a set of all numbers says.
        #[test]
        fn r5_6_the_ring_is_a_set(steps in prop::collection::vec((0_u64..20_000, any::<bool>()), 1..400)) {
            let (mut window, mut opened, mut end) = (Window::NEW, HashSet::new(), 0_u64);
            for (step, ahead) in steps {
                let number = if ahead { end + step } else { end.saturating_sub(step) };
                let wanted = number + REPLAY_WINDOW >= end && !opened.contains(&number);
                prop_assert_eq!(window.is_new(number), wanted, "{} of {}", number, end);
                if wanted {
                    window.note(number);
                    opened.insert(number);
                    end = end.max(number + 1);
                }
            }
        }
    }
}
