//! The command line as clap sees it: for the manual page and for completions, not for parsing. The original's words may
//! be cut and come in either order (see [`super::words`]), which clap does not know.

use super::words::{SUBSYSTEMS, Subsystem, VERBS, Verb};
use clap::{Arg, Command};

/// What a verb does, in a line.
const fn about(verb: Verb) -> &'static str {
    match verb {
        Verb::List => "Show all timeout policies, or all helpers",
        Verb::Add => "Add a timeout policy or a helper",
        Verb::Delete => "Delete one",
        Verb::Get => "Show one",
        Verb::Flush => "Delete all",
        Verb::Disable => "Stop showing packets to a helper's program",
        Verb::DefaultSet => "Change the timeouts of flows that have no policy",
        Verb::DefaultGet => "Show the timeouts of flows that have no policy",
    }
}

/// The subsystems that a verb goes with.
const fn goes_with(verb: Verb, subsystem: Subsystem) -> bool {
    match subsystem {
        Subsystem::Version => false,
        Subsystem::Timeout => !matches!(verb, Verb::Disable),
        Subsystem::Helper => !matches!(verb, Verb::DefaultSet | Verb::DefaultGet),
    }
}

/// The definition that the manual page and the completions are made from.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new("nfct")
        .version("1.4.9")
        .about("Manage timeout policies and helpers of the kernel's connection tracking")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .after_help(AFTERWARD);
    for (name, verb) in VERBS {
        let fitting = SUBSYSTEMS.iter().filter(|(_, subsystem)| goes_with(verb, *subsystem));
        let subsystem = Arg::new("subsystem").required(true).help("Of which kind");
        let subsystem = subsystem.value_parser(fitting.map(|(name, _)| *name).collect::<Vec<_>>());
        let parameters = Arg::new("parameters").num_args(0..).help("See the forms below");
        let mut sub = Command::new(name).about(about(verb)).disable_help_flag(true);
        sub = sub.arg(subsystem).arg(parameters);
        if matches!(verb, Verb::List | Verb::Get | Verb::DefaultGet) {
            let output = Arg::new("output").short('o').value_name("FORM").value_parser(["json"]);
            sub = sub.arg(output.help("Show one JSON object a line"));
        }
        let netns = Arg::new("netns").long("netns").value_name("NAME");
        command = command.subcommand(sub.arg(netns.help("Work in this network namespace")));
    }
    command.subcommand(
        Command::new("version").about("Show the version; a command must come before or after it"),
    )
}

const AFTERWARD: &str = "\
Forms:\n\n\
nfct list|flush timeout|helper\n\n\
nfct add timeout NAME FAMILY PROTOCOL STATE SECONDS [STATE SECONDS]...\n\n\
nfct get|delete timeout NAME\n\n\
nfct default-set timeout FAMILY PROTOCOL STATE SECONDS [STATE SECONDS]...\n\n\
nfct default-get timeout FAMILY PROTOCOL\n\n\
nfct add|disable helper NAME FAMILY tcp|udp\n\n\
nfct get|delete helper NAME [FAMILY [tcp|udp]]\n\n\
nfct list version\n\n\
Command and subsystem may be cut, and come in either order. FAMILY is inet or inet6, PROTOCOL a name of \
/etc/protocols, icmpv6 or generic. NAME of a policy has 1 to 31 bytes; helpers are amanda, dhcpv6, ftp, mdns, \
rpc, sane, slp, ssdp, tftp and tns. -o json (list, get, default-get) and --netns NAME come last.\n\n\
States: tcp: syn_sent, syn_recv, established, fin_wait, close_wait, last_ack, time_wait, close, syn_sent2, retrans, \
unacknowledged. udp, udplite, gre: unreplied, replied. sctp: closed, cookie_wait, cookie_echoed, established, \
shutdown_sent, shutdown_recd, shutdown_ack_sent. dccp: request, respond, partopen, open, closereq, closing, timewait. \
icmp, icmpv6, generic: timeout. States that are not named get the namespace's defaults of that moment.\n\n\
Timeout policies belong to a network namespace; rules of iptables use them by name (-t raw -j CT --timeout NAME); nft \
has objects of its own. Helpers are one list for the whole machine; conntrackd is the program that serves them \
(Helper in its configuration).\n\n\
Objects and the version go to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 255 no netlink.";
