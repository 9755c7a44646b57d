//! The filter's maps: written while the program reads them.
//!
//! Nothing is judged by half of a filter: the settings are switched off, runs of the program that saw them on are
//! waited for, everything is written, and one word switches the settings on again. Meanwhile user space decides.

use super::object::{load_error, map_of, missing};
use super::{KernelFilter, SourceError};
use crate::sys::{self, Entries};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, lpm_trie};
use aya::{Ebpf, Pod};
use common::filter::{FilterConfig, Numbers};
use common::{Instant, maps};
use ctnetlink::FlowKey;
use std::collections::HashSet;
use std::hash::Hash;
use std::io;

/// `common::filter::FilterConfig` as aya wants to copy it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct FilterPod(FilterConfig);

#[expect(unsafe_code, reason = "aya has no derive for Pod")]
// SAFETY: `FilterConfig` is `repr(C)` of integers without padding; its size is asserted in `common`.
unsafe impl Pod for FilterPod {}

type Trie<A> = LpmTrie<MapData, A, u32>;

/// Length of a `FlowKey` in a map.
const KEY_LEN: usize = size_of::<FlowKey>();

/// The maps, and what they hold.
pub(super) struct FilterMaps {
    config: Array<MapData, FilterPod>,
    ipv4: Trie<[u8; 4]>,
    ipv6: Trie<[u8; 16]>,
    numbers: Array<MapData, u64>,
    young: HashMap<MapData, [u8; KEY_LEN], u64>,
    /// The map `young`, read in batches.
    births: Entries<KEY_LEN>,
    current: KernelFilter,
    /// When young flows are looked at again.
    next_look: Instant,
}

impl FilterMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, SourceError> {
        let young = map_of(ebpf, maps::YOUNG)?;
        let births = match &young {
            Map::HashMap(data) => Entries::of(data)?,
            _ => return Err(missing(maps::YOUNG)),
        };
        Ok(Self {
            births,
            config: Array::try_from(map_of(ebpf, maps::FILTER)?).map_err(load_error)?,
            ipv4: LpmTrie::try_from(map_of(ebpf, maps::FILTER_IPV4)?).map_err(load_error)?,
            ipv6: LpmTrie::try_from(map_of(ebpf, maps::FILTER_IPV6)?).map_err(load_error)?,
            numbers: Array::try_from(map_of(ebpf, maps::FILTER_NUMBERS)?).map_err(load_error)?,
            young: HashMap::try_from(young).map_err(load_error)?,
            current: KernelFilter::default(),
            next_look: Instant(0),
        })
    }

    /// Lets everything pass. Only the switch changes: the program may read the settings while they are written.
    pub(super) fn open(&mut self) -> Result<(), SourceError> {
        self.write(FilterConfig { enabled: 0, ..self.current.config })?;
        // A run of the program that has seen the switch on must not see the new sets. Where the kernel cannot wait for
        // that, the run is long over when the next map is written.
        let _ = sys::wait_for_programs();
        Ok(())
    }

    /// Filters like this, letting too much pass meanwhile, never too little: open, then the sets, then the switch.
    pub(super) fn set(&mut self, filter: &KernelFilter) -> Result<(), SourceError> {
        self.open()?;
        self.fill(filter)
    }

    /// Fills the maps while no program runs that reads them, or all programs have seen the switch off.
    pub(super) fn fill(&mut self, filter: &KernelFilter) -> Result<(), SourceError> {
        self.write(FilterConfig { enabled: 0, ..filter.config })?;
        refill(&mut self.ipv4, &self.current.ipv4, &filter.ipv4)?;
        refill(&mut self.ipv6, &self.current.ipv6, &filter.ipv6)?;
        self.refill_numbers(filter)?;
        if filter.config.age_ns == 0 {
            self.forget_young()?;
        }
        self.current = filter.clone();
        self.write(filter.config.switched())
    }

    fn refill_numbers(&mut self, filter: &KernelFilter) -> Result<(), SourceError> {
        let (old, new) = (bitmaps(&self.current), bitmaps(filter));
        for (at, word) in new.iter().enumerate().filter(|(at, word)| old[*at] != **word) {
            self.numbers.set(at as u32, word, 0).map_err(load_error)?;
        }
        Ok(())
    }

    /// Hands out the flows that have become old enough by `now`, and forgets that they were young.
    pub(super) fn ripe(&mut self, now: Instant, sink: &mut impl FnMut(FlowKey)) -> io::Result<()> {
        let age_ns = self.current.config.age_ns;
        if age_ns == 0 || now < self.next_look {
            return Ok(());
        }
        self.next_look = now + super::age::pause(age_ns);
        let mut ripe = Vec::new();
        self.births.read(|key, since| {
            if now.0.saturating_sub(since) >= age_ns {
                ripe.push(*key);
            }
        })?;
        for key in ripe {
            // A flow that has just ended is gone from the map, and needs no report.
            if self.young.remove(&key).is_ok() {
                sink(FlowKey::from_bytes(&key));
            }
        }
        Ok(())
    }

    fn forget_young(&mut self) -> Result<(), SourceError> {
        let mut all = Vec::new();
        self.births.read(|key, _| all.push(*key))?;
        all.iter().for_each(|key| drop(self.young.remove(key)));
        Ok(())
    }

    fn write(&mut self, config: FilterConfig) -> Result<(), SourceError> {
        self.config.set(0, FilterPod(config), 0).map_err(load_error)
    }
}

/// The sets of numbers as the program reads them.
fn bitmaps(filter: &KernelFilter) -> Vec<u64> {
    let mut words = vec![0; Numbers::ALL.len() * Numbers::WORDS as usize];
    let lists = [&filter.source_ports, &filter.destination_ports, &filter.zones];
    for (set, list) in Numbers::ALL.into_iter().zip(lists) {
        for number in list.iter().flat_map(|&(first, last)| first..=last) {
            let (word, bit) = set.place(number);
            words[word as usize] |= 1 << bit;
        }
    }
    words
}

fn refill<A: Pod + Eq + Hash>(
    trie: &mut Trie<A>,
    old: &[(A, u8)],
    new: &[(A, u8)],
) -> Result<(), SourceError> {
    let (before, after): (HashSet<_>, HashSet<_>) = (old.iter().collect(), new.iter().collect());
    for (addr, bits) in before.difference(&after) {
        // Two prefixes of the text may be one here.
        let _ = trie.remove(&lpm_trie::Key::new((*bits).into(), *addr));
    }
    // All of the new ones: what was just removed may have been one of them, written with other bits behind the prefix.
    for &(addr, bits) in new {
        trie.insert(&lpm_trie::Key::new(bits.into(), addr), 1, 0).map_err(load_error)?;
    }
    Ok(())
}
