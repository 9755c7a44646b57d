//! Names and capacities of the maps and of the programs: one constant, two sides.

/// The socket filter program.
pub const PROGRAM_TAP: &str = "ctflow_tap";
/// The netfilter program.
pub const PROGRAM_HOOK: &str = "ctflow_hook";
/// Array with [`crate::hook::SIGNATURES_MAX`] `u64`: what the hook last reported of the flows that fall there.
pub const SIGNATURES: &str = "SIGNATURES";
/// Per-CPU array of `u64`, indexed by the constants of [`crate::hook::counter`].
pub const HOOK_COUNTERS: &str = "HOOK_COUNTERS";
/// Array of maps: one ring buffer for each CPU that is or has been online.
pub const RINGS: &str = "RINGS";
/// Most CPUs that can have a ring of their own; CPUs beyond spill to the socket.
pub const RINGS_MAX: u32 = 512;
/// Per-CPU array of `u64`, indexed by the constants of [`crate::counter`].
pub const COUNTERS: &str = "COUNTERS";
/// Memory-mappable array with one `u64` per CPU (the BPF target has 64-bit atomics only): 1 while the reader sleeps
/// and wants to be woken.
pub const ARMED: &str = "ARMED";
/// Array with one [`crate::filter::FilterConfig`].
pub const FILTER: &str = "FILTER";
/// LPM trie of IPv4 prefixes.
pub const FILTER_IPV4: &str = "FILTER_IPV4";
/// LPM trie of IPv6 prefixes.
pub const FILTER_IPV6: &str = "FILTER_IPV6";
/// Most prefixes per address family.
pub const FILTER_PREFIXES_MAX: u32 = 16_384;
/// Array of `u64`: the bitmaps of [`crate::filter::Numbers`], one behind the other.
pub const FILTER_NUMBERS: &str = "FILTER_NUMBERS";
/// Hash from the [`ctnetlink::FlowKey`] of a flow that is too young to be reported to the `ktime` of its beginning.
pub const YOUNG: &str = "YOUNG";
/// Limit of young flows; a flow beyond it is reported at once.
pub const YOUNG_MAX: u32 = 1 << 18;
