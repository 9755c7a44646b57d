//! The matrix: who speaks to whom, over which family, with which caches. The table of outcomes is printed when the
//! last cell is done.

use crate::cell::{Caches, Cell, check};
use std::io::Write;
use std::sync::Mutex;
use tests::daemon::Brand::{Original, Ours};
use tests::netns::Family::{V4, V6};

static OUTCOMES: Mutex<Vec<(&str, bool)>> = Mutex::new(Vec::new());

/// Records the outcome of a cell when it goes, in a panic too.
struct Record(&'static str);

impl Drop for Record {
    fn drop(&mut self) {
        let ok = !std::thread::panicking();
        let mut outcomes = OUTCOMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        outcomes.push((self.0, ok));
        if outcomes.len() == NAMES.len() {
            outcomes.sort_unstable();
            // Straight to the descriptor: `println` would be captured.
            let mut out = std::io::stdout().lock();
            for (name, ok) in outcomes.iter() {
                let _ = writeln!(out, "cell {name:<52} {}", if *ok { "ok" } else { "FAILED" });
            }
        }
    }
}

macro_rules! cells {
    ($($name:ident: $from:ident $to:ident $link:ident $caches:ident;)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                let _record = Record(stringify!($name));
                check(Cell { from: $from, to: $to, link: $link, caches: Caches::$caches });
            }
        )*
    };
}

cells! {
    ours_to_original_over_ipv4_with_both_caches: Ours Original V4 Both;
    ours_to_original_over_ipv4_into_the_kernel: Ours Original V4 OnlyInternal;
    ours_to_original_over_ipv4_from_the_kernel: Ours Original V4 OnlyExternal;
    ours_to_original_over_ipv4_without_caches: Ours Original V4 None;
    ours_to_original_over_ipv6_with_both_caches: Ours Original V6 Both;
    ours_to_original_over_ipv6_into_the_kernel: Ours Original V6 OnlyInternal;
    ours_to_original_over_ipv6_from_the_kernel: Ours Original V6 OnlyExternal;
    ours_to_original_over_ipv6_without_caches: Ours Original V6 None;
    original_to_ours_over_ipv4_with_both_caches: Original Ours V4 Both;
    original_to_ours_over_ipv4_into_the_kernel: Original Ours V4 OnlyInternal;
    original_to_ours_over_ipv4_from_the_kernel: Original Ours V4 OnlyExternal;
    original_to_ours_over_ipv4_without_caches: Original Ours V4 None;
    original_to_ours_over_ipv6_with_both_caches: Original Ours V6 Both;
    original_to_ours_over_ipv6_into_the_kernel: Original Ours V6 OnlyInternal;
    original_to_ours_over_ipv6_from_the_kernel: Original Ours V6 OnlyExternal;
    original_to_ours_over_ipv6_without_caches: Original Ours V6 None;
    ours_to_ours_over_ipv4_with_both_caches: Ours Ours V4 Both;
    ours_to_ours_over_ipv4_into_the_kernel: Ours Ours V4 OnlyInternal;
    ours_to_ours_over_ipv4_from_the_kernel: Ours Ours V4 OnlyExternal;
    ours_to_ours_over_ipv4_without_caches: Ours Ours V4 None;
    ours_to_ours_over_ipv6_with_both_caches: Ours Ours V6 Both;
    ours_to_ours_over_ipv6_into_the_kernel: Ours Ours V6 OnlyInternal;
    ours_to_ours_over_ipv6_from_the_kernel: Ours Ours V6 OnlyExternal;
    ours_to_ours_over_ipv6_without_caches: Ours Ours V6 None;
}
