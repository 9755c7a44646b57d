//! The matrix: which two programs, by which rules, over which link and family, with which caches. In each cell flows
//! of every kind live and end: TCP, UDP, ICMP, SCTP, GRE, IPv4 and IPv6, with NAT, zones, marks and labels where the
//! kernel has them. `cargo xtask test interop` prints the table.

use crate::cell::{Caches, Cell, check};
use tests::conf::{Rules, Transport};
use tests::daemon::Brand;
use tests::netns::Family::{V4, V6};

/// Refreshed within two seconds, forgotten after six.
const ALARM: Rules = Rules::Alarm { refresh_s: 1, cache_s: 6 };
const FTFW: Rules = Rules::Ftfw;
const NOTRACK: Rules = Rules::NoTrack;

macro_rules! cells {
    ($($name:ident: $rules:ident $transport:ident $link:ident $caches:ident;)*) => {
        $(
            fn $name(from: Brand, to: Brand) {
                check(Cell {
                    from,
                    to,
                    rules: $rules,
                    transport: Transport::$transport,
                    link: $link,
                    caches: Caches::$caches,
                });
            }
        )*
        crate::in_each_direction!($($name),*);
    };
}

cells! {
    notrack_over_udp_ipv4_with_both_caches: NOTRACK Udp V4 Both;
    notrack_over_udp_ipv4_into_the_kernel: NOTRACK Udp V4 OnlyInternal;
    notrack_over_udp_ipv4_from_the_kernel: NOTRACK Udp V4 OnlyExternal;
    notrack_over_udp_ipv4_without_caches: NOTRACK Udp V4 None;
    notrack_over_udp_ipv6_with_both_caches: NOTRACK Udp V6 Both;
    notrack_over_udp_ipv6_into_the_kernel: NOTRACK Udp V6 OnlyInternal;
    notrack_over_udp_ipv6_from_the_kernel: NOTRACK Udp V6 OnlyExternal;
    notrack_over_udp_ipv6_without_caches: NOTRACK Udp V6 None;
    notrack_over_multicast_ipv4_with_both_caches: NOTRACK Multicast V4 Both;
    notrack_over_tcp_ipv6_with_both_caches: NOTRACK Tcp V6 Both;
    ftfw_over_udp_ipv4_with_both_caches: FTFW Udp V4 Both;
    ftfw_over_udp_ipv4_into_the_kernel: FTFW Udp V4 OnlyInternal;
    ftfw_over_multicast_ipv6_with_both_caches: FTFW Multicast V6 Both;
    ftfw_over_tcp_ipv4_with_both_caches: FTFW Tcp V4 Both;
    alarm_over_udp_ipv6_with_both_caches: ALARM Udp V6 Both;
    alarm_over_multicast_ipv4_with_both_caches: ALARM Multicast V4 Both;
    alarm_over_tcp_ipv4_with_both_caches: ALARM Tcp V4 Both;
}
