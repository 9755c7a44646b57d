//! Expectations on their way through a shard.

use super::{ExpectPage, ExpectPlace, Shard};
use crate::expectations::{ExpectEvent, ExpectNews};
use common::Instant;
use engine::{Input, Origin, Side};
use std::io;

/// Expectations copied out at a time.
const EXPECTATIONS_PER_PAGE: usize = 1024;

impl Shard {
    /// What waits on the subscription, if there is one.
    pub(super) fn read_expect_news(&mut self) -> io::Result<ExpectNews> {
        match &mut self.expectations {
            Some(events) => events.take(),
            None => Ok(ExpectNews::default()),
        }
    }

    /// Hands it to the engine; how many events that were.
    pub(super) fn take_expect_news(&mut self, now: Instant, news: ExpectNews) -> usize {
        let count = news.events.len();
        for ExpectEvent { portid, event, expect } in news.events {
            let origin = match self.purges.caused(portid) {
                true => Origin::Purge,
                false => self.writer.origin(portid),
            };
            self.engine.handle(now, Input::KernelExpect { event, expect, origin });
        }
        self.hearing.malformed += news.malformed;
        if news.lost {
            self.log.warning("kernel events about expectations lost: the event socket was full");
            self.engine.handle(now, Input::ExpectEventsLost);
        }
        count
    }

    /// Expectations in both tables, if they are replicated.
    pub(super) fn expectation_counts(&self) -> Option<[usize; 2]> {
        self.engine.config().expectations.any().then(|| self.engine.expectation_counts())
    }

    /// Some expectations of a table, from a place on.
    pub(super) fn expect_page(&self, side: Side, from: ExpectPlace, now: Instant) -> ExpectPage {
        let mut page = ExpectPage::default();
        let mut last = from;
        for (key, entry) in self.engine.expectations(side, from.after).take(EXPECTATIONS_PER_PAGE) {
            let age_s = (now.as_secs() as u32).saturating_sub(entry.since_s);
            page.expectations.push((entry.expect.clone(), age_s));
            last.after = Some(*key);
        }
        page.next = if page.expectations.len() == EXPECTATIONS_PER_PAGE {
            Some(last)
        } else {
            let next = ExpectPlace { shard: from.shard + 1, after: None };
            (next.shard < self.engine.config().share.count).then_some(next)
        };
        page
    }
}
