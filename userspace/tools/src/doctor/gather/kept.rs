//! What the kernel keeps of connection tracking and nftables, asked by netlink; and counters, which are read twice.

use super::super::facts::{Answer, Facts, Flowtable, Known, Part};
use super::{Root, network, said};
use host::kstat;
use host::nfnetlink::{Client, nftables};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long counters are watched.
const WATCHED: Duration = Duration::from_secs(1);
/// Names of the table of contrib/gate.nft.
const GATE: &str = "ctflow_gate";

type Counters = BTreeMap<String, u64>;

/// The first look at what is looked at twice.
#[derive(Debug)]
pub(super) struct Samples {
    begun: Instant,
    counters: Option<Known<Counters>>,
    later: bool,
}

impl Samples {
    /// Looks for the first time.
    pub(super) fn begin(
        facts: &mut Facts,
        parts: &BTreeSet<Part>,
        ask: &dyn Fn(&Facts) -> Known<Answer>,
    ) -> Self {
        if parts.contains(&Part::Daemon) || parts.contains(&Part::Later) {
            facts.daemon.answer = ask(facts);
            facts.daemon.metrics = network::metrics(&facts.conf.conf);
            facts.daemon.peer_ahead_s = Err("version 1 of the protocol tells no time".into());
        }
        let counters = parts.contains(&Part::Counters).then(counters);
        Self { begun: Instant::now(), counters, later: parts.contains(&Part::Later) }
    }

    /// Looks for the second time, when the time has come.
    pub(super) fn end(self, facts: &mut Facts, ask: &dyn Fn(&Facts) -> Known<Answer>) {
        let later = self.later && matches!(facts.daemon.answer, Ok(Answer::Status(_)));
        if later || matches!(self.counters, Some(Ok(_))) {
            thread::sleep(WATCHED.saturating_sub(self.begun.elapsed()));
        }
        if later {
            facts.daemon.later = ask(facts);
        }
        if let Some(before) = self.counters {
            facts.counters = before.and_then(|before| Ok([before, counters()?]));
        }
    }
}

/// The counters of all CPUs, added.
fn counters() -> Known<Counters> {
    may_ask("nf_conntrack_netlink")?;
    let cpus = kstat::cpus().map_err(|error| refused("counters of conntrack", &error))?;
    let mut all = Counters::new();
    for (name, value) in cpus.into_iter().flat_map(|cpu| cpu.values) {
        *all.entry(name.to_owned()).or_default() += u64::from(value);
    }
    Ok(all)
}

/// Whether asking the kernel loads no module: doctor changes nothing. What is built in is in no list; where conntrack
/// is built in, its companions are taken to be so, too.
fn may_ask(module: &str) -> Known<()> {
    let root = Root::new(Path::new("/"));
    let loaded = root.text("/proc/modules").unwrap_or_default();
    let has = |name: &str| loaded.lines().any(|line| line.split(' ').next() == Some(name));
    let is_built_in =
        !has("nf_conntrack") && root.has("/proc/sys/net/netfilter/nf_conntrack_max")?;
    if has(module) || is_built_in {
        return Ok(());
    }
    Err(format!("the module {module} is not loaded, and asking would load it"))
}

pub(super) fn tracking() -> Known<bool> {
    may_ask("nfnetlink_hook")?;
    let ask = |family| Client::open()?.tracks(family);
    let asked = ask(nftables::IPV4).and_then(|v4| Ok(v4 || ask(nftables::IPV6)?));
    asked.map_err(|error| refused("functions at the netfilter hooks", &error))
}

pub(super) fn flowtables() -> Known<Vec<Flowtable>> {
    if may_ask("nf_tables").is_err() {
        // Without nftables there is none.
        return Ok(Vec::new());
    }
    let found = match Client::open().and_then(|mut client| client.flowtables()) {
        Ok(found) => found,
        Err(error) if is_unknown(&error) => return Ok(Vec::new()),
        Err(error) => return Err(refused("flowtables", &error)),
    };
    let family = |number| match number {
        nftables::IPV4 => "ip",
        nftables::IPV6 => "ip6",
        _ => "inet",
    };
    let plain = |table: nftables::Flowtable| Flowtable {
        family: family(table.family).into(),
        table: table.table,
        name: table.name,
        priority: table.priority,
        devices: table.devices,
        counts: table.counts,
    };
    Ok(found.into_iter().map(plain).collect())
}

pub(super) fn gate() -> Known<bool> {
    if may_ask("nf_tables").is_err() {
        return Ok(false);
    }
    let asked = Client::open().and_then(|mut client| client.has_table(nftables::INET, GATE));
    match asked {
        Err(error) if is_unknown(&error) => Ok(false),
        asked => asked.map_err(|error| refused("nftables", &error)),
    }
}

/// Whether a kernel does not know what it was asked for.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT))
}

/// Why the kernel did not answer.
fn refused(what: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => format!("{what}: needs CAP_NET_ADMIN"),
        _ if is_unknown(error) => format!("this kernel does not tell of {what}"),
        _ => format!("{what}: {}", said(error)),
    }
}
