//! A filter as a flat list of tests, each with a jump for either result.
//!
//! Negations are pushed down to the tests. Without them, a tree of three values is true exactly when the tree of two
//! values is in which *unknown* counts as false: so a step passes if its test is known to be what it wants, and no
//! third value is left in the jumps.

use super::{Expr, Scope, Subject, Term, Which};
use alloc::vec::Vec;

/// The deepest filter, in levels of brackets and `not`.
pub const DEPTH_MAX: usize = 64;
/// Most terms of a filter.
pub const TERMS_MAX: usize = 4096;

/// The deepest tree: beside these, the levels outside of all brackets, and the terms.
const LEVELS_MAX: usize = DEPTH_MAX + 2;

/// Jumps out of the program: the flow is selected, or not.
const ACCEPT: u16 = u16::MAX;
const REJECT: u16 = u16::MAX - 1;

/// A tree that is deeper than [`DEPTH_MAX`] allows, or has more than [`TERMS_MAX`] terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// A filter that is ready to run.
#[derive(Clone, Debug)]
pub struct Program {
    steps: Vec<Step>,
    start: u16,
}

#[derive(Clone, Debug)]
struct Step {
    term: Term,
    /// The result of the test with which it passes.
    wanted: bool,
    pass: u16,
    fail: u16,
}

impl Program {
    /// Makes one of a tree. The cheapest tests of an `and` or `or` go first.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn new(expr: &Expr) -> Result<Self, TooLarge> {
        let mut program = Self { steps: Vec::new(), start: ACCEPT };
        program.start = program.add(expr, true, (ACCEPT, REJECT), LEVELS_MAX)?;
        Ok(program)
    }

    /// Whether it selects every flow, so that none needs to be looked at.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.start == ACCEPT
    }

    /// How many tests it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none: then it selects every flow or no flow.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether the filter is true of a flow.
    #[must_use]
    #[inline]
    pub fn matches(&self, subject: &impl Subject) -> bool {
        let mut at = self.start;
        // Every jump leads to a step that was made earlier, and so comes before in the list: this ends.
        while let Some(step) = self.steps.get(usize::from(at)) {
            let passes = step.term.holds(subject) == Some(step.wanted);
            at = if passes { step.pass } else { step.fail };
        }
        at == ACCEPT
    }

    /// Appends the steps of a tree, last step first; where it begins. `wanted`: which value of the tree passes.
    fn add(
        &mut self,
        expr: &Expr,
        wanted: bool,
        (pass, fail): (u16, u16),
        depth: usize,
    ) -> Result<u16, TooLarge> {
        let depth = depth.checked_sub(1).ok_or(TooLarge)?;
        let (parts, all) = match expr {
            Expr::Everything => return Ok(if wanted { pass } else { fail }),
            Expr::Not(inner) => return self.add(inner, !wanted, (pass, fail), depth),
            Expr::Term(term) => return self.step(term, wanted, (pass, fail)),
            Expr::And(parts) => (parts, wanted),
            Expr::Or(parts) => (parts, !wanted),
        };
        let mut order: Vec<_> = parts.iter().map(|part| (cost(part), part)).collect();
        order.sort_by_key(|(cost, _)| *cost);
        // All of them must pass, or one of them; the last one decides.
        let mut next = if all { pass } else { fail };
        for (_, part) in order.into_iter().rev() {
            let jumps = if all { (next, fail) } else { (pass, next) };
            next = self.add(part, wanted, jumps, depth)?;
        }
        Ok(next)
    }

    fn step(
        &mut self,
        term: &Term,
        wanted: bool,
        (pass, fail): (u16, u16),
    ) -> Result<u16, TooLarge> {
        if self.steps.len() >= TERMS_MAX {
            return Err(TooLarge);
        }
        self.steps.push(Step { term: term.clone(), wanted, pass, fail });
        Ok((self.steps.len() - 1) as u16)
    }
}

/// About how many nanoseconds a tree takes.
fn cost(expr: &Expr) -> u32 {
    match expr {
        Expr::Everything => 0,
        Expr::Not(inner) => cost(inner),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().map(cost).fold(0, u32::saturating_add),
        Expr::Term(term) => term_cost(term),
    }
}

fn term_cost(term: &Term) -> u32 {
    let ends = |scope, which| {
        let one = if which == Which::Any { 2 } else { 1 };
        if scope == Scope::Any { 2 * one } else { one }
    };
    match term {
        Term::Family(_) | Term::Proto(_) | Term::Status(_) | Term::Id(_) => 1,
        Term::Mark(pairs) => 1 + pairs.len() as u32,
        Term::State(_) | Term::Zone { .. } => 2,
        Term::Port { scope, which, set } => ends(*scope, *which) * (2 + bits(set.as_slice().len())),
        Term::Address { scope, which, set } => {
            // A large set is not in the cache, and each half of it is looked up in another line.
            let sets = bits(set.len());
            ends(*scope, *which) * (2 + sets + 4 * sets.saturating_sub(6))
        }
        Term::Translated { .. } => 8,
        _ => 10,
    }
}

const fn bits(len: usize) -> u32 {
    usize::BITS - len.leading_zeros()
}
