//! What hearing of beginnings alone leaves of the kernel's rate. A source without a daemon: it does not subscribe to
//! the ends of flows, and what it hears is counted and forgotten.

use super::churn::rates;
use super::{Figure, Scenario, Values};
use crate::ctflow::bench::lab::{Case, Lab};
use crate::ctflow::bench::stage::Router;
use crate::ctflow::bench::statistics::Better::{Higher, Lower};
use crate::ctflow::bench::statistics::Goal::AtLeast;
use crate::ctflow::bench::subject::Subject;
use anyhow::{Context, Result, ensure};
use host::churn::frame::{Life, Shape};
use host::churn::program::Range;
use host::pace::NAP;
use host::place::on_cpus;
use host::source::{Choice, Settings, Source, group};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Bytes of each CPU's ring, and of the socket's buffer.
const BUFFER: usize = 8 << 20;

/// The scenario.
pub(super) fn scenario() -> Scenario {
    Scenario {
        name: "churn-beginnings",
        title: "new UDP flows, flat out, to a source that hears of beginnings alone, without a daemon",
        figures: vec![
            Figure::new("kept", "new flows kept, of no listener's", "", Higher)
                .goals(&[("hook", AtLeast(0.98))]),
            Figure::new("kept_cpu", "the same by the packet path's CPU time", "", Higher),
            Figure::new("rate", "new flows", "/s", Higher),
            Figure::new("packet_us", "packet path's CPU per flow", "us", Lower),
            Figure::new("unheard", "flows it did not hear of", "", Lower),
        ],
        suits: |subject| matches!(subject, Subject::Nobody | Subject::Ours(_)),
        cases: |lab| lab.one(1_000_000),
        run,
    }
}

fn run(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    let shape = Shape::v4(Life::Datagram);
    let mut generator = lab.generator(&router, shape, Range::ALL, lab.rate())?;
    let source = router.namespace.within(|| open(subject))??;
    let over = AtomicBool::new(false);
    let cpu = [lab.subject_cpu];
    let (run, heard) = thread::scope(|scope| {
        let listener = source.map(|source| scope.spawn(|| on_cpus(&cpu, || listen(source, &over))));
        let run = on_cpus(&[lab.generator_cpu], || generator.run(case.flows.into(), lab.rate()));
        over.store(true, Ordering::Release);
        let heard = listener.map(|thread| thread.join().expect("a listener does not panic"));
        (run, heard)
    });
    let run = run?;
    let mut values = rates(&run);
    if let Some(heard) = heard {
        values.insert("unheard", run.flows.saturating_sub(heard?) as f64);
    }
    Ok(values)
}

/// The source a subject stands for, if it is one.
fn open(subject: &Subject) -> Result<Option<Source>> {
    let choice = match subject {
        Subject::Ours(name) => match name.as_str() {
            "hook" => Choice::Hook,
            "tap" => Choice::Tap,
            _ => Choice::Netlink,
        },
        _ => return Ok(None),
    };
    let buffer_bytes = Some(BUFFER);
    let groups = group::NEW;
    let settings =
        Settings { choice, buffer_bytes, ring_bytes: BUFFER, groups, ..Settings::default() };
    let (source, instead) = Source::open(&settings).context("opening the source")?;
    ensure!(instead.is_none(), "{subject} does not work here");
    Ok(Some(source))
}

/// Takes what comes, as a daemon would, until it is over and nothing more comes; how much that was.
fn listen(mut source: Source, over: &AtomicBool) -> Result<u64> {
    let mut heard = 0;
    loop {
        let last = over.load(Ordering::Acquire);
        match source.drain(4096, &mut |_, _| heard += 1)? {
            0 if last => return Ok(heard),
            0..1024 => thread::sleep(NAP),
            _ => {}
        }
    }
}
