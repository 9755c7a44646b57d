//! Both programs in their namespaces, and what is the same about what they do.

use crate::ledger::Aspect;
use crate::mask::same;
use crate::script::Line;
use crate::side::{Done, Side};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;

/// Ours and Debian's.
#[derive(Debug)]
pub(crate) struct Twins {
    /// The program `CTFLOW_BIN_DIR` has.
    pub(crate) ours: Side,
    /// The program that is installed.
    pub(crate) theirs: Side,
}

/// What a command line did on both sides.
#[derive(Debug)]
pub(crate) struct Pair {
    ours: Done,
    theirs: Done,
}

impl Twins {
    /// Two namespaces that know nothing of each other. The calling thread, and what it starts, see a map of labels in
    /// `/etc/xtables`.
    ///
    /// # Panics
    /// Without root, `CTFLOW_BIN_DIR` or Debian's conntrack.
    pub(crate) fn new() -> Self {
        labelled();
        let folder = std::env::var("CTFLOW_BIN_DIR").expect("CTFLOW_BIN_DIR is set");
        let ours = Path::new(&folder).join("conntrack");
        Self { ours: Side::new(ours), theirs: Side::new(PathBuf::from("/usr/sbin/conntrack")) }
    }

    /// Makes both tables the one of this name.
    pub(crate) fn prepare(&self, table: &str) {
        self.both(|side| side.prepare(table));
    }

    /// Runs a command line on both sides.
    pub(crate) fn run(&self, line: &Line) -> Pair {
        let (ours, theirs) = self.both(|side| side.run(line));
        Pair { ours, theirs }
    }

    fn both<R: Send>(&self, work: impl Fn(&Side) -> R + Sync) -> (R, R) {
        thread::scope(|scope| {
            let ours = scope.spawn(|| work(&self.ours));
            let theirs = work(&self.theirs);
            (ours.join().expect("our side works"), theirs)
        })
    }
}

impl Pair {
    /// A result of each program.
    pub(crate) const fn new(ours: Done, theirs: Done) -> Self {
        Self { ours, theirs }
    }

    /// What differs: of `exit`, `stdout`, `stderr`, `table`.
    pub(crate) fn differs(&self) -> Vec<&'static str> {
        let aspects = [
            ("exit", self.ours.exit == self.theirs.exit),
            ("stdout", same(&self.ours.stdout, &self.theirs.stdout)),
            ("stderr", same(&self.ours.stderr, &self.theirs.stderr)),
            ("table", same(&self.ours.table, &self.theirs.table)),
        ];
        aspects.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect()
    }

    /// Both sides of what differs: lines of Debian's behind `-`, lines of ours behind `+`, seconds left out.
    pub(crate) fn shown(&self, aspects: &[&str]) -> String {
        let shown = |aspect: &&str| {
            let [ours, theirs] = [&self.ours, &self.theirs].map(|done| done.aspect(aspect));
            format!("  {aspect}\n{}", unequal(&ours, &theirs))
        };
        aspects.iter().map(shown).collect()
    }

    /// What is recorded of a difference.
    pub(crate) fn recorded(&self, aspect: &Aspect) -> String {
        match (aspect.is_whole, aspect.varies) {
            (true, _) => String::new(),
            (_, true) => {
                format!("  {}?\n{}", aspect.name, unequal(&self.ours.aspect(&aspect.name), ""))
            }
            _ => self.shown(&[&aspect.name]),
        }
    }
}

/// The lines that only one side has, as patches show them.
fn unequal(ours: &str, theirs: &str) -> String {
    let mut text = String::new();
    let (ours, theirs) = (crate::mask::masked(ours), crate::mask::masked(theirs));
    for (sign, lines, others) in [('-', &theirs, &ours), ('+', &ours, &theirs)] {
        for line in lines.iter().filter(|line| !others.iter().any(|o| o.like(line))) {
            let _ = writeln!(text, "    {sign} {}", line.text.trim_end());
        }
    }
    text
}

/// Puts a map of labels where the programs look for one, for the calling thread and what it starts.
fn labelled() {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    use tests::netns::run;
    #[expect(unsafe_code, reason = "rustix marks unshare unsafe because of CLONE_FILES")]
    // SAFETY: CLONE_NEWNS moves only this thread and leaves descriptors alone.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS).expect("unshare(CLONE_NEWNS) needs root");
    }
    run("mount", &["--make-rprivate", "/"]);
    let upper = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/etc");
    run("mount", &["-t", "overlay", "overlay", "-o", &format!("lowerdir={upper}:/etc"), "/etc"]);
}
