//! When the kernel's table is read to see that both are alike.

use crate::config::limit;
use crate::{Config, Engine, Input, Request};
use common::Instant;
use core::time::Duration;

/// An engine that has read an empty kernel at 1.
fn loaded(hears_requests: bool) -> Engine {
    let mut engine = Engine::new(Config { hears_requests, ..Config::default() }, Instant(0));
    read(&mut engine, Instant(1));
    engine
}

/// Answers the reading that the engine asks for.
fn read(engine: &mut Engine, now: Instant) {
    assert!(asks(engine));
    engine.handle(now, Input::DumpDone { complete: true });
}

/// Whether the engine wants the kernel's table.
fn asks(engine: &mut Engine) -> bool {
    engine.poll_kernel().is_some_and(|op| *op.request == Request::Dump)
}

/// Whether an audit begins within this much more time, which passes in small steps.
fn audits_within(engine: &mut Engine, now: &mut Instant, span: Duration) -> bool {
    let end = *now + span;
    while *now < end {
        *now += Duration::from_millis(500);
        engine.handle(*now, Input::Timeout);
        if asks(engine) {
            return true;
        }
    }
    false
}

#[test]
fn where_requests_are_not_heard_of_the_kernel_is_read_more_often() {
    for (hears_requests, soon) in [(true, false), (false, true)] {
        let (mut engine, mut now) = (loaded(hears_requests), Instant(1));
        let within = limit::AUDIT_PAUSE + Duration::from_secs(2);
        assert_eq!(audits_within(&mut engine, &mut now, within), soon);
    }
}

#[test]
fn what_was_done_unheard_is_looked_for_once_it_would_be_heard() {
    let (mut engine, mut now) = (loaded(false), Instant(1));
    engine.handle(now, Input::SourceChanged { hears_requests: false });
    assert!(!audits_within(&mut engine, &mut now, Duration::from_secs(2)));
    engine.handle(now, Input::SourceChanged { hears_requests: true });
    assert!(audits_within(&mut engine, &mut now, Duration::from_secs(1)));
    engine.handle(now, Input::DumpDone { complete: true });
    // From here on the engine behaves as if requests had been reported all the time.
    let within = limit::AUDIT_PAUSE + Duration::from_secs(2);
    assert!(!audits_within(&mut engine, &mut now, within));
}
