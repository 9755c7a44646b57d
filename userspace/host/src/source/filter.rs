//! The filter's maps: written while the program reads them.

use super::tap::{load_error, map_of};
use super::{KernelFilter, SourceError};
use crate::sys;
use aya::maps::{Array, LpmTrie, MapData, lpm_trie};
use aya::{Ebpf, Pod};
use common::maps;
use common::tap::FilterConfig;

/// `common::tap::FilterConfig` as aya wants to copy it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct FilterPod(FilterConfig);

#[expect(unsafe_code, reason = "aya has no derive for Pod")]
// SAFETY: `FilterConfig` is `repr(C)` of integers without padding; its size is asserted in `common`.
unsafe impl Pod for FilterPod {}

type Trie<A> = LpmTrie<MapData, A, u32>;

/// The maps, and what they hold.
pub(super) struct FilterMaps {
    config: Array<MapData, FilterPod>,
    ipv4: Trie<[u8; 4]>,
    ipv6: Trie<[u8; 16]>,
    current: KernelFilter,
}

impl FilterMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, SourceError> {
        Ok(Self {
            config: Array::try_from(map_of(ebpf, maps::FILTER)?).map_err(load_error)?,
            ipv4: LpmTrie::try_from(map_of(ebpf, maps::FILTER_IPV4)?).map_err(load_error)?,
            ipv6: LpmTrie::try_from(map_of(ebpf, maps::FILTER_IPV6)?).map_err(load_error)?,
            current: KernelFilter::default(),
        })
    }

    /// Lets everything pass. Only the modes change: the program may read the settings while they are written.
    pub(super) fn open(&mut self) -> Result<(), SourceError> {
        let protocols = self.current.config.protocols;
        self.write(FilterConfig { protocols, ..FilterConfig::PASS })?;
        // A run of the program that has seen the old modes must not see the new sets. Where the kernel cannot wait for
        // that, the run is long over when the next map is written.
        let _ = sys::wait_for_programs();
        Ok(())
    }

    /// Filters like this, letting too much pass meanwhile, never too little: open, then the sets, then the modes.
    pub(super) fn set(&mut self, filter: &KernelFilter) -> Result<(), SourceError> {
        self.open()?;
        self.write(FilterConfig { protocols: filter.config.protocols, ..FilterConfig::PASS })?;
        refill(&mut self.ipv4, &self.current.ipv4, &filter.ipv4)?;
        refill(&mut self.ipv6, &self.current.ipv6, &filter.ipv6)?;
        self.current = filter.clone();
        self.write(filter.config)
    }

    fn write(&mut self, config: FilterConfig) -> Result<(), SourceError> {
        self.config.set(0, FilterPod(config), 0).map_err(load_error)
    }
}

fn refill<A: Pod + PartialEq>(
    trie: &mut Trie<A>,
    old: &[(A, u8)],
    new: &[(A, u8)],
) -> Result<(), SourceError> {
    for &(addr, bits) in old.iter().filter(|prefix| !new.contains(prefix)) {
        // Two prefixes of the text may be one here.
        let _ = trie.remove(&lpm_trie::Key::new(bits.into(), addr));
    }
    for &(addr, bits) in new {
        trie.insert(&lpm_trie::Key::new(bits.into(), addr), 1, 0).map_err(load_error)?;
    }
    Ok(())
}
