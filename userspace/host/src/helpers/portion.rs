//! How many packets one call takes.

/// Most calls that take one packet before one looks for a second again.
const ALONE_MAX: u32 = 32;

/// How many packets the next call may take: the more came the last time, the more.
///
/// Packets of one connection come one by one. There a call that looks for a second packet does so in vain, which costs
/// the kernel as much as a short system call; so after each such call, twice as many as before take one packet only.
#[derive(Debug)]
pub(super) struct Portion {
    slots: usize,
    max: usize,
    /// Calls that take one packet before one looks for two.
    alone: u32,
    /// How many there were the last time.
    were_alone: u32,
}

impl Portion {
    pub(super) const fn new(max: usize) -> Self {
        Self { slots: 1, max, alone: 0, were_alone: 0 }
    }

    pub(super) const fn slots(&self) -> usize {
        self.slots
    }

    /// So many came of those that could have.
    pub(super) fn came(&mut self, got: usize) {
        if got < self.slots {
            self.slots = got.max(1);
            if self.slots == 1 {
                self.were_alone = (2 * self.were_alone).clamp(1, ALONE_MAX);
                self.alone = self.were_alone;
            }
        } else if self.alone > 0 {
            self.alone -= 1;
        } else {
            if self.slots > 1 {
                self.were_alone = 0;
            }
            self.slots = (2 * self.slots).min(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALONE_MAX, Portion};

    /// How many of these calls could have taken more than one packet.
    fn looks(portion: &mut Portion, calls: u32, waiting: usize) -> u32 {
        let look = |_| {
            let slots = portion.slots();
            portion.came(slots.min(waiting));
            slots > 1
        };
        (0..calls).map(look).map(u32::from).sum()
    }

    #[test]
    fn where_packets_come_alone_few_calls_look_for_a_second() {
        let mut portion = Portion::new(64);
        looks(&mut portion, 100, 1);
        // The last of those that take one packet has the next look.
        let calls = 100 * (ALONE_MAX + 2);
        assert_eq!(looks(&mut portion, calls, 1), 100);
    }

    #[test]
    fn where_packets_wait_a_call_soon_takes_as_many_as_it_can() {
        let mut portion = Portion::new(64);
        looks(&mut portion, 1000, 1);
        looks(&mut portion, ALONE_MAX + 7, 1000);
        assert_eq!(portion.slots(), 64);
        assert_eq!(looks(&mut portion, 100, 1000), 100);
    }

    #[test]
    fn as_many_are_taken_as_came_the_last_time_and_more() {
        let mut portion = Portion::new(64);
        looks(&mut portion, 100, 1000);
        portion.came(5);
        assert_eq!(portion.slots(), 5);
        portion.came(5);
        assert_eq!(portion.slots(), 10);
    }

    #[test]
    fn a_call_that_nothing_came_of_leaves_room_for_one() {
        let mut portion = Portion::new(64);
        portion.came(0);
        assert_eq!(portion.slots(), 1);
    }
}
