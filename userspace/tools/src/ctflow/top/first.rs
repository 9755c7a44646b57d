//! The first few of very many, in order.

use std::cmp::Ordering;

/// Keeps the first so many: at most twice as many are held, and the others are not sorted.
#[derive(Debug)]
pub struct First<T, O> {
    most: usize,
    order: O,
    held: Vec<T>,
    /// The first ones stand in front, and the last of them behind the others.
    is_parted: bool,
}

impl<T: Clone, O: Fn(&T, &T) -> Ordering> First<T, O> {
    /// Keeps at most so many, at least one.
    pub fn new(most: usize, order: O) -> Self {
        Self { most: most.max(1), order, held: Vec::new(), is_parted: false }
    }

    /// Takes one.
    pub fn take(&mut self, one: &T) {
        let Self { most, order, held, is_parted } = self;
        if *is_parted && order(one, &held[*most - 1]).is_ge() {
            return;
        }
        held.push(one.clone());
        if held.len() >= 2 * *most {
            held.select_nth_unstable_by(*most - 1, &*order);
            held.truncate(*most);
            *is_parted = true;
        }
    }

    /// The first ones in order.
    pub fn done(mut self) -> Vec<T> {
        self.held.sort_unstable_by(&self.order);
        self.held.truncate(self.most);
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_those_of_a_sort(all in prop::collection::vec(0_u8..50, 0..300), most in 1_usize..20) {
            let mut first = First::new(most, u8::cmp);
            all.iter().for_each(|one| first.take(one));
            let mut sorted = all.clone();
            sorted.sort_unstable();
            sorted.truncate(most);
            prop_assert_eq!(first.done(), sorted);
        }
    }
}
