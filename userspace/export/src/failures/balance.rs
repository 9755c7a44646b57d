//! What the kernel's counters have beyond what was seen.

use common::failure::Reason;
use host::kstat::CpuCounters;
use std::collections::BTreeMap;

/// The kernel's counters that say how often something failed.
const COUNTERS: [&str; 6] =
    ["drop", "early_drop", "insert_failed", "clash_resolve", "chaintoolong", "invalid"];

/// Follows the kernel's counters from the first look on.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// Values of the last look, by CPU and place in [`COUNTERS`]. They are 32 bits wide and wrap around.
    last: BTreeMap<(u16, usize), u32>,
    /// What was added since the first look.
    grown: [u64; COUNTERS.len()],
    /// What was seen at the first look.
    base: Option<[u64; Reason::COUNT]>,
    /// How many failures were reported as unseen.
    unseen: [u64; Reason::COUNT],
}

impl Balance {
    /// Takes the next look and returns what the kernel has counted since the last one and the programs have not seen.
    /// `seen`: what the programs have seen so far, read after `cpus`.
    pub(super) fn advance(
        &mut self,
        cpus: &[CpuCounters],
        seen: [u64; Reason::COUNT],
    ) -> [u64; Reason::COUNT] {
        for cpu in cpus {
            for (name, value) in &cpu.values {
                let Some(place) = COUNTERS.iter().position(|known| known == name) else { continue };
                let last = self.last.insert((cpu.cpu, place), *value);
                self.grown[place] += last.map_or(0, |last| value.wrapping_sub(last).into());
            }
        }
        let base = *self.base.get_or_insert(seen);
        let kernel = by_reason(self.grown);
        std::array::from_fn(|at| {
            let unseen = kernel[at].saturating_sub(seen[at] - base[at]);
            // What the programs see twice, or before the kernel counts it, is no debt.
            let more = unseen.saturating_sub(self.unseen[at]);
            self.unseen[at] += more;
            more
        })
    }
}

/// The counters, without what they have in common: who does not get into the table is dropped, whatever the cause; a
/// chain that is too long is an insert that fails (kernel v6.12, `net/netfilter/nf_conntrack_core.c`).
fn by_reason(grown: [u64; COUNTERS.len()]) -> [u64; Reason::COUNT] {
    let [drop, early_drop, insert_failed, clash_resolve, chain_toolong, invalid] = grown;
    let clashed = insert_failed.saturating_sub(chain_toolong);
    let mut out = [0; Reason::COUNT];
    for (reason, count) in [
        (Reason::TableFull, drop.saturating_sub(clashed)),
        (Reason::Evicted, early_drop),
        (Reason::InsertFailed, clashed),
        (Reason::ClashResolved, clash_resolve),
        (Reason::ChainTooLong, chain_toolong),
        (Reason::Invalid, invalid),
    ] {
        out[reason.index()] = count;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(cpu: u16, values: &[(&'static str, u32)]) -> CpuCounters {
        CpuCounters { cpu, values: values.to_vec() }
    }

    fn of(counts: [u64; Reason::COUNT], reason: Reason) -> u64 {
        counts[reason.index()]
    }

    #[test]
    fn what_no_program_saw_is_reported_once_and_what_was_there_before_is_not() {
        let mut balance = Balance::default();
        let zero = [0; Reason::COUNT];
        assert_eq!(balance.advance(&[cpu(0, &[("invalid", 7)])], zero), zero);
        let reported =
            balance.advance(&[cpu(0, &[("invalid", 27)]), cpu(1, &[("invalid", 5)])], zero);
        assert_eq!(of(reported, Reason::Invalid), 20, "a CPU that was not there has a first look");
        let mut seen = zero;
        seen[Reason::Invalid.index()] = 2;
        let reported = balance.advance(&[cpu(0, &[("invalid", 30)])], seen);
        assert_eq!(of(reported, Reason::Invalid), 1, "23 counted, 2 seen, 20 reported");
        assert_eq!(balance.advance(&[cpu(0, &[("invalid", 30)])], seen), zero);
    }

    #[test]
    fn counters_wrap_around() {
        let mut balance = Balance::default();
        balance.advance(&[cpu(0, &[("early_drop", u32::MAX - 1)])], [0; Reason::COUNT]);
        let reported = balance.advance(&[cpu(0, &[("early_drop", 3)])], [0; Reason::COUNT]);
        assert_eq!(of(reported, Reason::Evicted), 5);
    }

    #[test]
    fn what_the_kernel_counts_twice_is_reported_once() {
        let mut balance = Balance::default();
        let names = ["drop", "insert_failed", "chaintoolong"];
        let values = |numbers: [u32; 3]| names.into_iter().zip(numbers).collect::<Vec<_>>();
        balance.advance(&[cpu(0, &values([0, 0, 0]))], [0; Reason::COUNT]);
        // 4 found no room, 3 clashed, 2 chains were too long.
        let reported = balance.advance(&[cpu(0, &values([7, 5, 2]))], [0; Reason::COUNT]);
        let want = [(Reason::TableFull, 4), (Reason::InsertFailed, 3), (Reason::ChainTooLong, 2)];
        want.into_iter()
            .for_each(|(reason, count)| assert_eq!(of(reported, reason), count, "{reason:?}"));
    }
}
