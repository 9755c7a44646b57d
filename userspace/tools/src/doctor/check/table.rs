//! What happens to packets in the kernel's table, and who else looks at it.

use super::super::facts::{Facts, Flowtable, Known, Listener, Part};
use super::{Check, Finding, Status, word};

pub(super) static CHECKS: [Check; 5] = [
    Check {
        id: "table.drops",
        title: "packets dropped for want of room",
        looks_at: "drop and early_drop of all CPUs, twice, a second apart",
        bad: &[(Status::Error, "growing"), (Status::Info, "there were some since the boot")],
        why: "new connections fail, or old ones are thrown out before their time to make room",
        fix: "room: sysctl.max, sysctl.timeouts",
        parts: &[Part::Counters],
        at_start: false,
        run: drops,
    },
    Check {
        id: "table.inserts",
        title: "flows that could not be entered",
        looks_at: "insert_failed and chaintoolong of all CPUs, twice, a second apart",
        bad: &[(Status::Warning, "growing"), (Status::Info, "there were some since the boot")],
        why: "the packet that would have begun the flow is lost: two packets of one flow at once (DNS over one \
              socket), one translated address for two flows, or chains that are too long",
        fix: "chains: sysctl.buckets; clashes: more addresses or ports for translation",
        parts: &[Part::Counters],
        at_start: false,
        run: inserts,
    },
    Check {
        id: "table.invalid",
        title: "packets that fit no flow",
        looks_at: "invalid of all CPUs, twice, a second apart",
        bad: &[(Status::Info, "growing, or there were some since the boot")],
        why: "asymmetric routing, a failover with window tracking, or a port scan; rules often drop them",
        fix: "see which: nf_conntrack_log_invalid",
        parts: &[Part::Counters],
        at_start: false,
        run: invalid,
    },
    Check {
        id: "flowtable.counter",
        title: "flowtables count",
        looks_at: "flowtables of this network namespace",
        bad: &[(Status::Warning, "a flowtable without `counter`")],
        why: "packets that pass by conntrack are then not counted for their flow, which looks idle",
        fix: "the flowtable with `counter`",
        parts: &[Part::Flowtables],
        at_start: false,
        run: flowtables,
    },
    Check {
        id: "listeners.others",
        title: "which other programs receive events",
        looks_at: "/proc/net/netlink of every network namespace, and whose sockets these are",
        bad: &[(Status::Warning, "a program other than the daemon listens")],
        why: "as soon as a program listens, anywhere on the machine, the kernel builds a message for each change of a \
              flow (about 2.6 us for a new one), and a slow listener that wants to lose nothing holds up the ends of \
              flows",
        fix: "stop it, or have it ask the daemon",
        parts: &[Part::Listeners, Part::Daemon, Part::Conf],
        at_start: false,
        run: listeners,
    },
];

/// How much counters have grown within a second, and what they are now.
fn growth(facts: &Facts, names: &[&str]) -> Known<(u64, u64)> {
    let samples = facts.counters.as_ref().map_err(Clone::clone)?;
    let sum = |at: usize| names.iter().filter_map(|name| samples[at].get(*name)).sum::<u64>();
    let (before, now) = (sum(0), sum(1));
    Ok((now.saturating_sub(before), now))
}

/// A finding about counters: `bad` while they grow, information if they ever did.
fn counted(
    facts: &Facts,
    names: &[&str],
    what: &str,
    bad: fn(String) -> Finding,
) -> Known<Finding> {
    Ok(match growth(facts, names)? {
        (0, 0) => Finding::ok(format!("no {what}")),
        (0, ever) => Finding::info(format!("{ever} {what} since the boot, none now"))
            .fix("# which CPU, which reason:")
            .fix("conntrack -S"),
        (now, ever) => bad(format!("{now} {what} within a second, {ever} since the boot")),
    })
}

fn drops(facts: &Facts) -> Known<Finding> {
    counted(facts, &["drop", "early_drop"], "packets or flows dropped for want of room", |found| {
        Finding::error(found).fix("ctflow doctor --only sysctl")
    })
}

fn inserts(facts: &Facts) -> Known<Finding> {
    counted(facts, &["insert_failed", "chaintoolong"], "flows that could not be entered", |found| {
        Finding::warning(found).fix("ctflow doctor --only sysctl.buckets").fix("conntrack -S")
    })
}

fn invalid(facts: &Facts) -> Known<Finding> {
    counted(facts, &["invalid"], "packets that fit no flow", |found| {
        Finding::info(found).fix("sysctl -w net.netfilter.nf_conntrack_log_invalid=6")
    })
}

fn flowtables(facts: &Facts) -> Known<Finding> {
    let tables = facts.flowtables.clone()?;
    if tables.is_empty() {
        return Ok(Finding::ok("there is no flowtable"));
    }
    let without = tables.iter().filter(|table| !table.counts).map(|table| {
        let Flowtable { family, table, name, priority, devices, .. } = table;
        let devices = devices.join(", ");
        let rule = format!(
            "add flowtable {family} {table} {name} {{ hook ingress priority {priority}; devices = {{ {devices} }}; \
             counter; }}"
        );
        let found = format!("flowtable {family} {table} {name} counts nothing");
        Finding::warning(found).wanted("counter").fix(format!("nft {}", word(&rule)))
    });
    let found = Finding::of_all(without.collect());
    Ok(found.unwrap_or_else(|| Finding::ok("every flowtable counts")))
}

fn listeners(facts: &Facts) -> Known<Finding> {
    let all = facts.listeners.clone()?;
    // Without a daemon that answers, none of them is ours.
    let ours = facts.status().ok().map(|status| status.pid);
    let others: Vec<_> = all.iter().filter(|one| one.pid.is_none() || one.pid != ours).collect();
    if others.is_empty() {
        return Ok(Finding::ok("no other program receives events"));
    }
    let name = |one: &&Listener| match one.pid {
        Some(pid) => format!("{} (pid {pid})", one.name),
        None => one.name.clone(),
    };
    let names: Vec<_> = others.iter().map(name).collect();
    let finding = Finding::warning(format!("flows are heard of by {}, too", names.join(", ")));
    let fixes = others.iter().map(|one| match (&one.unit, one.pid) {
        (Some(unit), _) => format!("systemctl stop {}", word(unit)),
        (None, Some(pid)) => format!("kill {pid}"),
        (None, None) => "# ask again as root: whose socket it is cannot be seen".into(),
    });
    Ok(fixes.fold(finding, Finding::fix))
}
