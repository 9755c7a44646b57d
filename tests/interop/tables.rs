//! Whether two nodes know the same of each other.

use std::collections::BTreeSet;
use tests::daemon::Daemon;
use tests::wait::wait_until;

/// Flows of [`tests::ctnetlink::udp`], each with its mark. A mark of 0 is sometimes sent and sometimes not.
pub(crate) fn flows(lines: &[String]) -> BTreeSet<String> {
    let word = |line: &str, key: &str| {
        line.split(' ').find(|word| word.starts_with(key)).unwrap_or_default().to_owned()
    };
    let mark = |line: &str| word(line, "mark=").replace("mark=0", "");
    lines.iter().map(|line| format!("{} {}", word(line, "src="), mark(line))).collect()
}

/// Waits until each knows what the other has.
pub(crate) fn wait_for_agreement(what: &str, a: &Daemon<'_>, b: &Daemon<'_>) {
    for (from, to) in [(a, b), (b, a)] {
        let mut last = String::new();
        let end = std::time::Instant::now() + tests::wait::PATIENCE;
        wait_until(what, || {
            let (has, sent) = (flows(&from.internal()), flows(&to.external()));
            last = difference(&has, &sent);
            if std::time::Instant::now() >= end {
                eprintln!("{:?} to {:?}: {last}", from.brand(), to.brand());
            }
            has == sent
        });
    }
}

fn difference(has: &BTreeSet<String>, sent: &BTreeSet<String>) -> String {
    let some = |left: &BTreeSet<String>, right: &BTreeSet<String>| {
        let all: Vec<_> = left.difference(right).cloned().collect();
        format!("{}, such as {:?}", all.len(), &all[..all.len().min(5)])
    };
    format!("of {} not sent: {}; sent and gone: {}", has.len(), some(has, sent), some(sent, has))
}
