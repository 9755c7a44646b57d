//! What a start would refuse, as far as it can be known without the network: `conntrackd --check`,
//! the start itself and a reload ask the same questions.

use super::keys::{self, Keyring};
use super::plan::Plan;
use crate::conf::SubscribeConf;
use crate::filter::{Limits, System, parse};
use anyhow::{Context, Result, anyhow, bail};
use common::maps::FILTER_PREFIXES_MAX;
use engine::query::{Gap, Program, Term, gap};
use host::files::{self, Purpose};
use host::source::{Choice, Source};
use host::{control, link, lock, process, sys};
use std::sync::Arc;

/// Checks the settings themselves.
///
/// # Errors
/// The first one the daemon would not start with.
pub fn settings(plan: &Plan, keyring: &Keyring) -> Result<()> {
    if plan.poll.is_some() && !plan.config.replication.keep_local {
        bail!(
            "PollSecs compares the kernel's table with the internal cache: it cannot be disabled"
        );
    }
    memory(plan, sys::memory_bytes().unwrap_or(u64::MAX))?;
    nodes(plan, keyring)?;
    plan.wish.resolve()?;
    group(plan)?;
    classes(plan)?;
    if plan.source.choice != Choice::Tap {
        return Ok(());
    }
    if !Source::has_programs() {
        bail!("EventSource tap: this build carries no eBPF object (cargo xtask build)");
    }
    let filter = &plan.source.filter;
    let networks = filter.ipv4.len().max(filter.ipv6.len());
    if networks > FILTER_PREFIXES_MAX as usize {
        bail!(
            "EventSource tap: Address names {networks} networks of a family, and the kernel holds \
             {FILTER_PREFIXES_MAX}"
        );
    }
    Ok(())
}

/// Version 2: its keys and names, and what this build cannot do with it yet.
fn nodes(plan: &Plan, keyring: &Keyring) -> Result<()> {
    let Some(conf) = &plan.replication else { return Ok(()) };
    keys::identity(conf, &process::host_name(), keyring)?;
    if plan.links.is_some() {
        bail!("{}: `Replication`: this build has not links of version 1 beside it yet", conf.place);
    }
    Ok(())
}

/// The number of the group that may subscribe; `None` where the socket stays with the daemon's own.
///
/// # Errors
/// When the group that was named does not exist.
pub fn group(plan: &Plan) -> Result<Option<u32>> {
    let Some(subscribe) = &plan.subscribe else { return Ok(None) };
    let name = &subscribe.group;
    let found = host::feed::group(name).context("Subscribe: looking for its group")?;
    if found.is_none() && name != SubscribeConf::GROUP {
        bail!(
            "Subscribe: there is no group `{name}`: make it (groupadd --system {name}), or name another"
        )
    }
    Ok(found)
}

/// The filters of classes, with their names.
///
/// # Errors
/// The first one that is not understood, or that no flow of the table can be tested with.
pub fn classes(plan: &Plan) -> Result<Vec<(String, Arc<Program>)>> {
    let classes = plan.metrics.iter().flat_map(|metrics| &metrics.classes);
    let compile = |(name, filter): &(String, String)| {
        let wrong = |error: crate::filter::Error| {
            anyhow!("Metrics: `Class {name}`:\n{}", error.render(filter, false))
        };
        let parsed = parse(filter, &Limits::TYPED, &mut System::default()).map_err(wrong)?;
        parsed.check(unreported).map_err(wrong)?;
        let program = Program::new(&parsed.expr);
        let program = program.map_err(|_| anyhow!("Metrics: `Class {name}`: it is too large"))?;
        Ok((name.clone(), Arc::new(program)))
    };
    classes.map(compile).collect()
}

/// Whether the tables' first room fits into a machine with `there` bytes.
fn memory(plan: &Plan, there: u64) -> Result<()> {
    let wanted = plan.index_bytes();
    if wanted > there / 2 {
        bail!(
            "HashSize {} takes {} MiB at once, more than half of this machine's {} MiB",
            plan.hash_size(),
            wanted >> 20,
            there >> 20
        );
    }
    Ok(())
}

/// Checks whether the links could be opened now: interfaces and addresses may come and go.
///
/// # Errors
/// The first interface or address that is not there.
pub fn links(plan: &Plan) -> Result<()> {
    if let Some(links) = &plan.links {
        link::examine(links)?;
    }
    Ok(())
}

/// Checks the settings and what lies at the paths they name. Whether another daemon runs is not
/// looked at.
///
/// # Errors
/// The first thing the daemon would not start with.
pub fn start(plan: &Plan, keyring: &Keyring) -> Result<()> {
    settings(plan, keyring)?;
    let logs = [Some(&plan.log), plan.records.as_ref()];
    for path in logs.into_iter().flatten().filter_map(|places| places.file.as_deref()) {
        files::examine(path, Purpose::Log)
            .with_context(|| format!("cannot open the log file {}", path.display()))?;
    }
    let path = &plan.lock_file;
    let lock = Purpose::Lock { owner: plan.wish.owner() };
    files::examine(path, lock).with_context(|| format!("lock file {}", path.display()))?;
    if let Some(path) = &plan.control {
        let cannot = || format!("cannot bind the control socket {}", path.display());
        control::examine(path).with_context(cannot)?;
        let beside = lock::beside(path);
        files::examine(&beside, lock).with_context(|| format!("lock file {}", beside.display()))?;
    }
    if let Some(subscribe) = &plan.subscribe {
        let path = &subscribe.path;
        control::examine(path)
            .with_context(|| format!("cannot bind the feed's socket {}", path.display()))?;
    }
    Ok(())
}

/// Why the feed cannot test something; `None` if it can.
#[must_use]
pub fn unreported(term: &Term) -> Option<&'static str> {
    match gap(term)? {
        Gap::Never(why) => Some(why),
        Gap::Counters | Gap::Left | Gap::Began => {
            Some("changes do not tell it; the kernel does (ctflow list)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        Plan::from(&crate::conf::parse(text, "x").unwrap().0)
    }

    #[test]
    fn filters_of_classes_are_compiled_and_wrong_ones_are_refused_by_name() {
        let metrics = |classes: &str| {
            plan(&format!(
                "General {{ UNIX {{ Path /x }} }} Stats {{ }} Metrics {{ Listen /m {classes} }}"
            ))
        };
        let both =
            metrics("Class web { tcp dst port \"80,443\" } Class dns { \"udp and dst port 53\" }");
        let names: Vec<_> = classes(&both).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["web", "dns"]);
        for (wrong, said) in [
            ("Class web { dst port htpp }", "`Class web`"),
            ("Class big { \"bytes > 1M\" }", "changes do not tell it"),
        ] {
            let refused = settings(&metrics(wrong), &Keyring::default()).unwrap_err().to_string();
            assert!(refused.contains(said), "{wrong}: {refused}");
        }
    }

    #[test]
    fn room_that_the_machine_does_not_have_is_refused_by_name() {
        let plan =
            |limit: &str| plan(&format!("Stats {{ }} General {{ HashSize 67108864 {limit} }}"));
        let all = plan("HashLimit 4294967295");
        let said = memory(&all, 1 << 30).unwrap_err().to_string();
        assert!(said.contains("HashSize 67108864 takes 910 MiB"), "{said}");
        memory(&all, 2 << 30).unwrap();
        // A table makes no room for flows that it may not hold.
        memory(&plan("HashLimit 262144"), 16 << 20).unwrap();
    }
}
