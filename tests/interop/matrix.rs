//! The matrix: who speaks to whom, by which rules, over which link and family, with which caches. The table of outcomes is printed when the
//! last cell is done.

use crate::cell::{Caches, Cell, check};
use std::io::Write;
use std::sync::Mutex;
use tests::conf::{Rules, Transport};
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

/// Told again within two seconds, forgotten after six.
const ALARM: Rules = Rules::Alarm { refresh_s: 1, cache_s: 6 };
const FTFW: Rules = Rules::Ftfw;
const NOTRACK: Rules = Rules::NoTrack;

macro_rules! cells {
    ($($name:ident: $from:ident $to:ident $rules:ident $transport:ident $link:ident $caches:ident;)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                let _record = Record(stringify!($name));
                check(Cell {
                    from: $from,
                    to: $to,
                    rules: $rules,
                    transport: Transport::$transport,
                    link: $link,
                    caches: Caches::$caches,
                });
            }
        )*
    };
}

cells! {
    ours_to_original_over_ipv4_with_both_caches: Ours Original NOTRACK Udp V4 Both;
    ours_to_original_over_ipv4_into_the_kernel: Ours Original NOTRACK Udp V4 OnlyInternal;
    ours_to_original_over_ipv4_from_the_kernel: Ours Original NOTRACK Udp V4 OnlyExternal;
    ours_to_original_over_ipv4_without_caches: Ours Original NOTRACK Udp V4 None;
    ours_to_original_over_ipv6_with_both_caches: Ours Original NOTRACK Udp V6 Both;
    ours_to_original_over_ipv6_into_the_kernel: Ours Original NOTRACK Udp V6 OnlyInternal;
    ours_to_original_over_ipv6_from_the_kernel: Ours Original NOTRACK Udp V6 OnlyExternal;
    ours_to_original_over_ipv6_without_caches: Ours Original NOTRACK Udp V6 None;
    ours_to_original_by_notrack_over_multicast: Ours Original NOTRACK Multicast V4 Both;
    ours_to_original_by_notrack_over_tcp: Ours Original NOTRACK Tcp V6 Both;
    ours_to_original_by_ftfw_over_udp: Ours Original FTFW Udp V4 Both;
    ours_to_original_by_ftfw_over_udp_into_the_kernel: Ours Original FTFW Udp V4 OnlyInternal;
    ours_to_original_by_ftfw_over_multicast: Ours Original FTFW Multicast V6 Both;
    ours_to_original_by_ftfw_over_tcp: Ours Original FTFW Tcp V4 Both;
    ours_to_original_by_alarm_over_udp: Ours Original ALARM Udp V6 Both;
    ours_to_original_by_alarm_over_multicast: Ours Original ALARM Multicast V4 Both;
    ours_to_original_by_alarm_over_tcp: Ours Original ALARM Tcp V4 Both;
    original_to_ours_over_ipv4_with_both_caches: Original Ours NOTRACK Udp V4 Both;
    original_to_ours_over_ipv4_into_the_kernel: Original Ours NOTRACK Udp V4 OnlyInternal;
    original_to_ours_over_ipv4_from_the_kernel: Original Ours NOTRACK Udp V4 OnlyExternal;
    original_to_ours_over_ipv4_without_caches: Original Ours NOTRACK Udp V4 None;
    original_to_ours_over_ipv6_with_both_caches: Original Ours NOTRACK Udp V6 Both;
    original_to_ours_over_ipv6_into_the_kernel: Original Ours NOTRACK Udp V6 OnlyInternal;
    original_to_ours_over_ipv6_from_the_kernel: Original Ours NOTRACK Udp V6 OnlyExternal;
    original_to_ours_over_ipv6_without_caches: Original Ours NOTRACK Udp V6 None;
    original_to_ours_by_notrack_over_multicast: Original Ours NOTRACK Multicast V4 Both;
    original_to_ours_by_notrack_over_tcp: Original Ours NOTRACK Tcp V6 Both;
    original_to_ours_by_ftfw_over_udp: Original Ours FTFW Udp V4 Both;
    original_to_ours_by_ftfw_over_udp_into_the_kernel: Original Ours FTFW Udp V4 OnlyInternal;
    original_to_ours_by_ftfw_over_multicast: Original Ours FTFW Multicast V6 Both;
    original_to_ours_by_ftfw_over_tcp: Original Ours FTFW Tcp V4 Both;
    original_to_ours_by_alarm_over_udp: Original Ours ALARM Udp V6 Both;
    original_to_ours_by_alarm_over_multicast: Original Ours ALARM Multicast V4 Both;
    original_to_ours_by_alarm_over_tcp: Original Ours ALARM Tcp V4 Both;
    ours_to_ours_over_ipv4_with_both_caches: Ours Ours NOTRACK Udp V4 Both;
    ours_to_ours_over_ipv4_into_the_kernel: Ours Ours NOTRACK Udp V4 OnlyInternal;
    ours_to_ours_over_ipv4_from_the_kernel: Ours Ours NOTRACK Udp V4 OnlyExternal;
    ours_to_ours_over_ipv4_without_caches: Ours Ours NOTRACK Udp V4 None;
    ours_to_ours_over_ipv6_with_both_caches: Ours Ours NOTRACK Udp V6 Both;
    ours_to_ours_over_ipv6_into_the_kernel: Ours Ours NOTRACK Udp V6 OnlyInternal;
    ours_to_ours_over_ipv6_from_the_kernel: Ours Ours NOTRACK Udp V6 OnlyExternal;
    ours_to_ours_over_ipv6_without_caches: Ours Ours NOTRACK Udp V6 None;
    ours_to_ours_by_notrack_over_multicast: Ours Ours NOTRACK Multicast V4 Both;
    ours_to_ours_by_notrack_over_tcp: Ours Ours NOTRACK Tcp V6 Both;
    ours_to_ours_by_ftfw_over_udp: Ours Ours FTFW Udp V4 Both;
    ours_to_ours_by_ftfw_over_udp_into_the_kernel: Ours Ours FTFW Udp V4 OnlyInternal;
    ours_to_ours_by_ftfw_over_multicast: Ours Ours FTFW Multicast V6 Both;
    ours_to_ours_by_ftfw_over_tcp: Ours Ours FTFW Tcp V4 Both;
    ours_to_ours_by_alarm_over_udp: Ours Ours ALARM Udp V6 Both;
    ours_to_ours_by_alarm_over_multicast: Ours Ours ALARM Multicast V4 Both;
    ours_to_ours_by_alarm_over_tcp: Ours Ours ALARM Tcp V4 Both;
}
