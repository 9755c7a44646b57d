//! The programs ctflow runs inside the kernel.
//!
//! They carry no policy of their own: what passes is a map, what a record looks like is `common`. On any target
//! but BPF this is an empty program, so that the workspace compiles everywhere.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod diagnose;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod hook;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod entry {
    use crate::diagnose::diagnose;
    use crate::{emit, filter, hook, maps};
    use aya_ebpf::{macros::socket_filter, programs::SkBuffContext};
    use common::counter;

    /// What a socket filter answers to drop a packet.
    const DROP: i64 = 0;
    /// What a socket filter answers to keep all of a packet.
    const KEEP: i64 = u32::MAX as i64;

    /// Runs on every message the kernel is about to queue on our ctnetlink event socket.
    ///
    /// ```text
    ///   event --> filter --refused--> DROP, counted
    ///                |
    ///                v
    ///   own CPU's ring, its neighbours' --all full, too large, none--> KEEP: the socket buffer takes it
    ///                |
    ///                v
    ///              DROP (the socket stays empty)
    /// ```
    #[socket_filter]
    pub fn ctflow_tap(ctx: SkBuffContext) -> i64 {
        maps::count(counter::SEEN);
        if !filter::passes(&ctx) {
            maps::count(counter::FILTERED);
            diagnose!(&ctx, "tap: the filter refuses an event");
            return DROP;
        }
        match emit::emit(&ctx) {
            Ok(()) => {
                maps::count(counter::RING);
                DROP
            }
            Err(spill) => {
                maps::count(spill.counter());
                diagnose!(
                    &ctx,
                    "tap: left to the socket, {} (see common::counter)",
                    spill.counter()
                );
                KEEP
            }
        }
    }

    /// What a netfilter program answers to let a packet go on (`NF_ACCEPT`).
    const ACCEPT: i32 = 1;

    /// Runs on every packet that is about to leave or to be delivered.
    ///
    /// It lies in a section that the loader's library can parse; what it is, the loader says when it hands it over.
    #[unsafe(link_section = "socket")]
    #[unsafe(no_mangle)]
    pub extern "C" fn ctflow_hook(ctx: *const hook::NfContext) -> i32 {
        hook::look(ctx);
        ACCEPT
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
