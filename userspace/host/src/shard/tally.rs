//! What a shard's engine did to the kernel, counted from the engine's events.

use engine::Event;
use std::time::Duration;

/// Commits and refused writes since the shard began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commits that are over.
    pub commits: u64,
    /// Flows and expectations that the kernel took in them.
    pub committed: u64,
    /// Flows that the kernel refused.
    pub commit_failed: u64,
    /// How long the last commit took.
    pub last_commit: Option<Duration>,
    /// Writes of single flows and expectations that the kernel refused, those of commits included.
    pub writes_failed: u64,
}

impl Tally {
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::CommitDone { committed, failed, took }
            | Event::ExpectationsCommitted { committed, failed, took } => {
                self.commits += 1;
                self.committed += committed;
                self.commit_failed += failed;
                self.last_commit = Some(*took);
            }
            Event::WriteFailed { .. } => self.writes_failed += 1,
            _ => {}
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        let Self { commits, committed, commit_failed, last_commit, writes_failed } = other;
        self.commits += commits;
        self.committed += committed;
        self.commit_failed += commit_failed;
        self.last_commit = self.last_commit.max(last_commit);
        self.writes_failed += writes_failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_add_up_and_the_last_one_says_how_long_it_took() {
        let mut tally = Tally::default();
        let took = Duration::from_millis;
        tally.note(&Event::CommitDone { committed: 5, failed: 1, took: took(9) });
        tally.note(&Event::ExpectationsCommitted { committed: 2, failed: 0, took: took(3) });
        tally.note(&Event::PeerBack);
        let wanted = Tally {
            commits: 2,
            committed: 7,
            commit_failed: 1,
            last_commit: Some(took(3)),
            writes_failed: 0,
        };
        assert_eq!(tally, wanted);
        let mut both = tally;
        both.join(Tally { writes_failed: 4, ..Tally::default() });
        assert_eq!(both, Tally { writes_failed: 4, ..wanted });
    }
}
