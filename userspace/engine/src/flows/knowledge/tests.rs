//! Every row of the table, as text.

use super::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::string::String;
use std::{env, format, fs};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/flows/knowledge/transitions.txt");

#[derive(Clone, Copy)]
struct Case {
    age: Age,
    another: bool,
    more: bool,
    laid: bool,
    over: bool,
    about: bool,
}

impl Facts for Case {
    fn age(&self) -> Age {
        self.age
    }
    fn is_another(&self) -> bool {
        self.another
    }
    fn says_more(&self) -> bool {
        self.more
    }
    fn is_laid_over(&self) -> bool {
        self.laid
    }
    fn may_be_over(&self) -> bool {
        self.over
    }
    fn may_be_about_to_begin(&self) -> bool {
        self.about
    }
}

const ALL: [Knowledge; 5] =
    [Knowledge::Absent, Knowledge::Ended, Knowledge::Read, Knowledge::Seen, Knowledge::Sure];

/// All combinations of what may be looked up.
fn cases() -> impl Iterator<Item = Case> {
    let ages = [Age::Newer, Age::Older, Age::Unclear].into_iter();
    ages.flat_map(|age| {
        (0..32).map(move |bits| {
            let is = |bit: u32| bits & (1 << bit) != 0;
            Case { age, another: is(0), more: is(1), over: is(2), about: is(3), laid: is(4) }
        })
    })
}

fn whats() -> [What; 7] {
    let (event, whole, part) = (By::Event, By::Packet { whole: true }, By::Packet { whole: false });
    [
        What::Began(event),
        What::Began(whole),
        What::Began(part),
        What::Changed(event),
        What::Changed(whole),
        What::Changed(part),
        What::Ended,
    ]
}

fn name(what: What) -> &'static str {
    match what {
        What::Began(By::Event) => "event NEW",
        What::Began(By::Packet { whole: true }) => "first packet, whole",
        What::Began(By::Packet { whole: false }) => "first packet, part",
        What::Changed(By::Event) => "event UPDATE",
        What::Changed(By::Packet { whole: true }) => "packet, whole",
        What::Changed(By::Packet { whole: false }) => "packet, part",
        What::Ended => "event DESTROY",
    }
}

/// The facts of a case that matter: those that change the outcome when they alone are other.
fn matters(known: Knowledge, what: What, case: Case) -> String {
    let step = known.on_news(what, &case);
    let differs = |other: Case| known.on_news(what, &other) != step;
    let mut text = format!("{:?}", case.age).to_lowercase();
    let mut note = |other: Case, is: bool, word: &str| {
        if differs(other) {
            let _ = write!(text, ", {}{word}", if is { "" } else { "not " });
        }
    };
    note(Case { another: !case.another, ..case }, case.another, "another");
    note(Case { more: !case.more, ..case }, case.more, "says more");
    note(Case { laid: !case.laid, ..case }, case.laid, "laid over");
    note(Case { over: !case.over, ..case }, case.over, "may be over");
    note(Case { about: !case.about, ..case }, case.about, "about to begin");
    text
}

fn rendered() -> String {
    let mut text = String::new();
    for known in ALL {
        for what in whats() {
            let rows: BTreeMap<String, Step> = cases()
                .map(|case| (matters(known, what, case), known.on_news(what, &case)))
                .collect();
            for (facts, step) in rows {
                let _ = writeln!(text, "{known:?} | {} | {facts} | {step:?}", name(what));
            }
        }
        for another in [false, true] {
            let _ = writeln!(
                text,
                "{known:?} | the kernel shows it{} | | {:?}",
                if another { ", another" } else { "" },
                known.on_shown(another)
            );
        }
        for about in [false, true] {
            let _ = writeln!(
                text,
                "{known:?} | the kernel has none{} | | {:?}",
                if about { ", about to begin" } else { "" },
                known.on_missing(about)
            );
        }
    }
    text
}

#[test]
fn every_transition_is_the_one_that_is_written_down() {
    let text = rendered();
    if env::var_os("UPDATE").is_some() {
        fs::write(TABLE, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(TABLE).unwrap(), text, "UPDATE=1 writes it anew");
}

#[test]
fn what_lives_is_never_buried_and_what_does_not_never_ends() {
    for (known, what) in ALL.into_iter().flat_map(|known| whats().map(|what| (known, what))) {
        for case in cases() {
            match known.on_news(what, &case) {
                Step::Bury => assert!(!known.is_alive()),
                Step::End | Step::SendLate => assert!(known.is_alive()),
                Step::Take(taken) => assert!(taken.next.is_alive() && case.age == Age::Newer),
                Step::Ignore => assert_eq!(case.age, Age::Older),
                Step::Ask { .. } => {}
            }
        }
    }
}
