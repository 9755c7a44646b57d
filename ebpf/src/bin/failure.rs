//! The programs that see what the kernel refuses, drops and evicts: probes of functions that run where something has
//! failed already. Nothing of it runs for a packet that fares well. An object of its own, loaded only if asked for.
//!
//! ```text
//!   early_drop        entered: this CPU evicts --> nf_ct_delete: the victim
//!                     returned 0: the table is full --> the next packet that netfilter drops: kfree_skb
//!   nf_ct_resolve_clash   entered: both flows       returned: which reason
//!   nf_l4proto_log_invalid, nf_ct_l4proto_log_invalid     the packet, and the kernel's words
//! ```
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod entry {
    use aya_ebpf::btf_maps::{PerCpuArray, RingBuf};
    use aya_ebpf::helpers::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_kernel,
        bpf_probe_read_kernel_str_bytes,
    };
    use aya_ebpf::macros::{btf_map, kprobe, kretprobe, raw_tracepoint};
    use aya_ebpf::programs::{ProbeContext, RawTracePointContext, RetProbeContext};
    use common::failure::{
        FailureRecord, NO_FIELD, RING_BYTES, Reason, SETTINGS as COUNT, Setting,
    };
    use ctnetlink::tuple::{FAMILY_IPV4, FAMILY_IPV6, ipproto};

    /// What an eviction takes at most, and how long after the refusal its packet is dropped, nanoseconds.
    const WHILE_NS: u64 = 10_000_000;
    /// `skb->_nfct` carries `enum ip_conntrack_info` in these bits (`NFCT_INFOMASK`).
    const INFO_MASK: u64 = 7;
    /// What a program of this kind returns.
    const DONE: u32 = 0;
    /// A second, nanoseconds.
    const SECOND: u64 = 1_000_000_000;

    /// Written by the loader.
    #[unsafe(no_mangle)]
    static SETTINGS: [u32; COUNT] = [0; COUNT];

    /// What this CPU is at.
    #[repr(C)]
    pub struct State {
        /// The task that is evicting, and since when; 0: none.
        evicting: u64,
        since: u64,
        /// The task whose packet found no room, and when; 0: none.
        refused: u64,
        at: u64,
        /// Both flows of a clash.
        clash: FailureRecord,
        /// Whether there are any.
        clashes: u64,
    }

    /// How many more records of a reason may be written.
    #[repr(C)]
    pub struct Bucket {
        left: u64,
        since: u64,
    }

    #[btf_map]
    static FAILURES: RingBuf<FailureRecord, { RING_BYTES as usize }> = RingBuf::new();
    #[btf_map]
    static FAILURE_COUNTERS: PerCpuArray<u64, { 2 * Reason::COUNT }> = PerCpuArray::new();
    #[btf_map]
    static STATE: PerCpuArray<State, 1> = PerCpuArray::new();
    #[btf_map]
    static BUCKETS: PerCpuArray<Bucket, { Reason::COUNT }> = PerCpuArray::new();

    /// The kernel looks for a flow to evict: `early_drop(struct net *, unsigned int)`.
    #[kprobe]
    pub fn failure_evict(ctx: ProbeContext) -> u32 {
        if let (Some(net), Some(state)) = (ctx.arg::<*const u8>(0), state())
            && is_ours(net)
        {
            (state.evicting, state.since) = (ctx.who(), now());
        }
        DONE
    }

    /// The kernel has found a flow to evict, or none.
    #[kretprobe]
    pub fn failure_evicted(ctx: RetProbeContext) -> u32 {
        let Some(state) = state() else { return DONE };
        let who = ctx.who();
        if state.evicting == who && who != 0 {
            state.evicting = 0;
            if ctx.ret::<u32>() & 0xff == 0 && may_tell(Reason::TableFull) {
                (state.refused, state.at) = (who, now());
            }
        }
        DONE
    }

    /// A flow ends: `nf_ct_delete(struct nf_conn *, u32, int)`.
    #[kprobe]
    pub fn failure_delete(ctx: ProbeContext) -> u32 {
        let Some(state) = state() else { return DONE };
        if state.evicting == 0 || state.evicting != ctx.who() || now() - state.since > WHILE_NS {
            return DONE;
        }
        if let Some(conn) = ctx.arg::<*const u8>(0)
            && may_tell(Reason::Evicted)
        {
            tell(Reason::Evicted, |record| of_conn(conn, record));
        }
        DONE
    }

    /// A flow is not new any more: `nf_ct_resolve_clash(struct sk_buff *, struct nf_conntrack_tuple_hash *, u32)`.
    #[kprobe]
    pub fn failure_clash(ctx: ProbeContext) -> u32 {
        let (Some(skb), Some(hash)) = (ctx.arg::<*const u8>(0), ctx.arg::<*const u8>(1)) else {
            return DONE;
        };
        let Some(state) = state() else { return DONE };
        let loser = (read::<u64>(skb, Setting::SkbNfct) & !INFO_MASK) as *const u8;
        if loser.is_null() || !is_ours(read::<u64>(loser, Setting::CtNet) as *const u8) {
            return DONE;
        }
        of_conn(loser, &mut state.clash);
        let (orig, reply) = (of(Setting::CtOrig), of(Setting::CtReply));
        let direction = read::<u8>(hash, Setting::TupleDir);
        let winner = hash.wrapping_sub(if direction == 0 { orig } else { reply });
        let tuple = winner.wrapping_add(orig);
        state.clash.by_src = read(tuple, Setting::TupleSrc);
        state.clash.by_dst = read(tuple, Setting::TupleDst);
        state.clash.by_l4 = l4(tuple);
        state.clashes = 1;
        DONE
    }

    /// What came of it: `NF_DROP` is 0.
    #[kretprobe]
    pub fn failure_clashed(ctx: RetProbeContext) -> u32 {
        let Some(state) = state() else { return DONE };
        if state.clashes == 0 {
            return DONE;
        }
        state.clashes = 0;
        let reason = match ctx.ret::<u32>() {
            0 => Reason::InsertFailed,
            _ => Reason::ClashResolved,
        };
        if may_tell(reason) {
            tell(reason, |record| *record = state.clash);
        }
        DONE
    }

    /// `nf_l4proto_log_invalid(const struct sk_buff *, const struct nf_hook_state *, u8, const char *, ...)`.
    #[kprobe]
    pub fn failure_invalid(ctx: ProbeContext) -> u32 {
        let (Some(skb), Some(state)) = (ctx.arg(0), ctx.arg(1)) else { return DONE };
        let Some(format) = ctx.arg::<*const u8>(3) else { return DONE };
        // The other function calls this one, where the log is switched on.
        if read_at::<[u8; 3]>(format) != *b"%pV" {
            invalid(skb, state, format);
        }
        DONE
    }

    /// `nf_ct_l4proto_log_invalid(const struct sk_buff *, const struct nf_conn *, const struct nf_hook_state *,
    /// const char *, ...)`.
    #[kprobe]
    pub fn failure_invalid_of_flow(ctx: ProbeContext) -> u32 {
        let (Some(skb), Some(state)) = (ctx.arg(0), ctx.arg(2)) else { return DONE };
        let Some(mut format) = ctx.arg::<*const u8>(3) else { return DONE };
        if read_at::<[u8; 3]>(format) == *b"%pV" {
            // `struct va_format` begins with the format.
            let Some(inner) = ctx.arg::<*const u8>(4) else { return DONE };
            format = read_at::<u64>(inner) as *const u8;
        }
        invalid(skb, state, format);
        DONE
    }

    /// A packet is freed: `kfree_skb(struct sk_buff *, void *, enum skb_drop_reason, ...)`. If it is the one that has
    /// just found no room, it belongs to no flow.
    #[raw_tracepoint]
    pub fn failure_freed(ctx: RawTracePointContext) -> i32 {
        let Some(state) = state() else { return 0 };
        if state.refused == 0 || state.refused != ctx.who() {
            return 0;
        }
        if now() - state.at > WHILE_NS {
            state.refused = 0;
            return 0;
        }
        let skb = ctx.arg::<u64>(0) as *const u8;
        let device = read::<u64>(skb, Setting::SkbDev) as *const u8;
        let is_tracked = read::<u64>(skb, Setting::SkbNfct) & !INFO_MASK != 0;
        // A packet of this machine's own has no device yet.
        let is_ours =
            device.is_null() || is_ours(read::<u64>(device, Setting::DevNet) as *const u8);
        if is_tracked || !is_ours {
            return 0;
        }
        state.refused = 0;
        tell(Reason::TableFull, |record| of_packet(skb, record));
        0
    }

    #[inline(always)]
    fn invalid(skb: *const u8, hook_state: *const u8, format: *const u8) {
        if !is_ours(read::<u64>(hook_state, Setting::HookStateNet) as *const u8) {
            return;
        }
        // "invalid packet ignored": it is not counted as invalid, and passes.
        if read_at::<[u8; 14]>(format.wrapping_add(8)) == *b"packet ignored" {
            return;
        }
        if may_tell(Reason::Invalid) {
            tell(Reason::Invalid, |record| {
                of_packet(skb, record);
                // SAFETY: the helper reads no more than there is room for, and a bad address gives nothing.
                let _ = unsafe { bpf_probe_read_kernel_str_bytes(format, &mut record.words) };
            });
        }
    }

    trait Who: aya_ebpf::EbpfContext {
        /// The running task: process and thread. 1 for the idle task, because 0 means no task.
        #[inline(always)]
        fn who(&self) -> u64 {
            let who = u64::from(self.tgid()) << 32 | u64::from(self.pid());
            if who == 0 { 1 } else { who }
        }
    }
    impl Who for ProbeContext {}
    impl Who for RetProbeContext {}
    impl Who for RawTracePointContext {}

    #[inline(always)]
    fn now() -> u64 {
        // SAFETY: the helper has no precondition.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn state() -> Option<&'static mut State> {
        // SAFETY: the cell belongs to this CPU and lives as long as the program.
        STATE.get_ptr_mut(0).map(|state| unsafe { &mut *state })
    }

    /// What the loader wrote for a setting.
    #[inline(always)]
    fn of(setting: Setting) -> usize {
        // SAFETY: the place is within the array; the loader changes it before the program runs.
        unsafe { core::ptr::addr_of!(SETTINGS[setting as usize]).read_volatile() as usize }
    }

    /// A field of the kernel; zero where there is none.
    #[inline(always)]
    fn read<T: Default + Copy>(base: *const u8, field: Setting) -> T {
        let at = of(field);
        if at == NO_FIELD as usize {
            return T::default();
        }
        read_at(base.wrapping_add(at))
    }

    #[inline(always)]
    fn read_at<T: Default + Copy>(at: *const u8) -> T {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(at.cast::<T>()) }.unwrap_or_default()
    }

    #[inline(always)]
    fn is_ours(net: *const u8) -> bool {
        !net.is_null() && read::<u32>(net, Setting::NetInum) as usize == of(Setting::Netns)
    }

    /// Counts, and says whether there may be a record.
    #[inline(always)]
    fn may_tell(reason: Reason) -> bool {
        let index = reason.index() as u32;
        if let Some(seen) = FAILURE_COUNTERS.get_ptr_mut(index) {
            // SAFETY: the cell belongs to this CPU.
            unsafe { *seen += 1 };
        }
        let Some(bucket) = BUCKETS.get_ptr_mut(index) else { return false };
        // SAFETY: as above.
        let bucket = unsafe { &mut *bucket };
        let now = now();
        if now - bucket.since >= SECOND {
            (bucket.since, bucket.left) = (now, of(Setting::PerSecond) as u64);
        }
        if bucket.left == 0 {
            return false;
        }
        bucket.left -= 1;
        true
    }

    #[inline(always)]
    fn tell(reason: Reason, fill: impl FnOnce(&mut FailureRecord)) {
        let Some(mut entry) = FAILURES.reserve_untyped::<FailureRecord>(0) else { return };
        // SAFETY: zeros are a record; there is room for one.
        let record = unsafe { &mut *entry.as_mut_ptr() };
        *record = EMPTY;
        fill(record);
        record.reason = reason as u8;
        record.ktime_ns = now();
        // SAFETY: the helper has no precondition.
        record.cpu = unsafe { bpf_get_smp_processor_id() } as u16;
        entry.submit(0);
        if let Some(counter) = FAILURE_COUNTERS.get_ptr_mut((Reason::COUNT + reason.index()) as u32)
        {
            // SAFETY: the cell belongs to this CPU.
            unsafe { *counter += 1 };
        }
    }

    /// A record of nothing.
    const EMPTY: FailureRecord = FailureRecord {
        ktime_ns: 0,
        reason: 0,
        family: 0,
        proto: 0,
        reserved: 0,
        cpu: 0,
        zone: 0,
        src: [0; 16],
        dst: [0; 16],
        l4: [0; 4],
        by_l4: [0; 4],
        by_src: [0; 16],
        by_dst: [0; 16],
        words: [0; common::failure::WORDS_LEN],
    };

    /// The original direction of a flow.
    #[inline(always)]
    fn of_conn(conn: *const u8, record: &mut FailureRecord) {
        let tuple = conn.wrapping_add(of(Setting::CtOrig));
        record.src = read(tuple, Setting::TupleSrc);
        record.dst = read(tuple, Setting::TupleDst);
        record.l4 = l4(tuple);
        record.family = read::<u16>(tuple, Setting::TupleFamily) as u8;
        record.proto = read(tuple, Setting::TupleProto);
        record.zone = read(conn, Setting::CtZone);
    }

    #[inline(always)]
    fn l4(tuple: *const u8) -> [u8; 4] {
        let src = read::<[u8; 2]>(tuple, Setting::TupleSrcL4);
        let dst = read::<[u8; 2]>(tuple, Setting::TupleDstL4);
        [src[0], src[1], dst[0], dst[1]]
    }

    /// What the headers of a packet say. IPv6 with headers in between has no ports here.
    #[inline(always)]
    fn of_packet(skb: *const u8, record: &mut FailureRecord) {
        let head = read::<u64>(skb, Setting::SkbHead) as *const u8;
        let network = head.wrapping_add(read::<u16>(skb, Setting::SkbNetwork) as usize);
        let first = read_at::<u8>(network);
        let behind = match first >> 4 {
            4 => {
                (record.family, record.proto) = (FAMILY_IPV4, read_at(network.wrapping_add(9)));
                let (src, dst) = (network.wrapping_add(12), network.wrapping_add(16));
                record.src[..4].copy_from_slice(&read_at::<[u8; 4]>(src));
                record.dst[..4].copy_from_slice(&read_at::<[u8; 4]>(dst));
                usize::from(first & 15) * 4
            }
            6 => {
                (record.family, record.proto) = (FAMILY_IPV6, read_at(network.wrapping_add(6)));
                record.src = read_at(network.wrapping_add(8));
                record.dst = read_at(network.wrapping_add(24));
                40
            }
            _ => return,
        };
        let bytes = read_at::<[u8; 8]>(network.wrapping_add(behind));
        record.l4 = match record.proto {
            ipproto::ICMP | ipproto::ICMPV6 => [bytes[4], bytes[5], bytes[0], bytes[1]],
            ipproto::TCP | ipproto::UDP | ipproto::UDPLITE | ipproto::SCTP | ipproto::DCCP => {
                [bytes[0], bytes[1], bytes[2], bytes[3]]
            }
            _ => [0; 4],
        };
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: the verifier accepts a program only if this is unreachable.
        unsafe { core::hint::unreachable_unchecked() }
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}
