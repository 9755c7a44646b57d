//! What a listener to beginnings alone leaves of the kernel's rate. A source without a daemon: it does not subscribe
//! to the ends of flows, and it counts and drops what it receives.

use super::churn::{kept, rates};
use super::{Figure, Scenario, Values};
use crate::bench::lab::{Case, Lab};
use crate::bench::stage::Router;
use crate::bench::statistics::Better::Lower;
use crate::bench::statistics::Goal::AtLeast;
use crate::bench::subject::{Buffers, Role, Subject};
use crate::churn::frame::{Life, Shape};
use crate::churn::program::Range;
use crate::place::on_cpus;
use anyhow::{Context, Result, ensure};
use host::source::{Settings, Source, group};
use host::tuning::COALESCE;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The scenario.
pub(super) fn scenario() -> Scenario {
    Scenario {
        name: "churn-beginnings",
        title: "new UDP flows, flat out, to a source that hears of beginnings alone, without a daemon",
        figures: kept(&[("hook", AtLeast(0.98))])
            .into_iter()
            .chain([Figure::new("unheard", "flows it did not hear of", "", Lower)])
            .collect(),
        suits: |subject| matches!(subject, Subject::Nobody | Subject::Ours(_)),
        cases: |lab| lab.one(1_000_000),
        run,
    }
}

fn run(lab: &Lab, subject: &Subject, case: &Case) -> Result<Values> {
    let router = Router::new(false)?;
    let shape = Shape::v4(Life::Datagram);
    let mut generator = lab.generator(&router, shape, Range::ALL, lab.rate())?;
    let source = router.namespace.within(|| open(lab, subject))??;
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

/// The source that a daemon would open, if the subject is one, but for beginnings alone.
fn open(lab: &Lab, subject: &Subject) -> Result<Option<Source>> {
    if !subject.is_daemon() {
        return Ok(None);
    }
    let text = lab.setup(subject, "alone", Role::Alone, Buffers::LARGE).configuration();
    let settings = Settings { groups: group::NEW, ..(lab.product.source_settings)(&text)? };
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
            0..1024 => thread::sleep(COALESCE),
            _ => {}
        }
    }
}
