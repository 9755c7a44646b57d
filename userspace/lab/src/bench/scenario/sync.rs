//! Two nodes: what a replicated flow costs each, how soon the peer receives it, and what it can do with it.

use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::Lower;
use crate::bench::statistics::Goal::{AtMost, TimesOriginal};
use crate::bench::subject::{Daemon, Subject};
use crate::churn::frame::{Life, Shape};
use crate::churn::program::Range;
use crate::churn::sleep_until;
use crate::place::on_cpus;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};
use wire::control::Request;

/// Flows per second of the paced opens by default; a firewall's ordinary rate.
const RATE: f64 = 5000.0;
/// At an ordinary rate the packets of a flow come close together.
const WINDOW: u32 = 8;
/// After so long without a new flow the peer counts as done.
const STILL: Duration = Duration::from_secs(3);

/// The scenarios.
pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::of_daemons(
            ("sync-paced", "TCP opens (three events each) at an ordinary rate, told to the peer"),
            vec![
                Figure::new("a_us", "CPU of A per flow", "us", Lower)
                    .goals(&[("hook", AtMost(8.0)), ("tap", AtMost(8.0))]),
                Figure::new("b_us", "CPU of B per flow", "us", Lower)
                    .goals(&[("hook", AtMost(6.0)), ("tap", AtMost(6.0))]),
                Figure::new("bytes", "on the link per flow", "bytes", Lower)
                    .goals(&[("hook", AtMost(110.0)), ("tap", AtMost(110.0))]),
                Figure::new("datagrams", "datagrams per flow", "", Lower),
                Figure::new("missing", "flows the peer does not have", "", Lower),
            ],
            // The transfer takes its time by itself.
            |lab| lab.one(if lab.options.quick { 25_000 } else { 50_000 }),
            paced,
        ),
        Scenario {
            name: "commit",
            title: "the peer's flows written into the own kernel (-c) when the peer is dead",
            figures: vec![
                Figure::new("flow_us", "time per flow (1.6 s for 500 k)", "us", Lower).goals(&[
                    ("hook", AtMost(3.2)),
                    ("tap", AtMost(3.2)),
                    ("netlink", AtMost(3.2)),
                    ("auto", TimesOriginal(1.0 / 3.5)),
                ]),
                Figure::new("seconds", "until the kernel has all", "s", Lower),
                Figure::new("cpu_us", "CPU per flow", "us", Lower),
                Figure::new("missing", "flows the kernel does not have", "", Lower),
            ],
            suits: |subject| subject.is_daemon() || *subject == Subject::Adapting,
            cases: |lab| lab.one(500_000),
            run: commit,
        },
        Scenario::of_daemons(
            ("bulk", "the whole table asked for again by a peer that lost it (-n)"),
            vec![
                Figure::new("seconds", "until the peer has all", "s", Lower)
                    .goals(&[("hook", TimesOriginal(1.0)), ("tap", TimesOriginal(1.0))]),
                Figure::new("cpu_us", "CPU of both per flow", "us", Lower)
                    .goals(&[("hook", TimesOriginal(0.5)), ("tap", TimesOriginal(0.5))]),
                Figure::new("bytes", "on the link per flow", "bytes", Lower),
                Figure::new("missing", "flows the peer does not have", "", Lower),
            ],
            |lab| lab.one(500_000),
            bulk,
        ),
    ]
}

/// Two connected routers with a daemon each.
pub(super) struct Pair {
    pub(super) a: Router,
    b: Router,
    pub(super) daemons: [Daemon; 2],
}

impl Pair {
    /// Starts the same daemon on both, on these CPUs, with so many flows in A's kernel.
    pub(super) fn start(
        lab: &Lab,
        subject: &Subject,
        direct: bool,
        cpus: [&[usize]; 2],
        flows: u32,
    ) -> Result<Self> {
        Self::tuned(lab, subject, direct, cpus, (flows, ""))
    }

    /// A pair with more settings, for ours.
    pub(super) fn tuned(
        lab: &Lab,
        subject: &Subject,
        direct: bool,
        cpus: [&[usize]; 2],
        (flows, settings): (u32, &str),
    ) -> Result<Self> {
        let (a, b) = (Router::new(false)?, Router::new(false)?);
        a.connect(&b)?;
        // Else flows that are older than every listener would end without an event.
        a.sysctl("net/netfilter/nf_conntrack_events", "1")?;
        a.requests()?.fill(0, flows)?;
        let second = lab.replicating(subject, &b, (2, direct), cpus[1], settings)?;
        let first = lab.replicating(subject, &a, (1, direct), cpus[0], settings)?;
        // The first hellos.
        std::thread::sleep(Duration::from_secs(1));
        first.settle()?;
        Ok(Self { a, b, daemons: [first, second] })
    }

    /// A shares the generator's CPU, as it would its router's.
    fn apart(lab: &Lab, subject: &Subject, flows: u32) -> Result<Self> {
        Self::start(lab, subject, false, [&[lab.generator_cpu], &[lab.subject_cpu]], flows)
    }

    fn cpu_s(&self) -> Result<[f64; 2]> {
        Ok([self.daemons[0].cpu_s()?, self.daemons[1].cpu_s()?])
    }

    fn external(&self) -> Result<u64> {
        self.daemons[1].flows("external")
    }

    /// Waits until B has `flows`, or receives no new ones; how many it has, and when the last came.
    fn until_received(&self, flows: u64, start: Instant) -> Result<(u64, f64)> {
        until_still(flows, start, || self.external())
    }

    fn settle(&self) -> Result<()> {
        self.daemons.iter().try_for_each(Daemon::settle)
    }

    /// A has flows, and B knows of all of them.
    fn filled(lab: &Lab, subject: &Subject, flows: u32) -> Result<Self> {
        let pair = Self::apart(lab, subject, flows)?;
        let (wanted, mut received) = (u64::from(flows), 0);
        for _ in 0..5 {
            pair.daemons[1].ask(Request::RequestBulk)?;
            received = pair.until_received(wanted, Instant::now())?.0;
            pair.settle()?;
            if received >= wanted {
                break;
            }
        }
        ensure!(received == wanted, "the peer has {received} of {flows} flows");
        Ok(pair)
    }

    pub(super) fn stop(self) -> Result<()> {
        self.daemons.into_iter().try_for_each(Daemon::stop)
    }
}

/// Polls a number until it is reached or stands still; the number, and the seconds until it came to that.
fn until_still(
    wanted: u64,
    start: Instant,
    mut number: impl FnMut() -> Result<u64>,
) -> Result<(u64, f64)> {
    let (mut last, mut came) = (number()?, Instant::now());
    while last < wanted && came.elapsed() < STILL {
        std::thread::sleep(Duration::from_millis(5));
        let next = number()?;
        if next != last {
            (last, came) = (next, Instant::now());
        }
    }
    Ok((last, came.duration_since(start).as_secs_f64()))
}

fn paced(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let pair = Pair::apart(lab, subject, 0)?;
    let range = Range { window: WINDOW, ..Range::ALL };
    let rate = lab.rate().or(Some(RATE));
    let mut generator = lab.generator(&pair.a, Shape::v4(Life::Opening), range, rate)?;
    let (cpu, sent) = (pair.cpu_s()?, pair.a.link_sent()?);
    let run = on_cpus(&[lab.generator_cpu], || generator.run(case.flows.into(), rate))?;
    sleep_until(Instant::now() + Duration::from_millis(500));
    pair.settle()?;
    let (received, _) = pair.until_received(run.flows, Instant::now())?;
    let (used, after) = (pair.cpu_s()?, pair.a.link_sent()?);
    let per_flow = |value: f64| value / run.flows as f64;
    let values = Values::from([
        ("a_us", per_flow((used[0] - cpu[0]) * 1e6)),
        ("b_us", per_flow((used[1] - cpu[1]) * 1e6)),
        ("bytes", per_flow((after.0 - sent.0) as f64)),
        ("datagrams", per_flow((after.1 - sent.1) as f64)),
        ("missing", run.flows.saturating_sub(received) as f64),
        ("rate", run.flows as f64 / run.wall_s),
    ]);
    pair.stop()?;
    Ok(values)
}

fn commit(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let Pair { a, b, daemons: [first, second] } = Pair::filled(lab, subject, case.flows)?;
    // The peer is dead. Its flows would not lie in this kernel's hash table, were it a machine of its own.
    first.stop()?;
    a.requests()?.flush()?;
    second.settle()?;
    let (cpu, start) = (second.cpu_s()?, Instant::now());
    second.ask(Request::CommitFlows)?;
    let flows = u64::from(case.flows);
    let (written, seconds) = until_still(flows, start, || b.flows())?;
    second.settle()?;
    let used = second.cpu_s()? - cpu;
    let values = Values::from([
        ("flow_us", seconds * 1e6 / flows as f64),
        ("seconds", seconds),
        ("cpu_us", used * 1e6 / flows as f64),
        ("missing", flows.saturating_sub(written) as f64),
    ]);
    second.stop()?;
    Ok(values)
}

fn bulk(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let pair = Pair::filled(lab, subject, case.flows)?;
    pair.daemons[1].ask(Request::FlushRemote)?;
    // Ours lets a peer wait that asks twice within a second.
    std::thread::sleep(Duration::from_secs(1));
    pair.settle()?;
    let (cpu, sent, start) = (pair.cpu_s()?, pair.a.link_sent()?, Instant::now());
    pair.daemons[1].ask(Request::RequestBulk)?;
    let flows = u64::from(case.flows);
    let (received, seconds) = pair.until_received(flows, start)?;
    // What is still acknowledged. Not until they rest: now and then ours looks after flows from before its start.
    std::thread::sleep(Duration::from_millis(100));
    let (used, after) = (pair.cpu_s()?, pair.a.link_sent()?);
    let both = used[0] - cpu[0] + used[1] - cpu[1];
    let values = Values::from([
        ("seconds", seconds),
        ("cpu_us", both * 1e6 / flows as f64),
        ("bytes", (after.0 - sent.0) as f64 / flows as f64),
        ("missing", flows.saturating_sub(received) as f64),
    ]);
    pair.stop()?;
    Ok(values)
}
