//! The machines: two routers between a client and a server, as [`crate`] draws them.

use std::net::IpAddr;
use tests::conf::SUBNET;
use tests::netns::{Family, Namespace, address, sysctl};

/// The address of the client and of the server.
pub(crate) const CLIENT: &str = "10.99.1.100";
pub(crate) const SERVER: &str = "10.99.2.100";
/// The addresses that move: the client's gateway, and what the connections are translated to.
pub(crate) const INSIDE: &str = "10.99.1.1";
pub(crate) const OUTSIDE: &str = "10.99.2.1";

/// Everything but the routers.
pub(crate) struct Network {
    /// The switches, one bridge each.
    switches: Namespace,
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
}

impl Network {
    pub(crate) fn new() -> Self {
        let made = [(); 3].map(|()| Namespace::new());
        let [switches, client, server] = made;
        let network = Self { switches, client, server };
        network.switches.within(|| {
            // What a switch forwards is no business of its own firewall.
            let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
        });
        for switch in ["lan", "wan", "sync"] {
            network.switches.sh(&format!("ip link add {switch} type bridge"));
            network.switches.sh(&format!("ip link set {switch} up"));
        }
        network.plug(&network.client, "lan", "lan", "client");
        network.plug(&network.server, "wan", "wan", "server");
        network.client.sh(&format!("ip addr add {CLIENT}/24 dev lan"));
        network.client.sh(&format!("ip route add default via {INSIDE}"));
        network.server.sh(&format!("ip addr add {SERVER}/24 dev wan"));
        for end in [&network.client, &network.server] {
            end.nft(COUNT_RESETS);
        }
        network
    }

    /// A cable from a machine's `interface` to a switch.
    fn plug(&self, machine: &Namespace, interface: &str, switch: &str, port: &str) {
        let (there, port) = (machine.path(), format!("{switch}-{port}"));
        let pair = format!("ip link add {port} type veth peer name {interface} netns {there}");
        self.switches.sh(&pair);
        self.switches.sh(&format!("ip link set {port} master {switch} up"));
        machine.sh(&format!("ip link set {interface} up"));
        machine.wait_until_running(interface);
    }

    /// A router that has just been switched on. It has the hardware addresses it always has: to those that the other one
    /// remembers, the other one sends its announcements, and a router that does not hear them takes the addresses.
    pub(crate) fn router(&self, at: usize) -> Namespace {
        let (router, host) = (Namespace::new(), host(at));
        for (interface, switch, subnet) in [("lan", "lan", 1), ("wan", "wan", 2)] {
            self.plug(&router, interface, switch, interface_to_peers(at));
            router.sh(&format!("ip link set {interface} address 02:00:0a:63:0{subnet}:0{host}"));
            router.sh(&format!("ip addr add 10.99.{subnet}.{host}/24 dev {interface}"));
        }
        let link = interface_to_peers(at);
        self.plug(&router, link, "sync", link);
        router.sh(&format!("ip addr add {}/24 dev {link}", link_address(at)));
        router.nft(FIREWALL);
        router.within(|| sysctl("net/ipv4/ip_forward", "1"));
        router
    }

    /// Pulls all cables of a router.
    pub(crate) fn unplug(&self, at: usize) {
        for switch in ["lan", "wan", "sync"] {
            self.switches.sh(&format!("ip link del {switch}-{}", interface_to_peers(at)));
        }
    }

    /// Resets that came to the client and to the server.
    pub(crate) fn resets(&self) -> [u64; 2] {
        [&self.client, &self.server].map(|end| {
            let text = end.sh("nft list counter ip resets seen");
            let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
            words.next().and_then(|count| count.parse().ok()).expect("a counter counts packets")
        })
    }
}

/// The last number of a router's own addresses.
pub(crate) const fn host(at: usize) -> u8 {
    2 + at as u8
}

/// Its address on the sync switch, as `tests::conf` has it.
pub(crate) fn link_address(at: usize) -> IpAddr {
    address(Family::V4, SUBNET, 1 + at as u8)
}

/// Its interface to the sync switch, as `tests::conf` has it.
const fn interface_to_peers(at: usize) -> &'static str {
    ["va", "vb", "vc"][at]
}

const COUNT_RESETS: &str = "
table ip resets {
    counter seen {}
    chain input {
        type filter hook input priority filter;
        tcp flags & rst == rst counter name seen
    }
}
";

/// Stateful, and everything leaves with the outside address. The kernel's defaults are left as they are: it takes the
/// middle of an unknown TCP connection for a new one, and answers it if it is for itself.
const FIREWALL: &str = "
table inet firewall {
    chain early {
        type filter hook prerouting priority raw;
        ip protocol vrrp notrack
        iifname { lo, va, vb, vc } notrack
    }
    chain early_own {
        type filter hook output priority raw;
        ip protocol vrrp notrack
        oifname { lo, va, vb, vc } notrack
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        iifname lan ct state new accept
    }
    chain leaving { type nat hook postrouting priority srcnat; oifname wan snat ip to 10.99.2.1; }
}
";
